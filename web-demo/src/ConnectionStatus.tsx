// Whether the relay is there, and how much waits for it. A connection that is gone for a moment is
// no news: `data-connection` says it at once, the words wait.
import type { Connection, Store } from 'backscroll';
import { useEffect, useState } from 'react';
import { numberOf } from './format';
import { useStore } from './stores';

const PATIENCE_MS = 2_000;

type State = Connection['state'];

export function ConnectionStatus({ connection }: { connection: Store<Connection> }) {
  const { state, pendingOut, storage, error } = useStore(connection);
  const shown = usePatience(state);
  const isAway = shown !== 'live' && shown !== 'syncing';
  return (
    <p
      role="status"
      className="connection"
      data-connection={state}
      data-shown={shown}
      data-storage={storage}
      title={error ? error.message : STORAGE[storage]}
    >
      {isAway && pendingOut > 0 ? `Sending when back online (${numberOf(pendingOut)})` : WORDS[shown]}
    </p>
  );
}

const WORDS: Record<State, string> = {
  offline: 'Offline',
  connecting: 'Connecting…',
  syncing: 'Catching up…',
  live: 'Online',
};

const STORAGE: Record<Connection['storage'], string> = {
  persistent: 'Messages are kept on this device.',
  'best-effort': 'Messages are kept on this device for as long as the browser has room.',
  memory: 'Messages are not kept on this device: those not sent are lost with this page.',
  failed: 'Messages cannot be kept on this device.',
};

/** The state, or the one before it until it has lasted: only good news comes at once. */
function usePatience(state: State): State {
  const [shown, setShown] = useState(state);
  if (state === 'live' && shown !== 'live') setShown('live');
  useEffect(() => {
    if (state === 'live') return;
    const timer = setTimeout(() => { setShown(state); }, PATIENCE_MS);
    return () => { clearTimeout(timer); };
  }, [state]);
  return shown;
}
