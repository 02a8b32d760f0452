/** A store in a folder, for Node: LevelDB, one process at a time. */

import { ClassicLevel } from 'classic-level';
import type { KeyRange, Storage, StoredRecord } from '../storage.js';

/** Opens the store in a folder, made if it is not there. Fails if another process has it open. */
export async function openFolder(folder: string): Promise<Storage> {
  const level = new ClassicLevel<Uint8Array, Uint8Array>(folder, { keyEncoding: 'view', valueEncoding: 'view' });
  await level.open();
  return new FolderStorage(level);
}

class FolderStorage implements Storage {
  readonly #level: ClassicLevel<Uint8Array, Uint8Array>;
  /** LevelDB's threads may swap two writes that wait at once. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(level: ClassicLevel<Uint8Array, Uint8Array>) {
    this.#level = level;
  }

  write(batch: readonly StoredRecord[]): Promise<void> {
    const operations = batch.map(({ key, value }) =>
      value ? { type: 'put' as const, key, value } : { type: 'del' as const, key });
    const written = this.#last.then(() => this.#level.batch(operations, { sync: true }));
    this.#last = written.catch(() => undefined);
    return written;
  }

  async read({ from, to }: KeyRange, values: boolean, limit: number): Promise<StoredRecord[]> {
    await this.#last;
    const options = { gte: from, lt: to, limit };
    if (values) return (await this.#level.iterator(options).all()).map(([key, value]) => ({ key, value }));
    return (await this.#level.keys(options).all()).map((key) => ({ key }));
  }

  async close(): Promise<void> {
    await this.#last;
    await this.#level.close();
  }
}
