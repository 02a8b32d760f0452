/** A channel: sending, its views, and what is known of it as a whole. */

import type { Engine } from './engine.js';
import type { Drafts } from './drafts.js';
import { BackscrollError } from './errors.js';
import { Inbox } from './inbox.js';
import type { InboxHost } from './inbox.js';
import { PresenceStore } from './presence.js';
import { ReceiptStore } from './receipts.js';
import { Cell } from './store.js';
import type {
  Channel, ChannelState, EditOptions, Message, MsgId, Receipts, SendOptions, Store, ViewOptions,
} from './types.js';
import { LiveView } from './view.js';

/** What a channel needs of its client. */
export interface ClientHost {
  readonly user: string;
  readonly drafts: Drafts;
  readonly dead: boolean;
  /** Whether another engine is about to take over. */
  readonly restarting: boolean;
  readonly offline: boolean;
  /** Whether the channels that are open here are open at the relay. */
  readonly live: boolean;
  readonly connected: boolean;
  /** Why a channel gets nothing from the relay, if it does not. */
  troubleOf(channel: string): Error | undefined;
  call<T>(use: (engine: Engine) => T): T;
  /** Does what the last call asks for: frames, events, timers. */
  drain(): void;
  /** A message was written here. */
  wrote(): void;
  closed(channel: LiveChannel): void;
}

/** What a view needs of its channel. */
export interface ChannelHost {
  readonly id: string;
  readonly dead: boolean;
  /** Whether the engine is another one, which does not know the channel yet. */
  readonly held: boolean;
  readonly offline: boolean;
  /** Why nothing comes from the relay, if nothing does. */
  readonly trouble: Error | undefined;
  readonly firstUnread: MsgId | null;
  call<T>(use: (engine: Engine) => T): T;
  drain(): void;
  /** A reader looks at the rows of a view. */
  reads(view: LiveView): void;
  isLate(id: MsgId): boolean;
  forget(view: LiveView): void;
}

/** What the engine knows of a channel. */
interface Info {
  readonly total: number;
  readonly unread: number;
  readonly firstUnread: MsgId | null;
  readonly known: boolean;
}

export class LiveChannel implements Channel, ChannelHost, InboxHost {
  readonly id: string;
  readonly #client: ClientHost;
  readonly #views = new Set<LiveView>();
  readonly #info = new Cell<ChannelState>({ total: 0, unread: 0, firstUnread: null, backfill: 'running' });
  readonly info = this.#info;
  readonly late = new Inbox(this);
  readonly presence: PresenceStore;
  readonly draft: Channel['draft'];
  /** Receipts that somebody subscribed to. */
  readonly #receipts = new Map<MsgId, ReceiptStore>();
  #text = '';
  /** The view that was read last, or opened. */
  #reading: LiveView | undefined;
  /** Whether something changed that the stores do not show. */
  #dirty = false;
  #isReset = false;
  #held = false;
  #closed = false;

