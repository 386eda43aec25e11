// Unit tests of the client module, with a fake WebSocket and a fake clock.
import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { Warren, WarrenError } from '../../web/client.js';

class Socket extends EventTarget {
  static all = [];
  static get last() {
    return Socket.all.at(-1);
  }
  sent = [];
  closed = false;
  constructor(url, protocol) {
    super();
    Object.assign(this, { url: new URL(url), protocol });
    Socket.all.push(this);
  }
  send(text) {
    assert.equal(this.closed, false, 'nothing is sent on a closed socket');
    const [[name, command]] = Object.entries(JSON.parse(text));
    this.sent.push({ name, ...command });
  }
  close() {
    this.closed = true;
  }
  receive(frame) {
    const data = typeof frame === 'string' ? frame : JSON.stringify(frame);
    this.dispatchEvent(Object.assign(new Event('message'), { data }));
  }
  ready() {
    this.receive({ ready: { replica: 'r1', version: '0.1.0', recovered: false } });
  }
  receiveMessage(id, channel = 'lobby', text = `text of ${id}`) {
    this.receive({ id, channel, text, date: '2025-01-01T00:00:00Z' });
  }
  end(code, reason = '') {
    this.closed = true;
    this.dispatchEvent(Object.assign(new Event('close'), { code, reason }));
  }

  of(name) {
    return this.sent.filter((command) => command.name === name);
  }
  get texts() {
    return this.of('publish').map(({ text }) => text);
  }
  /** The last command that publishes a text. */
  command(text) {
    return this.of('publish').findLast((command) => command.text === text);
  }
  published(text, id = `id of ${text}`) {
    this.receive({ published: { ref: this.command(text).ref, id } });
  }
  refuse(text, code) {
    this.receive({ error: { ref: this.command(text).ref, code, message: `because ${code}` } });
  }
  subscribed(channel, answer = { recovered: false }) {
    const { ref } = this.of('subscribe').findLast((command) => command.channel === channel);
    this.receive({ subscribed: { ref, channel, ...answer } });
  }
}

