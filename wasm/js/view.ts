/** A live view: its rows as a store, and going elsewhere. */

import { BackscrollError } from './errors.js';
import type { ChannelHost } from './channel.js';
import { Cell } from './store.js';
import type { At, Change, Focus, GotoOptions, MsgId, View, ViewOptions, Window } from './types.js';
import { EMPTY, nextWindow } from './window.js';
import type { Rows } from './window.js';

const ROWS = 50;
const FOCUS_MS = 3_000;

interface Going {
  resolve(window: Window): void;
  reject(error: Error): void;
}

let tokens = 0;

export class LiveView implements View {
  readonly #host: ChannelHost;
  readonly #number: number;
  readonly #rows: number;
  readonly #cell = new Cell<Window>(EMPTY);
  readonly getSnapshot = this.#cell.getSnapshot;
  readonly subscribe = this.#cell.subscribe;
  #text = '';
  #focus: Focus | null = null;
  #going: Going | undefined;
  #closed = false;

  constructor(host: ChannelHost, options: ViewOptions) {
    const { at = 'latest', before = ROWS, after = ROWS } = options;
    this.#host = host;
    this.#rows = before + after;
    // At the end there is nothing after the anchor: all rows before it.
    const query = at === 'latest' ? { at, before: this.#rows, after: 0 } : { at, before, after };
    this.#number = host.call((engine) => engine.openView(host.id, JSON.stringify(query)));
    this.refresh('init');
    host.drain();
  }

  goto(at: At, { align = 'center', highlight = false }: GotoOptions = {}): Promise<Window> {
    this.#assertOpen();
    const before = at === 'latest' ? this.#rows : Math.floor(this.#rows * BEFORE[align]);
    const query = { at, before, after: this.#rows - before };
    this.#host.call((engine) => { engine.moveView(this.#number, JSON.stringify(query)); });
    this.#going?.reject(new BackscrollError('superseded', 'the view was moved again'));
    this.#going = undefined;
    this.#focus = highlight ? focusOf(at, this.#host) : null;
    return new Promise((resolve, reject) => {
      this.#going = { resolve, reject };
      this.refresh('goto');
      this.#host.drain();
    });
  }

  setVisible(first: MsgId | number, last: MsgId | number, atEnd: boolean): void {
    this.#assertOpen();
    this.#host.sees(this.#idAt(first), this.#idAt(last));
    const edges = JSON.stringify([first, last]);
    this.#host.call((engine) => { engine.setVisible(this.#number, edges, atEnd); });
    this.refresh('loaded');
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

  /** Reads the rows again; tells subscribers if they changed. */
  refresh(reason: Change['reason']): void {
    if (this.#closed || this.#host.dead) return;
    const text = this.#host.call((engine) => engine.view(this.#number));
    const before = this.#cell.getSnapshot();
    if (text !== this.#text || this.#focus !== before.focus) {
      this.#text = text;
      this.#cell.set(nextWindow(before, JSON.parse(text) as Rows, reason, this.#focus));
    }
    this.arrive();
  }

  /** Ends a `goto` whose rows are there, or not to be had now. */
  arrive(): void {
    const window = this.#cell.getSnapshot();
    if (this.#going && (window.exact || this.#host.offline)) {
      this.#going.resolve(window);
      this.#going = undefined;
    }
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#going?.reject(new BackscrollError('closed', 'the view is closed'));
    this.#going = undefined;
    if (!this.#host.dead) this.#host.call((engine) => { engine.closeView(this.#number); });
    this.#host.forget(this);
  }

  #idAt(edge: MsgId | number): MsgId | undefined {
    if (typeof edge === 'string') return edge;
    const { start, items } = this.#cell.getSnapshot();
    const item = items[edge - start];
    return item && !item.placeholder ? item.id : undefined;
  }

  #assertOpen(): void {
    if (this.#closed) throw new BackscrollError('closed', 'the view is closed');
  }
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
