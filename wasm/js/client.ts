/** The client: an engine, its connection, its timers, and the stores that show what it knows. */

import { LiveChannel } from './channel.js';
import { Drafts } from './drafts.js';
import { Guard, loadEngine } from './engine.js';
import type { Engine, EngineModule } from './engine.js';
import { BackscrollError, RefusedError, toError } from './errors.js';
import { Keeper } from './keeper.js';
import type { Storage } from './storage.js';
import { Cell } from './store.js';
import { Connection as Link } from './transport.js';
import type { OpenSocket } from './transport.js';
import type { Channel, ChannelInfo, Client, ClientOptions, Connection, MsgId } from './types.js';
import { Wake } from './wake.js';

/** How often the channel list is asked for while somebody looks at it, in ms. */
const CHANNELS_MS = 10_000;
/** An engine that breaks off is replaced this often within {@link RESTARTS_MS}; then what is stored is to blame. */
const RESTARTS_MAX = 3;
/** In ms. */
const RESTARTS_MS = 60_000;

type Event =
  | { event: 'connect' | 'connection' | 'channels' }
  | { event: 'disconnect'; code: string }
  | { event: 'changed'; channel: string; reset: boolean; sent: boolean }
  | { event: 'error'; code: string; text: string }
  | { event: 'problem'; channel: string; text: string }
  | { event: 'refused'; channel: string; id: MsgId; code: string }
  | { event: 'ephemeral'; channel: string; user: string; payload: string }
  | { event: 'storageFailed'; text: string }
  | { event: 'badRecord'; text: string };

/** Where a client keeps what it knows, if not in memory only. */
export interface Place {
  readonly name: string;
  readonly storage: Storage;
  /** Asks that it not be thrown away when space runs short; whether it will not. */
  persist(ask: boolean): Promise<boolean>;
}

/** What a client is made of. */
export interface Parts {
  readonly options: ClientOptions;
  /** Of the relay's `/sync`. */
  readonly url: string;
  readonly open: OpenSocket;
  readonly engine: EngineModule;
}

/** What the engine tells of the connection. */
interface Known extends Pick<Connection, 'state' | 'pendingOut'> {
  /** Channels that the relay refused to open, with its codes. */
  readonly refused: readonly { readonly channel: string; readonly code: string }[];
}

export class LiveClient implements Client {
  readonly user: string;
  readonly #parts: Parts;
  #guard: Guard;
  readonly #channels = new Map<string, LiveChannel>();
  readonly #connectionCell = new Cell<Connection>({ state: 'offline', pendingOut: 0, storage: 'memory' });
  readonly #listCell = new Cell<readonly ChannelInfo[]>([], (used) => { this.#watchList(used); });
  readonly connection = this.#connectionCell;
  readonly channels = this.#listCell;
  readonly #wake = new Wake(() => { this.#run(); });
  readonly #flushes: { resolve: () => void; reject: (error: Error) => void }[] = [];
  readonly #stopListening: () => void;
  #link: Link | undefined;
  readonly drafts: Drafts;
  readonly #place: Place | undefined;
  readonly #keeper: Keeper | undefined;
  #storage: Connection['storage'] = 'memory';
  /** Whether the browser was asked to keep the store. */
  #asked = false;
  #error: Error | undefined;
  /** Whether the connection that is being made clears the error once it is there. */
  #isNew = false;
  #refused: Known['refused'] = [];
  #listText = '[]';
  #listDirty = false;
  #listTimer: ReturnType<typeof setInterval> | undefined;
  #draining = false;
  /** When engines were replaced, in ms. */
  #restarts: number[] = [];
  /** Why nothing works any more. */
  #over: Error | undefined;
  #disposed: Promise<void> | undefined;

