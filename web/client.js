// The Warren client: one WebSocket that comes back by itself and goes on where it stopped.
//
//   import { Warren } from './client.js';
//
//   const warren = new Warren('wss://chat.example/ws', { channels: ['lobby'] });
//   warren.addEventListener('message', ({ detail }) => console.log(detail.text));
//   warren.addEventListener('ready', () => warren.send('hello'), { once: true });
//
// It has no dependency and runs in browsers and in Node 22 or later; elsewhere, pass a WebSocket.

/**
 * @typedef {object} Message  The detail of a `message` event.
 * @property {string} id       opaque, and the same on every replica
 * @property {string} channel
 * @property {unknown} text    a string from another client; any JSON value from another program
 * @property {string} date     RFC 3339, unless a foreign program wrote something else
 *
 * @typedef {object} Ready  The detail of a `ready` event: the connection can be used.
 * @property {string} replica     the replica that serves this client
 * @property {string} version
 * @property {boolean} recovered  true: all that was missed follows
 *
 * @typedef {object} Change  The detail of a `state` event.
 * @property {State} state
 * @property {number | null} retryAt  when the next attempt is due, in ms since the epoch
 * @property {number} [code]          the close code that led here
 * @property {string} [reason]
 *
 * @typedef {'connecting' | 'open' | 'waiting' | 'closed'} State
 *
 * @typedef {object} Options
 * @property {string[]} [channels]  `send` publishes to the first
 * @property {number} [history]     how many recent messages to ask for when nothing can be resumed
 * @property {typeof globalThis.WebSocket} [WebSocket]
 */

// How long to wait before attempt n: a random time up to base × 2ⁿ, and never above cap (in ms).
const FAST = { base: 250, cap: 20_000 };
const CALM = { base: 2_000, cap: 20_000 };
const SLOW = { base: 5_000, cap: 60_000 };
const NEVER = null;

/**
 * What each close code asks for; every other code (1006: cut or refused, …) is FAST.
 * A reason that says `retry in 3217ms` overrides the pace: the server has spread its clients out.
 * @type {Record<number, { base: number, cap: number } | null>}
 */
const AFTER_CLOSE = {
  1002: SLOW, // protocol error    ┐
  1003: SLOW, // not text          │ this client is at fault, and may be again
  1007: SLOW, // not UTF-8         │
  1009: SLOW, // message too big   ┘
  1008: NEVER, // refused by policy: until someone calls connect()
  1012: CALM, // the replica restarts
  1013: CALM, // the replica is overloaded, or this client too slow
};

const HINT = { pattern: /retry in (\d+) ?ms/, least: 100, most: 300_000 };
const READY_WITHIN = 15_000; // an attempt that takes longer has failed
const STEADY_AFTER = 10_000; // a connection that lasted this long starts the backoff anew
const MOST_UNSENT = 1 << 20; // bytes that wait in the socket before send() says no

/**
 * Events, each a CustomEvent: `state` (Change), `ready` (Ready), `message` (Message),
 * `gap` (`{ after }`: messages after that id may be missing), `error` (`{ code, message }`).
 */
export class Warren extends EventTarget {
  #url;
  #history;
  #WebSocket;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {State} */
  #state = 'closed';
  /** @type {number | null} */
  #retryAt = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #attempts = 0;
  #readyAt = 0;
  /** @type {string | null} */
  #last = null;
  /** @type {Set<string>} */
  #seen = new Set();
  #mostSeen;
  /** @type {AbortController | null} */
  #watch = null;

  /**
   * Connects at once.
   * @param {string | URL} [url]
   * @param {Options} [options]
   */
  constructor(url = '/ws', { channels = ['lobby'], history = 50, WebSocket = globalThis.WebSocket } = {}) {
    super();
    if (!WebSocket) throw new TypeError('there is no WebSocket here: pass one in the options');
    this.channels = Object.freeze([...channels]);
    this.#history = history;
    this.#WebSocket = WebSocket;
    this.#mostSeen = 1000 + history * channels.length;
    this.#url = new URL(url, globalThis.location?.href);
    this.#url.protocol = this.#url.protocol.replace('http', 'ws');
    this.#url.hash = '';
    this.connect();
  }

  get state() {
    return this.#state;
  }

