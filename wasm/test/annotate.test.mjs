// What is said of messages that are there, who read them, who is there: two clients and a relay.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openClient } from 'backscroll';
import { backscroll, Proxy, scratch, startRelay } from './relay.mjs';
import { texts, until } from './wait.mjs';

const space = scratch();
const HISTORY = 5_000;

let relay;
let proxy;

before(async () => {
  const file = `${space.folder}/history.jsonl`;
  backscroll('simulate', '--out', file, '--channel', '#history', '--count', String(HISTORY), '--seed', '11');
  backscroll('import', '--data', `${space.folder}/data`, file);
  relay = await startRelay(`${space.folder}/data`);
  proxy = await Proxy.before(relay.url);
});

after(async () => {
  await proxy.stop();
  await relay.stop();
  space.remove();
});

/** Runs `use` with clients of these users in one channel. */
async function among(room, users, use, options = {}) {
  const clients = await Promise.all(users.map((user) => openClient({ user, relay: proxy.url, ...options })));
  try {
    await use(...clients.map((client) => {
      const channel = client.channel(room);
      return { client, channel, view: channel.view() };
    }));
  } finally {
    for (const client of clients) await client[Symbol.asyncDispose]();
  }
}

const named = (view, id) => view.getSnapshot().items.find((item) => item.id === id);
const has = (text) => ({ items }) => items.find((item) => item.text === text);
const live = ({ client }) => until(client.connection, ({ state }) => state === 'live');

test('an edit, a reaction and a deletion show at once here and come to the other', () =>
  among('#said', ['ada', 'bob'], async (ada, bob) => {
    const attachments = [{ name: 'a.txt', mediaType: 'text/plain', size: 1, url: 'https://example.org/a' }];
    const { id } = ada.channel.send('first', { data: { n: 1 }, attachments });
    await until(bob.view, has('first'));
    ada.channel.edit(id, 'second', { data: { n: 2 } });
    assert.equal(named(ada.view, id).text, 'second');
    assert.equal(ada.view.getSnapshot().change.reason, 'edit');
    const edited = await until(bob.view, has('second'));
    assert.deepEqual([edited.id, edited.data, edited.attachments], [id, { n: 2 }, attachments]);
    assert.ok(edited.editedAt >= edited.sentAt);
    bob.channel.react(id, '👍');
    assert.deepEqual(named(bob.view, id).reactions, { '👍': ['bob'] });
    await until(ada.view, ({ items }) => items[0].reactions['👍']?.[0] === 'bob');
    bob.channel.react(id, '👍', false);
    await until(ada.view, ({ items }) => Object.keys(items[0].reactions).length === 0);
    ada.channel.remove(id);
    assert.equal(named(ada.view, id).deleted, true);
    const gone = await until(bob.view, ({ items }) => items.find(({ deleted }) => deleted));
    assert.deepEqual([gone.id, gone.text, gone.from], [id, '', 'ada']);
    assert.equal(bob.view.getSnapshot().total, 1);
    await ada.client.flush();
  }));

test('what the relay refuses is shown as before, and the connection says of which message', () =>
  among('#others', ['ada', 'bob'], async (ada, bob) => {
    const { id } = ada.channel.send('mine');
    await until(bob.view, has('mine'));
    bob.channel.edit(id, 'yours');
    assert.equal(named(bob.view, id).text, 'yours');
    const { error } = await until(bob.client.connection, (now) => now.error && now);
    assert.deepEqual([error.code, error.channel, error.id], ['forbidden', '#others', id]);
    await until(bob.view, has('mine'));
    await bob.client.flush();
    assert.equal(bob.client.connection.getSnapshot().error, error, 'it stays until the next connection');
    proxy.closeAll(1012);
    await until(bob.client.connection, (now) => now.state === 'live' && now.error === undefined);
  }));

test('what is known to be missing or malformed is refused at once', () =>
  among('#missing', ['ada'], async (ada) => {
    ada.channel.send('there');
    await live(ada);
    const missing = '01890000-0000-7000-8000-000000000000';
    for (const change of [
      () => { ada.channel.edit(missing, 'x'); },
      () => { ada.channel.remove(missing); },
      () => { ada.channel.react(missing, '👍'); },
    ]) assert.throws(change, { code: 'not_found' });
    assert.throws(() => { ada.channel.edit('nonsense', 'x'); }, { code: 'bad_id' });
    assert.throws(() => { ada.channel.edit(missing, 'x'.repeat(65_537)); }, { code: 'too_large' });
    assert.throws(() => { ada.channel.react(missing, ''); }, { code: 'bad_request' });
    assert.equal(await ada.channel.get(missing), undefined);
    await assert.rejects(ada.channel.get('nonsense'), { code: 'bad_id' });
  }));

test('a message that is not loaded is fetched, and can be said something of', () =>
  among('#history', ['ada', 'bob'], async (ada, bob) => {
    await until(ada.view, ({ total, exact }) => exact && total === HISTORY);
    const oldest = (await ada.view.goto('oldest')).items[0];
    await until(bob.view, ({ total, exact }) => exact && total === HISTORY);
    const found = await bob.channel.get(oldest.id);
    assert.deepEqual([found.id, found.text, found.from], [oldest.id, oldest.text, oldest.from]);
    bob.channel.react(oldest.id, '🎉');
    await until(ada.view, ({ items }) => items[0].reactions['🎉']?.[0] === 'bob');
  }));

