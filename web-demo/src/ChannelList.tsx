// The channels that the relay has, and a field to go to any other.
import type { Client } from 'backscroll';
import { type FormEvent, useState } from 'react';
import { hashOf, useStore } from './stores';

export function ChannelList({ channels, current }: { channels: Client['channels']; current: string }) {
  const known = useStore(channels);
  const [name, setName] = useState('');
  const listed = known.some((channel) => channel.id === current)
    ? known
    : [...known, { id: current, total: 0 }];
  const go = (event: FormEvent): void => {
    event.preventDefault();
    if (name.trim()) location.hash = hashOf(name.trim());
    setName('');
  };
  return (
    <nav aria-label="Channels">
      <ul>
        {listed.map((channel) => (
          <li key={channel.id}>
            <a href={hashOf(channel.id)} aria-current={channel.id === current ? 'page' : undefined}>
              <span className="name">{channel.id}</span>
              <span className="count">{channel.total.toLocaleString('en')}</span>
            </a>
          </li>
        ))}
      </ul>
      <form onSubmit={go}>
        <input
          aria-label="Go to channel"
          placeholder="Go to channel…"
          value={name}
          onChange={(event) => {
            setName(event.target.value);
          }}
        />
      </form>
    </nav>
  );
}
