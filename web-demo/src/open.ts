// Opens the engine.
import { BackscrollError, type Client, openClient } from 'backscroll';

/** A client of the relay that this page came from. Its messages are kept on this device, where that can be done. */
export async function openHere(user: string): Promise<Client> {
  try {
    return await openClient({ user, storage: 'idb' });
  } catch (thrown) {
    // The one place to change once every version of the package keeps messages in IndexedDB.
    if (!(thrown instanceof BackscrollError) || thrown.code !== 'unsupported_storage') throw thrown;
    return await openClient({ user, storage: 'memory' });
  }
}