test('written offline, edits and reactions outlive a restart and go out when the relay is back', async () => {
  const storage = { folder: `${space.folder}/offline` };
  let id;
  await among('#offline', ['ada'], async (ada) => {
    ({ id } = ada.channel.send('before'));
    await ada.client.flush();
    await proxy.stop();
    await until(ada.client.connection, ({ state }) => state === 'offline' || state === 'connecting');
    ada.channel.edit(id, 'after');
    ada.channel.react(id, '👀');
    assert.equal(ada.client.connection.getSnapshot().pendingOut, 2);
  }, { storage });
  await among('#offline', ['ada'], async (ada) => {
    const { reactions } = await until(ada.view, has('after'));
    assert.deepEqual(reactions, { '👀': ['ada'] });
    await proxy.start();
    ada.client.connect();
    await ada.client.flush();
  }, { storage });
  const { messages } = await (await fetch(`${relay.url}/api/channels/%23offline/messages`)).json();
  assert.deepEqual(messages.map(({ text, reactions }) => [text, reactions]), [['after', { '👀': ['ada'] }]]);
});

test('with receipts a message says when it was received and read; a mark says who', () =>
  among('#read', ['ada', 'bob'], async (ada, bob) => {
    await Promise.all([live(ada), live(bob)]);
    const { id } = ada.channel.send('hello');
    const receipts = ada.channel.receipts(id);
    assert.deepEqual(receipts.getSnapshot(), { delivered: [], read: [] });
    const { delivered, read } = await until(receipts, (now) => now.delivered.length > 0 && now);
    assert.deepEqual([delivered, read], [['bob'], []]);
    await until(ada.view, ({ items }) => items[0].send === 'delivered');
    assert.equal(bob.channel.info.getSnapshot().unread, 1);
    bob.channel.markRead(id);
    assert.equal(bob.channel.info.getSnapshot().unread, 0);
    await until(receipts, (now) => now.read.join() === 'bob' && now.delivered.join() === 'bob');
    const { change } = await until(ada.view, (now) => now.items[0].send === 'read' && now);
    assert.equal(change.reason, 'edit');
    assert.equal(receipts.getSnapshot(), receipts.getSnapshot());
  }, { receipts: true }));

test('without the option nobody is told what was received, and messages stay relayed', () =>
  among('#unread', ['ada', 'bob'], async (ada, bob) => {
    const { id } = ada.channel.send('hello');
    await until(bob.view, has('hello'));
    bob.channel.markRead();
    const receipts = ada.channel.receipts(id);
    await until(receipts, ({ read }) => read.join() === 'bob');
    await until(ada.view, ({ items }) => items[0].send === 'relayed');
  }));

test('late messages are found from where the reader is, and marking as read takes them out', () =>
  among('#late', ['ada', 'bob'], async (ada, bob) => {
    ada.channel.send('now');
    await until(bob.view, has('now'));
    const now = Date.now();
    for (const minutes of [30, 20]) ada.channel.send(`${minutes} ago`, { sentAt: now - minutes * 60_000 });
    const newest = bob.view.getSnapshot().items.at(-1).id;
    bob.view.setVisible(newest, newest, false);
    const { runs } = await until(bob.channel.late, (late) => late.above === 2 && late);
    assert.deepEqual(runs.map(({ count, where }) => [count, where]), [[2, 'above']]);
    assert.deepEqual(bob.channel.late.next(), runs[0]);
    assert.deepEqual(bob.channel.late.next('oldest'), runs[0]);
    assert.equal(bob.channel.late.next('down'), null);
    bob.channel.late.seen(runs[0]);
    assert.equal(bob.channel.late.getSnapshot().total, 0);
    ada.channel.send('10 ago', { sentAt: now - 600_000 });
    await until(bob.channel.late, ({ total }) => total === 1);
    bob.channel.markRead();
    assert.deepEqual(bob.channel.late.getSnapshot(), { total: 0, above: 0, below: 0, runs: [] });
  }));

test('who has the channel open is there, who writes is writing, until it is sent', () =>
  among('#here', ['ada', 'bob'], async (ada, bob) => {
    const { presence } = ada.channel;
    assert.equal(presence.getSnapshot(), presence.getSnapshot());
    const there = (typing) => (now) => now.get('bob')?.online === true && now.get('bob').typing === typing;
    await until(presence, there(false));
    await until(bob.channel.presence, (now) => now.has('ada'));
    bob.channel.presence.typing();
    await until(presence, there(true));
    bob.channel.send('said');
    await until(presence, there(false));
    bob.channel.presence.typing();
    await until(presence, there(true));
    bob.channel.presence.typing(false);
    await until(presence, there(false));
    bob.channel[Symbol.dispose]();
    await until(presence, (now) => !now.has('bob'));
  }));

test('a draft stays on this device, for each channel', async () => {
  const storage = { folder: `${space.folder}/drafts` };
  await among('#draft', ['ada'], async ({ client, channel }) => {
    assert.equal(channel.draft.getSnapshot(), null);
    channel.draft.set('not y');
    channel.draft.set('not yet');
    assert.equal(channel.draft.getSnapshot(), 'not yet');
    client.channel('#draf').draft.set('other');
    client.channel('#draf').draft.set(null);
  }, { storage });
  await among('#draft', ['ada'], async ({ client, channel }) => {
    await until(channel.draft, (text) => text === 'not yet');
    assert.equal(client.channel('#draf').draft.getSnapshot(), null);
    channel.draft.set(null);
  }, { storage });
  await among('#draft', ['ada'], async (ada) => {
    await live(ada);
    assert.equal(ada.channel.draft.getSnapshot(), null);
    assert.deepEqual(texts(ada.view.getSnapshot()), []);
  }, { storage });
});
