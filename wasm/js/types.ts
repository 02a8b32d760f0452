/** The public types of Backscroll for JavaScript. */

/** A value that changes; `getSnapshot` gives the same object until it does (made for `useSyncExternalStore`). */
export interface Store<T> {
  getSnapshot(this: void): T;
  /** Calls `onChange` after each change; the answer ends that. */
  subscribe(this: void, onChange: () => void): () => void;
}

/** The id of a message: a lower-case UUIDv7. Comparing two as text compares their places in time. */
export type MsgId = string & { readonly __m: unique symbol };

/** Where a view stands. */
export type At =
  | 'latest'
  | 'oldest'
  | 'first-unread'
  | { readonly id: MsgId }
  | { readonly time: number }
  | { readonly index: number }
  | { readonly fraction: number };

/** How {@link openClient} sets a client up. */
export interface ClientOptions {
  /** The name messages are sent under, 1-255 bytes. */
  readonly user: string;
  /** The relay: `http(s)://host` or `ws(s)://host`. In a browser by default where the page came from. */
  readonly relay?: string;
  /** A credential, or what gets one; asked again for each connection. */
  readonly token?: string | (() => Promise<string>);
  /**
   * Where messages are kept: in a browser `'idb'` (IndexedDB, the default), in Node `{ folder }`, or
   * nowhere but in `'memory'` (Node's default). One store for each relay and user; several tabs share
   * it, of a folder one client at a time.
   */
  readonly storage?: 'idb' | 'memory' | { readonly folder: string };
  /** Where the engine runs. `'auto'` is `'inline'`, on this thread, for now. */
  readonly engine?: 'auto' | 'worker' | 'inline';
  /** The engine's module, for bundlers that cannot find it themselves. */
  readonly wasm?: URL | string | Response | BufferSource | WebAssembly.Module;
  /** How many newest messages to load when a channel is first opened; 50 by default. */
  readonly newest?: number;
  /** How much memory loaded messages may take, in bytes (an estimate); 64 MB by default. */
  readonly memoryBytes?: number;
  /** The worker's module, for bundlers that cannot find it themselves; of no use to an engine that runs inline. */
  readonly workerUrl?: URL | string;
  /**
   * Whether others are told what this device received, and messages of this user say `'delivered'` and
   * `'read'`; off by default. What was read is told in any case: it is how a user's devices agree.
   */
  readonly receipts?: boolean;
}

