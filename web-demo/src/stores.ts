// React's view of the engine's stores.
import type { Store } from 'backscroll';
import { useEffect, useState, useSyncExternalStore } from 'react';

/** The store's value now, rendered again whenever it changes. */
export function useStore<T>(store: Store<T>): T {
  return useSyncExternalStore(
    (onChange) => store.subscribe(onChange),
    () => store.getSnapshot(),
  );
}

const FIRST_CHANNEL = '#live';

function channelInHash(): string {
  const match = /^#\/c\/(.+)$/.exec(location.hash);
  try {
    return match?.[1] ? decodeURIComponent(match[1]) : FIRST_CHANNEL;
  } catch {
    return FIRST_CHANNEL;
  }
}

/** The URL hash that shows a channel. */
export function hashOf(channel: string): string {
  return `#/c/${encodeURIComponent(channel)}`;
}

/** The channel that the URL's hash names. */
export function useChannelName(): string {
  const [name, setName] = useState(channelInHash);
  useEffect(() => {
    const onHash = (): void => {
      setName(channelInHash());
    };
    addEventListener('hashchange', onHash);
    return () => {
      removeEventListener('hashchange', onHash);
    };
  }, []);
  return name;
}
