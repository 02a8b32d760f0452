// Imports a chat twice, exports and serves it, and compares with the plain sorted lines of the file.
// node check-chat.mjs [FILE.jsonl[.gz]]; the binary is $BACKSCROLL_BIN. Without FILE: the excerpt in tests/data.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createReadStream, mkdtempSync, openSync, closeSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const binary = process.env.BACKSCROLL_BIN ?? 'backscroll';
const chat = process.argv[2] ?? fileURLToPath(new URL('../data/ubuntu-irc-2000.jsonl', import.meta.url));

/** Runs the binary to its end; throws unless it exits with status 0. */
async function run(args, stdout = 'inherit') {
  const child = spawn(binary, args, { stdio: ['ignore', stdout, 'inherit'] });
  const [status, signal] = await once(child, 'exit');
  assert.equal(status, 0, `backscroll ${args.join(' ')}: exit status ${status ?? signal}`);
}

/** The JSON of each line of a file, unpacked if its name says so. */
async function readRows(path) {
  const file = createReadStream(path);
  const input = path.endsWith('.gz') ? file.pipe(createGunzip()) : file;
  const rows = [];
  for await (const line of createInterface({ input, crlfDelay: Infinity })) {
    if (line !== '') rows.push(JSON.parse(line));
  }
  return rows;
}

async function exportRows(data, channel, path) {
  const out = openSync(path, 'w');
  await run(['export', '--data', data, '--channel', channel], out);
  closeSync(out);
  return readRows(path);
}

/**
 * What the timeline must be, made without the project's code: by time, the lines of one millisecond in the
 * order of the file; of lines that share an id, once. Where the file gives ids these order a millisecond.
 */
function reference(rows) {
  const byId = new Map();
  rows.forEach((row, line) => byId.set(row.id ?? line, row));
  const plain = (id) => id.replaceAll('-', '').toLowerCase();
  return [...byId.values()].sort((a, b) => {
    if (a.sent_at !== b.sent_at) return a.sent_at - b.sent_at;
    if (!a.id || !b.id) return 0;
    return plain(a.id) < plain(b.id) ? -1 : 1;
  });
}

/** Lines that stand after one with a later time. */
function outOfOrder(rows) {
  let newest = -Infinity;
  return rows.filter(({ sent_at }) => {
    const late = sent_at < newest;
    newest = Math.max(newest, sent_at);
    return late;
  }).length;
}

function compare(exported, expected) {
  assert.equal(exported.length, expected.length, 'number of exported messages');
  exported.forEach((row, index) => {
    const { id, from, text, sent_at } = expected[index];
    const got = { from: row.from, text: row.text, sent_at: row.sent_at };
    assert.deepEqual(got, { from, text, sent_at }, `exported line ${index + 1}`);
    if (id) assert.equal(row.id, id, `id of exported line ${index + 1}`);
    const idTime = Number.parseInt(row.id.replaceAll('-', '').slice(0, 12), 16);
    assert.equal(idTime, sent_at, `time in the id of exported line ${index + 1}`);
    if (index > 0) assert.ok(exported[index - 1].id < row.id, `id order at exported line ${index + 1}`);
  });
}

/** Starts a relay on `data`, hands its address to `use`, and stops it; its exit must be clean. */
async function withRelay(data, use) {
  const args = ['serve', '--listen', '127.0.0.1:0', '--data', data];
  const relay = spawn(binary, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exit = once(relay, 'exit');
  try {
    const line = await Promise.race([
      once(createInterface({ input: relay.stdout }), 'line').then(([first]) => first),
      exit.then(([status]) => assert.fail(`the relay ended with status ${status}`)),
    ]);
    await use(line.replace('listening on ', ''));
  } finally {
    relay.kill('SIGTERM');
  }
  const [status] = await exit;
  assert.equal(status, 0, 'exit status of the relay after SIGTERM');
}

async function checkServed(url, expected) {
  const { channels } = await (await fetch(`${url}/api/channels`)).json();
  for (const [channel, messages] of expected) {
    const entry = channels.find((candidate) => candidate.channel === channel);
    assert.equal(entry?.total, messages.length, `total of ${channel}`);
    const query = `${url}/api/channels/${encodeURIComponent(channel)}/messages?at=latest&before=50&after=0`;
    const answer = await (await fetch(query)).json();
    const texts = messages.slice(-50).map(({ text }) => text);
    assert.deepEqual(answer.messages.map(({ text }) => text), texts, `newest messages of ${channel}`);
    assert.equal(answer.total, messages.length, `total in the history of ${channel}`);
  }
}

async function check(scratch) {
  const rows = await readRows(chat);
  assert.ok(rows.length > 0, `${chat} holds no messages`);
  const expected = new Map();
  for (const row of rows) {
    if (!expected.has(row.channel)) expected.set(row.channel, []);
    expected.get(row.channel).push(row);
  }
  for (const [channel, messages] of expected) expected.set(channel, reference(messages));
  console.log(`${chat}: ${rows.length} lines, ${outOfOrder(rows)} out of order, channels: ${expected.size}`);

  const data = join(scratch, 'data');
  const begin = performance.now();
  await run(['import', '--data', data, chat]);
  const seconds = (performance.now() - begin) / 1000;
  console.log(`import: ${seconds.toFixed(2)} s, ${Math.round(rows.length / seconds)} messages/s`);

  const first = new Map();
  for (const [channel, messages] of expected) {
    first.set(channel, await exportRows(data, channel, join(scratch, 'export.jsonl')));
    compare(first.get(channel), messages);
  }
  console.log('export: every message, in timestamp order');

  await run(['import', '--data', data, chat]);
  for (const channel of expected.keys()) {
    const again = await exportRows(data, channel, join(scratch, 'export.jsonl'));
    assert.deepEqual(again, first.get(channel), `${channel} after the second import`);
  }
  console.log('second import: adds nothing');

  await withRelay(data, (url) => checkServed(url, expected));
  await run(['check', '--data', data]);
  console.log(`relay: serves the right total and the newest messages; check-chat passed`);
}

const scratch = mkdtempSync(join(tmpdir(), 'check-chat-'));
try {
  await check(scratch);
} finally {
  rmSync(scratch, { recursive: true });
}
