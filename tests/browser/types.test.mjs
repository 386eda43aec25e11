// Types of the client module: usage.ts compiles against them, and they match the code.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const CODE = here('../../web/client.js');
// Next to client.d.ts, TypeScript would not read client.js, so its code gets another name.
const IMPLEMENTATION = here('../../web/implementation.js');
const AGREEMENT = here('agreement.ts');
const FILES = {
  [AGREEMENT]: `
    import * as declared from '../../web/client.js';
    import * as implementation from '../../web/implementation.js';

    type Public<T> = Pick<T, keyof T>;

    export const Warren: typeof declared.Warren = implementation.Warren;
    export const WarrenError: typeof declared.WarrenError = implementation.WarrenError;
    // All public members and exports are declared.
    export const warren = (it: declared.Warren): Public<implementation.Warren> => it;
    export const names = (it: keyof typeof implementation): keyof typeof declared => it;
  `,
};

/** Compiler diagnostics for the code and its declarations. */
function diagnostics(ts, files) {
  const options = {
    strict: true,
    checkJs: true,
    noEmit: true,
    noUnusedLocals: true,
    target: ts.ScriptTarget.ES2022,
    lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
    module: ts.ModuleKind.NodeNext,
    types: [],
  };
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile } = host;
  host.fileExists = (name) => name in files || fileExists(name);
  host.readFile = (name) => files[name] ?? readFile(name);
  const program = ts.createProgram([here('usage.ts'), AGREEMENT], options, host);
  return ts.getPreEmitDiagnostics(program).map((diagnostic) => ts.formatDiagnostic(diagnostic, host));
}

test('declarations of the client compile and match its code', async () => {
  const { default: ts } = await import('typescript').catch((error) => assert.fail(`typescript cannot be loaded: run npm ci in tests/browser (${error.message})`));
  const code = ts.sys.readFile(CODE);
  assert.deepEqual(diagnostics(ts, { ...FILES, [IMPLEMENTATION]: code }), []);

  // Deviations are detected.
  for (const [text, instead] of [
    ['resolve({ id, key })', 'resolve({ id })'],
    ['  unsubscribe(channel)', '  leave(channel)'],
    ['  unsubscribe(channel)', '  secret() {}\n  unsubscribe(channel)'],
  ]) {
    assert.ok(code.includes(text), text);
    assert.notDeepEqual(diagnostics(ts, { ...FILES, [IMPLEMENTATION]: code.replace(text, instead) }), [], instead);
  }
});
