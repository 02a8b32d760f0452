/** The client: an engine, its connection, its timers, and the stores that show what it knows. */

import { LiveChannel } from './channel.js';
import { Guard } from './engine.js';
import type { Engine } from './engine.js';
import { BackscrollError } from './errors.js';
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
  | { event: 'problem'; channel: string; text: string };

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
  readonly #flushes: (() => void)[] = [];
  readonly #stopListening: () => void;
  #link: Link | undefined;
  #error: Error | undefined;
  #listText = '[]';
  #listDirty = false;
  #listTimer: ReturnType<typeof setInterval> | undefined;
  #draining = false;

  constructor(options: ClientOptions, url: string, openSocket: OpenSocket) {
    const { user, newest, memoryBytes } = options;
    this.user = user;
    this.#url = url;
    this.#token = options.token;
    this.#openSocket = openSocket;
    const setUp = { user, ...(newest === undefined ? {} : { newest }), ...(memoryBytes === undefined ? {} : { memoryBytes }) };
    this.#guard = new Guard(setUp, (error) => { this.#failed(error); });
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
    if (this.#connectionCell.getSnapshot().pendingOut === 0) return Promise.resolve();
    return new Promise((resolve) => { this.#flushes.push(resolve); });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.dead) {
      for (const channel of [...this.#channels.values()]) channel[Symbol.dispose]();
      this.call((engine) => { engine.stop(); });
      this.drain();
    }
    this.#stop();
    this.#guard.free();
    await Promise.resolve();
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

  #readConnection(): void {
    const { state, pendingOut } = JSON.parse(this.call((engine) => engine.connection())) as Pick<Connection, 'state' | 'pendingOut'>;
    if (state === 'live') this.#error = undefined;
    this.#connectionCell.set({ state, pendingOut, storage: 'memory', ...(this.#error ? { error: this.#error } : {}) });
    if (pendingOut === 0) for (const resolve of this.#flushes.splice(0)) resolve();
    for (const channel of this.#channels.values()) channel.connectionChanged();
  }

  #setError(error: Error): void {
    this.#error = error;
    this.#connectionCell.set({ ...this.#connectionCell.getSnapshot(), error });
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
    window.addEventListener('online', online);
    window.addEventListener('offline', offline);
    return () => {
      window.removeEventListener('online', online);
      window.removeEventListener('offline', offline);
    };
  }

  #failed(error: Error): void {
    this.#stop();
    const { pendingOut } = this.#connectionCell.getSnapshot();
    this.#connectionCell.set({ state: 'offline', pendingOut, storage: 'failed', error });
  }

  #stop(): void {
    this.#wake.stop();
    clearInterval(this.#listTimer);
    this.#link?.close();
    this.#link = undefined;
    this.#stopListening();
  }
}

/** Refuses options that this version has nothing behind. */
export function checkOptions({ storage = 'memory', engine = 'auto' }: ClientOptions): void {
  if (storage !== 'memory') {
    throw new BackscrollError('unsupported_storage', "only storage: 'memory' is there yet; messages not sent are lost with the page");
  }
  if (engine === 'worker') {
    throw new BackscrollError('unsupported_engine', "only engine: 'inline' is there yet");
  }
}
