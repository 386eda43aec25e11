// The types of the client module: they can be used as usage.ts does, and they are those of the code.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const CODE = here('../../web/client.js');
// client.js cannot be imported beside client.d.ts, which is taken for it: it goes by another name.
const WRITTEN = here('../../web/written.js');
const AGREEMENT = here('agreement.ts');
const FILES = {
  [AGREEMENT]: `
    import * as declared from '../../web/client.js';
    import * as written from '../../web/written.js';

    type Public<T> = Pick<T, keyof T>;

    export const Warren: typeof declared.Warren = written.Warren;
    export const WarrenError: typeof declared.WarrenError = written.WarrenError;
    // And nothing is kept secret.
    export const warren = (it: declared.Warren): Public<written.Warren> => it;
    export const names = (it: keyof typeof written): keyof typeof declared => it;
  `,
};

/** What the compiler has against the code or its declarations. */
function complaints(ts, files) {
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

test('the declarations of the client can be used, and agree with its code', async () => {
  const { default: ts } = await import('typescript').catch((error) => assert.fail(`typescript cannot be loaded: run npm ci in tests/browser (${error.message})`));
  const code = ts.sys.readFile(CODE);
  assert.deepEqual(complaints(ts, { ...FILES, [WRITTEN]: code }), []);

  // This test can fail.
  for (const [text, instead] of [
    ['resolve({ id, key })', 'resolve({ id })'],
    ['  unsubscribe(channel)', '  leave(channel)'],
    ['  unsubscribe(channel)', '  secret() {}\n  unsubscribe(channel)'],
  ]) {
    assert.ok(code.includes(text), text);
    assert.notDeepEqual(complaints(ts, { ...FILES, [WRITTEN]: code.replace(text, instead) }), [], instead);
  }
});
