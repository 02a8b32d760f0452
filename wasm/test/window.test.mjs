// Windows: what the engine tells of a view, row by row or as a whole, applied to the rows that were there.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EMPTY, nextWindow } from '../dist/window.js';

const message = (id, text = id) => ({ id, text });
const placeholder = (index) => ({ placeholder: true, index });
const row = (letter, index) => (letter === '.' ? placeholder(index) : message(letter));
const rows = (letters, start) => [...letters].map((letter, at) => row(letter, start + at));
const shown = ({ items }) => items.map((item) => (item.placeholder ? '.' : item.id)).join('');

const plain = { reason: 'live', total: 100, foundOldest: false, foundNewest: false, exact: true, inserted: [], updated: [], removed: [] };

/** A window that shows these letters, from a row on. */
const windowOf = (letters, start) => nextWindow(EMPTY, { ...plain, start, items: rows(letters, start) }, null);

function check(before, told, letters, change) {
  const after = nextWindow(windowOf(...before), { ...plain, ...told }, null);
  assert.equal(shown(after), letters);
  for (const [at, item] of after.items.entries()) if (item.placeholder) assert.equal(item.index, after.start + at);
  const { inserted, removed, shiftAbove } = after.change;
  assert.deepEqual([inserted, removed, shiftAbove], change);
}

test('rows come in, go, and move down with what came above', () => {
  check(['bdf', 10], { start: 10, inserted: [[11, message('c')]] }, 'bcdf', [[{ index: 11, count: 1 }], [], 0]);
  check(['bdf', 10], { start: 13 }, 'bdf', [[], [], 3]);
  check(['bdf', 0], { start: 0, inserted: [[0, message('a')], [4, message('g')]] }, 'abdfg',
    [[{ index: 0, count: 1 }, { index: 4, count: 1 }], [], 1]);
  check(['abcd', 10], { start: 10, removed: ['b', 'c'] }, 'ad', [[], [{ index: 11, count: 2 }], 0]);
  check(['abcd', 10], { start: 12, removed: ['a'], inserted: [[13, message('x')], [14, message('y')]] }, 'bxycd',
    [[{ index: 13, count: 2 }], [{ index: 10, count: 1 }], 1]);
});

test('a placeholder that is filled goes, and its message comes; others say their rows of now', () => {
  check(['a..d', 10], { start: 10, updated: [[11, message('b')]] }, 'ab.d', [[{ index: 11, count: 1 }], [{ index: 11, count: 1 }], 0]);
  check(['a..d', 10], { start: 12 }, 'a..d', [[], [], 2]);
  check(['...', 10], { start: 12, updated: [[13, message('m')]] }, '.m.', [[{ index: 13, count: 1 }], [{ index: 11, count: 1 }], 0]);
});

test('a row that looks different is replaced where it stands, the others stay the same objects', () => {
  const before = windowOf('abc', 10);
  const after = nextWindow(before, { ...plain, start: 10, reason: 'edit', updated: [[11, message('b', 'other')]] }, null);
  assert.deepEqual(after.items.map(({ text }) => text), ['a', 'other', 'c']);
  assert.deepEqual(after.change, { reason: 'edit', inserted: [], removed: [], shiftAbove: 0 });
  assert.equal(after.items[0], before.items[0]);
  assert.equal(after.items[2], before.items[2]);
  assert.equal(after.version, before.version + 1);
});

test('all rows told anew: those that are the same stay the same objects, and nothing new is no new window', () => {
  const before = windowOf('ab.d', 10);
  const same = { ...plain, start: 10, reason: 'loaded', items: rows('ab.d', 10) };
  assert.equal(nextWindow(before, same, null), before);
  const after = nextWindow(before, { ...plain, start: 11, reason: 'goto', items: rows('b.de', 11) }, null);
  assert.equal(after.items[0], before.items[1]);
  assert.deepEqual(after.change, { reason: 'goto', inserted: [{ index: 14, count: 1 }], removed: [{ index: 10, count: 1 }], shiftAbove: 0 });
});
