// Two clients on one store that hear of each other, as two tabs of a browser do; here with a store in memory.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import { LiveClient } from '../dist/client.js';
import { loadEngine } from '../dist/engine.js';
import { Proxy, scratch, startRelay } from './relay.mjs';
import { texts, until } from './wait.mjs';

const ROOM = '#tabs';
const space = scratch();

let relay;
let proxy;

before(async () => {
  // Only what has this takes part.
  globalThis.window = {};
  relay = await startRelay(`${space.folder}/data`);
  proxy = await Proxy.before(relay.url);
});

after(async () => {
  delete globalThis.window;
  await proxy.stop();
  await relay.stop();
  space.remove();
});

/** A place that several clients have open. */
function sharedPlace() {
  const records = new Map();
  const name = (key) => Buffer.from(key).toString('hex');
  const storage = {
    write: async (batch) => {
      for (const { key, value } of batch) {
        if (value) records.set(name(key), { key, value });
        else records.delete(name(key));
      }
    },
    read: async ({ from, to }, values, limit) => {
      const within = [...records.keys()].filter((key) => key >= name(from) && key < name(to)).sort().slice(0, limit);
      return within.map((key) => (values ? records.get(key) : { key: records.get(key).key }));
    },
    close: async () => undefined,
  };
  return { name: 'tabs', storage, persist: async () => true };
}

async function tab(place) {
  const wasm = readFileSync(new URL('../dist/backscroll.wasm', import.meta.url));
  const engine = await loadEngine(() => wasm);
  const url = `${proxy.url.replace('http', 'ws')}/sync`;
  const client = new LiveClient({ options: { user: 'ada' }, url, open: (to) => new WebSocket(to), engine }, place);
  const channel = client.channel(ROOM);
  await until(client.connection, ({ state }) => state === 'live');
  return { client, channel, view: channel.view() };
}

test('what is being written in one is seen in the other, and gone there when it was sent', async () => {
  const place = sharedPlace();
  const [one, two] = [await tab(place), await tab(place)];
  try {
    one.channel.draft.set('half a sen');
    await until(two.channel.draft, (text) => text === 'half a sen');
    two.channel.draft.set('half a sentence');
    await until(one.channel.draft, (text) => text === 'half a sentence');
    one.channel.draft.set(null);
    await until(two.channel.draft, (text) => text === null);
    // What is typed in both is the one's or the other's, but the same.
    one.channel.draft.set('mine');
    two.channel.draft.set('yours');
    const drafts = [one, two].map(({ channel }) => channel.draft);
    const both = {
      getSnapshot: () => drafts.map((draft) => draft.getSnapshot()),
      subscribe: (onChange) => {
        const ends = drafts.map((draft) => draft.subscribe(onChange));
        return () => { for (const end of ends) end(); };
      },
    };
    const [text] = await until(both, (now) => now[0] === now[1] && now);
    assert.match(text, /^(mine|yours)$/);
  } finally {
    for (const { client } of [one, two]) await client[Symbol.asyncDispose]();
  }
});

test('a message that failed in one is sent again, and another dropped, in the other as well', async () => {
  const place = sharedPlace();
  const [one, two] = [await tab(place), await tab(place)];
  const failed = (text) => ({ items }) => items.some((item) => item.text === text && item.send?.failed === 'forbidden');
  const refused = async (text) => {
    proxy.refuseNext = 'forbidden';
    const { id } = one.channel.send(text);
    for (const { view } of [one, two]) await until(view, failed(text));
    return id;
  };
  try {
    one.channel.retry(await refused('again'));
    for (const { view } of [one, two]) await until(view, ({ items }) => items[0]?.seq === 1 && !items[0].send?.failed);
    one.channel.discard(await refused('never mind'));
    for (const { view } of [one, two]) {
      const window = await until(view, (now) => now.items.length === 1 && now);
      assert.deepEqual(texts(window), ['again']);
    }
  } finally {
    await one.client[Symbol.asyncDispose]();
    await two.client[Symbol.asyncDispose]();
  }
});

test('an answer stands after what it answers, though the clock of the tab that wrote it is slow', async () => {
  const place = sharedPlace();
  const one = await tab(place);
  // What a tab takes for the relay's time is off by as long as it was busy when it was told.
  const { now } = Date;
  Date.now = () => now() + 3_000;
  const two = await tab(place);
  Date.now = now;
  try {
    await proxy.stop();
    for (const { client } of [one, two]) await until(client.connection, ({ state }) => state === 'offline');
    one.channel.send('question');
    await until(two.view, ({ items }) => items.at(-1)?.text === 'question');
    two.channel.send('answer');
    for (const { view } of [one, two]) {
      const window = await until(view, (shown) => texts(shown).includes('answer') && shown);
      assert.deepEqual(texts(window).slice(-2), ['question', 'answer']);
    }
  } finally {
    await proxy.start();
    for (const { client } of [one, two]) await client[Symbol.asyncDispose]();
  }
});
