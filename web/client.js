// The Warren client: one WebSocket that comes back by itself, goes on where it stopped, and sends
// what waits. client.d.ts says what it promises.
//
//   import { Warren } from './client.js';
//
//   const warren = new Warren('wss://chat.example/ws', { channels: ['lobby'] });
//   warren.addEventListener('message', ({ detail }) => console.log(detail.text));
//   const { id } = await warren.publish('hello');
//
// It has no dependency and runs in browsers and in Node 22 or later. Node 18 and 20 do with a
// WebSocket in the options, and 18 with `globalThis.crypto ??= webcrypto` from node:crypto.

/** @import { Message, Options, Published, PublishOptions, Socket, State, Subscribed, SubscribeOptions } from './client.d.ts' */

/**
 * @typedef {object} Entry  A message in the outbox.
 * @property {string} json    the command, without its ref
 * @property {number} bytes
 * @property {boolean} sent   on this connection, and not answered
 * @property {number} since   when it was sent first; 0: never, or it is known that nothing came of it
 * @property {boolean} doubt  something may have come of an earlier attempt
 * @property {ReturnType<typeof setTimeout>} [timer]
 * @property {(error: unknown, id?: string | null) => void} settle
 *
 * @typedef {object} Subscription
 * @property {string} channel
 * @property {number} history
 * @property {string | null} after         where to go on: the last id that arrived
 * @property {'out' | 'asked' | 'in'} state  on this connection
 * @property {Set<string>} seen
 * @property {{ resolve: (value: Subscribed) => void, reject: (error: WarrenError) => void } | null} caller
 *
 * @typedef {(error: { code: string, message: string } | undefined, answer: any) => void} Answer
 */

const PROTOCOL = 'warren.v1';

// How long to wait before attempt n: a random time up to base × 2ⁿ, and never above cap (in ms).
const FAST = { base: 250, cap: 20_000 };
const CALM = { base: 2_000, cap: 20_000 };
const SLOW = { base: 5_000, cap: 60_000 };
const REFUSED = { base: 500, cap: 10_000 };
const NEVER = null;

/** @param {{ base: number, cap: number }} pace @param {number} attempt */
const pause = ({ base, cap }, attempt) => Math.random() * Math.min(base * 2 ** attempt, cap);

const TOO_BIG = 1009;

/**
 * What each close code asks for; every other code (1006: cut or refused, …) is FAST.
 * A reason that says `retry in 3217ms` overrides the pace: the server has spread its clients out.
 * @type {Record<number, { base: number, cap: number } | null>}
 */
const AFTER_CLOSE = {
  1002: SLOW, // protocol error    ┐
  1003: SLOW, // not text          │ this client is at fault, and may be again
  1007: SLOW, // invalid data      │
  [TOO_BIG]: SLOW, //              ┘
  1008: NEVER, // refused by policy: until someone calls connect()
  1012: CALM, // the replica restarts
  1013: CALM, // the replica is overloaded, or this client too slow
};

const HINT = { pattern: /retry in (\d+) ?ms/, least: 100, most: 300_000 };
const READY_WITHIN = 15_000; // an attempt that takes longer has failed
const STEADY_AFTER = 10_000; // a connection that lasted this long starts the backoff anew

// Errors that pass: the command is sent again. True: it is certain that nothing came of it.
const PASSING = new Map([
  ['rate_limited', true],
  ['buffer_full', true],
  ['publish_timeout', false],
  ['publish_refused', false],
  ['shutting_down', false],
  ['lost', false], // not from the server: the connection ended before the answer
]);
const LOST = { code: 'lost', message: 'the connection was lost' };

const UNDER_WAY = 32; // messages that wait for their answers; the others wait in the outbox
const OUTBOX = { messages: 1000, bytes: 4 << 20 };
const KEY_LIVES = 110_000; // the server knows a key for 120 s, and may take 10 s to publish
const SEEN = 1000; // ids of a channel to remember, beside those of its history

const utf8 = new TextEncoder();

/** Not randomUUID: pages on plain http do not have it. */
const randomKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');

export class WarrenError extends Error {
  name = 'WarrenError';

  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

export class Warren extends EventTarget {
  #url;
  #history;
  #WebSocket;
  /** @type {Socket | null} */
  #socket = null;
  /** @type {State} */
  #state = 'closed';
  /** @type {number | null} */
  #retryAt = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #attempts = 0;
  #readyAt = 0;
  /** @type {AbortController | null} */
  #watch = null;

