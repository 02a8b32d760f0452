// The channel that is shown stands in the URL's hash: `/#/c/<url-encoded channel>`.
import { useSyncExternalStore } from 'react';

const FIRST_CHANNEL = '#live';

/** The URL hash that shows a channel. */
export function hashOf(channel: string): string {
  return `#/c/${encodeURIComponent(channel)}`;
}

function channelInHash(): string {
  const match = /^#\/c\/(.+)$/.exec(location.hash);
  try {
    return match?.[1] ? decodeURIComponent(match[1]) : FIRST_CHANNEL;
  } catch {
    return FIRST_CHANNEL;
  }
}

function onHash(onChange: () => void): () => void {
  addEventListener('hashchange', onChange);
  return () => {
    removeEventListener('hashchange', onChange);
  };
}

/** The channel that the URL's hash names. */
export function useChannelName(): string {
  return useSyncExternalStore(onHash, channelInHash);
}
