// The client module by itself, with a WebSocket and a clock that the test holds in its hands.
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
  say(frame) {
    const data = typeof frame === 'string' ? frame : JSON.stringify(frame);
    this.dispatchEvent(Object.assign(new Event('message'), { data }));
  }
  ready() {
    this.say({ ready: { replica: 'r1', version: '0.1.0', recovered: false } });
  }
  hear(id, channel = 'lobby', text = `text of ${id}`) {
    this.say({ id, channel, text, date: '2025-01-01T00:00:00Z' });
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
  /** The newest command that publishes this text. */
  command(text) {
    return this.of('publish').findLast((command) => command.text === text);
  }
  published(text, id = `id of ${text}`) {
    this.say({ published: { ref: this.command(text).ref, id } });
  }
  refuse(text, code) {
    this.say({ error: { ref: this.command(text).ref, code, message: `because ${code}` } });
  }
  subscribed(channel, answer = { recovered: false }) {
    const { ref } = this.of('subscribe').findLast((command) => command.channel === channel);
    this.say({ subscribed: { ref, channel, ...answer } });
  }
}

// Debian 12's Node is 18, which shows it to those who ask only.
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
  /** Time passes, and no timer notices: those of a machine that sleeps stand still. */
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

/** A client, and what it told: the ids of messages, and the details of all other events by type. */
function connect(options = {}) {
  const warren = new Warren('http://warren.test/ws?token=t', { WebSocket: Socket, ...options });
  const heard = Object.fromEntries(EVENTS.map((type) => [type, []]));
  const order = [];
  for (const type of EVENTS) {
    warren.addEventListener(type, ({ detail }) => {
      heard[type].push(type === 'message' ? detail.id : detail);
      if (type !== 'state') order.push(type === 'message' ? detail.id : type);
    });
  }
  return { warren, heard, order };
}

/** A client whose connection is ready. */
function open(options) {
  const client = connect(options);
  Socket.last.ready();
  for (const { channel } of Socket.last.of('subscribe')) Socket.last.subscribed(channel);
  return client;
}

/** The next connection, after the present one was cut or given up. */
function cut() {
  const { length } = Socket.all;
  Socket.last.end(1006);
  while (Socket.all.length === length) clock.tick(100);
  return Socket.last;
}

/** What became of each promise: its value, the code of its error, or 'waits'. */
async function fates(...promises) {
  const fates = promises.map((promise) => promise.then((value) => value?.id, (error) => error instanceof WarrenError ? error.code : (error.name ?? error)));
  await new Promise(setImmediate);
  return Promise.all(fates.map((fate) => Promise.race([fate, 'waits'])));
}

/** Publishes each text; nobody needs to look at what becomes of it. */
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

// ── The connection ──────────────────────────────────────────────────────────────────────────────

test('it asks for the subprotocol, at the address that the caller gave', () => {
  connect({ channels: ['a b', 'c'] });
  const { url, protocol } = Socket.last;
  assert.deepEqual([url.href, protocol], ['ws://warren.test/ws?token=t', 'warren.v1']);
});

