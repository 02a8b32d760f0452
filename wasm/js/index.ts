/** Backscroll in a browser. Importing it does nothing; {@link openClient} loads the engine. */

import { checkOptions, LiveClient, storeName, withPlace } from './client.js';
import type { Place } from './client.js';
import { loadEngine } from './engine.js';
import { BackscrollError, toError } from './errors.js';
import { openIdb } from './storage/idb.js';
import type { SocketLike } from './transport.js';
import { syncUrl } from './transport.js';
import type { Client, ClientOptions } from './types.js';

export type * from './types.js';
export { BackscrollError } from './errors.js';
export type { ErrorCode } from './errors.js';

/** Opens a client; it connects on its own, and again whenever it has to. */
export async function openClient(options: ClientOptions): Promise<Client> {
  checkOptions(options);
  const base = typeof location === 'undefined' ? undefined : location.href;
  const relay = options.relay ?? (base && new URL('/', base).href);
  if (relay === undefined) throw new BackscrollError('bad_request', 'the option `relay` is missing');
  // The one place that names the module: bundlers find and copy it by this very expression.
  const engine = await loadEngine(() => options.wasm ?? new URL('./backscroll.wasm', import.meta.url));
  const open = (url: string): SocketLike => new WebSocket(url) as unknown as SocketLike;
  const url = syncUrl(relay, base);
  const parts = { options, url, open, engine };
  const { storage = 'idb', user } = options;
  if (storage === 'memory') return new LiveClient(parts);
  if (storage !== 'idb') {
    throw new BackscrollError('unsupported_storage', "in a browser, storage is 'idb' or 'memory'");
  }
  let place: Place;
  try {
    place = await openPlace(storeName(url, user));
  } catch (thrown) {
    // A private window may have no storage: the client works, and says that nothing is kept.
    return new LiveClient(parts, undefined, toError(thrown, 'storage_failed'));
  }
  return withPlace(parts, place);
}

async function openPlace(name: string): Promise<Place> {
  try {
    const storage = await openIdb(name, () => undefined);
    const persist = async (ask: boolean): Promise<boolean> => {
      // Not everywhere, and only on secure pages.
      const manager = (navigator as { storage?: StorageManager }).storage;
      return (ask ? await manager?.persist() : await manager?.persisted()) ?? false;
    };
    return { name, storage, persist };
  } catch (thrown) {
    throw new BackscrollError('storage_failed', `IndexedDB cannot be opened: ${String(thrown)}`, { cause: thrown });
  }
}
