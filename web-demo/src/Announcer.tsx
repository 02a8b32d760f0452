// The one polite live region, outside the list: a list whose rows come and go in the middle is none.
// It says what came in at the end while the end is read, and late messages as one sentence. Rows that
// are only scrolled or loaded into the list are not announced.
import type { Channel, LateRun } from 'backscroll';
import { useEffect, useState } from 'react';
import { counted, daysOf } from './format';
import type { Scroller } from './scroller';

/** Late messages come in crowds: what comes within this time is one sentence. */
const CROWD_MS = 1_000;
const TEXT_CHARS_MAX = 200;

interface Props {
  readonly channel: Channel;
  readonly scroller: Scroller;
  readonly user: string;
}

export function Announcer({ channel, scroller, user }: Props) {
  const [words, setWords] = useState('');
  useEffect(() => {
    const { view, place } = scroller;
    return view.subscribe(() => {
      const { change, items, start, foundNewest } = view.getSnapshot();
      const newest = items.at(-1);
      if (change.reason !== 'live' || !foundNewest || !newest || newest.placeholder) return;
      const isNew = change.inserted.some(({ index, count }) => index + count === start + items.length);
      if (!isNew || newest.from === user || !place.getSnapshot().atEnd) return;
      setWords(`${newest.from}: ${newest.text.slice(0, TEXT_CHARS_MAX)}`);
    });
  }, [scroller, user]);
  useEffect(() => {
    const { late } = channel;
    let known = new Set(late.getSnapshot().runs.map(({ first }) => first));
    let timer: ReturnType<typeof setTimeout> | undefined;
    const tell = (): void => {
      timer = undefined;
      const { runs } = late.getSnapshot();
      const fresh = runs.filter(({ first }) => !known.has(first));
      known = new Set(runs.map(({ first }) => first));
      if (fresh.length > 0) setWords(wordsOf(fresh));
    };
    const stop = late.subscribe(() => {
      timer ??= setTimeout(tell, CROWD_MS);
    });
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, [channel]);
  return (
    <p className="hidden announcer" aria-live="polite">
      {words}
    </p>
  );
}

function wordsOf(runs: readonly LateRun[]): string {
  const count = runs.reduce((sum, run) => sum + run.count, 0);
  const from = Math.min(...runs.map((run) => run.from));
  const to = Math.max(...runs.map((run) => run.to));
  return `${counted(count, 'earlier message')} from ${daysOf(from, to)} arrived`;
}
