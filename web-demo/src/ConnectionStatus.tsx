// Whether the relay is there, and how much waits for it.
import type { Connection, Store } from 'backscroll';
import { useStore } from './stores';

export function ConnectionStatus({ connection }: { connection: Store<Connection> }) {
  const { state, pendingOut } = useStore(connection);
  return (
    <p role="status" className="connection" data-connection={state}>
      {state}
      {pendingOut > 0 && ` · ${pendingOut} waiting`}
    </p>
  );
}
