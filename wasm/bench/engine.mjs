// The engine in Node on a channel of a million messages: node bench/engine.mjs, with BACKSCROLL_BIN.
// MESSAGES is another size.
import { readFileSync } from 'node:fs';
import { WebSocket } from 'ws';
import { backscroll, scratch, startRelay } from '../test/relay.mjs';
import { measure } from './measure.mjs';

const total = Number(process.env.MESSAGES ?? 1_000_000);
const channel = '#large';
globalThis.WebSocket ??= WebSocket;
globalThis.crypto ??= (await import('node:crypto')).webcrypto;

const space = scratch();
const file = `${space.folder}/rows.jsonl`;
backscroll('simulate', '--out', file, '--channel', channel, '--count', String(total), '--seed', '5');
backscroll('import', '--data', `${space.folder}/data`, file);
const relay = await startRelay(`${space.folder}/data`);
try {
  const wasm = readFileSync(new URL('../dist/backscroll.wasm', import.meta.url));
  const rows = await measure(() => wasm, { relay: relay.url, channel, total });
  console.log(`Node ${process.version}, ${total} messages; ms`);
  console.table(rows);
} finally {
  await relay.stop();
  space.remove();
}
