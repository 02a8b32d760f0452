/** Receipts of one message as a store. */

import { Cell } from './store.js';
import type { Receipts, Store } from './types.js';

const NOBODY: Receipts = { delivered: [], read: [] };

export class ReceiptStore implements Store<Receipts> {
  readonly #read: () => string | undefined;
  readonly #cell: Cell<Receipts>;
  readonly subscribe: Store<Receipts>['subscribe'];
  #text = '';
  #isUsed = false;

  /** `read` gives what the engine knows, as JSON, if it can be asked; `onUse` is that of a {@link Cell}. */
  constructor(read: () => string | undefined, onUse: (used: boolean) => void) {
    this.#read = read;
    this.#cell = new Cell(NOBODY, (used) => {
      this.#isUsed = used;
      onUse(used);
    });
    this.subscribe = this.#cell.subscribe;
  }

  /** Without subscribers nobody else asks the engine. */
  readonly getSnapshot = (): Receipts => {
    if (!this.#isUsed) this.refresh();
    return this.#cell.getSnapshot();
  };

  /** Reads it again; tells subscribers if it changed. */
  refresh(): void {
    const text = this.#read() ?? this.#text;
    if (text === this.#text) return;
    this.#text = text;
    const next = JSON.parse(text) as Receipts;
    const isEmpty = next.delivered.length + next.read.length === 0;
    this.#cell.set(isEmpty ? NOBODY : next);
  }
}
