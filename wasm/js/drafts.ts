/** What is being written in each channel: kept on this device beside what the engine keeps. */

import type { Storage } from './storage.js';
import { Cell } from './store.js';

/** The family of keys that is the facade's own; the engine asks for none of it. */
const FAMILY = 0x80;
/** Typing is written when it rests this long, in ms. */
const REST_MS = 200;

export class Drafts {
  readonly #storage: Storage | undefined;
  readonly #onError: (thrown: unknown) => void;
  readonly #cells = new Map<string, Cell<string | null>>();
  /** Channels whose drafts were set and are not written. */
  readonly #dirty = new Set<string>();
  readonly #writing = new Set<Promise<void>>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Without a store drafts last as long as the client. */
  constructor(storage: Storage | undefined, onError: (thrown: unknown) => void) {
    this.#storage = storage;
    this.#onError = onError;
  }

  /** The draft of a channel; the same object each time, which is filled from the store. */
  of(channel: string): Cell<string | null> {
    const known = this.#cells.get(channel);
    if (known) return known;
    const cell = new Cell<string | null>(null);
    this.#cells.set(channel, cell);
    if (this.#storage) void this.#restore(this.#storage, channel, cell).catch(this.#onError);
    return cell;
  }

  set(channel: string, text: string | null): void {
    this.#dirty.add(channel);
    this.of(channel).set(text);
    if (!this.#storage) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => { this.write(); }, REST_MS);
  }

  /** Hands the store what it does not have yet, before this returns. */
  write(): void {
    clearTimeout(this.#timer);
    if (!this.#storage || this.#dirty.size === 0) return;
    const records = [...this.#dirty].map((channel) => {
      const text = this.#cells.get(channel)?.getSnapshot();
      return { key: keyOf(channel), value: text ? new TextEncoder().encode(text) : undefined };
    });
    this.#dirty.clear();
    const writing = this.#storage.write(records)
      .catch(this.#onError)
      .finally(() => { this.#writing.delete(writing); });
    this.#writing.add(writing);
  }

  /** Writes everything; resolves when it is done. */
  async close(): Promise<void> {
    this.write();
    await Promise.all(this.#writing);
  }

  async #restore(storage: Storage, channel: string, cell: Cell<string | null>): Promise<void> {
    const from = keyOf(channel);
    // The next key of all: no other channel's is between them.
    const to = Uint8Array.of(...from, 0);
    const [record] = await storage.read({ from, to }, true, 1);
    // What was typed meanwhile is newer.
    if (record?.value && cell.getSnapshot() === null && !this.#dirty.has(channel)) {
      cell.set(new TextDecoder().decode(record.value));
    }
  }
}

function keyOf(channel: string): Uint8Array {
  const name = new TextEncoder().encode(channel);
  return Uint8Array.of(FAMILY, name.length, ...name);
}
