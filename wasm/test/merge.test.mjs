// Three clients and a relay, through all that can go wrong at once: in the end everyone shows what the
// relay has, and nothing that was acknowledged is lost or doubled.
import assert from 'node:assert/strict';
import { cpSync, rmSync } from 'node:fs';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { openClient } from 'backscroll';
import { backscroll, Proxy, scratch, startRelay } from './relay.mjs';
import { until } from './wait.mjs';

const ROOM = '#merge';
const HOUR_MS = 3_600_000;

let space;
let relay;
let proxies;
let clients;

beforeEach(async () => {
  space = scratch();
  relay = await startRelay(`${space.folder}/data`);
  proxies = {};
  clients = {};
  for (const user of ['ada', 'bob', 'cleo']) {
    proxies[user] = await Proxy.before(relay.url);
    await open(user);
  }
});

afterEach(async () => {
  for (const { client } of Object.values(clients)) await client[Symbol.asyncDispose]();
  for (const proxy of Object.values(proxies)) await proxy.stop();
  await relay.stop('SIGKILL');
  space.remove();
});

/** A client with a view of everything; ada keeps her records in a folder. */
async function open(user) {
  const storage = user === 'ada' ? { folder: `${space.folder}/ada` } : 'memory';
  const client = await openClient({ user, relay: proxies[user].url, storage });
  const channel = client.channel(ROOM);
  const view = channel.view({ before: 500, after: 0 });
  clients[user] = { client, channel, view };
  await until(channel.info, ({ backfill }) => backfill === 'none');
}

const address = () => relay.url.replace('http://', '');

/** What the relay has, by another way than its clients'. */
async function stored() {
  const answer = await fetch(`${relay.url}/api/channels/${encodeURIComponent(ROOM)}/messages?before=500&after=0`);
  return (await answer.json()).messages;
}

/** What the relay has once it has this many. */
async function storedOnce(count) {
  for (;;) {
    const messages = await stored();
    if (messages.length === count) return messages;
    await setTimeout(50);
  }
}

test('offline, restarted, refused, late; the relay killed, and restored from a copy', { timeout: 120_000 }, async () => {
  const sent = [];
  /** One message of now and one of hours ago. */
  const write = (user, what, hoursAgo) => {
    const { channel } = clients[user];
    sent.push(channel.send(`${user}: ${what}`).id);
    sent.push(channel.send(`${user}: ${what}, late`, { sentAt: Date.now() - hoursAgo * HOUR_MS - sent.length }).id);
  };
  const flush = () => Promise.all(Object.values(clients).map(({ client }) => client.flush()));
  const users = ['ada', 'bob', 'cleo'];
  users.forEach((user, i) => { write(user, 'first', i + 1); });
  await flush();

  // A copy of the store, as of now.
  await relay.stop();
  cpSync(`${space.folder}/data`, `${space.folder}/copy`, { recursive: true });
  relay = await startRelay(`${space.folder}/data`, address());
  users.forEach((user, i) => { write(user, 'after the copy', i + 2); });
  await flush();

  // Bob goes offline, ada is restarted from her folder with words unsent, one of cleo's is refused.
  await proxies.bob.stop();
  write('bob', 'offline', 5);
  await proxies.ada.stop();
  write('ada', 'before the restart', 6);
  await clients.ada.client[Symbol.asyncDispose]();
  proxies.cleo.refuseNext = 'forbidden';
  const refused = clients.cleo.channel.send('cleo: refused at first').id;
  await until(clients.cleo.view, ({ items }) => items.some(({ id, send }) => id === refused && send?.failed === 'forbidden'));
  write('cleo', 'while the others were away', 7);
  await clients.cleo.client.flush();

  // The relay is killed with everyone writing, and comes back.
  await proxies.ada.start();
  await proxies.bob.start();
  await open('ada');
  users.forEach((user, i) => { write(user, 'around the kill', i + 8); });
  await relay.stop('SIGKILL');
  relay = await startRelay(`${space.folder}/data`, address());
  clients.cleo.channel.retry(refused);
  sent.push(refused);
  for (const { client } of Object.values(clients)) client.connect();
  await flush();
  const before = await stored();
  assert.deepEqual(before.map(({ id }) => id), [...sent].sort());

  // Its disk is lost, the copy takes its place: everyone brings back what it lacks.
  await relay.stop('SIGKILL');
  rmSync(`${space.folder}/data`, { recursive: true });
  cpSync(`${space.folder}/copy`, `${space.folder}/data`, { recursive: true });
  backscroll('new-epoch', '--data', `${space.folder}/data`);
  relay = await startRelay(`${space.folder}/data`, address());
  assert.equal((await stored()).length, 6);
  for (const { client } of Object.values(clients)) client.connect();
  const after = await storedOnce(sent.length);
  const plain = ({ id, from, text }) => [id, from, text];
  assert.deepEqual(after.map(plain), before.map(plain));
  for (const [user, { view, channel }] of Object.entries(clients)) {
    // Their numbers are the restored relay's, so what is shown is what came from there.
    const isSame = ({ exact, items }) => exact && items.length === after.length && items.every(({ seq }, i) => seq === after[i].seq);
    const { items } = await until(view, (window) => isSame(window) && window);
    assert.deepEqual(items.map(plain), after.map(plain), `${user} shows what the relay has`);
    assert.equal(channel.info.getSnapshot().total, sent.length);
  }
  await relay.stop();
  backscroll('check', '--data', `${space.folder}/data`);
  relay = await startRelay(`${space.folder}/data`, address());
});
