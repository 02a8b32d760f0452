/** Windows: one made of the one before and of what the engine tells of it, and how the two differ. */

import type { Change, Focus, Message, MsgId, Placeholder, Span, Window } from './types.js';

type Row = Message | Placeholder;

/** What changed in a view, as the engine tells it: all of its rows, or those that are others. */
export interface Update {
  readonly reason: Change['reason'];
  readonly start: number;
  readonly total: number;
  readonly foundOldest: boolean;
  readonly foundNewest: boolean;
  readonly exact: boolean;
  /** All rows; without it the ones before stay, but for the following. */
  readonly items?: readonly Row[];
  /** Rows that came in, by ascending number, which is that of after. */
  readonly inserted: readonly (readonly [number, Row])[];
  /** Rows that look different, by the number of after. */
  readonly updated: readonly (readonly [number, Row])[];
  readonly removed: readonly MsgId[];
}

export const EMPTY: Window = {
  version: 0,
  total: 0,
  start: 0,
  items: [],
  foundOldest: true,
  foundNewest: true,
  exact: false,
  change: { reason: 'init', inserted: [], removed: [], shiftAbove: 0 },
  focus: null,
};

/** The next window, or the same if it shows nothing else; messages that did not change are the same objects. */
export function nextWindow(before: Window, update: Update, focus: Focus | null): Window {
  const { reason, start, total, foundOldest, foundNewest, exact } = update;
  const items = update.items ? replaced(before, update.items) : changed(before, update);
  const isSame = start === before.start && total === before.total && exact === before.exact
    && foundOldest === before.foundOldest && foundNewest === before.foundNewest
    && items.length === before.items.length && items.every((item, at) => item === before.items[at]);
  if (isSame && focus === before.focus && before !== EMPTY) return before;
  const moved = update.items ? difference(before, { start, items }) : told(before, update, items);
  const change = { reason, ...moved };
  return { version: before.version + 1, total, start, items, foundOldest, foundNewest, exact, change, focus };
}

/** The same rows with another one shown off. */
export function focused(before: Window, focus: Focus | null): Window {
  const change = { reason: 'goto', inserted: [], removed: [], shiftAbove: 0 } as const;
  return { ...before, version: before.version + 1, change, focus };
}

function replaced(before: Window, rows: readonly Row[]): Row[] {
  const known = new Map<string | number, Row>();
  for (const item of before.items) known.set(keyOf(item), item);
  return rows.map((item) => {
    const old = known.get(keyOf(item));
    return old && (item.placeholder || JSON.stringify(old) === JSON.stringify(item)) ? old : item;
  });
}

/** The rows after a change that is told row by row. */
function changed(before: Window, { start, inserted, updated, removed }: Update): Row[] {
  const gone = new Set<string>(removed);
  const items = before.items.filter((item) => !isOneOf(gone, item));
  for (const [row, item] of inserted) items.splice(row - start, 0, item);
  for (const [row, item] of updated) items[row - start] = item;
  // A placeholder says its row, which changes with what comes in above.
  return items.map((item, at) => (
    item.placeholder && item.index !== start + at ? { placeholder: true, index: start + at } : item));
}

/** How rows differ that were told row by row. A placeholder that was filled went, and its message came. */
function told(before: Window, { start, inserted, updated, removed }: Update, items: readonly Row[]): Omit<Change, 'reason'> {
  const came = inserted.map(([row]) => row);
  const went: number[] = [];
  const gone = new Set<string>(removed);
  const stayed = before.items.flatMap((item, at) => {
    if (!isOneOf(gone, item)) return [at];
    went.push(before.start + at);
    return [];
  });
  const isNew = new Set(came);
  const rows = items.flatMap((_, at) => (isNew.has(start + at) ? [] : [start + at]));
  const isOther = new Set(updated.map(([row]) => row));
  let shiftAbove: number | undefined;
  for (const [i, at] of stayed.entries()) {
    const [row, old] = [rows[i], before.items[at]];
    if (row === undefined || !old) break;
    if (!old.placeholder) shiftAbove ??= row - before.start - at;
    else if (isOther.has(row)) {
      came.push(row);
      went.push(before.start + at);
    }
  }
  return { inserted: joined(came), removed: joined(went), shiftAbove: shiftAbove ?? 0 };
}

function isOneOf(ids: ReadonlySet<string>, item: Row): boolean {
  return item.placeholder ? false : ids.has(item.id);
}

interface Place {
  readonly start: number;
  readonly items: readonly Row[];
}

/** How rows differ that were told as a whole. */
function difference(before: Place, after: Place): Omit<Change, 'reason'> {
  const old = rowsOf(before);
  const now = rowsOf(after);
  let shiftAbove = 0;
  for (const [key, row] of now) {
    const oldRow = typeof key === 'string' ? old.get(key) : undefined;
    if (oldRow !== undefined) {
      shiftAbove = row - oldRow;
      break;
    }
  }
  const missing = (rows: typeof now, others: typeof now) => [...rows].flatMap(([key, row]) => (others.has(key) ? [] : [row]));
  return { inserted: joined(missing(now, old)), removed: joined(missing(old, now)), shiftAbove };
}

/** What stands in a row: a message's id, or, for a placeholder, its place. */
function keyOf(item: Row): string | number {
  return item.placeholder ? item.index : item.id;
}

function rowsOf({ start, items }: Place): Map<string | number, number> {
  return new Map(items.map((item, at) => [keyOf(item), start + at]));
}

function joined(rows: number[]): Span[] {
  const found: { index: number; count: number }[] = [];
  for (const index of rows.sort((a, b) => a - b)) {
    const last = found.at(-1);
    if (last && last.index + last.count === index) last.count += 1;
    else found.push({ index, count: 1 });
  }
  return found;
}
