// The facade against the relay: what an application sees.
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { BackscrollError, openClient } from 'backscroll';
import { Proxy, scratch, startRelay } from './relay.mjs';
import { texts, until } from './wait.mjs';

const space = scratch();
let relay;
/** What the clients connect to. */
let proxy;
let clients;
/** A channel of its own for each test. */
let room;
let rooms = 0;

before(async () => {
  relay = await startRelay(space.folder);
});

after(async () => {
  await relay.stop();
  space.remove();
});

beforeEach(async () => {
  proxy = await Proxy.before(relay.url);
  clients = [];
  room = `#room${(rooms += 1)}`;
});

afterEach(async () => {
  for (const client of clients) await client[Symbol.asyncDispose]();
  await proxy.stop();
});

async function open(user, options = {}) {
  const client = await openClient({ user, relay: proxy.url, ...options });
  clients.push(client);
  return client;
}

const live = (client) => until(client.connection, ({ state }) => state === 'live');

/** Two clients with a view each on one channel, both live. */
async function pair() {
  const [ada, bob] = [await open('ada'), await open('bob')];
  const channels = [ada.channel(room), bob.channel(room)];
  const views = channels.map((channel) => channel.view());
  await Promise.all([ada, bob].map(live));
  await Promise.all(channels.map(({ info }) => until(info, ({ backfill }) => backfill === 'none')));
  return { ada, bob, channels, views };
}

test('a message is in the view when send returns, and then at the other client', async () => {
  const { channels, views } = await pair();
  const message = channels[0].send('hello', { data: { mood: 'good' } });
  assert.equal(message.send, 'queued');
  assert.equal(message.from, 'ada');
  assert.deepEqual(texts(views[0].getSnapshot()), ['hello']);
  assert.equal(views[0].getSnapshot().change.reason, 'send');
  const [theirs] = (await until(views[1], ({ items }) => items.length === 1 && items));
  assert.equal(theirs.id, message.id);
  assert.deepEqual(theirs.data, { mood: 'good' });
  assert.equal(theirs.send, undefined);
  assert.equal(theirs.seq, 1);
  assert.equal(views[1].getSnapshot().change.reason, 'live');
  await until(views[0], ({ items }) => items[0].send === 'relayed' && items[0].seq === 1);
});

test('snapshots are cached and messages that did not change stay the same objects', async () => {
  const { channels, views, ada } = await pair();
  for (const store of [views[0], ada.connection, ada.channels, channels[0].info, channels[0].late]) {
    assert.equal(store.getSnapshot(), store.getSnapshot());
  }
  channels[0].send('one');
  await ada.flush();
  await until(views[0], ({ items }) => items[0].seq === 1);
  const before = views[0].getSnapshot();
  channels[0].send('two');
  const after = views[0].getSnapshot();
  assert.notEqual(after, before);
  assert.equal(after.items[0], before.items[0]);
  assert.deepEqual(after.change.inserted, [{ index: 1, count: 1 }]);
  assert.equal(after.version, before.version + 1);
});

test('a subscriber is called after each change and not after it left', async () => {
  const { channels, views } = await pair();
  let calls = 0;
  const unsubscribe = views[0].subscribe(() => (calls += 1));
  channels[0].send('one');
  assert.equal(calls, 1);
  unsubscribe();
  channels[0].send('two');
  assert.equal(calls, 1);
});

test('what is written without a connection waits and is sent after the reconnect', async () => {
  const { ada, channels, views } = await pair();
  await proxy.stop();
  await until(ada.connection, ({ state }) => state === 'offline');
  for (const text of ['one', 'two', 'three']) channels[0].send(text);
  assert.deepEqual(texts(views[0].getSnapshot()), ['one', 'two', 'three']);
  assert.equal(ada.connection.getSnapshot().pendingOut, 3);
  await proxy.start();
  await ada.flush();
  assert.equal(ada.connection.getSnapshot().pendingOut, 0);
  await until(views[1], ({ items, exact }) => exact && items.length === 3);
  assert.deepEqual(texts(views[1].getSnapshot()), ['one', 'two', 'three']);
});

test('a refused message fails with the code and can be sent again or dropped', async () => {
  const { ada, channels, views } = await pair();
  proxy.refuseNext = 'forbidden';
  const { id } = channels[0].send('not now');
  const failed = await until(views[0], ({ items }) => items[0].send?.failed && items[0]);
  assert.deepEqual(failed.send, { failed: 'forbidden', retryable: true });
  assert.equal(ada.connection.getSnapshot().pendingOut, 0);
  channels[0].retry(id);
  await until(views[0], ({ items }) => items[0].send === 'relayed');
  await until(views[1], ({ items }) => items[0]?.id === id);
  proxy.refuseNext = 'id_taken';
  const other = channels[0].send('never');
  const taken = await until(views[0], ({ items }) => items[1]?.send?.failed && items[1]);
  assert.equal(taken.send.retryable, false);
  channels[0].discard(other.id);
  assert.equal(views[0].getSnapshot().items.length, 1);
});

test('late messages are counted until they are in view', async () => {
  const { channels, views } = await pair();
  channels[1].send('now');
  await until(views[0], ({ items }) => items.length === 1);
  views[0].setVisible(views[0].getSnapshot().items[0].id, views[0].getSnapshot().items[0].id, true);
  // Nothing came late; the inbox is empty and says so.
  assert.deepEqual(channels[0].late.getSnapshot(), { total: 0, above: 0, below: 0, runs: [] });
  assert.equal(channels[0].late.next(), null);
  await until(channels[0].info, ({ unread }) => unread === 0);
});

