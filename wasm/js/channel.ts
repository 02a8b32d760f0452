/** A channel: sending, its views, and what is known of it as a whole. */

import type { Engine } from './engine.js';
import { BackscrollError } from './errors.js';
import { Cell } from './store.js';
import type {
  Change, Channel, ChannelState, LateInbox, LateRun, LateState, Message, MsgId, SendOptions, ViewOptions,
} from './types.js';
import { LiveView } from './view.js';

/** What a channel needs of its client. */
export interface ClientHost {
  readonly dead: boolean;
  /** Whether another engine is about to take over. */
  readonly restarting: boolean;
  readonly offline: boolean;
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
  sees(first: MsgId | undefined, last: MsgId | undefined): void;
  isLate(id: MsgId): boolean;
  forget(view: LiveView): void;
}

/** What the engine knows of a channel. */
interface Info {
  readonly total: number;
  readonly unread: number;
  readonly firstUnread: MsgId | null;
  readonly known: boolean;
  readonly late: readonly Omit<LateRun, 'where'>[];
}

export class LiveChannel implements Channel, ChannelHost {
  readonly id: string;
  readonly #client: ClientHost;
  readonly #views = new Set<LiveView>();
  readonly #info = new Cell<ChannelState>({ total: 0, unread: 0, firstUnread: null, backfill: 'running' });
  readonly #late = new Cell<LateState>({ total: 0, above: 0, below: 0, runs: [] });
  readonly info = this.#info;
  readonly late: LateInbox;
  #text = '';
  #known: Info | undefined;
  /** The ends of what was last in view. */
  #seen: { first: MsgId; last: MsgId } | undefined;
  #dirty: Change['reason'] | undefined;
  #held = false;
  #closed = false;

  constructor(client: ClientHost, id: string) {
    this.id = id;
    this.#client = client;
    this.late = this.#inbox();
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

  call<T>(use: (engine: Engine) => T): T {
    return this.#client.call(use);
  }

  drain(): void {
    this.#client.drain();
  }

  view(options: ViewOptions = {}): LiveView {
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
    return message;
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
    this.changed('send');
    this.flush();
  }

  async get(id: MsgId): Promise<Message | undefined> {
    return await Promise.resolve().then(() => this.#message(id));
  }

  #message(id: string): Message | undefined {
    const text = this.call((engine) => engine.message(this.id, id));
    return text === undefined ? undefined : (JSON.parse(text) as Message);
  }

  /** Notes a change; views are read again by {@link flush}. */
  changed(reason: Change['reason']): void {
    // What asks most of a list wins over what came with it.
    const rank = (of: Change['reason'] | undefined) => (of === undefined ? RANKS.length : RANKS.indexOf(of));
    if (rank(reason) < rank(this.#dirty)) this.#dirty = reason;
  }

  /** Brings the stores up to date, if something changed. */
  flush(): void {
    const reason = this.#dirty;
    if (reason === undefined || this.dead) return;
    if (this.#held) {
      // What the store has of the channel comes as a whole, and says so.
      if (reason !== 'reset') return;
      this.#held = false;
      for (const view of this.#views) view.reopen();
    }
    this.#dirty = undefined;
    for (const view of this.#views) view.refresh(reason);
    this.readInfo();
  }

  /** Another engine took over. What is shown stays until it has the channel from the store. */
  reopen(): void {
    this.#held = true;
    this.#dirty = undefined;
    this.#text = '';
    this.call((engine) => { engine.openChannel(this.id); });
  }

  /** The connection's state changed. */
  connectionChanged(): void {
    for (const view of this.#views) view.arrive();
  }

  sees(first: MsgId | undefined, last: MsgId | undefined): void {
    if (!first || !last) return;
    this.#seen = { first, last };
    this.#readLate();
  }

  isLate(id: MsgId): boolean {
    return this.#known?.late.some((run) => run.first === id) ?? false;
  }

  forget(view: LiveView): void {
    this.#views.delete(view);
  }

  readInfo(): void {
    if (this.held) return;
    const text = this.call((engine) => engine.info(this.id)) ?? '';
    if (text === this.#text || text === '') return;
    this.#text = text;
    const known = JSON.parse(text) as Info;
    const { total, unread, firstUnread } = known;
    const before = this.#info.getSnapshot();
    const backfill = known.known ? 'none' : 'running';
    const same = before.total === total && before.unread === unread
      && before.firstUnread === firstUnread && before.backfill === backfill;
    this.#known = known;
    if (!same) this.#info.set({ total, unread, firstUnread, backfill });
    this.#readLate();
  }

  #readLate(): void {
    const runs = (this.#known?.late ?? []).map((run): LateRun => ({ ...run, where: this.#where(run) }));
    const count = (where: LateRun['where']) =>
      runs.filter((run) => run.where === where).reduce((sum, run) => sum + run.count, 0);
    const total = runs.reduce((sum, run) => sum + run.count, 0);
    const next = { total, above: count('above'), below: count('below'), runs };
    if (JSON.stringify(next) !== JSON.stringify(this.#late.getSnapshot())) this.#late.set(next);
  }

  /** Ids compare as their places in time. */
  #where({ first, last }: Omit<LateRun, 'where'>): LateRun['where'] {
    if (!this.#seen || last < this.#seen.first) return 'above';
    return first > this.#seen.last ? 'below' : 'in-view';
  }

  #inbox(): LateInbox {
    const take = (first?: MsgId, last?: MsgId): void => {
      this.call((engine) => { engine.markSeen(this.id, first, last); });
      this.#client.drain();
      this.flush();
    };
    return {
      getSnapshot: this.#late.getSnapshot,
      subscribe: this.#late.subscribe,
      next: (direction = 'up') => {
        const { runs } = this.#late.getSnapshot();
        if (direction === 'oldest') return runs[0] ?? null;
        const above = runs.filter((run) => run.where === 'above');
        const below = runs.filter((run) => run.where === 'below');
        return (direction === 'up' ? above.at(-1) : below[0]) ?? null;
      },
      seen: (run) => { take(run.first, run.last); },
      clear: () => { take(); },
    };
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    for (const view of [...this.#views]) view[Symbol.dispose]();
    this.#closed = true;
    this.#client.closed(this);
  }
}

/** Reasons, the one that asks most of a list first. */
const RANKS: readonly Change['reason'][] = ['reset', 'init', 'goto', 'send', 'late', 'live', 'edit', 'loaded'];
