/** What is being written in each channel: kept on this device beside what the engine keeps. */

import type { Storage } from './storage.js';
import { Cell } from './store.js';

/** The family of keys that is the facade's own; the engine asks for none of it. */
const FAMILY = 0x80;
/** Typing is written when it rests this long, in ms. */
const REST_MS = 200;

/** What drafts need of their client. */
export interface DraftsHost {
  /** Records were written or deleted, with these keys. */
  onWritten(keys: readonly Uint8Array[]): void;
  onError(thrown: unknown): void;
}

export class Drafts {
  readonly #storage: Storage | undefined;
  readonly #host: DraftsHost;
  readonly #cells = new Map<string, Cell<string | null>>();
  /** How often each draft was set here. */
  readonly #sets = new Map<string, number>();
  /** Channels whose drafts were set and are not written. */
  readonly #dirty = new Set<string>();
  readonly #writing = new Set<Promise<void>>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Without a store drafts last as long as the client. */
  constructor(storage: Storage | undefined, host: DraftsHost) {
    this.#storage = storage;
    this.#host = host;
  }

  /** The draft of a channel; the same object each time, which is filled from the store. */
  of(channel: string): Cell<string | null> {
    const known = this.#cells.get(channel);
    if (known) return known;
    const cell = new Cell<string | null>(null);
    this.#cells.set(channel, cell);
    this.#read(channel);
    return cell;
  }

  set(channel: string, text: string | null): void {
    this.#dirty.add(channel);
    this.#sets.set(channel, this.#setsOf(channel) + 1);
    this.of(channel).set(text);
    if (!this.#storage) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => { this.write(); }, REST_MS);
  }

  /** Another tab wrote drafts: what is typed here and not written yet stays, and goes there. */
  heard(keys: readonly Uint8Array[]): void {
    for (const key of keys) {
      const channel = new TextDecoder().decode(key.subarray(2));
      if (this.#cells.has(channel) && !this.#dirty.has(channel)) this.#read(channel);
    }
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
      .then(() => { this.#host.onWritten(records.map(({ key }) => key)); })
      .catch((thrown: unknown) => { this.#host.onError(thrown); })
      .finally(() => { this.#writing.delete(writing); });
    this.#writing.add(writing);
  }

  /** Writes everything; resolves when it is done. */
  async close(): Promise<void> {
    this.write();
    await Promise.all(this.#writing);
  }

  #read(channel: string): void {
    if (!this.#storage) return;
    this.#restore(this.#storage, channel).catch((thrown: unknown) => { this.#host.onError(thrown); });
  }

  async #restore(storage: Storage, channel: string): Promise<void> {
    const sets = this.#setsOf(channel);
    const from = keyOf(channel);
    // The next key of all: no other channel's is between them.
    const to = Uint8Array.of(...from, 0);
    const [record] = await storage.read({ from, to }, true, 1);
    // What was typed meanwhile is newer.
    if (this.#setsOf(channel) !== sets) return;
    this.#cells.get(channel)?.set(record?.value ? new TextDecoder().decode(record.value) : null);
  }

  #setsOf(channel: string): number {
    return this.#sets.get(channel) ?? 0;
  }
}

/** Whether a record is a draft. */
export function isDraft(key: Uint8Array): boolean {
  return key[0] === FAMILY;
}

function keyOf(channel: string): Uint8Array {
  const name = new TextEncoder().encode(channel);
  return Uint8Array.of(FAMILY, name.length, ...name);
}
