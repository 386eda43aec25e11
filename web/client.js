// The Warren client: one WebSocket that reconnects by itself, resumes after the last message, and sends
// messages that wait. client.d.ts documents its guarantees.
//
//   import { Warren } from './client.js';
//
//   const warren = new Warren('wss://chat.example/ws', { channels: ['lobby'] });
//   warren.addEventListener('message', ({ detail }) => console.log(detail.text));
//   const { id } = await warren.publish('hello');
//
// It has no dependencies and runs in browsers and in Node 22 or later. Node 18 and 20 need a WebSocket in the
// options, and 18 also needs `globalThis.crypto ??= webcrypto` from node:crypto.

/** @import { Message, Options, Published, PublishOptions, Socket, State, Subscribed, SubscribeOptions } from './client.d.ts' */

/**
 * @typedef {object} Entry  A message in the outbox.
 * @property {string} json    the command, without its ref
 * @property {number} bytes
 * @property {boolean} sent   sent on this connection and not answered
 * @property {number} since   time of the first attempt that may have been published; 0: none
 * @property {boolean} doubt  an earlier attempt may have been published
 * @property {ReturnType<typeof setTimeout>} [timer]
 * @property {(error: unknown, id?: string | null) => void} settle
 *
 * @typedef {object} Subscription
 * @property {string} channel
 * @property {number} history
 * @property {string | null} after  the cursor: the id of the last message that arrived
 * @property {'none' | 'requested' | 'active'} state  on this connection
 * @property {Set<string>} seen
 * @property {{ resolve: (value: Subscribed) => void, reject: (error: WarrenError) => void } | null} caller
 *
 * @typedef {(error: { code: string, message: string } | undefined, answer: any) => void} Answer
 */

const PROTOCOL = 'warren.v1';

// Backoff before attempt n: a random time up to base × 2ⁿ, at most cap (in ms).
const FAST = { base: 250, cap: 20_000 };
const CALM = { base: 2_000, cap: 20_000 };
const SLOW = { base: 5_000, cap: 60_000 };
const REFUSED = { base: 500, cap: 10_000 };
const NEVER = null;

/** @param {{ base: number, cap: number }} pace @param {number} attempt */
const backoff = ({ base, cap }, attempt) => Math.random() * Math.min(base * 2 ** attempt, cap);

const TOO_BIG = 1009;

/**
 * Backoff after each close code; FAST for all others (1006: cut or refused, …).
 * A reason such as `retry in 3217ms` takes precedence: the server spreads its clients over time.
 * @type {Record<number, { base: number, cap: number } | null>}
 */
const AFTER_CLOSE = {
  1002: SLOW, // protocol error    ┐
  1003: SLOW, // not text          │ caused by this client, and likely to recur
  1007: SLOW, // invalid data      │
  [TOO_BIG]: SLOW, //              ┘
  1008: NEVER, // refused by policy: waits for a call of connect()
  1012: CALM, // the replica restarts
  1013: CALM, // the replica is overloaded, or this client too slow
};

const HINT = { pattern: /retry in (\d+) ?ms/, least: 100, most: 300_000 };
const READY_TIMEOUT = 15_000; // an attempt that takes longer has failed
const STABLE_AFTER = 10_000; // a connection that lasted this long resets the backoff

// Temporary errors: the command is sent again. True: it was certainly not executed.
const TEMPORARY_ERRORS = new Map([
  ['rate_limited', true],
  ['buffer_full', true],
  ['publish_timeout', false],
  ['publish_refused', false],
  ['shutting_down', false],
  ['lost', false], // set by this module: the connection ended before the answer
]);
const LOST = { code: 'lost', message: 'the connection was lost' };

const MAX_IN_FLIGHT = 32; // messages without an answer; others wait in the outbox
const OUTBOX_LIMIT = { messages: 1000, bytes: 4 << 20 };
const KEY_LIFETIME = 110_000; // the server remembers a key for 120 s, and may take 10 s to publish
const MAX_SEEN = 1000; // ids to remember per channel, besides those of its history

