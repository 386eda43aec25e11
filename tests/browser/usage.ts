// Intended uses of client.d.ts. types.test.mjs compiles this file; nothing runs it.
import { Warren, WarrenError, type Message, type WarrenEvent } from '../../web/client.js';

const warren = new Warren(new URL('wss://chat.example/ws'), { channels: new Set(['lobby']), history: 10 });

warren.addEventListener('message', ({ detail }) => {
  const { id, channel, date }: { id: string; channel: string; date: string } = detail;
  // @ts-expect-error: the text may be any JSON value
  detail.text.length;
  console.log(id, channel, date);
});
warren.addEventListener('gap', ({ detail: { channel, after, reason } }) => console.log(channel ?? 'all', after, reason === 'expired'), { once: true });
warren.addEventListener('state', ({ detail }) => detail.state === 'waiting' && new Date(detail.retryAt ?? 0));
warren.addEventListener('subscribed', ({ detail }) => detail.recovered || detail.channel);
warren.addEventListener('error', ({ detail }) => detail.code === 'too_large');
warren.addEventListener('something else', (event: Event) => event.type);
// @ts-expect-error: a ready event has no id
warren.addEventListener('ready', ({ detail }) => detail.id);

const listener = (event: WarrenEvent<Message>) => event.detail.text;
warren.addEventListener('message', listener);
warren.removeEventListener('message', listener);

try {
  const { id, key } = await warren.publish({ any: ['JSON'] }, { channel: 'news', key: 'order-7', signal: AbortSignal.timeout(5000) });
  console.log(id?.length, key.length);
  // @ts-expect-error: the id may be null
  id.length;
} catch (error) {
  if (error instanceof WarrenError && error.code === 'unknown_outcome') console.log(error.message);
}

const { recovered, reason } = await warren.subscribe('news', { after: '1f-00aa', history: 5 });
const known: boolean | string | undefined = recovered || reason;
await warren.unsubscribe('news');
// @ts-expect-error: only connect() and close() change the state
warren.state = 'closed';
if (warren.state !== 'closed' && known) warren.close();

// A custom WebSocket, such as that of the package ws.
class Other {
  constructor(url: string | URL, protocols?: string | string[]) {
    console.log(url, protocols);
  }
  send(data: string | ArrayBuffer) {
    console.log(data);
  }
  close(code?: number) {
    console.log(code);
  }
  addEventListener(type: 'open' | 'close' | 'message' | 'error', run: (event: any) => void) {
    console.log(type, run);
  }
}
new Warren('ws://127.0.0.1:8080/ws', { WebSocket: Other });
new Warren('ws://127.0.0.1:8080/ws', { WebSocket });
