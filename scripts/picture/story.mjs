// Some minutes in the life of a demo: clients of all kinds, a rolling restart, a crash of RabbitMQ.
import { setTimeout as pause } from 'node:timers/promises';
import { crowd } from './crowd.mjs';
import { Demo } from './demo.mjs';

/** Lets it all happen, then hands the address of Prometheus and the time to `look`. */
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
