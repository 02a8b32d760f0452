// Who else is writing in a channel, in one line.
import type { Channel } from 'backscroll';
import { useStore } from './stores';

export function Typing({ channel }: { channel: Channel }) {
  const presence = useStore(channel.presence);
  const names = [...presence].filter(([, { typing }]) => typing).map(([name]) => name);
  return <p className="typing">{wordsOf(names)}</p>;
}

function wordsOf([first, second, ...more]: string[]): string {
  if (first === undefined) return '';
  if (second === undefined) return `${first} is writing…`;
  return more.length === 0 ? `${first} and ${second} are writing…` : 'Several people are writing…';
}
