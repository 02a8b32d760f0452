/** A store in IndexedDB. Several tabs may have it open; each batch is one transaction. */

import type { KeyRange, Storage, StoredRecord } from '../storage.js';

const RECORDS = 'records';
const VERSION = 1;

/** Opens the database of this name, made if it is not there. `onLost` is told if the browser takes it away. */
export async function openIdb(name: string, onLost: () => void): Promise<Storage> {
  const request = indexedDB.open(name, VERSION);
  request.onupgradeneeded = () => {
    request.result.createObjectStore(RECORDS);
  };
  const database = await done(request);
  // Another tab deletes the database or brings a later version: this one must not be in its way.
  database.onversionchange = () => {
    database.close();
    onLost();
  };
  database.onclose = onLost;
  return new IdbStorage(database);
}

class IdbStorage implements Storage {
  readonly #database: IDBDatabase;

  constructor(database: IDBDatabase) {
    this.#database = database;
  }

  // The transaction and its requests are made before this returns: a page that is closed now has handed
  // them to the browser. `strict` means on the disk, not on its way there.
  write(batch: readonly StoredRecord[]): Promise<void> {
    return new Promise((resolve, reject) => {
      const transaction = this.#database.transaction(RECORDS, 'readwrite', { durability: 'strict' });
      transaction.oncomplete = () => { resolve(); };
      transaction.onabort = () => { reject(transaction.error ?? new Error('the transaction was aborted')); };
      const records = transaction.objectStore(RECORDS);
      for (const { key, value } of batch) {
        if (value) records.put(value, keyOf(key));
        else records.delete(keyOf(key));
      }
      transaction.commit();
    });
  }

  async read({ from, to }: KeyRange, values: boolean, limit: number): Promise<StoredRecord[]> {
    const range = IDBKeyRange.bound(keyOf(from), keyOf(to), false, true);
    const records = this.#database.transaction(RECORDS, 'readonly').objectStore(RECORDS);
    // Both are asked for in one transaction, so they belong together.
    const [keys, found] = await Promise.all([
      done(records.getAllKeys(range, limit)),
      values ? done(records.getAll(range, limit) as IDBRequest<Uint8Array[]>) : undefined,
    ]);
    return keys.map((key, at) => ({ key: new Uint8Array(key as ArrayBuffer), value: found?.[at] }));
  }

  close(): Promise<void> {
    this.#database.onclose = null;
    this.#database.close();
    return Promise.resolve();
  }
}

/** A key of its own buffer: IndexedDB compares binary keys byte by byte. */
function keyOf(key: Uint8Array): ArrayBuffer {
  return key.slice().buffer;
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => { resolve(request.result); };
    request.onerror = () => { reject(request.error ?? new Error('the request failed')); };
  });
}
