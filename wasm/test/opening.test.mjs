// What an empty client receives, and how long it takes, until the newest 50 rows are in hand.
// MESSAGES=1000000 sets the size of the channel; the figures of README.md are what this prints.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openClient } from 'backscroll';
import { backscroll, Proxy, scratch, startRelay } from './relay.mjs';
import { until } from './wait.mjs';

const MESSAGES = Number(process.env.MESSAGES ?? 50_000);
/** Design 10: received at most, in the median of channel states. */
const BYTES_MAX = 150_000;

test(`opening a channel of ${MESSAGES} messages at its newest 50`, async (t) => {
  const space = scratch();
  const file = `${space.folder}/rows.jsonl`;
  backscroll('simulate', '--out', file, '--channel', '#large', '--count', String(MESSAGES), '--seed', '5');
  backscroll('import', '--data', `${space.folder}/data`, file);
  const relay = await startRelay(`${space.folder}/data`);
  const proxy = await Proxy.before(relay.url);
  const storage = { folder: `${space.folder}/clients` };
  const open = async (what, user, stored) => {
    const [before, from] = [proxy.received, performance.now()];
    const client = await openClient({ user, relay: proxy.url, storage: stored ? storage : 'memory' });
    const view = client.channel('#large').view({ before: 50, after: 0 });
    const window = await until(view, (rows) => rows.exact && rows.total === MESSAGES && rows);
    const took = performance.now() - from;
    const bytes = proxy.received - before;
    assert.equal(window.items.length, 50);
    assert.ok(window.items.every((item) => !item.placeholder));
    assert.ok(bytes <= BYTES_MAX, `${bytes} bytes`);
    t.diagnostic(`${what}: ${bytes} bytes received, ${took.toFixed(0)} ms`);
    await client[Symbol.asyncDispose]();
    return bytes;
  };
  try {
    await open('engine cold', 'ada', false);
    const first = await open('engine warm', 'bob', false);
    await open('engine warm, with a store', 'cleo', true);
    const again = await open('again, from the store', 'cleo', true);
    assert.ok(again < first / 10, `${again} bytes the second time`);
  } finally {
    await proxy.stop();
    await relay.stop();
    space.remove();
  }
});
