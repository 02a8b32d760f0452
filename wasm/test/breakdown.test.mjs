// An engine that breaks off in the middle of a call: another one goes on from the store.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { openClient } from 'backscroll';
import { Guard } from '../dist/engine.js';
import { backscroll, Proxy, scratch, startRelay } from './relay.mjs';
import { texts, until } from './wait.mjs';

const HISTORY = 5_000;
const space = scratch();
const call = Guard.prototype.call;

let relay;
let proxy;
let clients;
let history;

before(async () => {
  const file = `${space.folder}/history.jsonl`;
  backscroll('simulate', '--out', file, '--channel', '#history', '--count', String(HISTORY), '--seed', '4');
  backscroll('import', '--data', `${space.folder}/data`, file);
  const rows = readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  history = rows.sort((a, b) => (a.id < b.id ? -1 : 1));
  relay = await startRelay(`${space.folder}/data`);
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
  Guard.prototype.call = call;
  for (const client of clients) await client[Symbol.asyncDispose]();
  await proxy.stop();
});

async function open(user, storage = { folder: `${space.folder}/clients` }) {
  const client = await openClient({ user, relay: proxy.url, storage });
  clients.push(client);
  return client;
}

/** Makes calls of engines trap: the next one, or all from now on. */
function trap(times = 1) {
  let left = times;
  Guard.prototype.call = function (use) {
    return call.call(this, (engine) => {
      if (left === 0) return use(engine);
      left -= 1;
      throw new WebAssembly.RuntimeError('unreachable');
    });
  };
}

const live = (client) => until(client.connection, ({ state }) => state === 'live');

/** Each window that a view shows from now on. */
function windowsOf(view) {
  const windows = [];
  view.subscribe(() => windows.push(view.getSnapshot()));
  return windows;
}

test('views show the same place again after a reset, and what waited is sent', async () => {
  // What is looked at comes into the store after a while, at the latest when the client is closed.
  const earlier = await open('ada');
  const looked = earlier.channel('#history').view({ before: 200, after: 200 });
  await until(looked, ({ exact }) => exact);
  await looked.goto({ index: 1_500 });
  await earlier[Symbol.asyncDispose]();
  const ada = await open('ada');
  const channel = ada.channel('#history');
  const [newest, middle] = [channel.view({ before: 30, after: 0 }), channel.view({ before: 20, after: 20 })];
  await live(ada);
  await until(newest, ({ exact }) => exact);
  const there = await middle.goto({ index: 1_500 });
  middle.setVisible(there.items[18].id, there.items[22].id, false);
  await proxy.stop();
  await until(ada.connection, ({ state }) => state === 'offline');
  const { id } = channel.send('written before it broke off');
  const shown = texts(newest.getSnapshot());
  const windows = [newest, middle].map(windowsOf);
  const { total } = channel.info.getSnapshot();

  trap();
  assert.throws(() => channel.send('never taken'), { code: 'engine_failed', message: /unreachable/ });
  const flushed = ada.flush();
  const going = channel.view({ before: 5, after: 5 }).goto({ index: 1_510 });
  for (const [at, view] of [newest, middle].entries()) {
    const window = await until(view, (now) => windows[at].length > 0 && now.exact && now);
    assert.equal(windows[at][0].change.reason, 'reset');
    assert.ok(windows[at].every((now) => now.total === total), 'what is shown stays until the store has answered');
    // A view of the middle stands at the row that was read.
    assert.deepEqual(texts(window), at === 0 ? shown : history.slice(1_478, 1_518).map(({ text }) => text));
  }
  assert.equal(channel.info.getSnapshot().total, total);
  assert.ok((await going).items.length > 0);

  await proxy.start();
  ada.connect();
  await flushed;
  await live(ada);
  assert.equal(ada.connection.getSnapshot().error, undefined);
  const sent = await until(newest, ({ items }) => items.at(-1)?.seq > 0 && items.at(-1));
  assert.equal(sent.id, id);
  channel.send('and after');
  await ada.flush();
  const url = `${relay.url}/api/channels/%23history/messages?before=2`;
  const { messages } = await (await fetch(url)).json();
  assert.deepEqual(messages.map(({ text }) => text), ['written before it broke off', 'and after']);
});

test('a stack that is full inside the engine is taken as a trap', async () => {
  const bob = await open('bob');
  const channel = bob.channel('#deep');
  const view = channel.view();
  await live(bob);
  channel.send('before');
  // From the deepest place that there is outwards, until a call gets as far as the engine.
  const dive = () => {
    try {
      dive();
    } catch (thrown) {
      if (thrown.code !== undefined) throw thrown;
      channel.send('too deep');
    }
  };
  assert.throws(dive, { code: 'engine_failed', message: /call stack/ });
  await until(bob.connection, ({ state }) => state !== 'live');
  await live(bob);
  channel.send('after');
  await bob.flush();
  await until(view, ({ items }) => items.length === 2 && items.every(({ seq }) => seq > 0));
  assert.deepEqual(texts(view.getSnapshot()), ['before', 'after']);
});

test('an engine that always breaks off is given up, and everything that waits hears of it', async () => {
  const cleo = await open('cleo');
  const channel = cleo.channel('#history');
  const view = channel.view();
  await live(cleo);
  await until(view, ({ exact }) => exact);
  const before = texts(view.getSnapshot());
  await proxy.stop();
  await until(cleo.connection, ({ state }) => state === 'offline');
  channel.send('stays in the store');
  const flushed = assert.rejects(cleo.flush(), { code: 'engine_failed' });
  trap(Infinity);
  assert.throws(() => channel.late.clear(), { code: 'engine_failed' });
  const { state, storage, error } = await until(cleo.connection, (now) => now.storage === 'failed' && now);
  assert.deepEqual([state, error.code], ['offline', 'engine_failed']);
  await flushed;
  await assert.rejects(view.goto('oldest'), { code: 'engine_failed' });
  assert.equal(storage, 'failed');
  assert.deepEqual(texts(view.getSnapshot()).slice(0, -1), before, 'what is shown stays');
  await cleo[Symbol.asyncDispose]();
  Guard.prototype.call = call;
  await proxy.start();
  const again = await open('cleo');
  await again.flush();
});

test('in memory only there is nothing to go on from: a goto on its way is rejected', async () => {
  const dora = await open('dora', 'memory');
  const view = dora.channel('#history').view();
  await live(dora);
  await until(view, ({ exact }) => exact);
  const going = assert.rejects(view.goto({ index: 10 }), { code: 'engine_failed' });
  trap();
  assert.throws(() => dora.channel('#other'), { code: 'engine_failed' });
  await going;
  const { state, error } = dora.connection.getSnapshot();
  assert.deepEqual([state, error.code], ['offline', 'engine_failed']);
});

test('a client whose engine breaks off while it is closed lets go of its store', async () => {
  const eve = await open('eve');
  eve.channel('#closing').send('kept');
  trap();
  await assert.rejects(eve[Symbol.asyncDispose](), { code: 'engine_failed' });
  clients = [];
  // The folder is free, and what was written is in it.
  const again = await open('eve');
  await again.flush();
  const { messages } = await (await fetch(`${relay.url}/api/channels/%23closing/messages`)).json();
  assert.deepEqual(messages.map(({ text }) => text), ['kept']);
});
