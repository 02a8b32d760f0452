// The channels that the relay has, and a field to go to any other.
import type { ChannelInfo, Client } from 'backscroll';
import { type SubmitEvent, useState } from 'react';
import { counted, numberOf } from './format';
import { hashOf } from './route';
import { useStore } from './stores';

interface Props {
  readonly channels: Client['channels'];
  readonly current: string;
  readonly onChosen: () => void;
}

export function ChannelList({ channels, current, onChosen }: Props) {
  const known = useStore(channels);
  const listed = known.some((channel) => channel.id === current)
    ? known
    : [...known, { id: current, total: 0, unread: 0 }];
  return (
    <nav aria-label="Channels" className="channels">
      <ul>
        {listed.map((channel) => (
          <li key={channel.id}>
            <Line channel={channel} isCurrent={channel.id === current} onChosen={onChosen} />
          </li>
        ))}
      </ul>
      <GoTo onChosen={onChosen} />
    </nav>
  );
}

interface LineProps {
  readonly channel: ChannelInfo;
  readonly isCurrent: boolean;
  readonly onChosen: () => void;
}

function Line({ channel: { id, total, unread }, isCurrent, onChosen }: LineProps) {
  return (
    <a
      href={hashOf(id)}
      aria-current={isCurrent ? 'page' : undefined}
      data-unread={unread > 0 ? unread : undefined}
      onClick={onChosen}
    >
      <span className="name">{id}</span>
      {unread > 0 && (
        <span className="unread" title={`${numberOf(unread)} unread`}>
          {numberOf(unread)}
          <span className="hidden"> unread</span>
        </span>
      )}
      <span className="total">{counted(total, 'message')}</span>
    </a>
  );
}

function GoTo({ onChosen }: { onChosen: () => void }) {
  const [name, setName] = useState('');
  const go = (event: SubmitEvent): void => {
    event.preventDefault();
    const wanted = name.trim();
    if (!wanted) return;
    location.hash = hashOf(wanted);
    setName('');
    onChosen();
  };
  return (
    <form className="go-to" onSubmit={go}>
      <input
        aria-label="Go to channel"
        placeholder="Go to a channel…"
        value={name}
        onChange={(event) => { setName(event.target.value); }}
      />
    </form>
  );
}
