// Keeps what is read in place. The engine's view holds a few screens of rows; they stand in a scroll
// container between two empty runways, so that rows which come or go above are made up for by the
// upper runway's length: `scrollTop` is not written while a finger or a wheel moves it. The scroll
// position in pixels means nothing beyond that; where the reader is, is the rank of the first row.
//
// It knows the DOM and the view, and nothing of React: call `attach` with the elements, and `changed`
// after the rows of a window were rendered, before the browser paints.
import { type At, BackscrollError, type Message, type MsgId, type Placeholder, type View, type Window } from 'backscroll';
import { Value } from './stores';

/** Long enough for any fling, and short enough for positions to be exact in 32-bit floats. */
const RUNWAY_PX = 100_000;
/** Nothing moved for this long: the runways are put in order. */
const IDLE_MS = 150;
/** Closer to the end than this is at the end. */
const PINNED_PX = 8;
/** Rows that are read for sure overlap what is seen by this much. */
const SEEN_PX = 1;
/** The browser places boxes in 64ths of a pixel. */
const PX_STEPS = 64;
const TRAIL_MAX = 20;

export interface Elements {
  /** The scroll container. */
  readonly box: HTMLElement;
  readonly above: HTMLElement;
  /** Its children are the rows, in order. */
  readonly rows: HTMLElement;
  readonly below: HTMLElement;
}

/** What is seen. */
export interface Place {
  /** Index of the first visible row. */
  readonly first: number;
  /** How many rows are visible. */
  readonly count: number;
  /** When the first visible message was sent, if it is loaded. */
  readonly time: number | undefined;
  /** Whether the newest message is seen and new ones are followed. */
  readonly atEnd: boolean;
}

/** A row, and how far it stands below the top of what is seen. */
export interface Bookmark {
  readonly id: MsgId | undefined;
  readonly index: number;
  readonly offset: number;
  readonly atEnd: boolean;
}

/** How a jump shows the row it goes to. */
export interface JumpOptions {
  readonly highlight?: boolean;
  /** Whether the row takes the focus. */
  readonly focus?: boolean;
}

interface Anchor {
  readonly id: MsgId | undefined;
  readonly index: number;
  /** Where its text stands in the scroll container's content. */
  readonly y: number;
}

interface Target {
  readonly id: MsgId | undefined;
  readonly index: number | undefined;
  /** How far below the top of what is seen it will stand. */
  readonly offset: (boxHeight: number, rowHeight: number) => number;
  readonly focus: boolean;
}

type Item = Message | Placeholder;

const atTop = (): number => 0;
const atThird = (boxHeight: number, rowHeight: number): number => Math.max(0, (boxHeight - rowHeight) / 3);

export class Scroller {
  readonly view: View;
  readonly place = new Value<Place>({ first: 0, count: 0, time: undefined, atEnd: true });
  /** How many places there are to go back to. */
  readonly trail = new Value(0);
  readonly #rowsHeld: number;
  readonly #trail: Bookmark[] = [];
  #elements: Elements | undefined;
  #window: Window | undefined;
  #runway = 0;
  #anchor: Anchor | undefined;
  #target: Target | undefined;
  #pinned = true;
  #told = '';
  #dragTo: number | undefined;
  #idleTimer: ReturnType<typeof setTimeout> | undefined;
  #touching = false;
  #hadFocus = false;

  /** `rowsHeld` is how many rows the view was opened with; it stands at `from`, if given, else at the end. */
  constructor(view: View, rowsHeld: number, from?: Bookmark) {
    this.view = view;
    this.#rowsHeld = rowsHeld;
    if (from) {
      this.#pinned = false;
      this.#target = { id: from.id, index: from.index, offset: () => from.offset, focus: false };
    }
  }

