// Incidents of the demo: a rolling restart and a crash of RabbitMQ, with clients of all kinds.
import { setTimeout as pause } from 'node:timers/promises';
import { crowd } from './crowd.mjs';
import { Demo } from './demo.mjs';

/** Runs the incidents, then calls `look` with the address of Prometheus and the time range. */
export async function story(browser, look) {
  const demo = await Demo.start();
  const end = new AbortController();
  try {
    await crowd(browser, demo.address, end.signal);
    const from = Date.now() / 1000;
    await pause(120_000);
    for (const replica of ['burrow-1', 'burrow-2', 'burrow-3']) {
      await demo.restart(replica, 'SIGTERM');
      await pause(15_000);
    }
    await pause(60_000);
    await demo.restart('rabbitmq', 'SIGKILL');
    await pause(120_000);
    await look(demo.prometheus, { from, to: Date.now() / 1000 });
  } finally {
    end.abort();
    await demo.end();
  }
}
