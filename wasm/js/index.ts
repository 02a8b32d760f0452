/** Backscroll in a browser. Importing it does nothing; {@link openClient} loads the engine. */

import { checkOptions, LiveClient } from './client.js';
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
  const base = typeof location === 'undefined' ? undefined : location.href;
  const relay = options.relay ?? (base && new URL('/', base).href);
  if (relay === undefined) throw new BackscrollError('bad_request', 'the option `relay` is missing');
  // The one place that names the module: bundlers find and copy it by this very expression.
  await loadEngine(() => options.wasm ?? new URL('./backscroll.wasm', import.meta.url));
  const open = (url: string): SocketLike => new WebSocket(url) as unknown as SocketLike;
  return new LiveClient(options, syncUrl(relay, base), open);
}
