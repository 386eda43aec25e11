// The client module by itself, with a WebSocket and a clock that the test holds in its hands.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { Warren } from '../../web/client.js';

class Socket extends EventTarget {
  static all = [];
  static get last() {
    return Socket.all.at(-1);
  }
  bufferedAmount = 0;
  sent = [];
  closed = false;
  constructor(url) {
    super();
    this.url = new URL(url);
    Socket.all.push(this);
  }
  send(text) {
    this.sent.push(text);
  }
  close() {
    this.closed = true;
  }
  say(frame) {
    const data = typeof frame === 'string' ? frame : JSON.stringify(frame);
    this.dispatchEvent(Object.assign(new Event('message'), { data }));
  }
  ready(recovered = false) {
    this.say({ ready: { replica: 'r1', version: '0.1.0', recovered } });
  }
  hear(id, text = `text of ${id}`) {
    this.say({ id, channel: 'lobby', text, date: '2025-01-01T00:00:00Z' });
  }
  end(code, reason = '') {
    this.dispatchEvent(Object.assign(new Event('close'), { code, reason }));
  }
}

// Debian 12's Node is 18, which has neither.
globalThis.CustomEvent ??= class extends Event {
  constructor(type, { detail }) {
    super(type);
    this.detail = detail;
  }
};
class Clock {
  #now = 1_700_000_000_000;
  #timers = new Map();
  #replaced = [];
  #next = 1;
  start() {
    const set = (run, wait = 0) => (this.#timers.set(this.#next, { run, at: this.#now + wait }), this.#next++);
    this.#replaced = [
      mock.method(globalThis, 'setTimeout', set),
      mock.method(globalThis, 'clearTimeout', (timer) => this.#timers.delete(timer)),
      mock.method(Date, 'now', () => this.#now),
    ];
  }
  stop() {
    for (const { mock } of this.#replaced) mock.restore();
    this.#timers.clear();
  }
  tick(milliseconds) {
    const end = this.#now + milliseconds;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      const [timer, { run, at }] = due;
      this.#timers.delete(timer);
      this.#now = at;
      run();
    }
    this.#now = end;
  }
}
const clock = new Clock();

function connect(options = {}) {
  const warren = new Warren('http://warren.test/ws?token=t', { WebSocket: Socket, ...options });
  const heard = [];
  for (const type of ['ready', 'message', 'gap', 'error']) {
    warren.addEventListener(type, ({ detail }) => heard.push(type === 'message' ? detail.id : type));
  }
  return { warren, heard };
}

let random;
beforeEach(() => {
  Socket.all = [];
  clock.start();
  random = mock.method(Math, 'random', () => 0.5);
});
afterEach(() => {
  clock.stop();
  random.mock.restore();
});

test('the address holds the channels, the history and what the caller put there', () => {
  connect({ channels: ['a b', 'c'], history: 7 });
  const { protocol, pathname, searchParams } = Socket.last.url;
  assert.equal(protocol + pathname, 'ws:/ws');
  assert.deepEqual([...searchParams], [['token', 't'], ['channel', 'a b'], ['channel', 'c'], ['history', '7']]);
});

test('nothing is sent before the connection is ready', () => {
  const { warren } = connect();
  assert.deepEqual([warren.state, warren.send('early')], ['connecting', false]);
  Socket.last.ready();
  assert.deepEqual([warren.state, warren.send('now')], ['open', true]);
  Socket.last.bufferedAmount = 2 ** 21;
  assert.equal(warren.send('too much'), false);
  assert.deepEqual(Socket.last.sent, ['now']);
});

test('bad and unknown frames do no harm', () => {
  const { heard } = connect();
  Socket.last.ready();
  for (const frame of ['', '{', 'null', '1', '"x"', '[]', '{}', '{"id":1,"text":2}', '{"later":{}}', '{"error":null}']) Socket.last.say(frame);
  Socket.last.hear('1', { any: ['JSON'] });
  Socket.last.say({ error: { code: 'rate_limited', message: 'slow down' } });
  assert.deepEqual(heard, ['ready', '1', 'error']);
});

test('it resumes after the last message, and shows nothing twice', () => {
  const { heard } = connect();
  Socket.last.ready();
  Socket.last.hear('1');
  Socket.last.hear('2');
  Socket.last.end(1006);
  clock.tick(250);
  assert.equal(Socket.last.url.searchParams.get('after'), '2');
  Socket.last.ready(true);
  Socket.last.hear('3');
  Socket.last.end(1006);
  clock.tick(500);
  Socket.last.ready(false);
  for (const id of ['2', '3', '4']) Socket.last.hear(id);
  assert.deepEqual(heard, ['ready', '1', '2', 'ready', '3', 'ready', 'gap', '4']);
});

test('what it remembers is bounded', () => {
  const { heard } = connect({ history: 0 });
  Socket.last.ready();
  for (let id = 0; id <= 1000; id += 1) Socket.last.hear(String(id));
  Socket.last.hear('1000');
  assert.equal(heard.length, 1002);
  Socket.last.hear('0');
  assert.equal(heard.length, 1003, 'the oldest id is forgotten');
});

test('attempts back off, with jitter, up to 20 s, and anew after a steady connection', () => {
  const { warren } = connect();
  const waits = [];
  for (let n = 0; n < 10; n += 1) {
    Socket.last.end(1006);
    assert.equal(warren.state, 'waiting');
    waits.push(warren.retryAt - Date.now());
    clock.tick(waits.at(-1));
    assert.equal(warren.state, 'connecting');
  }
  assert.deepEqual(waits, [125, 250, 500, 1000, 2000, 4000, 8000, 10000, 10000, 10000]);
  Socket.last.ready();
  clock.tick(1000);
  Socket.last.end(1006);
  assert.equal(warren.retryAt - Date.now(), 10000, 'ready for a second is not steady');
  clock.tick(10000);
  Socket.last.ready();
  clock.tick(20000);
  Socket.last.end(1006);
  assert.equal(warren.retryAt - Date.now(), 125);
});

test('each close code has its pace', () => {
  for (const [code, reason, wait] of [
    [1001, '', 125],
    [1012, 'restart; retry in 3217ms', 3217],
    [1012, 'restart', 1000],
    [1013, 'too slow; retry in 40ms', 100],
    [1013, 'retry in 99999999999ms', 300_000],
    [1013, '', 1000],
    [1002, '', 2500],
    [1003, '', 2500],
    [1007, '', 2500],
    [1009, '', 2500],
    [4000, '', 125],
  ]) {
    const { warren } = connect();
    Socket.last.ready();
    Socket.last.end(code, reason);
    assert.equal(warren.retryAt - Date.now(), wait, `${code} ${reason}`);
    warren.close();
  }
});

test('refused by policy, it stays away until it is told to connect', () => {
  const { warren } = connect();
  const changes = [];
  warren.addEventListener('state', ({ detail }) => changes.push([detail.state, detail.code]));
  Socket.last.end(1008, 'not here');
  clock.tick(3_600_000);
  assert.equal(Socket.all.length, 1);
  warren.connect();
  assert.deepEqual(changes, [['closed', 1008], ['connecting', undefined]]);
});

test('an attempt without an answer is given up', () => {
  const { warren } = connect();
  const [first] = Socket.all;
  clock.tick(15_000);
  assert.deepEqual([warren.state, first.closed], ['waiting', true]);
  first.ready();
  first.end(1006);
  assert.equal(warren.state, 'waiting', 'what a socket says after it was let go is not heard');
});

test('a WebSocket that throws is an attempt that failed', () => {
  const { warren } = connect({
    WebSocket: class {
      constructor() {
        throw new Error('blocked');
      }
    },
  });
  assert.equal(warren.state, 'waiting');
});

test('closed is closed', () => {
  const { warren } = connect();
  Socket.last.ready();
  warren.close();
  Socket.last.hear('1');
  clock.tick(3_600_000);
  assert.deepEqual([warren.state, warren.send('x'), Socket.last.closed, Socket.all.length], ['closed', false, true, 1]);
});
