// Records in the IndexedDB of a real browser, by the rules that every place for them keeps.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startBrowser } from './world.mjs';

const rules = JSON.parse(await readFile(new URL('../data/storage-rules.json', import.meta.url), 'utf8'));
const wasm = fileURLToPath(new URL('../../wasm', import.meta.url));

let browser;
let server;
let tab;

before(async () => {
  server = createServer((request, response) => {
    const type = request.url.endsWith('js') ? 'text/javascript' : 'text/html';
    const answer = (body) => response.writeHead(200, { 'content-type': type }).end(body);
    if (request.url === '/') answer('<!doctype html><link rel="icon" href="data:,">');
    else readFile(`${wasm}${request.url}`).then(answer, () => response.writeHead(404).end());
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  browser = await startBrowser();
  tab = await browser.blank(`http://127.0.0.1:${server.address().port}/`);
});

after(async () => {
  await browser?.stop();
  server?.close();
});

for (const rule of rules) {
  test(`IndexedDB: ${rule.rule}`, async () => {
    await tab.evaluate(async ({ rule, steps }) => {
      const [{ keepRule }, { openIdb }] = await Promise.all([import('/test/storage-rules.mjs'), import('/dist/storage/idb.js')]);
      await keepRule(() => openIdb(`rules ${rule}`, () => undefined), steps);
    }, rule);
  });
}

test('two tabs share a database, and one that upgrades it is not held up', async () => {
  const outcome = await tab.evaluate(async () => {
    const { openIdb } = await import('/dist/storage/idb.js');
    let lost = 0;
    const open = () => openIdb('shared', () => { lost += 1; });
    const [one, two] = [await open(), await open()];
    const range = { from: Uint8Array.of(1), to: Uint8Array.of(2) };
    await one.write([{ key: Uint8Array.of(1), value: Uint8Array.of(7) }]);
    const [record] = await two.read(range, true, 1);
    await new Promise((resolve, reject) => {
      const gone = indexedDB.deleteDatabase('shared');
      gone.onsuccess = resolve;
      gone.onblocked = () => reject(new Error('blocked'));
    });
    const refused = await one.write([{ key: Uint8Array.of(1) }]).then(() => 'written', (error) => error.name);
    return { value: [...record.value], lost, refused };
  });
  assert.deepEqual(outcome, { value: [7], lost: 2, refused: 'InvalidStateError' });
});