  /** Commands without an answer, by ref. @type {Map<number, Answer>} */
  #answers = new Map();
  #lastRef = 0;
  /** In the order of the publish() calls. @type {Set<Entry>} */
  #outbox = new Set();
  #outboxBytes = 0;
  #underWay = 0;
  /** Runs while nothing is sent, because the server refused something. @type {ReturnType<typeof setTimeout> | undefined} */
  #held;
  #refusals = 0;
  /** @type {Map<string, Subscription>} */
  #subscriptions = new Map();
  /** The last id that arrived on any channel. @type {string | null} */
  #last = null;

  /** @param {string | URL} [url] @param {Options} [options] */
  constructor(url = '/ws', { channels = ['lobby'], history = 50, WebSocket = globalThis.WebSocket } = {}) {
    super();
    if (!WebSocket) throw new TypeError('there is no WebSocket here: pass one in the options');
    /** @type {readonly string[]} */
    this.channels = Object.freeze([...channels]);
    this.#history = history;
    this.#WebSocket = WebSocket;
    this.#url = new URL(url, globalThis.location?.href);
    this.#url.protocol = this.#url.protocol.replace('http', 'ws');
    this.#url.hash = '';
    for (const channel of this.channels) this.#add(channel, history, null, null);
    this.connect();
  }

  get state() {
    return this.#state;
  }

  get retryAt() {
    return this.#retryAt;
  }

