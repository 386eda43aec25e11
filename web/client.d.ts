// The types of client.js, and what it promises.

/** One WebSocket that comes back by itself, goes on where it stopped, and sends what waits. */
export class Warren extends EventTarget {
  /** Connects at once. */
  constructor(url?: string | URL, options?: Options);

  /** The channels given to the constructor. */
  readonly channels: readonly string[];
  readonly state: State;
  /** When the next attempt is due, in ms since the epoch; null unless `state` is `waiting`. */
  readonly retryAt: number | null;

  /**
   * Publishes any JSON value. Resolves once the server has it; rejects with a `WarrenError`, or with
   * the reason of `signal`.
   *
   * While there is no connection it waits, without limit. It is sent again if the connection is lost
   * before the answer, or if the server cannot take it for the moment; the key keeps it from being
   * said twice. The server knows a key for two minutes, so if a message may have been published but
   * is not acknowledged 110 s after it was sent first, this rejects with `unknown_outcome`.
   *
   * Messages go out in the order of the calls, also after a reconnect. Only if the server refuses
   * one for the moment, some of the up to 31 that were under way behind it may overtake it.
   */
  publish(text: unknown, options?: PublishOptions): Promise<Published>;

  /**
   * Listens to one more channel, and again after each reconnect. Resolves when the server has taken
   * it up; its messages follow. If this rejects, there is no subscription.
   */
  subscribe(channel: string, options?: SubscribeOptions): Promise<Subscribed>;

  /** From this call on, no message of the channel arrives. Resolves when the server knows it too. */
  unsubscribe(channel: string): Promise<void>;

  /** Connects now: instead of waiting longer, or again after a close. */
  connect(): void;

  /** Closes for good: nothing but connect() opens it again. What waits is rejected with `closed`. */
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

/** Why a promise was rejected. */
export class WarrenError extends Error {
  constructor(code: ErrorCode, message: string);
  readonly code: ErrorCode;
}

/**
 * - `bad_request`, `too_large`: the server will never take it.
 * - `outbox_full`: too much waits already; nothing was sent.
 * - `unknown_outcome`: it may or may not have been published.
 * - `closed`: the client was closed (or the channel unsubscribed) first. A message that was sent
 *   already may have been published.
 * - Any other is from a newer server.
 */
export type ErrorCode = 'bad_request' | 'too_large' | 'outbox_full' | 'unknown_outcome' | 'closed' | (string & {});

export interface Options {
  /** Subscribed from the start; `publish` uses the first unless told otherwise. Default: lobby. */
  channels?: Iterable<string>;
  /** How many recent messages of a channel to ask for when nothing can be resumed. Default: 50. */
  history?: number;
  /** Where there is no global one, as in Node 18. */
  WebSocket?: new (url: string, protocol: string) => Socket;
}

/** What is needed of a WebSocket. */
export interface Socket {
  send(data: string): void;
  close(): void;
  addEventListener(type: string, listener: (event: any) => void): void;
}

export interface PublishOptions {
  channel?: string;
  /** Tells the server that two messages are one; 1 to 128 bytes. Default: a random one. */
  key?: string;
  /** Gives up. What was sent already may be published all the same. */
  signal?: AbortSignal;
}

export interface Published {
  /** Null in the rare case that the server did not learn it in time. */
  id: string | null;
  key: string;
}

export interface SubscribeOptions {
  /** How many recent messages to get first, if there is no `after` or it cannot be taken up. */
  history?: number;
  /** Id of the last message that is known already. */
  after?: string | null;
}

export interface Subscribed {
  /** True: all that was said after `after` follows. */
  recovered: boolean;
  /** Why not, if there was an `after`. */
  reason?: Reason;
}

export type Reason = 'malformed' | 'unknown' | 'expired' | 'live' | (string & {});
export type State = 'connecting' | 'open' | 'waiting' | 'closed';

export interface Message {
  /** Opaque, and the same on every replica. */
  id: string;
  channel: string;
  text: unknown;
  /** RFC 3339, unless a foreign program wrote something else. */
  date: string;
}

export interface WarrenEvent<Detail> extends Event {
  readonly detail: Detail;
}

export interface WarrenEventMap {
  state: WarrenEvent<{
    state: State;
    retryAt: number | null;
    /** The close code and reason that led here. */
    code?: number;
    reason?: string;
  }>;
  /** Connected. `replica` is the one that serves this client. */
  ready: WarrenEvent<{ replica: string; version: string }>;
  /** A channel was taken up, for the first time or again; its messages follow. */
  subscribed: WarrenEvent<Subscribed & { channel: string }>;
  message: WarrenEvent<Message>;
  /** After the message of this id, messages may be missing: of this channel, or else of all. */
  gap: WarrenEvent<{ channel?: string; after: string | null; reason?: Reason }>;
  /** An error that no promise reports. With a channel: it is not subscribed any more. */
  error: WarrenEvent<{ code: ErrorCode; message: string; channel?: string }>;
}
