// The relay itself, on a folder of its own, and a proxy before it that can misbehave.
// BACKSCROLL_BIN is its binary.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { WebSocket, WebSocketServer } from 'ws';
import { decode, encode } from './cbor.mjs';

const BIN = process.env.BACKSCROLL_BIN;
assert.ok(BIN, 'set BACKSCROLL_BIN to the relay binary');

/** A new folder, and the end of it. */
export function scratch() {
  const folder = mkdtempSync(join(tmpdir(), 'backscroll-npm-'));
  return { folder, remove: () => { rmSync(folder, { recursive: true }); } };
}

/** Runs a command of the binary to its end. */
export function backscroll(...args) {
  execFileSync(BIN, args, { stdio: 'ignore' });
}

/** A relay over `data`. */
export async function startRelay(data, listen = '127.0.0.1:0', flags = []) {
  const child = spawn(BIN, ['serve', '--listen', listen, '--data', data, ...flags], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  const url = line.replace('listening on ', '');
  const stop = async (signal = 'SIGTERM') => {
    const gone = once(child, 'exit');
    child.kill(signal);
    await gone;
  };
  return { url, stop };
}

/** Passes every frame on, both ways, until it is told to do something else. */
export class Proxy {
  /** Answers the next push itself, with this code, and does not pass it on. */
  refuseNext;
  /** Answers every `open` of this channel itself, with the code `forbidden`. */
  refuseChannel;
  /** Spoils the saved messages of every window. */
  spoil = false;
  /** Bytes that came from the relay. */
  received = 0;
  #relay;
  #server;
  #port = 0;
  #pairs = new Set();

  constructor(relayUrl) {
    this.#relay = relayUrl.replace(/^http/, 'ws');
  }

  static async before(relayUrl) {
    const proxy = new Proxy(relayUrl);
    await proxy.start();
    return proxy;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Listens, again where it did. */
  async start() {
    this.#server = new WebSocketServer({ host: '127.0.0.1', port: this.#port, path: '/sync' });
    await once(this.#server, 'listening');
    this.#port = this.#server.address().port;
    this.#server.on('connection', (near) => { this.#join(near, new WebSocket(`${this.#relay}/sync`)); });
  }

  /** Stops listening and cuts every connection. */
  async stop() {
    for (const { near } of this.#pairs) near.terminate();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Closes every connection with a code. */
  closeAll(code) {
    for (const { near } of this.#pairs) near.close(code);
  }

  /** Sends bytes that are no frame to every client. */
  babble() {
    for (const { near } of this.#pairs) near.send(new Uint8Array([0xff, 0x13]));
  }

  #join(near, far) {
    const pair = { near };
    this.#pairs.add(pair);
    const early = [];
    near.on('message', (data) => {
      if (this.#refused(near, data)) return;
      if (far.readyState === WebSocket.OPEN) far.send(data);
      else early.push(data);
    });
    far.on('open', () => { for (const data of early) far.send(data); });
    far.on('message', (data) => {
      this.received += data.length;
      if (this.spoil) spoilSegment(data);
      near.send(data);
    });
    far.on('close', () => near.terminate());
    far.on('error', () => near.terminate());
    near.on('close', () => {
      this.#pairs.delete(pair);
      far.terminate();
    });
  }

  /** Whether a frame was a push, and was refused as the test asked. */
  #refused(near, data) {
    if (this.refuseNext === undefined && this.refuseChannel === undefined) return false;
    const [type, body] = decode(new Uint8Array(data));
    if (type === 2 && body.get(0) === this.refuseChannel) {
      near.send(encode([24, new Map([[0, 'forbidden'], [1, 'not for you'], [2, body.get(0)]])]));
      return true;
    }
    if (type !== 3 || this.refuseNext === undefined) return false;
    const nack = new Map([[0, body.get(0)], [1, body.get(1)], [2, 0], [3, this.refuseNext], [4, 'refused by the test']]);
    this.refuseNext = undefined;
    near.send(encode([21, nack]));
    return true;
  }
}

/** How a saved Automerge document or chunk begins; four bytes of its checksum follow. */
const MAGIC = Buffer.from([0x85, 0x6f, 0x4a, 0x83]);

/** Changes the checksum of a `segment` frame's document, or of its first change. */
function spoilSegment(data) {
  const at = data[1] === 18 ? data.indexOf(MAGIC) : -1;
  if (at >= 0) data[at + MAGIC.length] ^= 0xff;
}