  /** When the next attempt is due, in ms since the epoch; null unless waiting. */
  get retryAt() {
    return this.#retryAt;
  }

  /**
   * Publishes a text to the first channel.
   * @param {string} text
   * @returns {boolean} false: not connected (or the network takes no more); nothing was sent
   */
  send(text) {
    if (this.#state !== 'open' || !this.#socket || this.#socket.bufferedAmount > MOST_UNSENT) return false;
    this.#socket.send(String(text));
    return true;
  }

  /** Connects now: instead of waiting longer, or again after a close. */
  connect() {
    this.#listen();
    this.#drop();
    const after = this.#last;
    try {
      this.#socket = new this.#WebSocket(this.#address(after));
    } catch (error) {
      this.#lost(1006, String(error));
      return;
    }
    const socket = this.#socket;
    const current = () => socket === this.#socket;
    socket.addEventListener('message', ({ data }) => current() && this.#receive(data, after));
    socket.addEventListener('close', ({ code, reason }) => current() && this.#lost(code, reason));
    socket.addEventListener('error', () => {}); // a close event always follows
    this.#timer = setTimeout(() => this.#lost(1006, 'no answer'), READY_WITHIN);
    this.#enter('connecting');
  }

  /** Closes for good: nothing but connect() opens it again. */
  close() {
    this.#drop();
    this.#rest({});
  }

  /** @param {string | null} after */
  #address(after) {
    const url = new URL(this.#url);
    for (const channel of this.channels) url.searchParams.append('channel', channel);
    url.searchParams.set('history', String(this.#history));
    if (after !== null) url.searchParams.set('after', after);
    return url.href;
  }

  /**
   * @param {unknown} data
   * @param {string | null} after  what this connection asked to resume from
   */
  #receive(data, after) {
    let frame;
    try {
      frame = JSON.parse(/** @type {string} */ (data));
    } catch {
      return;
    }
    if (typeof frame?.id === 'string' && 'text' in frame) this.#deliver(frame);
    else if (frame?.ready) this.#ready(frame.ready, after);
    else if (frame?.error) this.#emit('error', frame.error);
    else if (frame?.gap) this.#emit('gap', { after: this.#last });
    // Any other frame is from a newer server.
  }

  /**
   * @param {Ready} ready
   * @param {string | null} after
   */
  #ready(ready, after) {
    clearTimeout(this.#timer);
    this.#readyAt = Date.now();
    this.#enter('open');
    this.#emit('ready', ready);
    if (after !== null && ready.recovered !== true) this.#emit('gap', { after });
  }

  /** @param {Message} message */
  #deliver(message) {
    if (this.#seen.has(message.id)) return;
    this.#seen.add(message.id);
    if (this.#seen.size > this.#mostSeen) this.#seen.delete(this.#seen.values().next().value ?? '');
    this.#last = message.id;
    this.#emit('message', message);
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #lost(code, reason) {
    this.#drop();
    if (this.#readyAt && Date.now() - this.#readyAt > STEADY_AFTER) this.#attempts = 0;
    this.#readyAt = 0;
    const pace = code in AFTER_CLOSE ? AFTER_CLOSE[code] : FAST;
    if (pace === NEVER) {
      this.#rest({ code, reason });
      return;
    }
    const hint = HINT.pattern.exec(reason);
    const wait = hint
      ? Math.min(Math.max(Number(hint[1]), HINT.least), HINT.most)
      : Math.random() * Math.min(pace.base * 2 ** this.#attempts++, pace.cap);
    this.#timer = setTimeout(() => this.connect(), wait);
    this.#enter('waiting', { code, reason }, Date.now() + wait);
  }

  /** Lets go of the socket: nothing that it still reports is heard. */
  #drop() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  /** @param {{ code?: number, reason?: string }} why */
  #rest(why) {
    this.#watch?.abort();
    this.#watch = null;
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

  /**
   * @param {State} state
   * @param {{ code?: number, reason?: string }} [why]
   * @param {number | null} [retryAt]
   */
  #enter(state, why, retryAt = null) {
    this.#state = state;
    this.#retryAt = retryAt;
    this.#emit('state', { state, retryAt, ...why });
  }

  /**
   * @param {string} type
   * @param {object} detail
   */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
