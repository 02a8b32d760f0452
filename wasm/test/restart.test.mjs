// Clients that keep their records in a folder: what is there after a restart, with and without the relay.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { openClient } from 'backscroll';
import { backscroll, Proxy, scratch, startRelay } from './relay.mjs';
import { texts, until } from './wait.mjs';

const HISTORY = 5_000;
const space = scratch();
const folder = (name) => `${space.folder}/${name}`;

let relay;
let proxy;
let clients;
let history;

before(async () => {
  const file = folder('history.jsonl');
  backscroll('simulate', '--out', file, '--channel', '#history', '--count', String(HISTORY), '--seed', '3');
  backscroll('import', '--data', folder('data'), file);
  const rows = readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  history = rows.sort((a, b) => (a.id < b.id ? -1 : 1));
  relay = await startRelay(folder('data'));
});

after(async () => {
  await relay.stop();
  space.remove();
});

beforeEach(async () => {
  proxy = await Proxy.before(relay.url);
  clients = [];
});

afterEach(async () => {
  for (const client of clients) await client[Symbol.asyncDispose]();
  await proxy.stop();
});

async function open(user, storage = { folder: folder('clients') }) {
  const client = await openClient({ user, relay: proxy.url, storage });
  clients.push(client);
  return client;
}

const known = (channel) => until(channel.info, ({ backfill }) => backfill === 'none');

test('what was written offline is there after a restart without the relay, and is sent later', async () => {
  const ada = await open('ada');
  const channel = ada.channel('#offline');
  await known(channel);
  channel.send('while the relay is there');
  await ada.flush();
  await proxy.stop();
  const ids = ['one', 'two', 'three'].map((text) => channel.send(text).id);
  await ada[Symbol.asyncDispose]();

  const again = await open('ada');
  const view = again.channel('#offline').view();
  const window = await until(view, ({ items }) => items.length === 4 && items.every(({ id }) => id) && { items });
  assert.deepEqual(window.items.map(({ text }) => text), ['while the relay is there', 'one', 'two', 'three']);
  assert.deepEqual(window.items.slice(1).map(({ id }) => id), ids);
  // The first may be among them: it was acknowledged, and the change itself may not have come back yet.
  assert.ok([3, 4].includes(again.connection.getSnapshot().pendingOut));
  assert.equal(again.connection.getSnapshot().storage, 'persistent');

  await proxy.start();
  again.connect();
  await again.flush();
  const bob = await open('bob', 'memory');
  const theirs = bob.channel('#offline').view();
  const seen = await until(theirs, ({ items, exact }) => exact && items.length === 4 && { items });
  assert.deepEqual(seen.items.map(({ id }) => id), window.items.map(({ id }) => id));
});

test('what was looked at is there without the relay: rows, totals, the list of channels', async () => {
  const cleo = await open('cleo');
  const channel = cleo.channel('#history');
  await known(channel);
  const view = channel.view({ before: 20, after: 20 });
  await until(view, ({ exact }) => exact);
  await view.goto({ index: 1_234 });
  await cleo[Symbol.asyncDispose]();
  await proxy.stop();

  const again = await open('cleo');
  const list = await until(again.channels, (channels) => channels.some(({ id }) => id === '#history') && channels);
  assert.equal(list.find(({ id }) => id === '#history').total, HISTORY);
  const offline = again.channel('#history').view({ before: 20, after: 20 });
  const newest = await until(offline, (window) => window.exact && window.total === HISTORY && window);
  assert.deepEqual(texts(newest), history.slice(newest.start).map(({ text }) => text));
  const there = await offline.goto({ index: 1_234 });
  assert.deepEqual(texts(await until(offline, (window) => window.exact && window)), history.slice(1_214, 1_254).map(({ text }) => text));
  assert.equal(there.start, 1_214);
});

test('without the relay a message is found in the store, and one that is not there is missing', async () => {
  const cleo = await open('finn');
  const view = cleo.channel('#history').view({ before: 20, after: 20 });
  await until(view, ({ exact }) => exact);
  await view.goto({ index: 1_234 });
  await cleo[Symbol.asyncDispose]();
  await proxy.stop();

  const channel = (await open('finn')).channel('#history');
  const { id, text } = history[1_234];
  const found = await channel.get(id);
  assert.deepEqual([found?.id, found?.text], [id, text]);
  assert.equal(await channel.get(`${id.slice(0, -1)}${id.endsWith('0') ? '1' : '0'}`), undefined);
  assert.equal(await channel.get('00000000-0000-7000-8000-000000000000'), undefined);
});

test('a client that was offline resumes for little', async () => {
  const dora = await open('dora');
  const channel = dora.channel('#history');
  const view = channel.view({ before: 50, after: 50 });
  await until(view, ({ exact, total }) => exact && total >= HISTORY);
  const cold = proxy.received;
  await dora[Symbol.asyncDispose]();
  const eve = await open('eve', 'memory');
  const theirs = eve.channel('#history');
  await known(theirs);
  theirs.send('while dora was away');
  await eve.flush();

  const before = proxy.received;
  const again = await open('dora');
  const back = again.channel('#history').view({ before: 50, after: 50 });
  await until(back, ({ exact, items }) => exact && items.at(-1)?.text === 'while dora was away');
  assert.ok(proxy.received - before < cold / 4, `${proxy.received - before} bytes after ${cold} at first`);
});

test('a message that waits is sent though its channel was not opened again', async () => {
  const finn = await open('finn');
  const channel = finn.channel('#forgotten');
  await known(channel);
  await proxy.stop();
  channel.send('do not forget me');
  await finn[Symbol.asyncDispose]();
  await proxy.start();
  const again = await open('finn');
  // At once: what waits is still being read from the store.
  await again.flush();
  const { messages } = await (await fetch(`${relay.url}/api/channels/%23forgotten/messages`)).json();
  assert.deepEqual(messages.map(({ text }) => text), ['do not forget me']);
});

test('a channel that is closed keeps its line in the list, with what is unread now', async () => {
  const [ida, jon] = [await open('ida'), await open('jon', 'memory')];
  const channel = ida.channel('#line');
  await known(channel);
  /** The line in a list that the relay made after now. */
  const lineNow = async (mark) => {
    jon.channel(mark).send('hello');
    await jon.flush();
    const list = await until(ida.channels, (channels) => channels.some(({ id }) => id === mark) && channels);
    return list.find(({ id }) => id === '#line');
  };
  for (const text of ['one', 'two']) jon.channel('#line').send(text);
  await until(channel.info, ({ unread }) => unread === 2);
  channel[Symbol.dispose]();
  assert.equal((await lineNow('#mark one')).unread, 2);

  const again = ida.channel('#line');
  const view = again.view();
  const [first, last] = await until(view, ({ items, exact }) => exact && items.length === 2 && items);
  view.setVisible(first.id, last.id, true);
  await until(again.info, ({ unread }) => unread === 0);
  again[Symbol.dispose]();
  assert.equal((await lineNow('#mark two')).unread, 0);
});

test('a folder that another client has open is refused with its name', async () => {
  await open('hal');
  await assert.rejects(open('hal'), { code: 'storage_failed', message: /clients/ });
  await assert.rejects(openClient({ user: 'hal', relay: proxy.url, storage: 'idb' }), { code: 'unsupported_storage' });
});
