// The service worker: after the first visit the page, its code and the engine come from this device.
// Messages are none of its business.
import { type PrecacheEntry, Serwist } from 'serwist';

declare const self: ServiceWorkerGlobalScope & {
  /** What the build made, by name and content; written here by the build. */
  readonly __SW_MANIFEST: readonly PrecacheEntry[];
};

const worker = new Serwist({
  precacheEntries: [...self.__SW_MANIFEST],
  precacheOptions: {
    cleanupOutdatedCaches: true,
    // Any path is the page, as the relay serves it too; what the relay itself answers is not.
    navigateFallback: '/index.html',
    navigateFallbackDenylist: [/^\/(api|sync|ws|livez|readyz|metrics)\b/],
  },
  // A page has all its code once it is loaded: a new version need not wait for the old one's pages.
  skipWaiting: true,
  clientsClaim: true,
});

worker.addEventListeners();
