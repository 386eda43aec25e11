// Follows a channel and prints its messages: node follow.mjs URL CHANNEL
//
// The client module reconnects by itself and resumes after the last message, at any replica. A `gap` tells that messages
// may be missing: read the current state from elsewhere then.

import { webcrypto } from 'node:crypto';
import ws from 'ws';
import { Warren } from '../../web/client.js';

const [url, channel] = process.argv.slice(2);
if (!url || !channel) {
  console.error('usage: node follow.mjs ws://HOST:PORT/ws CHANNEL');
  process.exit(64);
}

// Node 22 has both of its own.
globalThis.crypto ??= webcrypto;
const warren = new Warren(url, { channels: [channel], WebSocket: globalThis.WebSocket ?? ws });

warren.addEventListener('message', ({ detail }) => console.log(detail.id, JSON.stringify(detail.text)));
warren.addEventListener('gap', () => console.error('messages may be missing here'));
warren.addEventListener('state', () => console.error(warren.state));

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    warren.close();
  });
}