test('unread counts what was not in view', async () => {
  const { channels, views, ada } = await pair();
  channels[1].send('one');
  channels[1].send('two');
  await until(channels[0].info, ({ unread }) => unread === 2);
  const [first, second] = (await until(views[0], ({ items }) => items.length === 2 && items));
  assert.equal(channels[0].info.getSnapshot().firstUnread, first.id);
  views[0].setVisible(first.id, second.id, true);
  await until(channels[0].info, ({ unread }) => unread === 0);
  const line = (list) => list.find(({ id }) => id === room);
  await until(ada.channels, (list) => line(list)?.total === 2 && line(list).unread === 0);
});

test('goto resolves with loaded rows and a stale one is superseded', async () => {
  const { channels, views } = await pair();
  for (let i = 0; i < 30; i += 1) channels[0].send(`text ${i}`);
  const [stale, fresh] = [views[0].goto({ index: 3 }), views[0].goto('oldest', { highlight: true })];
  const outcome = await stale.then(() => 'resolved', (error) => error.code);
  assert.ok(['resolved', 'superseded'].includes(outcome));
  const window = await fresh;
  assert.equal(window.start, 0);
  assert.equal(window.foundOldest, true);
  const { id } = window.items[5];
  assert.equal(await views[0].indexOf(id), 5);
  const shown = await views[0].goto({ id }, { highlight: true });
  assert.equal(shown.focus.id, id);
  assert.equal(shown.focus.reason, 'goto');
  const ticks = await views[0].ticks(3);
  assert.deepEqual(ticks.map(({ index }) => index), [0, 14, 29]);
  assert.equal((await channels[0].get(id)).text, 'text 5');
});

test('a channel that the relay refuses is told, and no goto waits for it', async () => {
  const { ada, channels, views } = await pair();
  channels[0].send('here');
  await ada.flush();
  const refused = `${room} closed`;
  proxy.refuseChannel = refused;
  const theirs = ada.channel(refused).view();
  const early = assert.rejects(theirs.goto('oldest'), { code: 'forbidden', message: new RegExp(refused) });
  // The connection is live all the same, for the other channels.
  const { error } = await until(ada.connection, (now) => now.state === 'live' && now.error && now);
  assert.equal(error.code, 'forbidden');
  assert.match(error.message, new RegExp(refused));
  await early;
  await assert.rejects(theirs.goto({ index: 3 }), { code: 'forbidden' });
  assert.equal((await views[0].goto('oldest')).items[0].text, 'here');
  // After the next connect it is let in.
  proxy.refuseChannel = undefined;
  proxy.closeAll(1001);
  await until(ada.connection, ({ state }) => state !== 'live');
  await until(ada.connection, (now) => now.state === 'live' && !now.error);
  assert.equal((await theirs.goto('oldest')).exact, true);
});

test('errors have stable codes', async () => {
  const { channels, views } = await pair();
  const thrown = (run, code) => assert.throws(run, (error) => error instanceof BackscrollError && error.code === code);
  thrown(() => channels[0].send('x'.repeat(65_537)), 'too_large');
  thrown(() => channels[0].retry('no id'), 'bad_id');
  thrown(() => channels[0].view({ before: 5_000, after: 1 }), 'bad_request');
  thrown(() => clients[0].channel(''), 'bad_channel');
  await assert.rejects(openClient({ user: 'ada' }), { code: 'bad_request' });
  await assert.rejects(openClient({ user: '', relay: proxy.url }), { code: 'bad_request' });
  await assert.rejects(open('ada', { storage: 'idb' }), { code: 'unsupported_storage' });
  await assert.rejects(open('ada', { engine: 'worker' }), { code: 'unsupported_engine' });
  views[0][Symbol.dispose]();
  thrown(() => views[0].setVisible(0, 0, true), 'closed');
});

test('bytes that are no frame cost a reconnect and nothing else', async () => {
  const { ada, channels, views } = await pair();
  proxy.babble();
  await until(ada.connection, ({ state }) => state !== 'live');
  channels[0].send('still here');
  await ada.flush();
  await until(views[1], ({ items }) => items.length === 1);
});

test('a terminal close is not tried again until asked to', async () => {
  const { ada } = await pair();
  proxy.closeAll(4501);
  const { error } = await until(ada.connection, (now) => now.state === 'offline' && now.error && now);
  assert.equal(error.code, 'unauthorized');
  ada.connect();
  await live(ada);
  assert.equal(ada.connection.getSnapshot().error, undefined);
});

test('a token is asked for before each connection', async () => {
  let asked = 0;
  const client = await open('ada', { token: () => Promise.resolve(`token ${(asked += 1)}`) });
  client.channel(room);
  await live(client);
  proxy.closeAll(1001);
  await until(client.connection, ({ state }) => state !== 'live');
  await live(client);
  assert.equal(asked, 2);
});

test('a closed client refuses calls and lets the process end', async () => {
  const { ada, channels } = await pair();
  await ada[Symbol.asyncDispose]();
  await ada[Symbol.asyncDispose]();
  assert.throws(() => channels[0].send('late'), { code: 'closed' });
  await assert.rejects(ada.flush(), { code: 'closed' });
});
