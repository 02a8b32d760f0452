/** Backscroll in Node 20 and later: the same, with the module from the disk and a WebSocket from `ws` where Node has none. */

import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkOptions, LiveClient, withPlace } from './client.js';
import type { Place } from './client.js';
import { loadEngine } from './engine.js';
import { BackscrollError } from './errors.js';
import type { SocketLike } from './transport.js';
import { syncUrl } from './transport.js';
import type { Client, ClientOptions } from './types.js';

export type * from './types.js';
export { BackscrollError } from './errors.js';
export type { ErrorCode } from './errors.js';

/** Opens a client; it connects on its own, and again whenever it has to. */
export async function openClient(options: ClientOptions): Promise<Client> {
  checkOptions(options);
  if (options.relay === undefined) throw new BackscrollError('bad_request', 'the option `relay` is missing');
  const url = syncUrl(options.relay);
  const engine = await loadEngine(() => options.wasm ?? readFile(join(dirname(fileURLToPath(import.meta.url)), 'backscroll.wasm')));
  const Socket = (globalThis as { WebSocket?: unknown }).WebSocket ?? (await import('ws')).WebSocket;
  const open = (to: string): SocketLike => new (Socket as new (url: string) => SocketLike)(to);
  const parts = { options, url, open, engine };
  const { storage = 'memory' } = options;
  if (storage === 'memory') return new LiveClient(parts);
  if (typeof storage !== 'object') {
    throw new BackscrollError('unsupported_storage', "in Node, storage is { folder } or 'memory'");
  }
  return withPlace(parts, await openPlace(storage.folder, url, options.user));
}

/** A folder holds the stores of several relays and users, each in one of its own. */
async function openPlace(folder: string, url: string, user: string): Promise<Place> {
  const name = join(folder, createHash('sha256').update(`${url}\0${user}`).digest('hex').slice(0, 32));
  try {
    // Only who wants a folder pays for what keeps it.
    const { openFolder } = await import('./storage/folder.js');
    await mkdir(folder, { recursive: true });
    return { name, storage: await openFolder(name), persist: () => Promise.resolve(true) };
  } catch (thrown) {
    throw new BackscrollError('storage_failed', `the folder ${name} cannot be opened: ${String(thrown)}`, { cause: thrown });
  }
}
