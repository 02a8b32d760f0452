// Opens the engine.
import { type Client, openClient } from 'backscroll';

/**
 * A client of the relay that this page came from. Its messages are kept on this device; others see which
 * of theirs got here.
 */
export function openHere(user: string): Promise<Client> {
  return openClient({ user, storage: 'idb', receipts: true });
}