  /** @param {unknown} text @param {PublishOptions} [options] @returns {Promise<Published>} */
  publish(text, { channel = this.channels[0] ?? 'lobby', key = randomKey(), signal } = {}) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) throw signal.reason;
      this.#refuseIfClosed();
      const json = `{"channel":${JSON.stringify(channel)},"key":${JSON.stringify(key)},"text":${asJson(text)}}`;
      const bytes = utf8.encode(json).length;
      if (this.#outbox.size >= OUTBOX.messages || this.#outboxBytes + bytes > OUTBOX.bytes) {
        throw new WarrenError('outbox_full', 'too many messages wait to be sent');
      }
      const abort = () => entry.settle(signal?.reason);
      /** @type {Entry} */
      const entry = {
        json,
        bytes,
        sent: false,
        since: 0,
        doubt: false,
        settle: (error, id) => {
          this.#outbox.delete(entry);
          this.#outboxBytes -= bytes;
          clearTimeout(entry.timer);
          signal?.removeEventListener('abort', abort);
          if (id === undefined) reject(error);
          else resolve({ id, key });
        },
      };
      signal?.addEventListener('abort', abort);
      this.#outbox.add(entry);
      this.#outboxBytes += bytes;
      this.#flush();
    });
  }

  /** @param {string} channel @param {SubscribeOptions} [options] @returns {Promise<Subscribed>} */
  subscribe(channel, { history = this.#history, after = null } = {}) {
    return new Promise((resolve, reject) => {
      this.#refuseIfClosed();
      if (this.#subscriptions.has(channel)) throw new WarrenError('bad_request', `${channel} is subscribed already`);
      this.#add(channel, history, after, { resolve, reject });
      this.#flush();
    });
  }

  /** @param {string} channel @returns {Promise<void>} */
  unsubscribe(channel) {
    const subscription = this.#subscriptions.get(channel);
    this.#subscriptions.delete(channel);
    subscription?.caller?.reject(new WarrenError('closed', `${channel} was unsubscribed`));
    return new Promise((resolve) => {
      // A connection that is lost, or has not asked for the channel, does not listen to it.
      if (!subscription || subscription.state === 'out') resolve();
      else this.#ask('unsubscribe', JSON.stringify({ channel }), () => resolve());
    });
  }

  connect() {
    this.#listen();
    this.#drop();
    try {
      this.#socket = new this.#WebSocket(this.#url.href, PROTOCOL);
    } catch (error) {
      this.#lost(1006, String(error));
      return;
    }
    const socket = this.#socket;
    const current = () => socket === this.#socket;
    socket.addEventListener('message', ({ data }) => current() && this.#receive(data));
    socket.addEventListener('close', ({ code, reason }) => current() && this.#lost(code, reason));
    socket.addEventListener('error', () => {}); // a close event always follows
    this.#timer = setTimeout(() => this.#lost(1006, 'no answer'), READY_WITHIN);
    this.#enter('connecting');
  }

  close() {
    this.#drop();
    this.#rest({});
  }

  #refuseIfClosed() {
    if (this.#state === 'closed') throw new WarrenError('closed', 'the client is closed');
  }

  /**
   * @param {string} channel
   * @param {number} history
   * @param {string | null} after
   * @param {Subscription['caller']} caller
   */
  #add(channel, history, after, caller) {
    this.#subscriptions.set(channel, { channel, history, after, state: 'out', seen: new Set(), caller });
  }

  // ── Commands ──────────────────────────────────────────────────────────────────────────────────

  /** Sends what can be sent: subscriptions first, so that what is published comes back. */
  #flush() {
    if (this.#state !== 'open' || !this.#socket || this.#held) return;
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.state === 'out') this.#subscribe(subscription);
    }
    for (const entry of this.#outbox) {
      if (this.#underWay >= UNDER_WAY) break;
      if (!entry.sent) this.#publish(entry);
    }
  }

  /** Sends nothing for a moment; then all that was refused meanwhile, in its order. */
  #hold() {
    if (this.#held || !this.#socket) return;
    const resume = () => {
      this.#held = undefined;
      this.#flush();
    };
    this.#held = setTimeout(resume, pause(REFUSED, this.#refusals++));
  }

  /** @param {string} name @param {string} json  an object that is not empty @param {Answer} answer */
  #ask(name, json, answer) {
    const ref = ++this.#lastRef;
    this.#answers.set(ref, answer);
    this.#socket?.send(`{"${name}":{"ref":${ref},${json.slice(1)}}`);
  }

  /** @param {Entry} entry */
  #publish(entry) {
    const expire = () => entry.settle(new WarrenError('unknown_outcome', 'it is not known whether this was published'));
    if (!entry.since) {
      entry.since = Date.now();
      entry.timer = setTimeout(expire, KEY_LIVES);
    } else if (Date.now() - entry.since >= KEY_LIVES) {
      expire(); // the machine was asleep, and the timer with it
      return;
    }
    entry.sent = true;
    this.#underWay += 1;
    this.#ask('publish', entry.json, (error, answer) => {
      entry.sent = false;
      this.#underWay -= 1;
      if (!error) this.#refusals = 0;
      if (!this.#outbox.has(entry)) {
        // Its caller has given up.
      } else if (!error) {
        entry.settle(null, answer.id ?? null);
      } else if (!PASSING.has(error.code)) {
        entry.settle(new WarrenError(error.code, error.message));
      } else {
        entry.doubt ||= !PASSING.get(error.code);
        if (!entry.doubt) {
          clearTimeout(entry.timer);
          entry.since = 0;
        }
        this.#hold();
      }
      this.#flush();
    });
  }

  /** @param {Subscription} subscription */
  #subscribe(subscription) {
    const { channel, history, after, caller } = subscription;
    subscription.state = 'asked';
    const json = JSON.stringify({ channel, history, ...(after !== null && { after }) });
    this.#ask('subscribe', json, (error, answer) => {
      if (this.#subscriptions.get(channel) !== subscription) return; // unsubscribed meanwhile
      if (error && PASSING.has(error.code)) {
        subscription.state = 'out';
        this.#hold();
      } else if (error) {
        const { code, message } = error;
        this.#subscriptions.delete(channel);
        if (caller) caller.reject(new WarrenError(code, message));
        else this.#emit('error', { code, message, channel });
      } else {
        const recovered = answer.recovered === true;
        const result = { recovered, ...(answer.reason && { reason: answer.reason }) };
        subscription.state = 'in';
        if (!recovered) subscription.after = answer.cursor ?? null;
        subscription.caller = null;
        caller?.resolve(result);
        this.#emit('subscribed', { channel, ...result });
        if (after !== null && !recovered) this.#emit('gap', { channel, after, reason: answer.reason });
      }
    });
  }

  // ── The connection ────────────────────────────────────────────────────────────────────────────

  /** @param {unknown} data */
  #receive(data) {
    let frame;
    try {
      frame = JSON.parse(/** @type {string} */ (data));
    } catch {
      return;
    }
    if (typeof frame?.id === 'string' && 'text' in frame) this.#deliver(frame);
    else if (frame?.ready) this.#ready(frame.ready);
    else if (frame?.gap) this.#emit('gap', { after: this.#last });
    else this.#answered(frame?.error, frame?.error ?? frame?.published ?? frame?.subscribed ?? frame?.unsubscribed);
  }

  /** @type {Answer} */
  #answered(error, result) {
    const answer = this.#answers.get(result?.ref);
    this.#answers.delete(result?.ref);
    if (answer) answer(error, result);
    else if (error) this.#emit('error', error);
    // Any other frame is from a newer server.
  }

  /** @param {object} ready */
  #ready(ready) {
    clearTimeout(this.#timer);
    this.#readyAt = Date.now();
    this.#enter('open');
    this.#emit('ready', ready);
    this.#flush();
  }

  /** @param {Message} message */
  #deliver(message) {
    const subscription = this.#subscriptions.get(message.channel);
    if (subscription?.state !== 'in') return; // it was under way when its channel was unsubscribed
    const { seen, history } = subscription;
    subscription.after = this.#last = message.id;
    if (seen.has(message.id)) return;
    seen.add(message.id);
    if (seen.size > SEEN + history) seen.delete(seen.values().next().value ?? '');
    this.#emit('message', message);
  }

  /** @param {number} code @param {string} reason */
  #lost(code, reason) {
    if (code === TOO_BIG) this.#rejectLargest();
    this.#drop();
    if (this.#readyAt && Date.now() - this.#readyAt > STEADY_AFTER) this.#attempts = 0;
    this.#readyAt = 0;
    const pace = code in AFTER_CLOSE ? AFTER_CLOSE[code] : FAST;
    if (pace === NEVER) {
      this.#rest({ code, reason });
      return;
    }
    const hint = HINT.pattern.exec(reason);
    const wait = hint ? Math.min(Math.max(Number(hint[1]), HINT.least), HINT.most) : pause(pace, this.#attempts++);
    this.#timer = setTimeout(() => this.connect(), wait);
    this.#enter('waiting', { code, reason }, Date.now() + wait);
  }

  /** Of what is under way something was too large, so the largest was: sent again, it would end the next connection too. */
  #rejectLargest() {
    const sent = [...this.#outbox].filter((entry) => entry.sent).sort((a, b) => b.bytes - a.bytes);
    sent[0]?.settle(new WarrenError('too_large', 'the message is larger than the server takes'));
  }

  /** Lets go of the socket: nothing that it still reports is heard. */
  #drop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#held);
    this.#held = undefined;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    const answers = [...this.#answers.values()];
    this.#answers.clear();
    for (const answer of answers) answer(LOST, null);
    for (const subscription of this.#subscriptions.values()) subscription.state = 'out';
  }

  /** @param {{ code?: number, reason?: string }} why */
  #rest(why) {
    this.#watch?.abort();
    this.#watch = null;
    const error = new WarrenError('closed', why.reason || 'the client was closed');
    for (const entry of this.#outbox) entry.settle(error);
    for (const { channel, caller } of this.#subscriptions.values()) {
      if (!caller) continue;
      this.#subscriptions.delete(channel);
      caller.reject(error);
    }
    if (this.#state !== 'closed') this.#enter('closed', why);
  }

  /** Waits no longer once the network is back or someone looks. */
  #listen() {
    if (this.#watch) return;
    this.#watch = new AbortController();
    const { signal } = this.#watch;
    // Even an open connection: after a change of network it may be dead, and nothing would say so.
    globalThis.addEventListener?.('online', () => this.connect(), { signal });
    const page = globalThis.document;
    page?.addEventListener(
      'visibilitychange',
      () => {
        if (!page.hidden && this.#state === 'waiting') this.connect();
      },
      { signal },
    );
  }

  /** @param {State} state @param {{ code?: number, reason?: string }} [why] @param {number | null} [retryAt] */
  #enter(state, why, retryAt = null) {
    this.#state = state;
    this.#retryAt = retryAt;
    this.#emit('state', { state, retryAt, ...why });
  }

  /** @param {string} type @param {object} detail */
  #emit(type, detail) {
    // Not a CustomEvent: Node 18 has none.
    this.dispatchEvent(Object.assign(new Event(type), { detail }));
  }
}

/** @param {unknown} value */
function asJson(value) {
  try {
    const json = JSON.stringify(value);
    if (json !== undefined) return json;
  } catch {
    // A cycle or a BigInt.
  }
  throw new WarrenError('bad_request', 'the text cannot be written as JSON');
}
