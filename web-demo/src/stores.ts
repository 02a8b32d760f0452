// React's view of the engine's stores.
import type { Channel, Store, View, ViewOptions } from 'backscroll';
import { useState, useSyncExternalStore } from 'react';

/** The store's value now, rendered again whenever it changes. */
export function useStore<T>(store: Store<T>): T {
  return useSyncExternalStore(store.subscribe, store.getSnapshot);
}

/** A value of this app that changes, as a store. */
export class Value<T> implements Store<T> {
  #value: T;
  readonly #subscribers = new Set<() => void>();

  constructor(value: T) {
    this.#value = value;
  }

  readonly getSnapshot = (): T => this.#value;

  readonly subscribe = (onChange: () => void): (() => void) => {
    this.#subscribers.add(onChange);
    return () => {
      this.#subscribers.delete(onChange);
    };
  };

  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const tell of [...this.#subscribers]) tell();
  }
}

/** A view that is open for as long as somebody looks at it. */
class OpenView implements Store<View | null> {
  #view: View | null = null;
  readonly #open: () => View;
  readonly #subscribers = new Set<() => void>();

  constructor(open: () => View) {
    this.#open = open;
  }

  readonly getSnapshot = (): View | null => this.#view;

  readonly subscribe = (onChange: () => void): (() => void) => {
    this.#subscribers.add(onChange);
    this.#view ??= this.#open();
    return () => {
      this.#subscribers.delete(onChange);
      if (this.#subscribers.size > 0) return;
      this.#view?.[Symbol.dispose]();
      this.#view = null;
    };
  };
}

/** A view of a channel, open while the component is shown. Give the component the channel as its key. */
export function useView(channel: Channel, options: ViewOptions): View | null {
  const [opened] = useState(() => new OpenView(() => channel.view(options)));
  return useSyncExternalStore(opened.subscribe, opened.getSnapshot);
}
