// The facade against the relay itself; BACKSCROLL_BIN is its binary.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { openClient } from 'backscroll';
import { texts, until } from './wait.mjs';

const BIN = process.env.BACKSCROLL_BIN;
const HISTORY = 20_000;
const skip = BIN ? false : 'BACKSCROLL_BIN is not set';

let folder;
let history;
let relay;

before(async () => {
  if (!BIN) return;
  folder = mkdtempSync(join(tmpdir(), 'backscroll-npm-'));
  const file = join(folder, 'history.jsonl');
  const quiet = { stdio: 'ignore' };
  execFileSync(BIN, ['simulate', '--out', file, '--channel', '#history', '--count', String(HISTORY), '--seed', '7'], quiet);
  execFileSync(BIN, ['import', '--data', join(folder, 'data'), file], quiet);
  const rows = readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  history = rows.sort((a, b) => (a.id < b.id ? -1 : 1));
  relay = await start('127.0.0.1:0');
});

after(async () => {
  if (!BIN) return;
  await relay.stop('SIGTERM');
  rmSync(folder, { recursive: true });
});

async function start(listen) {
  const child = spawn(BIN, ['serve', '--listen', listen, '--data', join(folder, 'data')], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  const url = line.replace('listening on ', '');
  const stop = async (signal) => {
    const gone = once(child, 'exit');
    child.kill(signal);
    await gone;
  };
  return { url, stop };
}

async function withClients(names, run) {
  const clients = [];
  try {
    for (const user of names) clients.push(await openClient({ user, relay: relay.url }));
    await run(...clients);
  } finally {
    for (const client of clients) await client[Symbol.asyncDispose]();
  }
}

const live = (client) => until(client.connection, ({ state }) => state === 'live');

test('a message goes from one client to another', { skip }, () =>
  withClients(['ada', 'bob'], async (ada, bob) => {
    const view = bob.channel('#hello').view();
    await live(bob);
    const { id } = ada.channel('#hello').send('hello', { data: [1, 2] });
    await ada.flush();
    const [message] = await until(view, ({ items }) => items.length === 1 && items);
    assert.equal(message.id, id);
    assert.equal(message.from, 'ada');
    assert.deepEqual(message.data, [1, 2]);
  }));

test('any place of a long history is right', { skip }, () =>
  withClients(['ada'], async (ada) => {
    const view = ada.channel('#history').view({ before: 20, after: 20 });
    const newest = await until(view, (window) => window.exact && window.total === HISTORY && window);
    assert.deepEqual(texts(newest), history.slice(newest.start).map(({ text }) => text));
    for (const index of [0, 1, 77, 5_000, 9_999, 12_345, 19_990]) {
      const window = await view.goto({ index });
      assert.equal(window.start, Math.max(0, index - 20));
      const expected = history.slice(window.start, window.start + window.items.length);
      assert.deepEqual(window.items.map(({ id }) => id), expected.map(({ id }) => id));
      assert.deepEqual(texts(window), expected.map(({ text }) => text));
    }
    const { id } = history[4_321];
    const there = await view.goto({ id }, { align: 'start' });
    assert.ok(there.items.some((item) => item.id === id));
    const [channel] = await until(ada.channels, (list) => list.some(({ id: name }) => name === '#history') && list);
    assert.ok(channel.total > 0);
  }));

test('a late message is counted where it is not seen and shown where it is', { skip }, () =>
  withClients(['ada', 'bob'], async (ada, bob) => {
    const [theirs, ours] = [ada.channel('#late'), bob.channel('#late')];
    const view = ours.view();
    await Promise.all([live(ada), live(bob)]);
    theirs.send('now');
    await until(view, ({ items }) => items.length === 1);
    const seen = view.getSnapshot().items[0].id;
    view.setVisible(seen, seen, true);
    const { id } = theirs.send('an hour ago', { sentAt: Date.now() - 3_600_000 });
    const { runs } = await until(ours.late, (late) => late.above === 1 && late);
    assert.equal(runs[0].first, id);
    assert.equal(ours.late.next('up').first, id);
    const window = await until(view, ({ items }) => items.length === 2 && { items });
    assert.deepEqual(window.items.map(({ late }) => late), [true, false]);
    view.setVisible(id, seen, true);
    await until(ours.late, ({ total }) => total === 0);
  }));

test('what is written while the relay is down arrives when it is back', { skip }, () =>
  withClients(['ada', 'bob'], async (ada, bob) => {
    const [channel, view] = [ada.channel('#down'), bob.channel('#down').view()];
    await Promise.all([live(ada), live(bob)]);
    channel.send('before');
    await ada.flush();
    await relay.stop('SIGKILL');
    await until(ada.connection, ({ state }) => state === 'offline' || state === 'connecting');
    channel.send('one');
    channel.send('two');
    relay = await start(relay.url.replace('http://', ''));
    await ada.flush();
    await until(view, ({ items }) => items.length === 3);
    assert.deepEqual(texts(view.getSnapshot()), ['before', 'one', 'two']);
  }));
