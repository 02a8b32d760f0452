// Records in a folder; those in IndexedDB keep the same rules, in a browser (tests/browser).
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { openFolder } from '../dist/storage/folder.js';
import { packRecords, unpackRecords } from '../dist/storage/frame.js';
import { scratch } from './relay.mjs';
import { rules } from './storage-rules.mjs';

const space = scratch();
const open = () => openFolder(`${space.folder}/store`);
after(() => { space.remove(); });

for (const [name, rule] of Object.entries(rules)) test(`folder: ${name}`, () => rule(open));

test('a folder in use by another client is refused', async () => {
  const store = await open();
  await assert.rejects(open());
  await store.close();
});

test('records cross to the engine and back', () => {
  const bytes = (...numbers) => Uint8Array.from(numbers);
  const records = [{ key: bytes(1, 2) }, { key: bytes(), value: bytes() }, { key: bytes(3), value: bytes(4, 5, 6) }];
  assert.deepEqual(unpackRecords(packRecords(records)), records);
  const shifted = Uint8Array.from([7, 7, ...packRecords(records)]);
  assert.deepEqual(unpackRecords(shifted, 2), records);
});