  /** Without a place everything is kept in memory; `lost` says that this was not meant. */
  constructor(parts: Parts, place?: Place, lost?: Error) {
    this.user = parts.options.user;
    this.#parts = parts;
    this.#place = place;
    this.#guard = this.#newGuard(parts.engine);
    this.drafts = new Drafts(place?.storage, {
      onWritten: (keys) => { this.#keeper?.tell(keys); },
      onError: (thrown) => { this.report(toError(thrown, 'storage_failed')); },
    });
    if (place) {
      this.#keeper = new Keeper(this, place.storage, place.name);
      this.#storage = 'best-effort';
      this.#persist(false);
    }
    if (lost) {
      this.#storage = 'failed';
      this.#error = lost;
    }
    this.#readConnection();
    this.#stopListening = this.#listenToNetwork();
    this.connect();
  }

  #newGuard(engine: EngineModule): Guard {
    const { user, newest, memoryBytes, receipts = false } = this.#parts.options;
    const setUp = { user, newest, memoryBytes, receipts, storage: this.#place !== undefined };
    return new Guard(engine, setUp, (error) => { this.#failed(error); });
  }

  get dead(): boolean {
    return this.#guard.dead;
  }

  get restarting(): boolean {
    return this.#guard.dead && this.#over === undefined;
  }

  get offline(): boolean {
    return this.#connectionCell.getSnapshot().state === 'offline';
  }

  get live(): boolean {
    return this.#connectionCell.getSnapshot().state === 'live';
  }

  get connected(): boolean {
    const { state } = this.#connectionCell.getSnapshot();
    return state === 'live' || state === 'syncing';
  }

  troubleOf(channel: string): Error | undefined {
    const refusal = this.#refused.find((refused) => refused.channel === channel);
    return this.#over ?? (refusal && refusalError(refusal));
  }

  call<T>(use: (engine: Engine) => T): T {
    return this.#guard.call(use);
  }

  connect(): void {
    // An engine that takes over connects on its own.
    if (this.restarting) return;
    this.call((engine) => { engine.online(); });
    this.drain();
  }

  channel(id: string): Channel {
    const open = this.#channels.get(id);
    if (open) return open;
    const channel = new LiveChannel(this, id);
    this.#channels.set(id, channel);
    this.drain();
    return channel;
  }

  closed(channel: LiveChannel): void {
    this.#channels.delete(channel.id);
    if (this.dead) return;
    this.call((engine) => engine.closeChannel(channel.id));
    this.drain();
  }

  flush(): Promise<void> {
    if (this.#over) return Promise.reject(this.#over);
    if (!this.dead && this.#isSent()) return Promise.resolve();
    return new Promise((resolve, reject) => { this.#flushes.push({ resolve, reject }); });
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#dispose();
    return this.#disposed;
  }

  /** Lets go of everything, whatever fails. */
  async #dispose(): Promise<void> {
    try {
      if (!this.dead) {
        for (const channel of this.#channels.values()) channel.presence.leave();
        this.call((engine) => { engine.stop(); });
        this.drain();
        await this.#keeper?.save();
      }
    } finally {
      this.#over ??= new BackscrollError('closed', 'the client is closed');
      this.#stop(this.#error ?? new BackscrollError('closed', 'the client was closed before everything was sent'));
      this.#guard.free();
      for (const channel of [...this.#channels.values()]) channel[Symbol.dispose]();
      await this.drafts.close();
      await this.#keeper?.close();
    }
  }

  heard(keys: readonly Uint8Array[]): void {
    this.drafts.heard(keys);
  }

  /** A message was written here: the browser is asked to keep the store, once. */
  wrote(): void {
    if (this.#asked) return;
    this.#asked = true;
    this.#persist(true);
  }

  /** Does what the engine wants done. Safe to call at any time, also from within itself. */
  drain(): void {
    if (this.#draining || this.dead) return;
    this.#draining = true;
    try {
      let events: string | undefined;
      while ((events = this.call((engine) => engine.pollEvents())) !== undefined) {
        for (const event of JSON.parse(events) as Event[]) this.#handle(event);
      }
      // Before any frame: what a frame says may rest on what is stored.
      this.#keeper?.drain();
      let frame: Uint8Array | undefined;
      while ((frame = this.call((engine) => engine.pollFrame())) !== undefined) this.#link?.send(frame);
      this.#wake.at(this.call((engine) => engine.pollTimeout()));
      for (const channel of this.#channels.values()) channel.followUp();
      if (this.#flushes.length > 0 && this.#isSent()) for (const { resolve } of this.#flushes.splice(0)) resolve();
    } finally {
      this.#draining = false;
    }
  }

  #handle(event: Event): void {
    switch (event.event) {
      case 'connect':
        this.#connect();
        break;
      case 'disconnect':
        this.#link?.close();
        this.#link = undefined;
        break;
      case 'connection':
        this.#readConnection();
        break;
      case 'channels':
        this.#listDirty = true;
        this.#wake.soon();
        break;
      case 'changed': {
        const channel = this.#channels.get(event.channel);
        channel?.changed(event.reset);
        // What was written here shows at once, what came from elsewhere with the next frame.
        if (event.sent) channel?.flush();
        this.#listDirty = true;
        this.#wake.soon();
        break;
      }
      case 'error':
        this.report(new BackscrollError(event.code, event.text));
        break;
      case 'problem':
        this.report(new BackscrollError('bad_data', `channel ${event.channel}: ${event.text}`));
        break;
      case 'refused':
        this.report(new RefusedError(event.code, event.channel, event.id));
        break;
      case 'ephemeral':
        this.#channels.get(event.channel)?.heard(event.user, event.payload);
        break;
      case 'storageFailed':
        this.#storage = 'failed';
        this.report(new BackscrollError('storage_failed', `messages are kept in memory only: ${event.text}`));
        break;
      case 'badRecord':
        this.report(new BackscrollError('bad_record', `a stored record was left out: ${event.text}`));
        break;
    }
  }

  /** Time passed, or a frame begins. */
  #run(): void {
    if (this.dead) return;
    try {
      this.call((engine) => { engine.tick(); });
      this.drain();
      for (const channel of this.#channels.values()) channel.flush();
      if (this.#listDirty) this.#readList();
    } catch (thrown) {
      // A panic is told by the connection store; there is no caller to throw to.
      if (!this.#guard.dead) throw thrown;
    }
  }

  #connect(): void {
    this.#link?.close();
    this.#isNew = true;
    const link: Link = new Link(this.#parts.open, this.#parts.url, this.#parts.options.token, {
      opened: (token) => { this.#take(link, (engine) => { engine.connected(token); }); },
      bytes: (bytes) => { this.#take(link, (engine) => { engine.bytes(bytes); }); },
      closed: (code, error) => {
        if (error instanceof Error) this.#error = new BackscrollError('connection_failed', error.message, { cause: error });
        this.#take(link, (engine) => { engine.closed(code); });
      },
    });
    this.#link = link;
  }

  /** Hands something of the connection to the engine, unless the connection is another by now. */
  #take(link: Link, use: (engine: Engine) => void): void {
    if (this.#link !== link || this.dead) return;
    try {
      this.call(use);
      this.drain();
    } catch (thrown) {
      if (!this.#guard.dead) throw thrown;
    }
  }

  #known(): Known {
    return JSON.parse(this.call((engine) => engine.connection())) as Known;
  }

  /** Whether no message waits, here or in the store. */
  #isSent(): boolean {
    return (this.#keeper?.restored ?? true) && this.#known().pendingOut === 0;
  }

  #readConnection(): void {
    const { state, pendingOut, refused } = this.#known();
    if (state === 'live' && this.#isNew) {
      this.#isNew = false;
      this.#error = undefined;
    }
    this.#refused = refused;
    const [refusal] = refused;
    if (refusal) this.#error = refusalError(refusal);
    this.#tellConnection({ state, pendingOut });
  }

  #tellConnection(changed: Partial<Connection>): void {
    const { state, pendingOut } = { ...this.#connectionCell.getSnapshot(), ...changed };
    this.#connectionCell.set({ state, pendingOut, storage: this.#storage, ...(this.#error ? { error: this.#error } : {}) });
    for (const channel of this.#channels.values()) channel.connectionChanged();
  }

  report(error: Error): void {
    this.#error = error;
    this.#tellConnection({});
  }

  #persist(ask: boolean): void {
    const asked = this.#place?.persist(ask).catch(() => false);
    void asked?.then((kept) => {
      if (!kept || this.dead || this.#storage !== 'best-effort') return;
      this.#storage = 'persistent';
      this.#readConnection();
    });
  }

  #readList(): void {
    this.#listDirty = false;
    const text = this.call((engine) => engine.channels());
    if (text === this.#listText) return;
    this.#listText = text;
    this.#listCell.set(JSON.parse(text) as ChannelInfo[]);
  }

  #watchList(used: boolean): void {
    clearInterval(this.#listTimer);
    if (!used || this.#over) return;
    const ask = (): void => {
      if (this.dead) return;
      this.call((engine) => { engine.askChannels(); });
      this.drain();
    };
    this.#listTimer = setInterval(ask, CHANNELS_MS);
    ask();
  }

  #listenToNetwork(): () => void {
    const target = globalThis as Partial<EventTarget>;
    if (!target.addEventListener || typeof window === 'undefined') return () => undefined;
    const online = (): void => { if (!this.dead) this.connect(); };
    const offline = (): void => {
      const link = this.#link;
      if (!link) return;
      this.#take(link, (engine) => { engine.closed(); });
      link.close();
    };
    // A page that is hidden may be ended without another word.
    const hidden = (): void => {
      if (!document.hidden) return;
      this.drafts.write();
      this.#keeper?.save().catch((thrown: unknown) => { this.report(toError(thrown, 'storage_failed')); });
    };
    window.addEventListener('online', online);
    window.addEventListener('offline', offline);
    document.addEventListener('visibilitychange', hidden);
    return () => {
      window.removeEventListener('online', online);
      window.removeEventListener('offline', offline);
      document.removeEventListener('visibilitychange', hidden);
    };
  }

  /** The engine broke off. What was written is in the store: another engine goes on from there. */
  #failed(error: Error): void {
    this.#disconnect();
    if (this.#over) return;
    this.#error = error;
    this.#refused = [];
    const now = performance.now();
    this.#restarts = this.#restarts.filter((at) => now - at < RESTARTS_MS);
    const isKept = this.#storage === 'best-effort' || this.#storage === 'persistent';
    if (this.#disposed || !isKept || this.#restarts.length >= RESTARTS_MAX) {
      this.#end(error);
      return;
    }
    this.#restarts.push(now);
    this.#tellConnection({ state: 'offline' });
    void this.#restart();
  }

  async #restart(): Promise<void> {
    try {
      // The module is there already; this is an instance with memory of its own.
      const engine = await loadEngine(() => { throw new BackscrollError('init_failed', 'the module is gone'); });
      if (this.#disposed) return;
      this.#guard = this.#newGuard(engine);
    } catch (thrown) {
      this.#end(toError(thrown, 'init_failed'));
      return;
    }
    try {
      this.#keeper?.restart();
      for (const channel of this.#channels.values()) channel.reopen();
      this.connect();
    } catch (thrown) {
      // It may break off again, which is told as the first time was.
      if (!this.#guard.dead) this.#end(toError(thrown, 'engine_failed'));
    }
  }

  /** Nothing works any more; what is shown stays. */
  #end(error: Error): void {
    this.#over = error;
    this.#error = error;
    this.#storage = 'failed';
    this.#stop(error);
    this.#tellConnection({ state: 'offline' });
  }

  #stop(why: Error): void {
    for (const { reject } of this.#flushes.splice(0)) reject(why);
    this.#disconnect();
    clearInterval(this.#listTimer);
    this.#stopListening();
  }

  #disconnect(): void {
    this.#wake.stop();
    this.#link?.close();
    this.#link = undefined;
  }
}

function refusalError({ channel, code }: Known['refused'][number]): BackscrollError {
  return new BackscrollError(code, `channel ${channel}: the relay refused to open it (${code})`);
}

/** Refuses options that this version has nothing behind. */
export function checkOptions({ engine = 'auto' }: ClientOptions): void {
  if (engine === 'worker') {
    throw new BackscrollError('unsupported_engine', "only engine: 'inline' is there yet");
  }
}

/** A client on a store, which is closed again if the client cannot be set up. */
export async function withPlace(parts: Parts, place: Place): Promise<LiveClient> {
  try {
    return new LiveClient(parts, place);
  } catch (thrown) {
    await place.storage.close();
    throw thrown;
  }
}

/** The name of a client's store: one for each relay and user. */
export function storeName(url: string, user: string): string {
  return `backscroll ${url} ${user}`;
}
