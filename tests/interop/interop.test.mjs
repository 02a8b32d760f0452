// Stock `@automerge/automerge` loads exported window documents and finds the same messages; a
// document it added a message to imports back. Needs BACKSCROLL_BIN, the path of the relay binary.
import * as Automerge from '@automerge/automerge';
import { decode, encode } from 'cborg';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

const binary = process.env.BACKSCROLL_BIN;
assert.ok(binary, 'set BACKSCROLL_BIN to the relay binary');
const folder = mkdtempSync(join(tmpdir(), 'backscroll-interop-'));
after(() => rmSync(folder, { recursive: true }));

const path = (name) => join(folder, name);
const backscroll = (...args) => execFileSync(binary, args, { encoding: 'utf8', maxBuffer: 1 << 28 });
const lines = (text) => text.split('\n').filter(Boolean).map((line) => JSON.parse(line));
const exported = (data) => lines(backscroll('export', '--data', path(data), '--channel', 'c'));

/** The key of an id: its 48 bits of time complemented, as 32 hex digits. */
function keyOf(id) {
  const hex = id.replaceAll('-', '');
  const time = BigInt(`0x${hex.slice(0, 12)}`) ^ 0xffffffffffffn;
  return time.toString(16).padStart(12, '0') + hex.slice(12);
}

/** The messages of one document: key -> decoded fields. */
function messagesOf(file) {
  const doc = Automerge.load(readFileSync(file));
  return new Map(Object.entries(doc).map(([key, body]) => [key, decode(body)]));
}

const segmentFiles = (dir) =>
  readdirSync(path(dir)).filter((name) => name.endsWith('.automerge') && !name.includes('annotations'));

test('stock Automerge finds the same messages in exported documents', () => {
  backscroll('simulate', '--out', path('chat.jsonl'), '--channel', 'c', '--count', '6000');
  backscroll('import', '--data', path('data'), path('chat.jsonl'));
  backscroll('export', '--data', path('data'), '--channel', 'c', '--format', 'automerge', '--out', path('docs'));
  const rows = exported('data');
  assert.equal(rows.length, 6000);
  const files = segmentFiles('docs');
  assert.ok(files.length >= 3, `6,000 messages need several windows, not ${files.length}`);
  const found = new Map(files.flatMap((name) => [...messagesOf(join(path('docs'), name))]));
  assert.equal(found.size, rows.length);
  for (const row of rows) {
    const body = found.get(keyOf(row.id));
    assert.deepEqual([body.from, body.text], [row.from, row.text]);
  }
});

test('a message that stock Automerge adds imports back', () => {
  const name = segmentFiles('docs').sort().at(-1);
  const [level, start] = name.replace('.automerge', '').split('-').map(Number);
  const time = start + 1;
  const id = `${time.toString(16).padStart(12, '0')}7abc8def0123456789ab`;
  const file = join(path('docs'), name);
  const before = Automerge.load(readFileSync(file));
  const body = encode({ text: 'from JavaScript ✓', from: 'js' });
  const changed = Automerge.change(before, 'a commit message', (doc) => {
    doc[keyOf(id)] = body;
  });
  writeFileSync(file, Automerge.save(changed));

  backscroll('import', '--data', path('second'), '--channel', 'c', path('docs'));
  const rows = exported('second');
  assert.equal(rows.length, 6001);
  const added = rows.find((row) => row.id.replaceAll('-', '') === id);
  assert.deepEqual([added.from, added.text, added.sent_at], ['js', 'from JavaScript ✓', time]);
  assert.ok(level <= 11);

  backscroll('import', '--data', path('data'), '--channel', 'c', path('docs'));
  assert.deepEqual(exported('data').map((row) => row.id), rows.map((row) => row.id));
  backscroll('check', '--data', path('data'));
  backscroll('check', '--data', path('second'));
});

test('a document that is none is refused by name and changes nothing', () => {
  const before = exported('second').length;
  writeFileSync(join(path('docs'), segmentFiles('docs')[0]), 'not a document');
  assert.throws(
    () => backscroll('import', '--data', path('second'), '--channel', 'c', path('docs')),
    (error) => error.status !== 0 && String(error.stderr).includes('.automerge'),
  );
  assert.equal(exported('second').length, before);
});