/** A client of one relay. */
export interface Client extends AsyncDisposable {
  /** The name messages are sent under. */
  readonly user: string;
  /** A channel; the same object for the same name. It is opened, if it is not. */
  channel(id: string): Channel;
  /** The channels of the relay and those open here, by name. While it has subscribers it is kept up to date. */
  readonly channels: Store<readonly ChannelInfo[]>;
  /** How the connection stands. */
  readonly connection: Store<Connection>;
  /** Resolves when nothing waits to be sent any more, of what is in the store either. */
  flush(): Promise<void>;
  /** Tries to connect now; browsers' `online` event does it too. */
  connect(): void;
  /** Closes the connection, waits until everything is stored, and frees the engine. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** A line of the channel list. */
export interface ChannelInfo {
  readonly id: string;
  readonly total: number;
  /** Of channels open here: messages since it was opened that were not in view. Else 0. */
  readonly unread: number;
  /** Sent time of the newest message, in ms. */
  readonly newestAt?: number;
}

/** How the connection stands. */
export interface Connection {
  readonly state: 'offline' | 'connecting' | 'syncing' | 'live';
  /** Messages that wait to be sent. */
  readonly pendingOut: number;
  /** `best-effort`: the browser may clear it when space runs short. `failed`: in memory only, not as asked. */
  readonly storage: 'persistent' | 'best-effort' | 'memory' | 'failed';
  /**
   * The last thing that went wrong, or a channel that the relay refuses; a new connection clears it. Its
   * `code` is stable. Of an edit, deletion or reaction that the relay refused it is a {@link Refused}.
   */
  readonly error?: Error;
}

/** What the error of a {@link Connection} says when a change to a message was refused: it is shown as before. */
export interface Refused extends Error {
  /** The relay's, such as `forbidden`; or `not_found`. */
  readonly code: string;
  readonly channel: string;
  /** The message that was to be changed. */
  readonly id: MsgId;
}

/**
 * Where a message of this client stands on its way: waiting, stored by the relay, on a device of
 * somebody, read by somebody; or refused. The last two need {@link ClientOptions.receipts}.
 */
export type SendState = 'queued' | 'relayed' | 'delivered' | 'read' | { readonly failed: string; readonly retryable: boolean };

/** A file that belongs to a message; either `url` or `sha256` is there. */
export interface Attachment {
  readonly name: string;
  readonly mediaType: string;
  readonly size: number;
  readonly url?: string;
  readonly sha256?: string;
}

/** Any JSON. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** A message. Two reads give the same object as long as nothing of it changed. */
export interface Message {
  readonly id: MsgId;
  readonly from: string;
  readonly text: string;
  readonly data?: Json;
  /** When it was sent, in ms since the Unix epoch: the time in its id. */
  readonly sentAt: number;
  /** When it came to this device; for history, which came before this device did, `sentAt`. */
  readonly arrivedAt: number;
  /** The relay's number of it, once known. */
  readonly seq?: number;
  readonly replyTo?: MsgId;
  readonly attachments?: readonly Attachment[];
  /** Who reacted, by emoji. */
  readonly reactions: Readonly<Record<string, readonly string[]>>;
  readonly editedAt?: number;
  readonly deleted?: true;
  /** Whether it came later than newer messages did. */
  readonly late: boolean;
  /** Of messages sent by this client since it was opened; with `receipts` also of older ones that got to somebody. */
  readonly send?: SendState;
  readonly placeholder?: undefined;
}

/** A message that is not loaded yet, at its row. */
export interface Placeholder {
  readonly placeholder: true;
  readonly index: number;
}

/** What belongs to a message beside its text. */
export interface SendOptions {
  readonly replyTo?: MsgId;
  readonly attachments?: readonly Attachment[];
  readonly data?: Json;
  /** When it was written, if earlier, in ms. */
  readonly sentAt?: number;
}

/** What an edit replaces beside the text. */
export interface EditOptions {
  readonly attachments?: readonly Attachment[];
  readonly data?: Json;
}

/**
 * How a view is opened: with `before + after` rows, 5,000 at most, around the anchor. What comes in between
 * them, or at an end of the channel they reach, is added; beyond twice as many those far from it leave.
 */
export interface ViewOptions {
  /** `'latest'` by default. */
  readonly at?: At;
  /** Rows before the anchor; 50 by default. */
  readonly before?: number;
  /** Rows from the anchor on; 50 by default. */
  readonly after?: number;
}

/** A channel. */
export interface Channel extends Disposable {
  readonly id: string;
  /** A live view; dispose of it when it is shown no more. */
  view(options?: ViewOptions): View;
  /** Sends a message. It has its final id and is in the views when this returns. */
  send(text: string, options?: SendOptions): Message;
  /** Sends a failed message again, under its id. */
  retry(id: MsgId): void;
  /** Drops a failed message. */
  discard(id: MsgId): void;
  /**
   * Replaces the text of a message, and what else is given; the rest stays. It shows at once, and waits
   * for the relay as messages do. If the relay refuses it (another's message: `forbidden`) it is shown
   * as before, and {@link Connection.error} says so. Throws `not_found` if the channel is known not to
   * have the message; so do `remove` and `react`.
   */
  edit(id: MsgId, text: string, options?: EditOptions): void;
  /** Deletes a message, for good: its row stays, without text. A failed one is dropped. */
  remove(id: MsgId): void;
  /** Reacts to a message, or, with `false`, no longer. */
  react(id: MsgId, emoji: string, on?: boolean): void;
  /** A message. One that is not loaded is looked for in the store, then at the relay; without a connection it is missing. */
  get(id: MsgId): Promise<Message | undefined>;
  readonly info: Store<ChannelState>;
  readonly late: LateInbox;
  /** What is being written here; it stays on this device, where other tabs see it, for when the channel is opened again. */
  readonly draft: Store<string | null> & { set(this: void, text: string | null): void };
  /**
   * Who else has the channel open, as far as they told within 30 s. Others go on telling while somebody
   * subscribes to it.
   */
  readonly presence: Store<ReadonlyMap<string, Presence>> & {
    /** This user is writing, or no more. Call it at each key; sending ends it, and so do 12 s without a call. */
    typing(this: void, on?: boolean): void;
  };
  /** Marks everything up to a message as read, or all; late messages there leave the inbox. */
  markRead(upTo?: MsgId): void;
  /** Which other users received a message (those who tell, see {@link ClientOptions.receipts}), and who read it. */
  receipts(id: MsgId): Store<Receipts>;
}

/** What another user does in a channel. */
export interface Presence {
  readonly online: boolean;
  readonly typing: boolean;
}

/** Users, by name. */
export interface Receipts {
  readonly delivered: readonly string[];
  readonly read: readonly string[];
}

/** What is known of a channel as a whole. */
export interface ChannelState {
  readonly total: number;
  readonly unread: number;
  readonly firstUnread: MsgId | null;
  /** `'running'` until the channel's directory came. */
  readonly backfill: 'none' | 'running';
}

/** A live view: the rows around an anchor, which stay around it while the channel grows. */
export interface View extends Store<Window>, Disposable {
  /**
   * Moves the view. Resolves when its rows are loaded, or, while there is no connection, with those of
   * them that are in the store. Rejects with code `superseded` if the view was moved again meanwhile, with the
   * relay's code if it refuses the channel, and with `bad_data` if what it sent cannot be read.
   */
  goto(at: At, options?: GotoOptions): Promise<Window>;
  /**
   * Tells which rows the reader sees, by id or, for placeholders, by index. The view moves along
   * when they come near its ends; with `atEnd` it follows new messages. Late messages among the rows
   * leave the inbox.
   */
  setVisible(first: MsgId | number, last: MsgId | number, atEnd: boolean): void;
  /** How many messages stand before an id. */
  indexOf(id: MsgId): Promise<number>;
  /** The times of `n` rows spread evenly over the channel, for labels of a scrollbar. */
  ticks(n: number): Promise<readonly { readonly index: number; readonly time: number }[]>;
}

/** How {@link View.goto} goes there. */
export interface GotoOptions {
  /** Where the anchor's row will stand in what is seen; decides how many rows are kept on either side. */
  readonly align?: 'start' | 'center' | 'end';
  /** Whether the row should be shown off; {@link Window.focus} says so. */
  readonly highlight?: boolean;
}

/** The rows of a view at one time. Immutable. */
export interface Window {
  /** Grows with each change. */
  readonly version: number;
  /** Rows of the whole channel. */
  readonly total: number;
  /** The row of the first item. */
  readonly start: number;
  readonly items: readonly (Message | Placeholder)[];
  readonly foundOldest: boolean;
  readonly foundNewest: boolean;
  /** Whether rows and indices are exactly the channel's, as far as this client was told. */
  readonly exact: boolean;
  readonly change: Change;
  readonly focus: Focus | null;
}

/** A row to show off for a while. */
export interface Focus {
  readonly id: MsgId;
  readonly reason: 'goto' | 'late' | 'first-unread';
  /** Another one each time, so that the same row can be shown off twice. */
  readonly token: number;
  readonly ttlMs: number;
}

/** How a window differs from the one before. Indices are rows of the channel. */
export interface Change {
  readonly reason: 'init' | 'send' | 'live' | 'late' | 'edit' | 'goto' | 'loaded' | 'reset';
  /** Rows that came into the window, at their indices of now. */
  readonly inserted: readonly Span[];
  /** Rows that left it, at their indices of before. */
  readonly removed: readonly Span[];
  /** By how much the rows that stayed moved down, because others came in above. */
  readonly shiftAbove: number;
}

/** Consecutive rows. */
export interface Span {
  readonly index: number;
  readonly count: number;
}

/** Late messages that were not in view yet. */
export interface LateState {
  readonly total: number;
  /** Those before what is in view. */
  readonly above: number;
  /** Those after it. */
  readonly below: number;
  readonly runs: readonly LateRun[];
}

/** Late messages next to each other. */
export interface LateRun {
  readonly first: MsgId;
  readonly last: MsgId;
  readonly count: number;
  /** Sent time of the first, in ms. */
  readonly from: number;
  /** Sent time of the last, in ms. */
  readonly to: number;
  readonly where: 'above' | 'in-view' | 'below';
}

/** The late messages of a channel. */
export interface LateInbox extends Store<LateState> {
  /**
   * The nearest run above or below what is in view, or the oldest of all; `goto` its `first`. Without a
   * direction, above if there is one there, else below.
   */
  next(direction?: 'up' | 'down' | 'oldest'): LateRun | null;
  /** Takes a run out. */
  seen(run: LateRun): void;
  /** Takes all out. */
  clear(): void;
}
