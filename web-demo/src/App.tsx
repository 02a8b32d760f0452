// The page: channels on the left, the chosen one on the right.
import type { Channel, Client } from 'backscroll';
import { useMemo } from 'react';
import { ChannelList } from './ChannelList';
import { Composer } from './Composer';
import { ConnectionStatus } from './ConnectionStatus';
import { MessageList } from './MessageList';
import { useChannelName, useStore } from './stores';

export function App({ client }: { client: Client }) {
  const name = useChannelName();
  const channel = useMemo(() => client.channel(name), [client, name]);
  return (
    <div className="app">
      <aside className="side">
        <header>
          <h1>Backscroll</h1>
          <ConnectionStatus connection={client.connection} />
        </header>
        <ChannelList channels={client.channels} current={name} />
      </aside>
      <main className="main">
        <ChannelHeader key={name} name={name} channel={channel} />
        <MessageList key={`list ${name}`} channel={channel} />
        <Composer key={`composer ${name}`} channel={channel} />
      </main>
    </div>
  );
}

function ChannelHeader({ name, channel }: { name: string; channel: Channel }) {
  const { total } = useStore(channel.info);
  return (
    <header className="channel-header">
      <h2>{name}</h2>
      <span>{total.toLocaleString('en')} messages</span>
    </header>
  );
}