// Node 18, as in Debian 12, has no global crypto.
globalThis.crypto ??= webcrypto;

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
  /** Advances the time without the timers, as on a suspended machine. */
  sleep(milliseconds) {
    this.#now += milliseconds;
    for (const timer of this.#timers.values()) timer.at += milliseconds;
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

const EVENTS = ['state', 'ready', 'subscribed', 'message', 'gap', 'error'];

/** A client, and its events: the ids of messages, and the details of all other events by type. */
function connect(options = {}) {
  const warren = new Warren('http://warren.test/ws?token=t', { WebSocket: Socket, ...options });
  const events = Object.fromEntries(EVENTS.map((type) => [type, []]));
  const order = [];
  for (const type of EVENTS) {
    warren.addEventListener(type, ({ detail }) => {
      events[type].push(type === 'message' ? detail.id : detail);
      if (type !== 'state') order.push(type === 'message' ? detail.id : type);
    });
  }
  return { warren, events, order };
}

/** A client with a ready connection. */
function open(options) {
  const client = connect(options);
  Socket.last.ready();
  for (const { channel } of Socket.last.of('subscribe')) Socket.last.subscribed(channel);
  return client;
}

/** The next connection, after the current one was cut. */
function cut() {
  const { length } = Socket.all;
  Socket.last.end(1006);
  while (Socket.all.length === length) clock.tick(100);
  return Socket.last;
}

/** The outcome of each promise: the id of its value, the code of its error, or 'pending'. */
async function outcomes(...promises) {
  const outcomes = promises.map((promise) => promise.then((value) => value?.id, (error) => error instanceof WarrenError ? error.code : (error.name ?? error)));
  await new Promise(setImmediate);
  return Promise.all(outcomes.map((outcome) => Promise.race([outcome, 'pending'])));
}

/** Publishes each text. Rejections are not reported as unhandled. */
function publish(warren, ...texts) {
  return texts.map((text) => {
    const promise = warren.publish(text);
    promise.catch(() => {});
    return promise;
  });
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

// ── Connection ──────────────────────────────────────────────────────────────────────────────

test('connects to the given address with the subprotocol', () => {
  connect({ channels: ['a b', 'c'] });
  const { url, protocol } = Socket.last;
  assert.deepEqual([url.href, protocol], ['ws://warren.test/ws?token=t', 'warren.v1']);
});

test('malformed and unknown frames are ignored', () => {
  const { order } = open();
  for (const frame of ['', '{', 'null', '1', '"x"', '[]', '{}', '{"id":1,"text":2}', '{"later":{}}', '{"error":null}', '{"published":{"ref":99,"id":"x"}}', '{"subscribed":{}}']) {
    Socket.last.receive(frame);
  }
  Socket.last.receiveMessage('1', 'lobby', { any: ['JSON'] });
  Socket.last.receive({ error: { code: 'bad_request', message: 'not a command' } });
  assert.deepEqual(order, ['ready', 'subscribed', '1', 'error']);
});

test('backoff grows with jitter up to 20 s and resets after a stable connection', () => {
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
  assert.equal(warren.retryAt - Date.now(), 10000, 'a connection of one second does not reset the backoff');
  clock.tick(10000);
  Socket.last.ready();
  clock.tick(20000);
  Socket.last.end(1006);
  assert.equal(warren.retryAt - Date.now(), 125);
});

test('each close code has its own backoff', () => {
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

test('close code 1008 stops reconnecting until connect() is called', () => {
  const { warren } = connect();
  const changes = [];
  warren.addEventListener('state', ({ detail }) => changes.push([detail.state, detail.code]));
  Socket.last.end(1008, 'not here');
  clock.tick(3_600_000);
  assert.equal(Socket.all.length, 1);
  warren.connect();
  assert.deepEqual(changes, [['closed', 1008], ['connecting', undefined]]);
});

test('attempt without an answer times out', () => {
  const { warren } = connect();
  const [first] = Socket.all;
  clock.tick(15_000);
  assert.deepEqual([warren.state, first.closed], ['waiting', true]);
  first.ready();
  first.end(1006);
  assert.equal(warren.state, 'waiting', 'events of an abandoned socket are ignored');
});

test('WebSocket constructor that throws counts as a failed attempt', () => {
  const { warren } = connect({
    WebSocket: class {
      constructor() {
        throw new Error('blocked');
      }
    },
  });
  assert.equal(warren.state, 'waiting');
});

test('close() rejects everything and stays closed until connect() is called', async () => {
  const { warren, events } = open();
  Socket.last.receiveMessage('1');
  const [sent] = publish(warren, 'sent');
  Socket.last.end(1006);
  const [waiting] = publish(warren, 'waiting');
  const subscribing = warren.subscribe('other');
  warren.close();
  assert.deepEqual(await outcomes(sent, waiting, subscribing, warren.publish('late'), warren.subscribe('late')), Array(5).fill('closed'));
  clock.tick(3_600_000);
  assert.deepEqual([warren.state, Socket.all.length], ['closed', 1]);
  Socket.last.receiveMessage('2');
  assert.deepEqual(events.message, ['1']);

  warren.connect();
  Socket.last.ready();
  assert.deepEqual(Socket.last.texts, []);
  assert.deepEqual(Socket.last.of('subscribe').map(({ channel, after }) => [channel, after]), [['lobby', '1']], 'a rejected subscription is not restored');
});

// ── Publishing ──────────────────────────────────────────────────────────────────────────────────

test('publish waits for the connection and resolves with the id', async () => {
  const { warren } = connect({ channels: ['news', 'lobby'] });
  const text = { any: ['JSON', null] };
  const promises = [warren.publish(text), warren.publish('2', { channel: 'lobby', key: 'mine' })];
  text.any = 'changed later';
  assert.deepEqual(Socket.last.sent, []);
  assert.deepEqual(await outcomes(...promises), ['pending', 'pending']);
  Socket.last.ready();
  assert.deepEqual(Socket.last.sent.map(({ name }) => name), ['subscribe', 'subscribe', 'publish', 'publish'], 'subscriptions are sent first, so that published messages come back');
  const [first, second] = Socket.last.of('publish');
  assert.deepEqual([first.channel, first.text], ['news', { any: ['JSON', null] }]);
  assert.match(first.key, /^[0-9a-f]{32}$/);
  assert.deepEqual(second, { name: 'publish', ref: second.ref, channel: 'lobby', key: 'mine', text: '2' });
  assert.equal(new Set(Socket.last.sent.map(({ ref }) => ref)).size, 4);
  Socket.last.receive({ published: { ref: second.ref, id: null } });
  Socket.last.receive({ published: { ref: first.ref, id: '7' } });
  assert.deepEqual(await Promise.all(promises), [{ id: '7', key: first.key }, { id: null, key: 'mine' }]);
});

test('unacknowledged messages are sent again after a reconnect, in order and with their keys', async () => {
  const { warren } = open();
  const promises = publish(warren, 'a', 'b', 'c');
  const first = Socket.last;
  first.published('b');
  first.end(1006);
  promises.push(...publish(warren, 'd'));
  clock.tick(250);
  const second = Socket.last;
  assert.deepEqual(second.texts, []);
  second.ready();
  assert.deepEqual(second.texts, ['a', 'c', 'd']);
  for (const text of ['a', 'c']) assert.equal(second.command(text).key, first.command(text).key);
  first.published('c', 'too late');
  for (const text of second.texts) second.published(text);
  assert.deepEqual(await outcomes(...promises), ['id of a', 'id of b', 'id of c', 'id of d']);
  cut().ready();
  assert.deepEqual(Socket.last.texts, []);
});

for (const code of ['rate_limited', 'buffer_full', 'publish_timeout', 'publish_refused', 'shutting_down']) {
  test(`message refused with ${code} is sent again with its key, before later ones`, async () => {
    const { warren, events } = open();
    const promises = publish(warren, 'a', 'b', 'c');
    for (const text of ['c', 'a']) Socket.last.refuse(text, code);
    Socket.last.published('b');
    promises.push(...publish(warren, 'd'));
    clock.tick(249);
    assert.deepEqual(Socket.last.texts, ['a', 'b', 'c'], 'only after a pause');
    clock.tick(1);
    assert.deepEqual(Socket.last.texts, ['a', 'b', 'c', 'a', 'c', 'd']);
    assert.equal(new Set(Socket.last.of('publish').map(({ key }) => key)).size, 4);
    for (const text of ['a', 'c', 'd']) Socket.last.published(text);
    assert.deepEqual(await outcomes(...promises), ['id of a', 'id of b', 'id of c', 'id of d']);
    assert.deepEqual(events.error, [], 'an error that a promise reports is not an event');
  });
}

test('pauses after refusals grow up to 10 s and reset after a success', () => {
  const { warren } = open();
  publish(warren, 'a');
  const pauses = [];
  const refused = (code) => {
    const { length } = Socket.last.texts;
    Socket.last.refuse('a', code);
    let waited = 0;
    for (; Socket.last.texts.length === length; waited += 50) clock.tick(50);
    pauses.push(waited);
  };
  for (let n = 0; n < 6; n += 1) refused('rate_limited');
  Socket.last.published('a');
  publish(warren, 'a');
  refused('rate_limited');
  assert.deepEqual(pauses, [250, 500, 1000, 2000, 4000, 5000, 250]);
});

test('new connection ends the pause of the old one', () => {
  const { warren } = open();
  publish(warren, 'a');
  Socket.last.refuse('a', 'shutting_down');
  Socket.last.end(1012, 'restart; retry in 100ms');
  clock.tick(100);
  Socket.last.ready();
  assert.deepEqual(Socket.last.texts, ['a']);
});

test('permanent errors reject at once', async () => {
  const { warren } = open();
  const promises = publish(warren, 'a', 'b', 'c', undefined, 1n);
  assert.deepEqual(Socket.last.texts, ['a', 'b', 'c']);
  Socket.last.refuse('a', 'too_large');
  Socket.last.refuse('b', 'bad_request');
  Socket.last.refuse('c', 'something_new');
  assert.deepEqual(await outcomes(...promises), ['too_large', 'bad_request', 'something_new', 'bad_request', 'bad_request']);
  await assert.rejects(promises[0], (error) => error instanceof WarrenError && error.message === 'because too_large');
  cut().ready();
  assert.deepEqual(Socket.last.texts, []);
});

test('message that is too large closes only one connection', async () => {
  const { warren } = open();
  const promises = publish(warren, 'small', 'x'.repeat(100), 'é'.repeat(70), 'last');
  Socket.last.end(1009, 'message is larger than WARREN_MAX_MESSAGE');
  clock.tick(2500);
  Socket.last.ready();
  assert.deepEqual(Socket.last.texts, ['small', 'x'.repeat(100), 'last'], 'the largest in bytes is rejected');
  for (const text of Socket.last.texts) Socket.last.published(text, 'id');
  assert.deepEqual(await outcomes(...promises), ['id', 'id', 'too_large', 'id']);
});

test('unacknowledged message rejects with unknown_outcome after 110 s', async () => {
  const { warren } = open();
  const promises = publish(warren, 'a', 'b');
  clock.tick(60_000);
  Socket.last.refuse('b', 'publish_timeout');
  Socket.last.end(1006);
  promises.push(...publish(warren, 'never sent'));
  clock.tick(49_999);
  assert.deepEqual(await outcomes(...promises), ['pending', 'pending', 'pending']);
  clock.tick(1);
  assert.deepEqual(await outcomes(...promises), ['unknown_outcome', 'unknown_outcome', 'pending']);
  clock.tick(3_600_000);
  cut().ready();
  assert.deepEqual(Socket.last.texts, ['never sent']);
});

test('message is not sent again after a suspension of 110 s', async () => {
  const { warren } = open();
  const promises = publish(warren, 'a');
  Socket.last.end(1006);
  clock.sleep(110_000);
  clock.tick(250);
  Socket.last.ready();
  assert.deepEqual(Socket.last.texts, []);
  assert.deepEqual(await outcomes(...promises), ['unknown_outcome']);
});

test('message that was certainly not published keeps waiting', async () => {
  const { warren } = open();
  const promises = publish(warren, 'a', 'b');
  Socket.last.refuse('b', 'publish_timeout');
  for (let n = 0; n < 50; n += 1) {
    if (Socket.last.command('a')) Socket.last.refuse('a', 'buffer_full');
    if (n < 10) Socket.last.refuse('b', 'buffer_full');
    clock.tick(10_000);
  }
  assert.deepEqual(await outcomes(...promises), ['pending', 'unknown_outcome'], 'b may have been published');
});

test('abort signal rejects a waiting or sent message', async () => {
  const { warren } = connect();
  const [early, late] = [new AbortController(), new AbortController()];
  const promises = [
    warren.publish('early', { signal: early.signal }),
    warren.publish('late', { signal: late.signal }),
    warren.publish('never', { signal: AbortSignal.abort() }),
  ];
  early.abort();
  Socket.last.ready();
  assert.deepEqual(Socket.last.texts, ['late']);
  late.abort(0);
  assert.deepEqual(await outcomes(...promises), ['AbortError', 0, 'AbortError']);
  Socket.last.refuse('late', 'rate_limited');
  clock.tick(60_000);
  assert.deepEqual(Socket.last.texts, ['late']);
});

test('outbox is limited in messages and bytes', async () => {
  const { warren } = connect();
  const many = publish(warren, ...Array(1001).keys());
  assert.deepEqual(await outcomes(...many.slice(-2)), ['pending', 'outbox_full']);
  const other = connect().warren;
  const large = publish(other, ...Array(5).fill('é'.repeat(2 ** 19 - 100)));
  assert.deepEqual(await outcomes(...large), ['pending', 'pending', 'pending', 'pending', 'outbox_full']);
  other.close();
  other.connect();
  assert.deepEqual(await outcomes(...publish(other, 'é'.repeat(2 ** 20))), ['pending'], 'messages that left the outbox make room');
});

test('at most 32 messages are in flight', () => {
  const { warren } = open();
  publish(warren, ...Array(40).keys());
  assert.equal(Socket.last.texts.length, 32);
  Socket.last.published(3);
  Socket.last.refuse(5, 'bad_request');
  assert.deepEqual(Socket.last.texts, [...Array(34).keys()]);
  cut().ready();
  assert.deepEqual(Socket.last.texts, [...Array(34).keys()].filter((n) => n !== 3 && n !== 5));
});

// ── Subscriptions ───────────────────────────────────────────────────────────────────────────────

test('each channel resumes after its own last message', () => {
  const { events, order } = connect({ channels: ['a', 'b', 'c', 'd'], history: 7 });
  const [first] = Socket.all;
  first.ready();
  assert.deepEqual(
    first.sent,
    ['a', 'b', 'c', 'd'].map((channel, n) => ({ name: 'subscribe', ref: n + 1, channel, history: 7 })),
  );
  for (const channel of ['d', 'b', 'a']) first.subscribed(channel, { recovered: false, cursor: `cursor of ${channel}` });
  first.subscribed('c', { recovered: false });
  first.receiveMessage('1', 'a');
  first.receiveMessage('2', 'b');
  first.receiveMessage('3', 'a');
  const cursors = () => Object.fromEntries(Socket.last.of('subscribe').map(({ channel, after }) => [channel, after]));

  const second = cut();
  second.ready();
  assert.deepEqual(cursors(), { a: '3', b: '2', c: undefined, d: 'cursor of d' });
  // The replay of a is cut off halfway, and those of b and d do not begin.
  second.subscribed('a', { recovered: true, cursor: 'not used' });
  second.receiveMessage('4', 'a');
  second.subscribed('b', { recovered: true });
  second.subscribed('c', { recovered: false, cursor: 'cursor of c' });

  const third = cut();
  third.ready();
  assert.deepEqual(cursors(), { a: '4', b: '2', c: 'cursor of c', d: 'cursor of d' });
  third.subscribed('a', { recovered: false, reason: 'expired', cursor: '9' });
  third.subscribed('d', { recovered: true });

  cut().ready();
  assert.deepEqual(cursors(), { a: '9', b: '2', c: 'cursor of c', d: 'cursor of d' });
  assert.deepEqual(events.message, ['1', '2', '3', '4']);
  assert.deepEqual(events.gap, [{ channel: 'a', after: '4', reason: 'expired' }]);
  assert.deepEqual(order.slice(-4), ['subscribed', 'gap', 'subscribed', 'ready']);
  assert.deepEqual(events.subscribed.at(-2), { channel: 'a', recovered: false, reason: 'expired' });
});

test('duplicates are dropped and gaps are reported', () => {
  const { events } = open();
  for (const id of ['1', '2', '1']) Socket.last.receiveMessage(id);
  cut().ready();
  Socket.last.subscribed('lobby', { recovered: false, reason: 'live' });
  for (const id of ['1', '2', '3']) Socket.last.receiveMessage(id);
  Socket.last.receive({ gap: { message: 'the replica was disconnected' } });
  assert.deepEqual(events.message, ['1', '2', '3']);
  assert.deepEqual(events.gap, [{ channel: 'lobby', after: '1', reason: 'live' }, { after: '3' }]);
});

test('number of remembered ids is limited', () => {
  const { events } = open({ history: 5 });
  for (let id = 0; id <= 1005; id += 1) Socket.last.receiveMessage(String(id));
  Socket.last.receiveMessage('1');
  assert.equal(events.message.length, 1006);
  Socket.last.receiveMessage('0');
  assert.equal(events.message.length, 1007, 'the oldest id is forgotten');
});

test('subscribe() adds a channel and accepts a cursor', async () => {
  const { warren, events } = connect({ channels: [] });
  const promise = warren.subscribe('news', { after: '5', history: 3 });
  assert.deepEqual(await outcomes(warren.subscribe('news')), ['bad_request']);
  Socket.last.ready();
  cut().ready();
  assert.deepEqual(Socket.last.sent, [{ name: 'subscribe', ref: 2, channel: 'news', history: 3, after: '5' }]);
  Socket.last.subscribed('news', { recovered: false, reason: 'unknown' });
  assert.deepEqual(await promise, { recovered: false, reason: 'unknown' });
  assert.deepEqual(events.gap, [{ channel: 'news', after: '5', reason: 'unknown' }]);
  Socket.last.receiveMessage('6', 'news');
  assert.deepEqual(events.message, ['6']);
  const other = warren.subscribe('other');
  Socket.last.subscribed('other', { recovered: true });
  assert.deepEqual(await other, { recovered: true });
});

test('temporarily refused subscription is retried, permanently refused one is removed', async () => {
  const { warren, events } = open();
  const promises = [warren.subscribe('later'), warren.subscribe('bad\n')];
  const [later, bad] = Socket.last.of('subscribe').slice(-2);
  Socket.last.receive({ error: { ref: later.ref, code: 'shutting_down', message: '' } });
  Socket.last.receive({ error: { ref: bad.ref, code: 'bad_request', message: 'a bad name' } });
  assert.deepEqual(await outcomes(...promises), ['pending', 'bad_request']);
  clock.tick(250);
  Socket.last.subscribed('later');
  assert.deepEqual(await promises[0], { recovered: false });
  assert.deepEqual(events.error, []);

  cut().ready();
  const [lobby] = Socket.last.of('subscribe');
  Socket.last.receive({ error: { ref: lobby.ref, code: 'bad_request', message: 'too many channels' } });
  assert.deepEqual(events.error, [{ code: 'bad_request', message: 'too many channels', channel: 'lobby' }], 'no promise is pending for it');
  cut().ready();
  assert.deepEqual(Socket.last.of('subscribe').map(({ channel }) => channel), ['later']);
});

test('unsubscribed channel delivers nothing', async () => {
  const { warren, events } = open({ channels: ['a', 'b'] });
  Socket.last.receiveMessage('1', 'a');
  const left = warren.unsubscribe('a');
  Socket.last.receiveMessage('2', 'a');
  Socket.last.receiveMessage('3', 'b');
  assert.deepEqual(events.message, ['1', '3']);
  assert.deepEqual(await outcomes(left), ['pending']);
  const [{ ref }] = Socket.last.of('unsubscribe');
  const again = warren.subscribe('a');
  Socket.last.receive({ unsubscribed: { ref, channel: 'a' } });
  await left;
  Socket.last.receiveMessage('2', 'a');
  Socket.last.subscribed('a');
  await again;
  Socket.last.receiveMessage('4', 'a');
  assert.deepEqual(events.message, ['1', '3', '4']);

  const lost = warren.unsubscribe('a');
  Socket.last.end(1006);
  await lost;
  await warren.unsubscribe('b');
  await warren.unsubscribe('never subscribed');
  const asked = warren.subscribe('c');
  await Promise.all([warren.unsubscribe('c'), assert.rejects(asked, { name: 'WarrenError', code: 'closed' })]);
  cut().ready();
  assert.deepEqual(Socket.last.sent, []);
});