  constructor(client: ClientHost, id: string) {
    this.id = id;
    this.#client = client;
    this.presence = new PresenceStore({ user: client.user, say: (text) => { this.#say(text); } });
    const { getSnapshot, subscribe } = client.drafts.of(id);
    this.draft = { getSnapshot, subscribe, set: (text) => { client.drafts.set(id, text); } };
    this.#held = client.restarting;
    if (this.#held) return;
    client.call((engine) => { engine.openChannel(id); });
    this.readInfo();
  }

  get dead(): boolean {
    return this.#client.dead || this.#closed;
  }

  get held(): boolean {
    return this.#held || this.#client.restarting;
  }

  get offline(): boolean {
    return this.#client.offline;
  }

  get trouble(): Error | undefined {
    return this.#client.troubleOf(this.id);
  }

  get firstUnread(): MsgId | null {
    return this.#info.getSnapshot().firstUnread;
  }

  get reading(): number | undefined {
    return this.#reading?.number;
  }

  call<T>(use: (engine: Engine) => T): T {
    return this.#client.call(use);
  }

  drain(): void {
    this.#client.drain();
  }

  view(options: ViewOptions = {}): LiveView {
    const view = this.#open(options);
    this.reads(view);
    return view;
  }

  #open(options: ViewOptions): LiveView {
    const view = new LiveView(this, options);
    this.#views.add(view);
    return view;
  }

  send(text: string, options: SendOptions = {}): Message {
    const content = JSON.stringify({ ...options, text });
    const id = this.call((engine) => engine.send(this.id, content));
    const message = this.#message(id);
    if (message === undefined) throw new BackscrollError('engine_failed', 'a message that was sent is not there');
    this.#written();
    this.#client.wrote();
    this.presence.typing(false);
    return message;
  }

  edit(id: MsgId, text: string, { attachments, data }: EditOptions = {}): void {
    const edit = JSON.stringify({ text, attachments, data });
    this.call((engine) => { engine.edit(this.id, id, edit); });
    this.#said();
  }

  remove(id: MsgId): void {
    this.call((engine) => { engine.remove(this.id, id); });
    this.#said();
  }

  react(id: MsgId, emoji: string, on = true): void {
    this.call((engine) => { engine.react(this.id, id, emoji, on); });
    this.#said();
  }

  markRead(upTo?: MsgId): void {
    this.call((engine) => { engine.markRead(this.id, upTo); });
    this.told();
  }

  receipts(id: MsgId): Store<Receipts> {
    const known = this.#receipts.get(id);
    if (known) return known;
    const read = () => (this.dead || this.held ? undefined : this.call((engine) => engine.receipts(this.id, id)));
    const store: ReceiptStore = new ReceiptStore(read, (used) => {
      if (used) this.#receipts.set(id, store);
      else this.#receipts.delete(id);
    });
    return store;
  }

  retry(id: MsgId): void {
    this.call((engine) => engine.retry(this.id, id));
    this.#written();
  }

  discard(id: MsgId): void {
    this.call((engine) => engine.discard(this.id, id));
    this.#written();
  }

  /** Shows what was written here before the call returns, also when a subscriber made the call. */
  #written(): void {
    this.#client.drain();
    this.changed();
    this.flush();
  }

  /** Shows what was said of messages before the call returns. */
  #said(): void {
    this.#client.drain();
    this.changed();
    this.flush();
    this.#client.wrote();
  }

  told(): void {
    this.#client.drain();
    this.flush();
  }

  async get(id: MsgId): Promise<Message | undefined> {
    const known = await Promise.resolve().then(() => this.#message(id));
    if (known) return known;
    const view = this.#open({ at: { id }, before: 0, after: 1 });
    try {
      await view.goto({ id }, { align: 'start' });
      return this.#message(id);
    } finally {
      view[Symbol.dispose]();
    }
  }

  #message(id: string): Message | undefined {
    const text = this.call((engine) => engine.message(this.id, id));
    return text === undefined ? undefined : (JSON.parse(text) as Message);
  }

  /** Notes a change, which {@link flush} shows; a reset is one of the whole channel. */
  changed(isReset = false): void {
    this.#dirty = true;
    this.#isReset ||= isReset;
  }

  /** Brings the stores up to date, if something changed. */
  flush(): void {
    if (!this.#dirty || this.dead) return;
    if (this.#held) {
      // What the store has of the channel comes as a whole, and says so.
      if (!this.#isReset) return;
      this.#held = false;
      for (const view of this.#views) view.reopen();
    }
    this.#dirty = false;
    this.#isReset = false;
    for (const view of this.#views) view.refresh();
    for (const receipts of this.#receipts.values()) receipts.refresh();
    this.readInfo();
  }

  /** Another engine took over. What is shown stays until it has the channel from the store. */
  reopen(): void {
    this.#held = true;
    this.#dirty = false;
    this.#isReset = false;
    this.#text = '';
    this.call((engine) => { engine.openChannel(this.id); });
  }

  /** The connection's state changed. */
  connectionChanged(): void {
    // While another channel is being opened, this one stays open.
    if (this.#client.live) this.presence.live(this.trouble === undefined && !this.held);
    else if (!this.#client.connected) this.presence.live(false);
    for (const view of this.#views) view.arrive();
  }

  /** The engine was told something. */
  followUp(): void {
    for (const view of this.#views) view.followUp();
  }

  reads(view: LiveView): void {
    this.#reading = view;
    this.late.refresh();
  }

  isLate(id: MsgId): boolean {
    return this.late.getSnapshot().runs.some((run) => run.first === id);
  }

  /** Another user told something that is not kept. */
  heard(user: string, text: string): void {
    this.presence.hear(user, text);
  }

  forget(view: LiveView): void {
    this.#views.delete(view);
    if (this.#reading === view) this.#reading = [...this.#views].at(-1);
  }

  readInfo(): void {
    if (this.held) return;
    this.late.refresh();
    const text = this.call((engine) => engine.info(this.id)) ?? '';
    if (text === this.#text || text === '') return;
    this.#text = text;
    const { total, unread, firstUnread, known } = JSON.parse(text) as Info;
    this.#info.set({ total, unread, firstUnread, backfill: known ? 'none' : 'running' });
  }

  #say(text: string): void {
    if (this.dead || this.held) return;
    this.call((engine) => { engine.say(this.id, text); });
    this.#client.drain();
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.presence.leave();
    for (const view of [...this.#views]) view[Symbol.dispose]();
    this.#closed = true;
    this.#client.closed(this);
  }
}
