// One channel: what it is, its messages, and writing to it.
import type { Channel, Client } from 'backscroll';
import { type ReactNode, useLayoutEffect, useMemo, useRef, useState } from 'react';
import { Announcer } from './Announcer';
import { Composer } from './Composer';
import { ConnectionStatus } from './ConnectionStatus';
import { dayOf, counted, numberOf } from './format';
import { MessageList } from './MessageList';
import { type Bookmark, Scroller } from './scroller';
import { useStore, useView } from './stores';

/** The smallest row, in px: how many may be on screen. */
const ROW_PX_MIN = 26;
/** Screens of rows that a view holds. */
const SCREENS = 4;
const ROWS_MIN = 120;
const ROWS_MAX = 800;

/** Where each user of this page left each channel, until the page is closed. */
const left = new Map<string, Map<string, Bookmark>>();

function leftBy(user: string): Map<string, Bookmark> {
  const channels = left.get(user) ?? new Map<string, Bookmark>();
  left.set(user, channels);
  return channels;
}

interface Props {
  readonly client: Client;
  readonly channel: Channel;
  /** The channel list is open over it. */
  readonly isCovered: boolean;
  /** The button that opens the channel list, where there is no room for it. */
  readonly menu: ReactNode;
}

export function Conversation({ client, channel, isCovered, menu }: Props) {
  const [{ rows, from }] = useState(() => ({ rows: rowsToHold(), from: leftBy(client.user).get(channel.id) }));
  const at = from ? (from.id ? { id: from.id } : { index: from.index }) : 'latest';
  const view = useView(channel, { at, before: rows / 2, after: rows / 2 });
  const scroller = useMemo(() => view && new Scroller(view, rows, from), [view, rows, from]);
  const composer = useRef<HTMLTextAreaElement>(null);
  // Its end comes while the rows are still there to be measured; that of a `useEffect` comes after.
  useLayoutEffect(() => {
    if (!scroller) return;
    return () => {
      const here = scroller.here();
      const channels = leftBy(client.user);
      if (here && !here.atEnd) channels.set(channel.id, here);
      else channels.delete(channel.id);
    };
  }, [scroller, channel, client]);
  return (
    <main className="main" inert={isCovered}>
      <header className="channel-header">
        {menu}
        <div className="about">
          <h2 title={channel.id}>{channel.id}</h2>
          {scroller && <Where channel={channel} scroller={scroller} />}
        </div>
        <ConnectionStatus connection={client.connection} />
      </header>
      {scroller ? (
        <MessageList
          channel={channel}
          scroller={scroller}
          user={client.user}
          onLeave={() => composer.current?.focus()}
        />
      ) : (
        <div className="messages" />
      )}
      <Trouble connection={client.connection} />
      <Composer ref={composer} channel={channel} onSent={() => void scroller?.toEnd()} />
      {scroller && <Announcer channel={channel} scroller={scroller} user={client.user} />}
    </main>
  );
}

/** How many messages there are, and of when those are that are seen. */
function Where({ channel, scroller }: { channel: Channel; scroller: Scroller }) {
  const { total } = useStore(channel.info);
  const { first, time, atEnd } = useStore(scroller.place);
  return (
    <p className="where">
      <span>{counted(total, 'message')}</span>
      {!atEnd && time !== undefined && (
        <span className="at" title={`from message ${numberOf(first + 1)} on`}>
          {dayOf(time)}
        </span>
      )}
    </p>
  );
}

/** What only a reload mends. */
function Trouble({ connection }: { connection: Client['connection'] }) {
  const { storage, error } = useStore(connection);
  if (storage !== 'failed') return null;
  return (
    <p role="alert" className="trouble">
      {error?.message ?? 'This device does not take messages any more.'} Load the page again to go on.
    </p>
  );
}

function rowsToHold(): number {
  const screen = Math.ceil(innerHeight / ROW_PX_MIN);
  return 2 * Math.ceil(Math.min(ROWS_MAX, Math.max(ROWS_MIN, screen * SCREENS)) / 2);
}
