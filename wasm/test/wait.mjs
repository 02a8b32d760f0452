// Waiting on conditions, with a deadline.

/** Long enough for a loaded machine; a test that passes never waits for it. */
const DEADLINE_MS = 60_000;

/** The first truthy answer of `check`, asked at each change of a store. */
export function until(store, check) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      unsubscribe();
      reject(new Error(`not before the deadline: ${check}\nlast: ${JSON.stringify(store.getSnapshot())}`));
    }, DEADLINE_MS);
    const look = () => {
      const answer = check(store.getSnapshot());
      if (!answer) return;
      clearTimeout(timer);
      unsubscribe();
      resolve(answer);
    };
    const unsubscribe = store.subscribe(look);
    look();
  });
}

export const texts = (window) => window.items.map((item) => item.text);
