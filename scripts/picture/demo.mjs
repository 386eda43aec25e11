// Controls `make demo` by its output.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const SCRIPT = new URL('../demo', import.meta.url).pathname;
const PORT = process.env.DEMO_PORT ?? '8080';

export class Demo {
  address = `http://127.0.0.1:${PORT}`;
  prometheus;
  #process = spawn(SCRIPT, { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, DEMO_PORT: PORT } });
  #lines = createInterface(this.#process.stdout);
  #pids = {};

  constructor() {
    this.#lines.on('line', (line) => {
      const [, name, pid] = line.match(/^ +(\S+) .*process (\d+)/) ?? [];
      if (pid) this.#pids[name] = Number(pid);
      this.prometheus ||= line.match(/alerts +(http:\/\/[^/]+)/)?.[1];
      console.log(line);
    });
  }

  static async start() {
    const demo = new Demo();
    await demo.#line('Ctrl-C ends everything');
    return demo;
  }

  /** Sends a signal to a process of the demo, and waits until the demo has restarted it. */
  async restart(name, signal) {
    const back = this.#line(`${name} is back`);
    process.kill(this.#pids[name], signal);
    await back;
  }

  async end() {
    if (this.#process.exitCode !== null) return;
    this.#process.kill('SIGTERM');
    await once(this.#process, 'exit');
  }

  #line(wanted) {
    return new Promise((resolve, reject) => {
      const look = (line) => {
        if (!line.includes(wanted)) return;
        this.#lines.off('line', look);
        resolve();
      };
      this.#lines.on('line', look);
      this.#process.once('exit', () => reject(new Error('the demo has ended')));
    });
  }
}
