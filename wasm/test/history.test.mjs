// The facade against the relay with a history, late messages, and a relay that dies.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openClient } from 'backscroll';
import { backscroll, Proxy, scratch, startRelay } from './relay.mjs';
import { texts, until } from './wait.mjs';

const HISTORY = 20_000;

const space = scratch();
const data = join(space.folder, 'data');
let history;
let relay;

before(async () => {
  const file = join(space.folder, 'history.jsonl');
  backscroll('simulate', '--out', file, '--channel', '#history', '--count', String(HISTORY), '--seed', '7');
  backscroll('import', '--data', data, file);
  const rows = readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  history = rows.sort((a, b) => (a.id < b.id ? -1 : 1));
  relay = await startRelay(data);
});

after(async () => {
  await relay.stop();
  space.remove();
});

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

test('a message goes from one client to another', () =>
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

test('any place of a long history is right', () =>
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

test('a late message is counted where it is not seen and shown where it is', () =>
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

test('what is written while the relay is down arrives when it is back', () =>
  withClients(['ada', 'bob'], async (ada, bob) => {
    const [channel, view] = [ada.channel('#down'), bob.channel('#down').view()];
    await Promise.all([live(ada), live(bob)]);
    channel.send('before');
    await ada.flush();
    await relay.stop('SIGKILL');
    await until(ada.connection, ({ state }) => state === 'offline' || state === 'connecting');
    channel.send('one');
    channel.send('two');
    relay = await startRelay(data, relay.url.replace('http://', ''));
    await ada.flush();
    await until(view, ({ items }) => items.length === 3);
    assert.deepEqual(texts(view.getSnapshot()), ['before', 'one', 'two']);
  }));

test('a goto to messages that came damaged is rejected, and comes there on another connection', async () => {
  const proxy = await Proxy.before(relay.url);
  const client = await openClient({ user: 'eve', relay: proxy.url });
  try {
    const view = client.channel('#history').view({ before: 20, after: 20 });
    await until(view, (window) => window.exact && window.total >= HISTORY);
    proxy.spoil = true;
    const damaged = { code: 'bad_data', message: /#history/ };
    await assert.rejects(view.goto({ index: 3_000 }), damaged);
    await assert.rejects(view.goto({ index: 3_001 }), damaged);
    assert.equal(client.connection.getSnapshot().error.code, 'bad_data');
    proxy.spoil = false;
    proxy.closeAll(1001);
    await until(client.connection, ({ state }) => state !== 'live');
    await live(client);
    const window = await view.goto({ index: 3_000 });
    assert.deepEqual(texts(window), history.slice(2_980, 3_020).map(({ text }) => text));
  } finally {
    await client[Symbol.asyncDispose]();
    await proxy.stop();
  }
});
