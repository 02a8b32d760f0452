// Under which name one writes here, and another one instead.
import type { Client } from 'backscroll';
import { type SubmitEvent, useId, useRef, useState } from 'react';
import { Avatar } from './Avatar';
import { isName } from './device';
import { useStore } from './stores';

interface Props {
  readonly client: Client;
  readonly onRename: (name: string) => Promise<void>;
}

export function NameChooser({ client, onRename }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const { user } = client;
  return (
    <footer className="me">
      <Avatar name={user} />
      <span className="name" title={user}>{user}</span>
      <button type="button" className="quiet" aria-label="Change your name" onClick={() => dialog.current?.showModal()}>
        Change
      </button>
      <dialog ref={dialog} aria-label="Your name">
        <NameForm client={client} onRename={onRename} onCancel={() => dialog.current?.close()} />
      </dialog>
    </footer>
  );
}

function NameForm({ client, onRename, onCancel }: Props & { readonly onCancel: () => void }) {
  const [name, setName] = useState(client.user);
  const { pendingOut } = useStore(client.connection);
  const field = useId();
  const wanted = name.trim();
  const refusal = refusalOf(wanted, pendingOut);
  const take = (event: SubmitEvent): void => {
    event.preventDefault();
    if (refusal) return;
    if (wanted === client.user) onCancel();
    else void onRename(wanted);
  };
  return (
    <form className="name-form" onSubmit={take}>
      <label htmlFor={field}>What should others call you?</label>
      <input id={field} autoComplete="nickname" value={name} onChange={(event) => { setName(event.target.value); }} />
      <p className="hint" aria-live="polite">{refusal ?? 'The name is kept on this device.'}</p>
      <div className="actions">
        <button type="button" onClick={onCancel}>Cancel</button>
        <button type="submit" className="primary" disabled={refusal !== undefined}>Use this name</button>
      </div>
    </form>
  );
}

function refusalOf(name: string, pendingOut: number): string | undefined {
  if (name === '') return 'A name has at least one character.';
  if (!isName(name)) return 'This name is too long.';
  // They were written under the old name, by a client that is closed for the new one.
  if (pendingOut > 0) return 'You can change your name once your messages are sent.';
  return undefined;
}
