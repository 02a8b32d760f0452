// The package as it is shipped: what bundlers and pages rely on.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const dist = new URL('../dist/', import.meta.url);
const scripts = readdirSync(dist).filter((name) => name.endsWith('.js'));
const source = (name) => readFileSync(new URL(name, dist), 'utf8');

/** What the module may grow to, in bytes; the aim is 520,000 (README, known limits). */
const WASM_GZIP_MAX = 680_000;

test('exactly one expression names the module', () => {
  const named = scripts.flatMap((name) => source(name).match(/new URL\([^)]*\.wasm[^)]*\)/g) ?? []);
  assert.deepEqual(named, ["new URL('./backscroll.wasm', import.meta.url)"]);
});

test('the browser entry reaches no module of Node', () => {
  const seen = new Set();
  const visit = (name) => {
    if (seen.has(name)) return;
    seen.add(name);
    for (const [, from] of source(name).matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)) {
      assert.ok(from.startsWith('./'), `${name} imports ${from}`);
      visit(from.slice(2));
    }
  };
  visit('index.js');
  assert.ok(seen.has('glue.js'));
});

test('the module stays small', () => {
  const bytes = gzipSync(readFileSync(new URL('backscroll.wasm', dist)), { level: 9 }).length;
  assert.ok(bytes <= WASM_GZIP_MAX, `${bytes} bytes gzip`);
});

test('the engine has the methods that its description lists', async () => {
  const { makeGlue } = await import(new URL('glue.js', dist));
  const { Engine } = makeGlue();
  const [, described] = /interface Engine \{(.*?)\n\}/s.exec(readFileSync(fileURLToPath(new URL('glue.d.ts', dist)), 'utf8'));
  const methods = [...described.matchAll(/^ {2}(\w+)\(/gm)].map(([, name]) => name);
  assert.ok(methods.length > 20);
  for (const name of methods) assert.equal(typeof Engine.prototype[name], 'function', name);
});
