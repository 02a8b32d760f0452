// The page: channels on the left (a drawer on a phone), the chosen one on the right.
import type { Client } from 'backscroll';
import { type RefObject, useEffect, useMemo, useRef, useState } from 'react';
import { ChannelList } from './ChannelList';
import { Conversation } from './Conversation';
import { NameChooser } from './NameChooser';
import { useChannelName } from './route';

interface Props {
  readonly client: Client;
  readonly onRename: (name: string) => Promise<void>;
}

export function App({ client, onRename }: Props) {
  const name = useChannelName();
  const channel = useMemo(() => client.channel(name), [client, name]);
  const [isOpen, setOpen] = useState(false);
  const menu = useRef<HTMLButtonElement>(null);
  const closer = useRef<HTMLButtonElement>(null);
  const close = (): void => {
    setOpen(false);
  };
  useDrawerFocus(isOpen, closer, menu);
  useEffect(() => {
    const wide = matchMedia('(min-width: 721px)');
    wide.addEventListener('change', close);
    return () => {
      wide.removeEventListener('change', close);
    };
  }, []);
  useEffect(() => {
    document.title = `${name} · Backscroll`;
  }, [name]);
  return (
    <div className="app" data-drawer={isOpen ? 'open' : 'closed'}>
      <aside
        id="side"
        className="side"
        onKeyDown={(event) => {
          if (event.key === 'Escape') close();
        }}
      >
        <header className="brand">
          <img src="/icon.svg" alt="" width="28" height="28" />
          <h1>Backscroll</h1>
          <button ref={closer} type="button" className="quiet drawer-only" aria-label="Close the channel list" onClick={close}>
            ✕
          </button>
        </header>
        <ChannelList channels={client.channels} current={name} onChosen={close} />
        <NameChooser client={client} onRename={onRename} />
      </aside>
      <div className="scrim" onClick={close} />
      <Conversation
        key={name}
        client={client}
        channel={channel}
        isCovered={isOpen}
        menu={
          <button
            ref={menu}
            type="button"
            className="quiet drawer-only"
            aria-label="Channels"
            aria-expanded={isOpen}
            aria-controls="side"
            onClick={() => { setOpen(true); }}
          >
            ☰
          </button>
        }
      />
    </div>
  );
}

/** The focus goes into the drawer with its opening, and back with its closing. */
function useDrawerFocus(
  isOpen: boolean,
  inside: RefObject<HTMLElement | null>,
  outside: RefObject<HTMLElement | null>,
): void {
  const wasOpen = useRef(false);
  useEffect(() => {
    if (isOpen) inside.current?.focus();
    else if (wasOpen.current) outside.current?.focus();
    wasOpen.current = isOpen;
  }, [isOpen, inside, outside]);
}
