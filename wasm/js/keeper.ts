/** What an engine wants kept and read, done with one store; and what other tabs wrote to it. */

import type { Engine } from './engine.js';
import { toError } from './errors.js';
import type { Storage, StoredRecord } from './storage.js';
import { packRecords, unpackBatch } from './storage/frame.js';

/** A question of the engine to its store. */
interface Question {
  readonly id: number;
  readonly from: readonly number[];
  readonly to: readonly number[];
  readonly values: boolean;
  readonly limit: number;
}

/** What a keeper needs of its client. */
export interface KeeperHost {
  readonly dead: boolean;
  call<T>(use: (engine: Engine) => T): T;
  /** Does what the last call asks for. */
  drain(): void;
}

/** Tells other tabs which keys were written. */
interface News {
  post(keys: readonly Uint8Array[]): void;
  close(): void;
}

export class Keeper {
  readonly #host: KeeperHost;
  readonly #storage: Storage;
  readonly #news: News;
  /** Writes and reads whose answers have not come. */
  readonly #waiting = new Set<Promise<void>>();

  /** `name` is that of the store; who has it open under the same name hears of each other. */
  constructor(host: KeeperHost, storage: Storage, name: string) {
    this.#host = host;
    this.#storage = storage;
    this.#news = openNews(name, (keys) => { this.#heard(keys); });
  }

  /** Hands the store what the engine wants written and read. */
  drain(): void {
    let batch: Uint8Array | undefined;
    while ((batch = this.#host.call((engine) => engine.pollStorage())) !== undefined) this.#write(batch);
    let question: string | undefined;
    while ((question = this.#host.call((engine) => engine.pollRead())) !== undefined) {
      this.#wait(this.#read(JSON.parse(question) as Question));
    }
  }

  /** Writes everything that is not written yet. */
  async save(): Promise<void> {
    while (!this.#host.dead) {
      this.#host.call((engine) => { engine.save(); });
      this.#host.drain();
      // What the engine wants to wait for is under way now; if nothing is, everything is stored.
      if (this.#waiting.size === 0) break;
      await Promise.all(this.#waiting);
    }
  }

  /** Closes the store once what was handed to it is done. */
  async close(): Promise<void> {
    await Promise.all(this.#waiting);
    this.#news.close();
    await this.#storage.close();
  }

  #wait(work: Promise<void>): void {
    this.#waiting.add(work);
    void work.finally(() => this.#waiting.delete(work));
  }

  #write(bytes: Uint8Array): void {
    const { number, records } = unpackBatch(bytes);
    const written = this.#storage.write(records).then(
      () => {
        this.#news.post(records.filter(({ value }) => value).map(({ key }) => key));
        this.#tell((engine) => { engine.stored(number); });
      },
      (thrown: unknown) => {
        const error = toError(thrown, 'storage_failed');
        this.#tell((engine) => { engine.storageFailed(number, error.message); });
      },
    );
    this.#wait(written);
  }

  async #read({ id, from, to, values, limit }: Question): Promise<void> {
    let found: StoredRecord[] = [];
    try {
      found = await this.#storage.read({ from: Uint8Array.from(from), to: Uint8Array.from(to) }, values, limit);
    } catch (thrown) {
      const error = toError(thrown, 'storage_failed');
      this.#tell((engine) => { engine.readFailed(id, error.message); });
      return;
    }
    this.#tell((engine) => { engine.records(id, packRecords(found)); });
  }

  #heard(keys: readonly Uint8Array[]): void {
    this.#tell((engine) => { engine.writtenElsewhere(packRecords(keys.map((key) => ({ key })))); });
  }

  #tell(use: (engine: Engine) => void): void {
    if (this.#host.dead) return;
    this.#host.call(use);
    this.#host.drain();
  }
}

function openNews(name: string, onKeys: (keys: readonly Uint8Array[]) => void): News {
  // Node has the class too, but there a store has one client.
  if (typeof BroadcastChannel === 'undefined' || typeof window === 'undefined') {
    return { post: () => undefined, close: () => undefined };
  }
  const channel = new BroadcastChannel(name);
  channel.onmessage = ({ data }: MessageEvent<readonly Uint8Array[]>) => { onKeys(data); };
  return {
    post: (keys) => { if (keys.length > 0) channel.postMessage(keys); },
    close: () => { channel.close(); },
  };
}