  /** Takes the elements into care; the answer ends that. */
  attach(elements: Elements): () => void {
    this.#elements = elements;
    const { box } = elements;
    const listening = new AbortController();
    const { signal } = listening;
    const moving = (): void => {
      this.#target = undefined;
    };
    const touch = (touching: boolean) => (): void => {
      this.#touching = touching;
      this.#target = undefined;
      this.#restSoon();
    };
    box.addEventListener('scroll', () => { this.#scrolled(); }, { passive: true, signal });
    box.addEventListener('wheel', moving, { passive: true, signal });
    box.addEventListener('touchstart', touch(true), { passive: true, signal });
    for (const end of ['touchend', 'touchcancel'] as const) box.addEventListener(end, touch(false), { passive: true, signal });
    box.addEventListener('focusin', () => { this.#focusMoved(); }, { signal });
    box.addEventListener('focusout', () => { this.#focusMoved(); }, { signal });
    // What came while the page was not shown is seen when it is.
    document.addEventListener('visibilitychange', () => { this.#look(); }, { signal });
    const sizes = new ResizeObserver(() => { this.#settle(); });
    sizes.observe(box);
    sizes.observe(elements.rows);
    return () => {
      listening.abort();
      sizes.disconnect();
      clearTimeout(this.#idleTimer);
      this.#elements = undefined;
      this.#told = '';
    };
  }

  /** The rows of this window are in the document. */
  changed(window: Window): void {
    this.#window = window;
    this.#settle();
    this.#keepFocus();
  }

  /** Where the reader is, to come back to. */
  here(): Bookmark | undefined {
    const elements = this.#elements;
    const row = this.#anchor && this.#rowOf(this.#anchor);
    if (!elements || !row || !this.#anchor) return undefined;
    const { id, index } = this.#anchor;
    return { id, index, offset: row.getBoundingClientRect().top - elements.box.getBoundingClientRect().top, atEnd: this.#pinned };
  }

  /** Shows the row of this index first, at once; with others of the same frame only the last counts. */
  dragTo(index: number): void {
    if (this.#dragTo === undefined) {
      requestAnimationFrame(() => {
        const to = this.#dragTo;
        this.#dragTo = undefined;
        if (to !== undefined) void this.toIndex(to);
      });
    }
    this.#dragTo = index;
  }

  /** Shows the row of this index first. */
  toIndex(index: number, options: JumpOptions = {}): Promise<boolean> {
    const total = this.#window?.total ?? 0;
    if (index >= total - 1) return this.toEnd(options);
    this.#pinned = false;
    return this.#go({ index }, { id: undefined, index, offset: atTop, focus: options.focus ?? false }, options);
  }

  /** Shows the newest message, and those that come. */
  toEnd(options: JumpOptions = {}): Promise<boolean> {
    this.#pinned = true;
    return this.#go('latest', { id: undefined, index: Infinity, offset: atTop, focus: options.focus ?? false }, options);
  }

  /** Shows a message; {@link back} leads back. Whether it got there: false if it went elsewhere meanwhile. */
  jump(id: MsgId, options: JumpOptions = {}): Promise<boolean> {
    this.remember();
    this.#pinned = false;
    return this.#go({ id }, { id, index: undefined, offset: atThird, focus: options.focus ?? false }, options);
  }

  /** Notes where the reader is, for {@link back}. */
  remember(): void {
    const here = this.here();
    if (here) this.#trail.push(here);
    if (this.#trail.length > TRAIL_MAX) this.#trail.shift();
    this.trail.set(this.#trail.length);
  }

  /** Goes to where the reader was before the last jump. */
  back(): Promise<boolean> {
    const to = this.#trail.pop();
    this.trail.set(this.#trail.length);
    if (!to || to.atEnd) return this.toEnd({ focus: true });
    this.#pinned = false;
    const { id, index, offset } = to;
    return this.#go(id ? { id } : { index }, { id, index, offset: () => offset, focus: true }, {});
  }

  /** Moves what is seen by a share of its height. */
  page(share: number): void {
    const box = this.#elements?.box;
    if (!box) return;
    this.#target = undefined;
    box.scrollTop += share * box.clientHeight;
    this.#look();
  }

  /** The row that has the focus, else the first that is seen whole. */
  activeIndex(): number {
    const focused = this.#focusedRow();
    if (focused) return indexOf(focused);
    return this.#anchor?.index ?? this.place.getSnapshot().first;
  }

  /** Moves the focus to a row, and the row into what is seen. */
  focus(index: number): void {
    const elements = this.#elements;
    const row = this.#rowAt(index);
    if (!elements || !row) return;
    this.#target = undefined;
    row.focus({ preventScroll: true });
    const [box, rect] = [elements.box.getBoundingClientRect(), row.getBoundingClientRect()];
    if (rect.top < box.top) elements.box.scrollTop += rect.top - box.top;
    else if (rect.bottom > box.bottom) elements.box.scrollTop += Math.min(rect.bottom - box.bottom, rect.top - box.top);
    this.#look();
  }

  async #go(at: At, target: Target, { highlight = false }: JumpOptions): Promise<boolean> {
    this.#target = target;
    const going = this.view.goto(at, { highlight }).then(
      () => true,
      // A newer move, or the end of the view, supersedes this one. Else its rows are not to be had.
      (error: unknown) => error instanceof BackscrollError && error.code !== 'superseded' && error.code !== 'closed',
    );
    // Rows that are the same as before are not rendered again.
    if (this.view.getSnapshot() === this.#window) this.#settle();
    const arrived = await going;
    // Its rows are rendered by the next frame. Those that do not come, as offline, would stand there.
    await new Promise(requestAnimationFrame);
    if (arrived && this.#target === target) this.#target = undefined;
    this.#look();
    return arrived;
  }

  /** Puts rows where they belong after anything changed its size or place. */
  #settle(): void {
    const window = this.#window;
    const elements = this.#elements;
    if (!window || !elements) return;
    // With less below than what is seen, measuring alone would already move it.
    elements.below.style.height = `${RUNWAY_PX}px`;
    if (!this.#target && !this.#pinned) this.#hold(elements);
    if (window.foundNewest) elements.below.style.height = '0';
    if (this.#target) this.#placeTarget(this.#target, window, elements);
    else if (this.#pinned && window.foundNewest) elements.box.scrollTop = elements.box.scrollHeight;
    this.#look();
  }

  #placeTarget(target: Target, window: Window, { box }: Elements): void {
    if (this.#pinned) {
      if (!window.foundNewest) return;
      box.scrollTop = box.scrollHeight;
      if (target.focus) this.#rowAt(window.total - 1)?.focus({ preventScroll: true });
    } else {
      const row = this.#rowAt(indexOfTarget(target, window, this.#rowsHeld));
      if (!row) return;
      this.#setRunway(window.foundOldest ? 0 : RUNWAY_PX);
      const rect = row.getBoundingClientRect();
      const offset = Math.round(target.offset(box.clientHeight, rect.height));
      box.scrollTop += rect.top - box.getBoundingClientRect().top - offset;
      if (target.focus && row.dataset['messageId']) row.focus({ preventScroll: true });
      this.#anchor = this.#anchorOf(row);
    }
    if (window.exact) this.#target = undefined;
  }

  /** The row being read goes back to where it stood. */
  #hold({ box }: Elements): void {
    const anchor = this.#anchor;
    const row = anchor && this.#rowOf(anchor);
    if (!row) return;
    const moved = Math.round((anchor.y - this.#yOf(row)) * PX_STEPS) / PX_STEPS;
    if (moved === 0) return;
    const rest = this.#runway + moved;
    this.#setRunway(Math.max(0, rest));
    // No runway is left to take from.
    if (rest < 0) box.scrollTop -= rest;
  }

  #scrolled(): void {
    this.#look();
    this.#restSoon();
  }

  /** Takes in what is seen, and tells the engine. */
  #look(): void {
    const window = this.#window;
    const elements = this.#elements;
    if (!window || !elements || window.items.length === 0) return;
    const { box, rows } = elements;
    const edges = box.getBoundingClientRect();
    const all = rows.children;
    const first = firstWhere(all, (rect) => rect.bottom > edges.top + SEEN_PX);
    const last = firstWhere(all, (rect) => rect.top >= edges.bottom - SEEN_PX) - 1;
    if (first >= all.length || last < first) {
      if (!this.#target) this.#recover(window, elements);
      return;
    }
    const gap = box.scrollHeight - box.scrollTop - box.clientHeight;
    if (!this.#target) this.#pinned = window.foundNewest && gap <= PINNED_PX && !this.#readsAbove(all);
    this.#anchor = this.#anchorOf(this.#rowRead(all, first, last, edges.top));
    const item = itemOf(window, all[first]);
    this.place.set({
      first: indexOf(all[first]),
      count: last - first + 1,
      time: item && !item.placeholder ? item.sentAt : undefined,
      atEnd: this.#pinned,
    });
    if (this.#pinned) this.#forgetEnd();
    if (!this.#target) this.#tell(window, item, itemOf(window, all[last]));
  }

  #tell(window: Window, first: Item | undefined, last: Item | undefined): void {
    if (!first || !last || document.hidden) return;
    const edge = (item: Item): MsgId | number => (item.placeholder ? item.index : item.id);
    const told = [window.version, edge(first), edge(last), this.#pinned].join();
    if (told === this.#told) return;
    this.#told = told;
    this.view.setVisible(edge(first), edge(last), this.#pinned);
  }

  /** The row that must not move: the one with the keyboard's focus, else the first whose text is seen. */
  #rowRead(all: HTMLCollection, first: number, last: number, top: number): Element {
    const focused = this.#focusedRow();
    const at = focused ? [...all].indexOf(focused) : -1;
    if (focused?.matches(':focus-visible') && at >= first && at <= last) return focused;
    for (let i = first; i <= last; i++) {
      const row = all[i];
      if (row && textOf(row).getBoundingClientRect().top >= top - SEEN_PX) return row;
    }
    return all[first] as Element;
  }

  /** Whether the keyboard's focus is on a row other than the newest: then the end is not followed. */
  #readsAbove(all: HTMLCollection): boolean {
    const focused = this.#focusedRow();
    return focused?.matches(':focus-visible') === true && focused !== all[all.length - 1];
  }

  /** Scrolled beyond the rows that are held: goes where that would be. */
  #recover(window: Window, { box, rows }: Elements): void {
    const [edges, block] = [box.getBoundingClientRect(), rows.getBoundingClientRect()];
    const each = block.height / window.items.length;
    if (!(each > 0) || edges.height === 0) return;
    const beyond = edges.top < block.top ? edges.top - block.top : edges.top - block.bottom + block.height;
    const index = Math.round(window.start + beyond / each);
    void this.toIndex(Math.max(0, index));
  }

  #restSoon(): void {
    clearTimeout(this.#idleTimer);
    this.#idleTimer = setTimeout(() => { this.#rest(); }, IDLE_MS);
  }

  /** Gives the upper runway its full length again; at the oldest message there is none. */
  #rest(): void {
    const window = this.#window;
    const box = this.#elements?.box;
    if (!window || !box || this.#touching) return;
    const isWorn = this.#runway < RUNWAY_PX / 2 || this.#runway > RUNWAY_PX * 2;
    const length = window.foundOldest ? 0 : isWorn ? RUNWAY_PX : this.#runway;
    const more = length - this.#runway;
    if (more === 0) return;
    const to = box.scrollTop + more;
    this.#setRunway(length);
    box.scrollTop = to;
    this.#look();
  }

  #setRunway(length: number): void {
    this.#runway = length;
    if (this.#elements) this.#elements.above.style.height = `${length}px`;
  }

  /** At the end, the way back to the end is no way. */
  #forgetEnd(): void {
    while (this.#trail.at(-1)?.atEnd) this.#trail.pop();
    this.trail.set(this.#trail.length);
  }

  #focusMoved(): void {
    const box = this.#elements?.box;
    if (!box) return;
    this.#hadFocus = box.contains(document.activeElement);
    // One stop for Tab: the list, until one of its rows has the focus.
    box.tabIndex = this.#focusedRow() ? -1 : 0;
  }

  /** The row with the focus left the window: the list keeps the focus. */
  #keepFocus(): void {
    const box = this.#elements?.box;
    if (!box || !this.#hadFocus || document.activeElement !== document.body) return;
    box.tabIndex = 0;
    box.focus({ preventScroll: true });
  }

  #focusedRow(): HTMLElement | undefined {
    const active = document.activeElement;
    if (!(active instanceof HTMLElement) || !this.#elements?.rows.contains(active)) return undefined;
    return active.closest<HTMLElement>('[role=listitem]') ?? undefined;
  }

  #anchorOf(row: Element): Anchor {
    const item = this.#window && itemOf(this.#window, row);
    return { id: item?.placeholder ? undefined : item?.id, index: indexOf(row), y: this.#yOf(row) };
  }

  /** Where a row's text stands in the content. A heading that comes above it does not move it. */
  #yOf(row: Element): number {
    const box = this.#elements?.box;
    if (!box) return 0;
    return textOf(row).getBoundingClientRect().top - box.getBoundingClientRect().top + box.scrollTop;
  }

  #rowOf({ id, index }: Pick<Anchor, 'id' | 'index'>): HTMLElement | undefined {
    const window = this.#window;
    if (!window) return undefined;
    const at = id === undefined ? -1 : window.items.findIndex((item) => item.placeholder !== true && item.id === id);
    return this.#rowAt(at < 0 ? index : window.start + at);
  }

  #rowAt(index: number): HTMLElement | undefined {
    const row = this.#elements?.rows.children[index - (this.#window?.start ?? 0)];
    return row instanceof HTMLElement ? row : undefined;
  }
}

/** The row a target is about; while it is not loaded, about the row. */
function indexOfTarget({ id, index }: Target, window: Window, rowsHeld: number): number {
  const at = id === undefined ? -1 : window.items.findIndex((item) => item.placeholder !== true && item.id === id);
  if (at >= 0) return window.start + at;
  if (index !== undefined) return Math.min(index, window.total - 1);
  const before = Math.floor(rowsHeld / 2);
  return window.start > 0 ? window.start + before : Math.max(0, window.items.length - (rowsHeld - before));
}

function indexOf(row: Element | undefined): number {
  return Number(row?.getAttribute('aria-posinset') ?? 1) - 1;
}

function itemOf(window: Window, row: Element | undefined): Item | undefined {
  return window.items[indexOf(row) - window.start];
}

function textOf(row: Element): Element {
  return row.querySelector('.text') ?? row;
}

/** The first element whose box fits, all after it fitting too; their number if none does. */
function firstWhere(all: HTMLCollection, fits: (rect: DOMRect) => boolean): number {
  let [low, high] = [0, all.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const element = all[middle];
    if (element && fits(element.getBoundingClientRect())) high = middle;
    else low = middle + 1;
  }
  return low;
}