test('bad and unknown frames do no harm', () => {
  const { order } = open();
  for (const frame of ['', '{', 'null', '1', '"x"', '[]', '{}', '{"id":1,"text":2}', '{"later":{}}', '{"error":null}', '{"published":{"ref":99,"id":"x"}}', '{"subscribed":{}}']) {
    Socket.last.say(frame);
  }
  Socket.last.hear('1', 'lobby', { any: ['JSON'] });
  Socket.last.say({ error: { code: 'bad_request', message: 'not a command' } });
  assert.deepEqual(order, ['ready', 'subscribed', '1', 'error']);
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

test('closed is closed, until it is told to connect', async () => {
  const { warren, heard } = open();
  Socket.last.hear('1');
  const [sent] = publish(warren, 'sent');
  Socket.last.end(1006);
  const [waiting] = publish(warren, 'waiting');
  const subscribing = warren.subscribe('other');
  warren.close();
  assert.deepEqual(await fates(sent, waiting, subscribing, warren.publish('late'), warren.subscribe('late')), Array(5).fill('closed'));
  clock.tick(3_600_000);
  assert.deepEqual([warren.state, Socket.all.length], ['closed', 1]);
  Socket.last.hear('2');
  assert.deepEqual(heard.message, ['1']);

  warren.connect();
  Socket.last.ready();
  assert.deepEqual(Socket.last.texts, []);
  assert.deepEqual(Socket.last.of('subscribe').map(({ channel, after }) => [channel, after]), [['lobby', '1']], 'a rejected subscription is none');
});

// ── Publishing ──────────────────────────────────────────────────────────────────────────────────

test('what is published waits for the connection, and resolves with its id', async () => {
  const { warren } = connect({ channels: ['news', 'lobby'] });
  const text = { any: ['JSON', null] };
  const promises = [warren.publish(text), warren.publish('2', { channel: 'lobby', key: 'mine' })];
  text.any = 'changed later';
  assert.deepEqual(Socket.last.sent, []);
  assert.deepEqual(await fates(...promises), ['waits', 'waits']);
  Socket.last.ready();
  assert.deepEqual(Socket.last.sent.map(({ name }) => name), ['subscribe', 'subscribe', 'publish', 'publish'], 'subscribed first, so that it comes back');
  const [first, second] = Socket.last.of('publish');
  assert.deepEqual([first.channel, first.text], ['news', { any: ['JSON', null] }]);
  assert.match(first.key, /^[0-9a-f]{32}$/);
  assert.deepEqual(second, { name: 'publish', ref: second.ref, channel: 'lobby', key: 'mine', text: '2' });
  assert.equal(new Set(Socket.last.sent.map(({ ref }) => ref)).size, 4);
  Socket.last.say({ published: { ref: second.ref, id: null } });
  Socket.last.say({ published: { ref: first.ref, id: '7' } });
  assert.deepEqual(await Promise.all(promises), [{ id: '7', key: first.key }, { id: null, key: 'mine' }]);
});

test('what was not acknowledged is sent again after a reconnect, in order and with its key', async () => {
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
  assert.deepEqual(await fates(...promises), ['id of a', 'id of b', 'id of c', 'id of d']);
  cut().ready();
  assert.deepEqual(Socket.last.texts, []);
});

for (const code of ['rate_limited', 'buffer_full', 'publish_timeout', 'publish_refused', 'shutting_down']) {
  test(`after ${code}, it is sent again with its key, before what was published later`, async () => {
    const { warren, heard } = open();
    const promises = publish(warren, 'a', 'b', 'c');
    for (const text of ['c', 'a']) Socket.last.refuse(text, code);
    Socket.last.published('b');
    promises.push(...publish(warren, 'd'));
    clock.tick(249);
    assert.deepEqual(Socket.last.texts, ['a', 'b', 'c'], 'not at once');
    clock.tick(1);
    assert.deepEqual(Socket.last.texts, ['a', 'b', 'c', 'a', 'c', 'd']);
    assert.equal(new Set(Socket.last.of('publish').map(({ key }) => key)).size, 4);
    for (const text of ['a', 'c', 'd']) Socket.last.published(text);
    assert.deepEqual(await fates(...promises), ['id of a', 'id of b', 'id of c', 'id of d']);
    assert.deepEqual(heard.error, [], 'an error that a promise reports is no event');
  });
}

test('the pauses after refusals grow up to 10 s, and begin anew once something is taken', () => {
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

test('a new connection does not wait for the pause of the old one', () => {
  const { warren } = open();
  publish(warren, 'a');
  Socket.last.refuse('a', 'shutting_down');
  Socket.last.end(1012, 'restart; retry in 100ms');
  clock.tick(100);
  Socket.last.ready();
  assert.deepEqual(Socket.last.texts, ['a']);
});

test('what the server will never take is rejected at once', async () => {
  const { warren } = open();
  const promises = publish(warren, 'a', 'b', 'c', undefined, 1n);
  assert.deepEqual(Socket.last.texts, ['a', 'b', 'c']);
  Socket.last.refuse('a', 'too_large');
  Socket.last.refuse('b', 'bad_request');
  Socket.last.refuse('c', 'something_new');
  assert.deepEqual(await fates(...promises), ['too_large', 'bad_request', 'something_new', 'bad_request', 'bad_request']);
  await assert.rejects(promises[0], (error) => error instanceof WarrenError && error.message === 'because too_large');
  cut().ready();
  assert.deepEqual(Socket.last.texts, []);
});

test('a message that ends connections does so once', async () => {
  const { warren } = open();
  const promises = publish(warren, 'small', 'x'.repeat(100), 'é'.repeat(70), 'last');
  Socket.last.end(1009, 'message is larger than WARREN_MAX_MESSAGE');
  clock.tick(2500);
  Socket.last.ready();
  assert.deepEqual(Socket.last.texts, ['small', 'x'.repeat(100), 'last'], 'the largest in bytes is the one');
  for (const text of Socket.last.texts) Socket.last.published(text, 'id');
  assert.deepEqual(await fates(...promises), ['id', 'id', 'too_large', 'id']);
});

test('110 s after it was sent first, nobody knows what became of a message', async () => {
  const { warren } = open();
  const promises = publish(warren, 'a', 'b');
  clock.tick(60_000);
  Socket.last.refuse('b', 'publish_timeout');
  Socket.last.end(1006);
  promises.push(...publish(warren, 'never sent'));
  clock.tick(49_999);
  assert.deepEqual(await fates(...promises), ['waits', 'waits', 'waits']);
  clock.tick(1);
  assert.deepEqual(await fates(...promises), ['unknown_outcome', 'unknown_outcome', 'waits']);
  clock.tick(3_600_000);
  cut().ready();
  assert.deepEqual(Socket.last.texts, ['never sent']);
});

test('what slept for longer with its machine is not sent again', async () => {
  const { warren } = open();
  const promises = publish(warren, 'a');
  Socket.last.end(1006);
  clock.sleep(110_000);
  clock.tick(250);
  Socket.last.ready();
  assert.deepEqual(Socket.last.texts, []);
  assert.deepEqual(await fates(...promises), ['unknown_outcome']);
});

test('a message that was refused before anything was done with it waits on', async () => {
  const { warren } = open();
  const promises = publish(warren, 'a', 'b');
  Socket.last.refuse('b', 'publish_timeout');
  for (let n = 0; n < 50; n += 1) {
    if (Socket.last.command('a')) Socket.last.refuse('a', 'buffer_full');
    if (n < 10) Socket.last.refuse('b', 'buffer_full');
    clock.tick(10_000);
  }
  assert.deepEqual(await fates(...promises), ['waits', 'unknown_outcome'], 'for b there was a doubt');
});

test('a caller can give up', async () => {
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
  assert.deepEqual(await fates(...promises), ['AbortError', 0, 'AbortError']);
  Socket.last.refuse('late', 'rate_limited');
  clock.tick(60_000);
  assert.deepEqual(Socket.last.texts, ['late']);
});

test('the outbox is bounded, by messages and by bytes', async () => {
  const { warren } = connect();
  const many = publish(warren, ...Array(1001).keys());
  assert.deepEqual(await fates(...many.slice(-2)), ['waits', 'outbox_full']);
  const other = connect().warren;
  const large = publish(other, ...Array(5).fill('é'.repeat(2 ** 19 - 100)));
  assert.deepEqual(await fates(...large), ['waits', 'waits', 'waits', 'waits', 'outbox_full']);
  other.close();
  other.connect();
  assert.deepEqual(await fates(...publish(other, 'é'.repeat(2 ** 20))), ['waits'], 'what left the outbox makes room');
});

test('a few messages are under way at a time', () => {
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

test('each channel goes on after its own last message', () => {
  const { heard, order } = connect({ channels: ['a', 'b', 'c', 'd'], history: 7 });
  const [first] = Socket.all;
  first.ready();
  assert.deepEqual(
    first.sent,
    ['a', 'b', 'c', 'd'].map((channel, n) => ({ name: 'subscribe', ref: n + 1, channel, history: 7 })),
  );
  for (const channel of ['d', 'b', 'a']) first.subscribed(channel, { recovered: false, cursor: `cursor of ${channel}` });
  first.subscribed('c', { recovered: false });
  first.hear('1', 'a');
  first.hear('2', 'b');
  first.hear('3', 'a');
  const cursors = () => Object.fromEntries(Socket.last.of('subscribe').map(({ channel, after }) => [channel, after]));

  const second = cut();
  second.ready();
  assert.deepEqual(cursors(), { a: '3', b: '2', c: undefined, d: 'cursor of d' });
  // The replay of a is cut off in its middle, and b and d never get that far.
  second.subscribed('a', { recovered: true, cursor: 'of no use' });
  second.hear('4', 'a');
  second.subscribed('b', { recovered: true });
  second.subscribed('c', { recovered: false, cursor: 'cursor of c' });

  const third = cut();
  third.ready();
  assert.deepEqual(cursors(), { a: '4', b: '2', c: 'cursor of c', d: 'cursor of d' });
  third.subscribed('a', { recovered: false, reason: 'expired', cursor: '9' });
  third.subscribed('d', { recovered: true });

  cut().ready();
  assert.deepEqual(cursors(), { a: '9', b: '2', c: 'cursor of c', d: 'cursor of d' });
  assert.deepEqual(heard.message, ['1', '2', '3', '4']);
  assert.deepEqual(heard.gap, [{ channel: 'a', after: '4', reason: 'expired' }]);
  assert.deepEqual(order.slice(-4), ['subscribed', 'gap', 'subscribed', 'ready']);
  assert.deepEqual(heard.subscribed.at(-2), { channel: 'a', recovered: false, reason: 'expired' });
});

test('nothing is shown twice, and a gap of the server is told', () => {
  const { heard } = open();
  for (const id of ['1', '2', '1']) Socket.last.hear(id);
  cut().ready();
  Socket.last.subscribed('lobby', { recovered: false, reason: 'live' });
  for (const id of ['1', '2', '3']) Socket.last.hear(id);
  Socket.last.say({ gap: { message: 'the replica was away' } });
  assert.deepEqual(heard.message, ['1', '2', '3']);
  assert.deepEqual(heard.gap, [{ channel: 'lobby', after: '1', reason: 'live' }, { after: '3' }]);
});

test('what it remembers is bounded', () => {
  const { heard } = open({ history: 5 });
  for (let id = 0; id <= 1005; id += 1) Socket.last.hear(String(id));
  Socket.last.hear('1');
  assert.equal(heard.message.length, 1006);
  Socket.last.hear('0');
  assert.equal(heard.message.length, 1007, 'the oldest id is forgotten');
});

test('a channel can be added, with a cursor of the caller', async () => {
  const { warren, heard } = connect({ channels: [] });
  const promise = warren.subscribe('news', { after: '5', history: 3 });
  assert.deepEqual(await fates(warren.subscribe('news')), ['bad_request']);
  Socket.last.ready();
  cut().ready();
  assert.deepEqual(Socket.last.sent, [{ name: 'subscribe', ref: 2, channel: 'news', history: 3, after: '5' }]);
  Socket.last.subscribed('news', { recovered: false, reason: 'unknown' });
  assert.deepEqual(await promise, { recovered: false, reason: 'unknown' });
  assert.deepEqual(heard.gap, [{ channel: 'news', after: '5', reason: 'unknown' }]);
  Socket.last.hear('6', 'news');
  assert.deepEqual(heard.message, ['6']);
  const other = warren.subscribe('other');
  Socket.last.subscribed('other', { recovered: true });
  assert.deepEqual(await other, { recovered: true });
});

test('a subscription that is refused for the moment is tried again, others are none', async () => {
  const { warren, heard } = open();
  const promises = [warren.subscribe('later'), warren.subscribe('bad\n')];
  const [later, bad] = Socket.last.of('subscribe').slice(-2);
  Socket.last.say({ error: { ref: later.ref, code: 'shutting_down', message: '' } });
  Socket.last.say({ error: { ref: bad.ref, code: 'bad_request', message: 'a bad name' } });
  assert.deepEqual(await fates(...promises), ['waits', 'bad_request']);
  clock.tick(250);
  Socket.last.subscribed('later');
  assert.deepEqual(await promises[0], { recovered: false });
  assert.deepEqual(heard.error, []);

  cut().ready();
  const [lobby] = Socket.last.of('subscribe');
  Socket.last.say({ error: { ref: lobby.ref, code: 'bad_request', message: 'too many channels' } });
  assert.deepEqual(heard.error, [{ code: 'bad_request', message: 'too many channels', channel: 'lobby' }], 'nobody waits for it any more');
  cut().ready();
  assert.deepEqual(Socket.last.of('subscribe').map(({ channel }) => channel), ['later']);
});

test('nothing comes from a channel that is unsubscribed', async () => {
  const { warren, heard } = open({ channels: ['a', 'b'] });
  Socket.last.hear('1', 'a');
  const left = warren.unsubscribe('a');
  Socket.last.hear('2', 'a');
  Socket.last.hear('3', 'b');
  assert.deepEqual(heard.message, ['1', '3']);
  assert.deepEqual(await fates(left), ['waits']);
  const [{ ref }] = Socket.last.of('unsubscribe');
  const again = warren.subscribe('a');
  Socket.last.say({ unsubscribed: { ref, channel: 'a' } });
  await left;
  Socket.last.hear('2', 'a');
  Socket.last.subscribed('a');
  await again;
  Socket.last.hear('4', 'a');
  assert.deepEqual(heard.message, ['1', '3', '4']);

  const lost = warren.unsubscribe('a');
  Socket.last.end(1006);
  await lost;
  await warren.unsubscribe('b');
  await warren.unsubscribe('never was');
  const asked = warren.subscribe('c');
  await Promise.all([warren.unsubscribe('c'), assert.rejects(asked, { name: 'WarrenError', code: 'closed' })]);
  cut().ready();
  assert.deepEqual(Socket.last.sent, []);
});
