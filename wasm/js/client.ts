/** The client: an engine, its connection, its timers, and the stores that show what it knows. */

import { LiveChannel } from './channel.js';
import { Guard } from './engine.js';
import type { Engine } from './engine.js';
import { BackscrollError } from './errors.js';
import { Keeper } from './keeper.js';
import type { Storage } from './storage.js';
import { Cell } from './store.js';
import { Connection as Link } from './transport.js';
import type { OpenSocket } from './transport.js';
import type { Change, Channel, ChannelInfo, Client, ClientOptions, Connection } from './types.js';
import { Wake } from './wake.js';

/** How often the channel list is asked for while somebody looks at it, in ms. */
const CHANNELS_MS = 10_000;

type Event =
  | { event: 'connect' | 'connection' | 'channels' }
  | { event: 'disconnect'; code: string }
  | { event: 'changed'; channel: string; reason: Change['reason']; sent: boolean }
  | { event: 'error'; code: string; text: string }
  | { event: 'problem'; channel: string; text: string }
  | { event: 'storageFailed'; text: string }
  | { event: 'badRecord'; text: string };

/** Where a client keeps what it knows, if not in memory only. */
export interface Place {
  readonly name: string;
  readonly storage: Storage;
  /** Asks that it not be thrown away when space runs short; whether it will not. */
  persist(ask: boolean): Promise<boolean>;
}

export class LiveClient implements Client {
  readonly user: string;
  readonly #guard: Guard;
  readonly #url: string;
  readonly #token: ClientOptions['token'];
  readonly #openSocket: OpenSocket;
  readonly #channels = new Map<string, LiveChannel>();
  readonly #connectionCell = new Cell<Connection>({ state: 'offline', pendingOut: 0, storage: 'memory' });
  readonly #listCell = new Cell<readonly ChannelInfo[]>([], (used) => { this.#watchList(used); });
  readonly connection = this.#connectionCell;
  readonly channels = this.#listCell;
  readonly #wake = new Wake(() => { this.#run(); });
  readonly #flushes: { resolve: () => void; reject: (error: Error) => void }[] = [];
  readonly #stopListening: () => void;
  #link: Link | undefined;
  readonly #place: Place | undefined;
  readonly #keeper: Keeper | undefined;
  #storage: Connection['storage'] = 'memory';
  /** Whether the browser was asked to keep the store. */
  #asked = false;
  #error: Error | undefined;
  #listText = '[]';
  #listDirty = false;
  #listTimer: ReturnType<typeof setInterval> | undefined;
  #draining = false;

  /** Without a place everything is kept in memory; `lost` says that this was not meant. */
  constructor(options: ClientOptions, url: string, openSocket: OpenSocket, place?: Place, lost?: Error) {
    const { user, newest, memoryBytes } = options;
    this.user = user;
    this.#url = url;
    this.#token = options.token;
    this.#openSocket = openSocket;
    const setUp = { user, newest, memoryBytes, storage: place !== undefined };
    this.#guard = new Guard(setUp, (error) => { this.#failed(error); });
    this.#place = place;
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

  get dead(): boolean {
    return this.#guard.dead;
  }

  get offline(): boolean {
    return this.#connectionCell.getSnapshot().state === 'offline';
  }

  call<T>(use: (engine: Engine) => T): T {
    return this.#guard.call(use);
  }

  connect(): void {
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
    if (this.dead) return Promise.reject(new BackscrollError('closed', 'the client is closed'));
    if (this.#pendingOut() === 0) return Promise.resolve();
    return new Promise((resolve, reject) => { this.#flushes.push({ resolve, reject }); });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.dead) {
      this.call((engine) => { engine.stop(); });
      this.drain();
      await this.#keeper?.save();
    }
    this.#stop();
    for (const channel of [...this.#channels.values()]) channel[Symbol.dispose]();
    this.#guard.free();
    await this.#keeper?.close();
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
        channel?.changed(event.reason);
        // What was written here shows at once, what came from elsewhere with the next frame.
        if (event.sent) channel?.flush();
        this.#listDirty = true;
        this.#wake.soon();
        break;
      }
      case 'error':
        this.#setError(new BackscrollError(event.code, event.text));
        break;
      case 'problem':
        this.#setError(new BackscrollError('bad_data', `channel ${event.channel}: ${event.text}`));
        break;
      case 'storageFailed':
        this.#storage = 'failed';
        this.#setError(new BackscrollError('storage_failed', `messages are kept in memory only: ${event.text}`));
        break;
      case 'badRecord':
        this.#setError(new BackscrollError('bad_record', `a stored record was left out: ${event.text}`));
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
    const link: Link = new Link(this.#openSocket, this.#url, this.#token, {
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

  #pendingOut(): number {
    return (JSON.parse(this.call((engine) => engine.connection())) as { pendingOut: number }).pendingOut;
  }

  #readConnection(): void {
    const { state, pendingOut } = JSON.parse(this.call((engine) => engine.connection())) as Pick<Connection, 'state' | 'pendingOut'>;
    if (state === 'live') this.#error = undefined;
    this.#connectionCell.set({ state, pendingOut, storage: this.#storage, ...(this.#error ? { error: this.#error } : {}) });
    if (pendingOut === 0) for (const { resolve } of this.#flushes.splice(0)) resolve();
    for (const channel of this.#channels.values()) channel.connectionChanged();
  }

  #setError(error: Error): void {
    this.#error = error;
    this.#connectionCell.set({ ...this.#connectionCell.getSnapshot(), storage: this.#storage, error });
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
    if (!used || this.dead) return;
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
    const hidden = (): void => { if (document.hidden && !this.dead) void this.#keeper?.save(); };
    window.addEventListener('online', online);
    window.addEventListener('offline', offline);
    document.addEventListener('visibilitychange', hidden);
    return () => {
      window.removeEventListener('online', online);
      window.removeEventListener('offline', offline);
      document.removeEventListener('visibilitychange', hidden);
    };
  }

  #failed(error: Error): void {
    this.#stop();
    const { pendingOut } = this.#connectionCell.getSnapshot();
    this.#connectionCell.set({ state: 'offline', pendingOut, storage: 'failed', error });
  }

  #stop(): void {
    const closed = this.#error ?? new BackscrollError('closed', 'the client was closed before everything was sent');
    for (const { reject } of this.#flushes.splice(0)) reject(closed);
    this.#wake.stop();
    clearInterval(this.#listTimer);
    this.#link?.close();
    this.#link = undefined;
    this.#stopListening();
  }
}

/** Refuses options that this version has nothing behind. */
export function checkOptions({ engine = 'auto' }: ClientOptions): void {
  if (engine === 'worker') {
    throw new BackscrollError('unsupported_engine', "only engine: 'inline' is there yet");
  }
}

/** A client on a store, which is closed again if the client cannot be set up. */
export async function withPlace(options: ClientOptions, url: string, open: OpenSocket, place: Place): Promise<LiveClient> {
  try {
    return new LiveClient(options, url, open, place);
  } catch (thrown) {
    await place.storage.close();
    throw thrown;
  }
}

/** The name of a client's store: one for each relay and user. */
export function storeName(url: string, user: string): string {
  return `backscroll ${url} ${user}`;
}
