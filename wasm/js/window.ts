/** Windows: one built from the engine's rows, and how it differs from the one before. */

import type { Change, Focus, Message, Placeholder, Span, Window } from './types.js';

/** The rows of a view, as the engine gives them. */
export interface Rows {
  readonly start: number;
  readonly total: number;
  readonly foundOldest: boolean;
  readonly foundNewest: boolean;
  readonly exact: boolean;
  /** Whether all that is missing came damaged: it is not asked for again on this connection. */
  readonly damaged: boolean;
  readonly items: (Message | Placeholder)[];
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

/** The next window; messages that did not change are the same objects as before. */
export function nextWindow(before: Window, rows: Rows, reason: Change['reason'], focus: Focus | null): Window {
  const known = new Map<string, Message>();
  for (const item of before.items) if (!item.placeholder) known.set(item.id, item);
  const items = rows.items.map((item) => {
    const old = item.placeholder ? undefined : known.get(item.id);
    return old && JSON.stringify(old) === JSON.stringify(item) ? old : item;
  });
  const { start, total, foundOldest, foundNewest, exact } = rows;
  const moved = difference(before, { start, items });
  const change = { reason: reason === 'loaded' && isEdit(before, items, moved) ? 'edit' : reason, ...moved };
  return { version: before.version + 1, total, start, items, foundOldest, foundNewest, exact, change, focus };
}

/** Whether all that differs is what some rows say, such as who read them. */
function isEdit(before: Window, items: Window['items'], { inserted, removed }: Omit<Change, 'reason'>): boolean {
  if (inserted.length > 0 || removed.length > 0) return false;
  return items.some((item, at) => !item.placeholder && item !== before.items[at]);
}

interface Place {
  readonly start: number;
  readonly items: readonly (Message | Placeholder)[];
}

function difference(before: Place, after: Place): Omit<Change, 'reason'> {
  const old = rowsOf(before);
  const now = rowsOf(after);
  let shiftAbove = 0;
  for (const [key, row] of now) {
    const oldRow = key.startsWith('#') ? undefined : old.get(key);
    if (oldRow !== undefined) {
      shiftAbove = row - oldRow;
      break;
    }
  }
  return { inserted: spans(now, old), removed: spans(old, now), shiftAbove };
}

/** Rows by what stands in them: a message's id, or, for a placeholder, its place. */
function rowsOf({ start, items }: Place): Map<string, number> {
  return new Map(items.map((item, at) => [item.placeholder ? `#${String(item.index)}` : item.id, start + at]));
}

/** The rows of `rows` that `others` has not, joined. */
function spans(rows: Map<string, number>, others: Map<string, number>): Span[] {
  const found: { index: number; count: number }[] = [];
  for (const [key, index] of rows) {
    if (others.has(key)) continue;
    const last = found.at(-1);
    if (last && last.index + last.count === index) last.count += 1;
    else found.push({ index, count: 1 });
  }
  return found;
}
