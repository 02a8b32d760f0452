/** A live view: its rows as a store, and going elsewhere. */

import { BackscrollError } from './errors.js';
import type { ChannelHost } from './channel.js';
import { Cell } from './store.js';
import type { At, Focus, GotoOptions, MsgId, View, ViewOptions, Window } from './types.js';
import { EMPTY, focused, nextWindow } from './window.js';
import type { Update } from './window.js';

const ROWS = 50;
/** The most that a view can be opened with. */
const ROWS_MAX = 5_000;
const FOCUS_MS = 3_000;

interface Going {
  resolve(window: Window): void;
  reject(error: Error): void;
}

let tokens = 0;

export class LiveView implements View {
  readonly #host: ChannelHost;
  /** The engine's name of this view; of no use while the channel is held. */
  #number = 0;
  readonly #rows: number;
  /** Where it stands, as far as the engine does not move it. */
  #query: Query;
  readonly #cell = new Cell<Window>(EMPTY);
  readonly getSnapshot = this.#cell.getSnapshot;
  readonly subscribe = this.#cell.subscribe;
  /** Whether the engine is another one, which tells first what is shown already. */
  #reopened = false;
  #focus: Focus | null = null;
  #going: Going | undefined;
  #closed = false;

  constructor(host: ChannelHost, options: ViewOptions) {
    const { at = 'latest', before = ROWS, after = ROWS } = options;
    this.#host = host;
    this.#rows = before + after;
    this.#query = queryOf(at, before, after);
    if (host.held) return;
    this.#open(this.#query);
    this.refresh();
    host.drain();
  }

  /** The engine's name of it, if the engine has it. */
  get number(): number | undefined {
    return this.#host.held || this.#closed ? undefined : this.#number;
  }

  #open(query: Query): void {
    const asked = JSON.stringify(query);
    this.#number = this.#host.call((engine) => engine.openView(this.#host.id, asked));
  }

  /** Another engine has the channel: it shows the same place. */
  reopen(): void {
    this.#reopened = true;
    const { at, before } = this.#query;
    // At the end it has grown with what came.
    const held = at === 'latest' ? Math.min(this.#cell.getSnapshot().items.length, ROWS_MAX) : 0;
    this.#open({ ...this.#query, before: Math.max(before, held) });
  }

  async goto(at: At, { align = 'center', highlight = false }: GotoOptions = {}): Promise<Window> {
    this.#assertOpen();
    const before = Math.floor(this.#rows * BEFORE[align]);
    const query = queryOf(at, before, this.#rows - before);
    const asked = JSON.stringify(query);
    if (!this.#host.held) this.#host.call((engine) => { engine.moveView(this.#number, asked); });
    this.#query = query;
    this.#going?.reject(new BackscrollError('superseded', 'the view was moved again'));
    this.#going = undefined;
    this.#focus = highlight ? focusOf(at, this.#host) : null;
    return await new Promise((resolve, reject) => {
      this.#going = { resolve, reject };
      this.refresh();
      this.arrive();
      this.#host.drain();
    });
  }

  setVisible(first: MsgId | number, last: MsgId | number, atEnd: boolean): void {
    this.#assertOpen();
    const before = Math.floor(this.#rows / 2);
    const at = typeof first === 'number' ? { index: first } : { id: first };
    this.#query = queryOf(atEnd ? 'latest' : at, before, this.#rows - before);
    if (this.#host.held) return;
    const edges = JSON.stringify([first, last]);
    this.#host.call((engine) => { engine.setVisible(this.#number, edges, atEnd); });
    this.refresh();
    this.#host.reads(this);
    this.#host.drain();
  }

  indexOf(id: MsgId): Promise<number> {
    return promised(() => this.#host.call((engine) => engine.indexOf(this.#host.id, id)));
  }

  ticks(n: number): Promise<readonly { index: number; time: number }[]> {
    return promised(() => {
      const count = Math.max(0, Math.floor(n));
      return JSON.parse(this.#host.call((engine) => engine.ticks(this.#host.id, count))) as { index: number; time: number }[];
    });
  }

  /** Takes in what changed; tells subscribers of it. */
  refresh(): void {
    if (this.#closed || this.#host.dead || this.#host.held) return;
    const text = this.#host.call((engine) => engine.pollView(this.#number));
    const before = this.#cell.getSnapshot();
    if (text !== undefined) {
      const update = JSON.parse(text) as Update;
      const reason = this.#reopened && update.reason === 'init' ? 'reset' : update.reason;
      this.#reopened = false;
      this.#cell.set(nextWindow(before, { ...update, reason }, this.#focus));
    } else if (this.#focus !== before.focus) {
      this.#cell.set(focused(before, this.#focus));
    }
    this.arrive();
  }

  /** The engine was told something: a `goto` may end, before anything is shown. */
  followUp(): void {
    if (this.#going) this.refresh();
  }

  /** Ends a `goto` whose rows are there, or not to be had, now or at all. */
  arrive(): void {
    const going = this.#going;
    const { trouble } = this.#host;
    if (!going || (this.#host.held && !trouble)) return;
    const window = this.#cell.getSnapshot();
    if (window.exact && !this.#host.held) going.resolve(window);
    else if (trouble) going.reject(trouble);
    else if (this.#isDamaged()) going.reject(damage(this.#host.id));
    else if (this.#host.offline && !this.#isReading()) going.resolve(window);
    else return;
    this.#going = undefined;
  }

  #isReading(): boolean {
    return !this.#host.dead && this.#host.call((engine) => engine.isReading(this.#host.id));
  }

  #isDamaged(): boolean {
    const { number } = this;
    return number !== undefined && !this.#host.dead && this.#host.call((engine) => engine.isDamaged(number));
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#going?.reject(new BackscrollError('closed', 'the view is closed'));
    this.#going = undefined;
    this.#host.forget(this);
    if (!this.#host.dead && !this.#host.held) this.#host.call((engine) => { engine.closeView(this.#number); });
  }

  #assertOpen(): void {
    if (this.#closed) throw new BackscrollError('closed', 'the view is closed');
  }
}

/** A query as the engine takes it. */
interface Query {
  readonly at: At;
  readonly before: number;
  readonly after: number;
}

/** At the end there is nothing after the anchor: all rows are before it. */
function queryOf(at: At, before: number, after: number): Query {
  return at === 'latest' ? { at, before: before + after, after: 0 } : { at, before, after };
}

function damage(channel: string): BackscrollError {
  return new BackscrollError('bad_data', `channel ${channel}: messages of this place came damaged from the relay`);
}

/** The share of rows kept before an anchor that will stand there. */
const BEFORE = { start: 0.25, center: 0.5, end: 0.75 };

function focusOf(at: At, host: ChannelHost): Focus | null {
  tokens += 1;
  const of = (id: MsgId, reason: Focus['reason']): Focus => ({ id, reason, token: tokens, ttlMs: FOCUS_MS });
  if (typeof at === 'object' && 'id' in at) return of(at.id, host.isLate(at.id) ? 'late' : 'goto');
  const unread = at === 'first-unread' ? host.firstUnread : null;
  return unread ? of(unread, 'first-unread') : null;
}

async function promised<T>(compute: () => T): Promise<T> {
  return await Promise.resolve().then(compute);
}
