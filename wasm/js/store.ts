/** A store that is set from inside: its snapshot is cached, its subscribers are told once per change. */

import type { Store } from './types.js';

export class Cell<T> implements Store<T> {
  #value: T;
  readonly #subscribers = new Set<() => void>();
  readonly #onUse: ((used: boolean) => void) | undefined;

  /** `onUse` is told when the first subscriber comes and when the last one leaves. */
  constructor(value: T, onUse?: (used: boolean) => void) {
    this.#value = value;
    this.#onUse = onUse;
  }

  // Functions of their own, so that they can be handed to a framework by themselves.
  readonly getSnapshot = (): T => this.#value;

  readonly subscribe = (onChange: () => void): (() => void) => {
    // Each subscription counts on its own, even of the same function.
    const subscriber = () => { onChange(); };
    this.#subscribers.add(subscriber);
    if (this.#subscribers.size === 1) this.#onUse?.(true);
    return () => {
      if (this.#subscribers.delete(subscriber) && this.#subscribers.size === 0) this.#onUse?.(false);
    };
  };

  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const subscriber of [...this.#subscribers]) {
      try {
        subscriber();
      } catch (thrown) {
        // An application's error ends neither the other subscribers nor what told them.
        queueMicrotask(() => { throw thrown; });
      }
    }
  }
}
