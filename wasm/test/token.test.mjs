// Credentials: what an application gives, when it is asked, and what it is told.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { openClient } from 'backscroll';
import { scratch, startRelay } from './relay.mjs';
import { texts, until } from './wait.mjs';

const space = scratch();
const config = join(space.folder, 'relay.toml');
let relay;

before(async () => {
  writeFileSync(config, `[access]
mode = "token"
[[access.keys]]
kid = "k"
algorithm = "HS256"
secret = "a secret of the tests, which is long enough"
`);
  relay = await startRelay(join(space.folder, 'data'), '127.0.0.1:0', ['--config', config]);
});

after(async () => {
  await relay.stop();
  space.remove();
});

const mint = (user, ...flags) =>
  execFileSync(process.env.BACKSCROLL_BIN, ['token', '--config', config, '--user', user, ...flags]).toString().trim();

let clients = [];

async function open(user, token) {
  const client = await openClient({ user, relay: relay.url, ...(token && { token }) });
  clients.push(client);
  return client;
}

afterEach(async () => {
  for (const client of clients) await client[Symbol.asyncDispose]();
  clients = [];
});

const live = (client) => until(client.connection, ({ state }) => state === 'live');

test('a client goes on with a fresh token when the one it has expires', async () => {
  let asked = 0;
  const token = async () => mint('ada', '--expires-in', (asked += 1) === 1 ? '2s' : '1h');
  const ada = await open('ada', token);
  const bob = await open('bob', mint('bob'));
  const [view, theirs] = [ada, bob].map((client) => client.channel('#c').view());
  await Promise.all([ada, bob].map(live));
  ada.channel('#c').send('before');
  await ada.flush();
  await until(ada.connection, ({ state }) => state !== 'live');
  ada.channel('#c').send('meanwhile');
  bob.channel('#c').send('from bob');
  await Promise.all([ada.flush(), bob.flush()]);
  await live(ada);
  assert.equal(asked, 2);
  const all = ['before', 'meanwhile', 'from bob'].sort();
  for (const store of [view, theirs]) {
    await until(store, (window) => window.items.length === 3 && texts(window).sort().join() === all.join());
  }
});

test('a client without the right token is told so and does not ask again', async () => {
  for (const token of [undefined, 'no.real.token', mint('bob')]) {
    const ada = await open('ada', token);
    const { error } = await until(ada.connection, (now) => now.state === 'offline' && now.error && now);
    assert.equal(error.code, 'unauthorized');
  }
});

test('a channel beyond the token is refused and shows nothing', async () => {
  const bob = await open('bob', mint('bob'));
  bob.channel('#hidden').send('secret');
  await bob.flush();
  const token = mint('ada', '--channel', '#open');
  const ada = await open('ada', token);
  const view = ada.channel('#hidden').view();
  const { error } = await until(ada.connection, ({ error }) => error && { error });
  assert.equal(error.code, 'forbidden');
  assert.deepEqual(texts(view.getSnapshot()), []);
});