const utf8 = new TextEncoder();

/** A random key. Not randomUUID, which is not available on pages served over plain HTTP. */
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
  #watcher = null;

  /** Handlers of unanswered commands, by ref. @type {Map<number, Answer>} */
  #answerHandlers = new Map();
  #lastRef = 0;
  /** Unanswered messages in the order of publish(). @type {Set<Entry>} */
  #outbox = new Set();
  #outboxBytes = 0;
  #inFlight = 0;
  /** Timer of a pause in sending, after the server refused a command. @type {ReturnType<typeof setTimeout> | undefined} */
  #pauseTimer;
  #refusals = 0;
  /** @type {Map<string, Subscription>} */
  #subscriptions = new Map();
  /** The id of the last message on any channel. @type {string | null} */
  #lastId = null;

  /** @param {string | URL} [url] @param {Options} [options] */
  constructor(url = '/ws', { channels = ['lobby'], history = 50, WebSocket = globalThis.WebSocket } = {}) {
    super();
    if (!WebSocket) throw new TypeError('no global WebSocket: pass one in the options');
    /** @type {readonly string[]} */
    this.channels = Object.freeze([...channels]);
    this.#history = history;
    this.#WebSocket = WebSocket;
    this.#url = new URL(url, globalThis.location?.href);
    this.#url.protocol = this.#url.protocol.replace('http', 'ws');
    this.#url.hash = '';
    for (const channel of this.channels) this.#addSubscription(channel, history, null, null);
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
      this.#throwIfClosed();
      const json = `{"channel":${JSON.stringify(channel)},"key":${JSON.stringify(key)},"text":${asJson(text)}}`;
      const bytes = utf8.encode(json).length;
      if (this.#outbox.size >= OUTBOX_LIMIT.messages || this.#outboxBytes + bytes > OUTBOX_LIMIT.bytes) {
        throw new WarrenError('outbox_full', 'too many messages are waiting to be sent');
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
      this.#throwIfClosed();
      if (this.#subscriptions.has(channel)) throw new WarrenError('bad_request', `already subscribed to ${channel}`);
      this.#addSubscription(channel, history, after, { resolve, reject });
      this.#flush();
    });
  }

  /** @param {string} channel @returns {Promise<void>} */
  unsubscribe(channel) {
    const subscription = this.#subscriptions.get(channel);
    this.#subscriptions.delete(channel);
    subscription?.caller?.reject(new WarrenError('closed', `unsubscribed from ${channel} before the server answered`));
    return new Promise((resolve) => {
      // Without a request on this connection there is nothing to unsubscribe.
      if (!subscription || subscription.state === 'none') resolve();
      else this.#sendCommand('unsubscribe', JSON.stringify({ channel }), () => resolve());
    });
  }

  connect() {
    this.#watchNetwork();
    this.#dropSocket();
    try {
      this.#socket = new this.#WebSocket(this.#url.href, PROTOCOL);
    } catch (error) {
      this.#handleClose(1006, String(error));
      return;
    }
    const socket = this.#socket;
    const current = () => socket === this.#socket;
    socket.addEventListener('message', ({ data }) => current() && this.#receive(data));
    socket.addEventListener('close', ({ code, reason }) => current() && this.#handleClose(code, reason));
    socket.addEventListener('error', () => {}); // a close event always follows
    this.#timer = setTimeout(() => this.#handleClose(1006, 'no answer'), READY_TIMEOUT);
    this.#setState('connecting');
  }

  close() {
    this.#dropSocket();
    this.#enterClosed({});
  }

  #throwIfClosed() {
    if (this.#state === 'closed') throw new WarrenError('closed', 'the client is closed');
  }

  /**
   * @param {string} channel
   * @param {number} history
   * @param {string | null} after
   * @param {Subscription['caller']} caller
   */
  #addSubscription(channel, history, after, caller) {
    this.#subscriptions.set(channel, { channel, history, after, state: 'none', seen: new Set(), caller });
  }

  // ── Commands ──────────────────────────────────────────────────────────────────────────────────

  /** Sends all commands that can be sent. Subscriptions come first, so that published messages come back. */
  #flush() {
    if (this.#state !== 'open' || !this.#socket || this.#pauseTimer) return;
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.state === 'none') this.#sendSubscribe(subscription);
    }
    for (const entry of this.#outbox) {
      if (this.#inFlight >= MAX_IN_FLIGHT) break;
      if (!entry.sent) this.#sendPublish(entry);
    }
  }

  /** Pauses sending. Afterwards, commands that were refused meanwhile are sent again in order. */
  #pauseSending() {
    if (this.#pauseTimer || !this.#socket) return;
    const resume = () => {
      this.#pauseTimer = undefined;
      this.#flush();
    };
    this.#pauseTimer = setTimeout(resume, backoff(REFUSED, this.#refusals++));
  }

  /** @param {string} name @param {string} json  a non-empty object @param {Answer} answer */
  #sendCommand(name, json, answer) {
    const ref = ++this.#lastRef;
    this.#answerHandlers.set(ref, answer);
    this.#socket?.send(`{"${name}":{"ref":${ref},${json.slice(1)}}`);
  }

  /** @param {Entry} entry */
  #sendPublish(entry) {
    const expire = () => entry.settle(new WarrenError('unknown_outcome', 'the message may or may not have been published'));
    if (!entry.since) {
      entry.since = Date.now();
      entry.timer = setTimeout(expire, KEY_LIFETIME);
    } else if (Date.now() - entry.since >= KEY_LIFETIME) {
      expire(); // the machine was suspended, and the timer with it
      return;
    }
    entry.sent = true;
    this.#inFlight += 1;
    this.#sendCommand('publish', entry.json, (error, answer) => {
      entry.sent = false;
      this.#inFlight -= 1;
      if (!error) this.#refusals = 0;
      if (!this.#outbox.has(entry)) {
        // The caller has aborted it.
      } else if (!error) {
        entry.settle(null, answer.id ?? null);
      } else if (!TEMPORARY_ERRORS.has(error.code)) {
        entry.settle(new WarrenError(error.code, error.message));
      } else {
        entry.doubt ||= !TEMPORARY_ERRORS.get(error.code);
        if (!entry.doubt) {
          clearTimeout(entry.timer);
          entry.since = 0;
        }
        this.#pauseSending();
      }
      this.#flush();
    });
  }

  /** @param {Subscription} subscription */
  #sendSubscribe(subscription) {
    const { channel, history, after, caller } = subscription;
    subscription.state = 'requested';
    const json = JSON.stringify({ channel, history, ...(after !== null && { after }) });
    this.#sendCommand('subscribe', json, (error, answer) => {
      if (this.#subscriptions.get(channel) !== subscription) return; // unsubscribed meanwhile
      if (error && TEMPORARY_ERRORS.has(error.code)) {
        subscription.state = 'none';
        this.#pauseSending();
      } else if (error) {
        const { code, message } = error;
        this.#subscriptions.delete(channel);
        if (caller) caller.reject(new WarrenError(code, message));
        else this.#emit('error', { code, message, channel });
      } else {
        const recovered = answer.recovered === true;
        const result = { recovered, ...(answer.reason && { reason: answer.reason }) };
        subscription.state = 'active';
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
    if (typeof frame?.id === 'string' && 'text' in frame) this.#handleMessage(frame);
    else if (frame?.ready) this.#handleReady(frame.ready);
    else if (frame?.gap) this.#emit('gap', { after: this.#lastId });
    else this.#handleAnswer(frame?.error, frame?.error ?? frame?.published ?? frame?.subscribed ?? frame?.unsubscribed);
  }

  /** @type {Answer} */
  #handleAnswer(error, result) {
    const answer = this.#answerHandlers.get(result?.ref);
    this.#answerHandlers.delete(result?.ref);
    if (answer) answer(error, result);
    else if (error) this.#emit('error', error);
    // Unknown frames, for example of a newer server, are ignored.
  }

  /** @param {object} ready */
  #handleReady(ready) {
    clearTimeout(this.#timer);
    this.#readyAt = Date.now();
    this.#setState('open');
    this.#emit('ready', ready);
    this.#flush();
  }

  /** @param {Message} message */
  #handleMessage(message) {
    const subscription = this.#subscriptions.get(message.channel);
    if (subscription?.state !== 'active') return; // sent before the server processed the unsubscribe
    const { seen, history } = subscription;
    subscription.after = this.#lastId = message.id;
    if (seen.has(message.id)) return;
    seen.add(message.id);
    if (seen.size > MAX_SEEN + history) seen.delete(seen.values().next().value ?? '');
    this.#emit('message', message);
  }

  /** @param {number} code @param {string} reason */
  #handleClose(code, reason) {
    if (code === TOO_BIG) this.#rejectLargest();
    this.#dropSocket();
    if (this.#readyAt && Date.now() - this.#readyAt > STABLE_AFTER) this.#attempts = 0;
    this.#readyAt = 0;
    const pace = code in AFTER_CLOSE ? AFTER_CLOSE[code] : FAST;
    if (pace === NEVER) {
      this.#enterClosed({ code, reason });
      return;
    }
    const hint = HINT.pattern.exec(reason);
    const wait = hint ? Math.min(Math.max(Number(hint[1]), HINT.least), HINT.most) : backoff(pace, this.#attempts++);
    this.#timer = setTimeout(() => this.connect(), wait);
    this.#setState('waiting', { code, reason }, Date.now() + wait);
  }

  /** Rejects the largest message in flight, because one was too large: sent again, it would close the next connection too. */
  #rejectLargest() {
    const sent = [...this.#outbox].filter((entry) => entry.sent).sort((a, b) => b.bytes - a.bytes);
    sent[0]?.settle(new WarrenError('too_large', 'the message is larger than the server accepts'));
  }

  /** Closes the socket and ignores its further events. */
  #dropSocket() {
    clearTimeout(this.#timer);
    clearTimeout(this.#pauseTimer);
    this.#pauseTimer = undefined;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    const answers = [...this.#answerHandlers.values()];
    this.#answerHandlers.clear();
    for (const answer of answers) answer(LOST, null);
    for (const subscription of this.#subscriptions.values()) subscription.state = 'none';
  }

  /** @param {{ code?: number, reason?: string }} why */
  #enterClosed(why) {
    this.#watcher?.abort();
    this.#watcher = null;
    const error = new WarrenError('closed', why.reason || 'the client was closed');
    for (const entry of this.#outbox) entry.settle(error);
    for (const { channel, caller } of this.#subscriptions.values()) {
      if (!caller) continue;
      this.#subscriptions.delete(channel);
      caller.reject(error);
    }
    if (this.#state !== 'closed') this.#setState('closed', why);
  }

  /** Reconnects at once when the network returns or the page becomes visible. */
  #watchNetwork() {
    if (this.#watcher) return;
    this.#watcher = new AbortController();
    const { signal } = this.#watcher;
    // Replaces even an open connection: after a change of network it may be dead without a close event.
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
  #setState(state, why, retryAt = null) {
    this.#state = state;
    this.#retryAt = retryAt;
    this.#emit('state', { state, retryAt, ...why });
  }

  /** @param {string} type @param {object} detail */
  #emit(type, detail) {
    // Not a CustomEvent, which Node 18 does not have.
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
  throw new WarrenError('bad_request', 'the text cannot be encoded as JSON');
}
