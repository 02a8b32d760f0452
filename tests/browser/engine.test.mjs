// The engine alone in Chromium, measured as in Node (wasm/bench); BACKSCROLL_LONG=1 makes it a million messages.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join, normalize } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { serve, startBrowser } from './world.mjs';

const TOTAL = process.env.BACKSCROLL_LONG ? 1_000_000 : 20_000;
const CHANNEL = '#large';
const TYPES = { '.mjs': 'text/javascript', '.js': 'text/javascript', '.wasm': 'application/wasm', '.html': 'text/html' };
const root = fileURLToPath(new URL('../../wasm', import.meta.url));

/** The package's folder over HTTP, and an empty page. */
async function servePackage() {
  const server = createServer(({ url }, answer) => {
    answer.setHeader('content-type', TYPES[extname(url)] ?? 'text/html');
    answer.end(url === '/' || url === '/favicon.ico' ? '' : readFileSync(join(root, normalize(url))));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${server.address().port}`, stop: () => server.close() };
}

test(`the engine opens, scrolls and takes late messages in a channel of ${TOTAL}`, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'backscroll-engine-'));
  const file = join(folder, 'rows.jsonl');
  const data = join(folder, 'data');
  const run = (...args) => execFileSync(process.env.BACKSCROLL_BIN, args, { stdio: 'ignore' });
  run('simulate', '--out', file, '--channel', CHANNEL, '--count', String(TOTAL), '--seed', '5');
  run('import', '--data', data, file);
  const relay = await serve(data, '127.0.0.1:0');
  const files = await servePackage();
  const browser = await startBrowser();
  try {
    const tab = await browser.blank(`${files.url}/`);
    const rows = await tab.evaluate(async (where) => {
      const { measure } = await import('/bench/measure.mjs');
      return measure(() => fetch('/dist/backscroll.wasm'), where);
    }, { relay: relay.url, channel: CHANNEL, total: TOTAL });
    assert.equal(rows.length, 4);
    for (const { what, p50, p99, n } of rows) t.diagnostic(`${what}: p50 ${p50} ms, p99 ${p99} ms, n ${n}`);
  } finally {
    await browser.stop();
    files.stop();
    await relay.stop();
    rmSync(folder, { recursive: true });
  }
});
