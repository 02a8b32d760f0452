// Records in a folder; those in IndexedDB keep the same rules, in a browser (tests/browser).
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { openFolder } from '../dist/storage/folder.js';
import { packRecords, unpackRecords } from '../dist/storage/frame.js';
import { scratch } from './relay.mjs';
import { keepRule } from './storage-rules.mjs';

const space = scratch();
const open = (name) => openFolder(`${space.folder}/${name}`);
const rules = JSON.parse(readFileSync(new URL('../../tests/data/storage-rules.json', import.meta.url), 'utf8'));
after(() => { space.remove(); });

for (const [i, { rule, steps }] of rules.entries()) test(`folder: ${rule}`, () => keepRule(() => open(`rule-${i}`), steps));

test('a folder in use by another client is refused', async () => {
  const store = await open('store');
  await assert.rejects(open('store'));
  await store.close();
});

test('records cross to the engine and back', () => {
  const bytes = (...numbers) => Uint8Array.from(numbers);
  const records = [{ key: bytes(1, 2) }, { key: bytes(), value: bytes() }, { key: bytes(3), value: bytes(4, 5, 6) }];
  assert.deepEqual(unpackRecords(packRecords(records)), records);
  const shifted = Uint8Array.from([7, 7, ...packRecords(records)]);
  assert.deepEqual(unpackRecords(shifted, 2), records);
});
