/** What an engine wants kept and read, done with one store; and what other tabs wrote to it. */

import type { Engine } from './engine.js';
import { isDraft } from './drafts.js';
import { toError } from './errors.js';
import type { Storage } from './storage.js';
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
  /** Another tab wrote records that are not the engine's. */
  heard(keys: readonly Uint8Array[]): void;
  /** Something went wrong that no caller hears of. */
  report(error: Error): void;
}

/** Tells other tabs which keys were written or deleted. */
interface News {
  post(keys: readonly Uint8Array[]): void;
  close(): void;
}

export class Keeper {
  readonly #host: KeeperHost;
  readonly #storage: Storage;
  readonly #news: News;
  /** Writes and reads whose answers have not come. None of them rejects. */
  readonly #waiting = new Set<Promise<void>>();
  /** Counts the engines, whose numbers of batches and questions all begin at 1. */
  #engine = 1;
  #questions = 0;
  #restored = false;

  /** `name` is that of the store; who has it open under the same name hears of each other. */
  constructor(host: KeeperHost, storage: Storage, name: string) {
    this.#host = host;
    this.#storage = storage;
    this.#news = openNews(name, (keys) => { this.#heard(keys); });
  }

  /** Whether the engine has what it asked for at its start: all messages that wait to be sent. */
  get restored(): boolean {
    return this.#restored;
  }

  /** Hands the store what the engine wants written and read. */
  drain(): void {
    let batch: Uint8Array | undefined;
    while ((batch = this.#host.call((engine) => engine.pollStorage())) !== undefined) this.#write(batch);
    let question: string | undefined;
    while ((question = this.#host.call((engine) => engine.pollRead())) !== undefined) {
      this.#questions += 1;
      this.#wait(this.#read(JSON.parse(question) as Question));
    }
    // Each answer may have brought the next question; the first time without any, all are answered.
    this.#restored ||= this.#questions === 0;
  }

  /** Tells other tabs of records that were written beside the engine's. */
  tell(keys: readonly Uint8Array[]): void {
    this.#news.post(keys);
  }

  /** Another engine takes over: answers to the one before are not for it. */
  restart(): void {
    this.#engine += 1;
    this.#questions = 0;
    this.#restored = false;
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
    while (this.#waiting.size > 0) await Promise.all(this.#waiting);
    this.#news.close();
    await this.#storage.close();
  }

  #wait(work: Promise<void>): void {
    const waiting = work
      .catch((thrown: unknown) => { this.#host.report(toError(thrown, 'storage_failed')); })
      .finally(() => { this.#waiting.delete(waiting); });
    this.#waiting.add(waiting);
  }

  #write(bytes: Uint8Array): void {
    const { number, records } = unpackBatch(bytes);
    const asker = this.#engine;
    const written = this.#storage.write(records).then(
      () => {
        this.#tell(asker, (engine) => { engine.stored(number); });
        // Also those that were deleted: what is gone here is to go there.
        this.#news.post(records.map(({ key }) => key));
      },
      (thrown: unknown) => {
        const error = toError(thrown, 'storage_failed');
        if (asker !== this.#engine) this.#host.report(error);
        this.#tell(asker, (engine) => { engine.storageFailed(number, error.message); });
      },
    );
    this.#wait(written);
  }

  async #read({ id, from, to, values, limit }: Question): Promise<void> {
    const asker = this.#engine;
    let found: Uint8Array;
    try {
      found = packRecords(await this.#storage.read({ from: Uint8Array.from(from), to: Uint8Array.from(to) }, values, limit));
    } catch (thrown) {
      const error = toError(thrown, 'storage_failed');
      if (asker === this.#engine) this.#questions -= 1;
      this.#tell(asker, (engine) => { engine.readFailed(id, error.message); });
      return;
    }
    if (asker === this.#engine) this.#questions -= 1;
    this.#tell(asker, (engine) => { engine.records(id, found); });
  }

  #heard(keys: readonly Uint8Array[]): void {
    this.#host.heard(keys.filter(isDraft));
    const others = keys.filter((key) => !isDraft(key));
    if (others.length === 0) return;
    const packed = packRecords(others.map((key) => ({ key })));
    this.#tell(this.#engine, (engine) => { engine.writtenElsewhere(packed); });
  }

  /** Tells the engine, if it is still the one that asked. */
  #tell(asker: number, use: (engine: Engine) => void): void {
    if (this.#host.dead || asker !== this.#engine) return;
    try {
      this.#host.call(use);
      this.#host.drain();
    } catch (thrown) {
      // The one who called is a promise or an event.
      this.#host.report(toError(thrown, 'storage_failed'));
    }
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
