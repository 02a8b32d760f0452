/** The late inbox of a channel, as the engine counts it around the view that is read. */

import type { Engine } from './engine.js';
import { Cell } from './store.js';
import type { LateInbox, LateRun, LateState } from './types.js';

/** What an inbox needs of its channel. */
export interface InboxHost {
  readonly id: string;
  readonly held: boolean;
  /** The engine's number of the view that is read, if there is one. */
  readonly reading: number | undefined;
  call<T>(use: (engine: Engine) => T): T;
  /** Shows what the last call changed. */
  told(): void;
}

export class Inbox implements LateInbox {
  readonly #host: InboxHost;
  readonly #cell = new Cell<LateState>({ total: 0, above: 0, below: 0, runs: [] });
  readonly getSnapshot = this.#cell.getSnapshot;
  readonly subscribe = this.#cell.subscribe;
  #text = '';

  constructor(host: InboxHost) {
    this.#host = host;
  }

  /** Reads it again; tells subscribers if it changed. */
  refresh(): void {
    if (this.#host.held) return;
    const { id, reading } = this.#host;
    const text = this.#host.call((engine) => engine.late(id, reading));
    if (text === this.#text) return;
    this.#text = text;
    this.#cell.set(JSON.parse(text) as LateState);
  }

  next(direction?: 'up' | 'down' | 'oldest'): LateRun | null {
    return direction ? this.#next(direction) : this.#next('up') ?? this.#next('down');
  }

  seen(run: LateRun): void {
    this.#take(run);
  }

  clear(): void {
    this.#take();
  }

  #next(direction: 'up' | 'down' | 'oldest'): LateRun | null {
    const { id, reading } = this.#host;
    const text = this.#host.call((engine) => engine.lateNext(id, reading, JSON.stringify(direction)));
    return text === undefined ? null : JSON.parse(text) as LateRun;
  }

  #take(run?: LateRun): void {
    this.#host.call((engine) => { engine.lateSeen(this.#host.id, run?.first, run?.last); });
    this.#host.told();
  }
}
