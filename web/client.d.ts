// Types of client.js, and its guarantees.

/** A WebSocket that reconnects by itself, resumes after the last message, and sends messages that wait. */
export class Warren extends EventTarget {
  /** Connects immediately. */
  constructor(url?: string | URL, options?: Options);

  /** The channels given to the constructor. */
  readonly channels: readonly string[];
  readonly state: State;
  /** When the next attempt is due, in ms since the epoch; null unless `state` is `waiting`. */
  readonly retryAt: number | null;

  /**
   * Publishes any JSON value. Resolves when the server has confirmed it. Rejects with a `WarrenError`, or with
   * the reason of `signal`.
   *
   * Without a connection the message waits, with no time limit. It is sent again if the connection is lost
   * before the answer, or if the server temporarily refuses it; the key prevents a second delivery. The
   * server remembers a key for two minutes. If a message may have been published but is not acknowledged
   * 110 s after the first attempt, this rejects with `unknown_outcome`.
   *
   * Messages are sent in the order of the calls, also after a reconnect. Only if the server temporarily
   * refuses one, some of the up to 31 messages in flight behind it may overtake it.
   */
  publish(text: unknown, options?: PublishOptions): Promise<Published>;

  /**
   * Subscribes to another channel, and again after each reconnect. Resolves when the server has accepted
   * the subscription; its messages follow. If this rejects, there is no subscription.
   */
  subscribe(channel: string, options?: SubscribeOptions): Promise<Subscribed>;

  /** Unsubscribes from a channel. No message of it arrives after this call. Resolves when the server has confirmed. */
  unsubscribe(channel: string): Promise<void>;

  /** Connects now, instead of waiting, or again after a close. */
  connect(): void;

  /** Closes permanently: only connect() opens it again. Rejects waiting messages with `closed`. */
  close(): void;

  addEventListener<K extends keyof WarrenEventMap>(
    type: K,
    listener: (this: Warren, event: WarrenEventMap[K]) => void,
    options?: Parameters<EventTarget['addEventListener']>[2],
  ): void;
  addEventListener(...listener: Parameters<EventTarget['addEventListener']>): void;
  removeEventListener<K extends keyof WarrenEventMap>(
    type: K,
    listener: (this: Warren, event: WarrenEventMap[K]) => void,
    options?: Parameters<EventTarget['removeEventListener']>[2],
  ): void;
  removeEventListener(...listener: Parameters<EventTarget['removeEventListener']>): void;
}

/** The reason of a rejected promise. */
export class WarrenError extends Error {
  constructor(code: ErrorCode, message: string);
  readonly code: ErrorCode;
}

/**
 * - `bad_request`, `too_large`: the server will never accept it.
 * - `outbox_full`: too many messages are waiting; this one was not sent.
 * - `unknown_outcome`: it may or may not have been published.
 * - `closed`: the client was closed (or the channel unsubscribed) before the answer. A message that was
 *   already sent may have been published.
 * - Other codes come from a newer server.
 */
export type ErrorCode = 'bad_request' | 'too_large' | 'outbox_full' | 'unknown_outcome' | 'closed' | (string & {});

export interface Options {
  /** Channels subscribed from the start. `publish` uses the first by default. Default: lobby. */
  channels?: Iterable<string>;
  /** Number of recent messages per channel to request when there is nothing to resume. Default: 50. */
  history?: number;
  /** A WebSocket implementation, where there is no global one, as in Node 18. */
  WebSocket?: new (url: string, protocol: string) => Socket;
}

/** The required part of a WebSocket. */
export interface Socket {
  send(data: string): void;
  close(): void;
  addEventListener(type: string, listener: (event: any) => void): void;
}

export interface PublishOptions {
  channel?: string;
  /** Identifies duplicates to the server; 1 to 128 bytes. Default: a random key. */
  key?: string;
  /** Aborts. A message that was already sent may still be published. */
  signal?: AbortSignal;
}

export interface Published {
  /** Null in the rare case that the server did not receive it in time. */
  id: string | null;
  key: string;
}

export interface SubscribeOptions {
  /** Number of recent messages to receive first, if there is no `after` or it cannot be resumed. */
  history?: number;
  /** The id of the last message that is already known. */
  after?: string | null;
}

export interface Subscribed {
  /** True if all messages after `after` follow. */
  recovered: boolean;
  /** The reason why not, if there was an `after`. */
  reason?: Reason;
}

export type Reason = 'malformed' | 'unknown' | 'expired' | 'live' | (string & {});
export type State = 'connecting' | 'open' | 'waiting' | 'closed';

export interface Message {
  /** Opaque, and the same on every replica. */
  id: string;
  channel: string;
  text: unknown;
  /** RFC 3339, unless another program set something else. */
  date: string;
}

export interface WarrenEvent<Detail> extends Event {
  readonly detail: Detail;
}

export interface WarrenEventMap {
  state: WarrenEvent<{
    state: State;
    retryAt: number | null;
    /** The close code and reason that led to this state. */
    code?: number;
    reason?: string;
  }>;
  /** Connected. `replica` is the name of the replica that serves this client. */
  ready: WarrenEvent<{ replica: string; version: string }>;
  /** A channel was subscribed, for the first time or again; its messages follow. */
  subscribed: WarrenEvent<Subscribed & { channel: string }>;
  message: WarrenEvent<Message>;
  /** Messages may be missing after the message with this id: in this channel, or in all without `channel`. */
  gap: WarrenEvent<{ channel?: string; after: string | null; reason?: Reason }>;
  /** An error that no promise reports. With a channel: it is no longer subscribed. */
  error: WarrenEvent<{ code: ErrorCode; message: string; channel?: string }>;
}
