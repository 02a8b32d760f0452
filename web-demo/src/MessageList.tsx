// The messages around where the reader is, their scrollbar, and the ways to what is elsewhere.
import type { Channel, LateRun, Message, Placeholder, Window } from 'backscroll';
import { type KeyboardEvent, useCallback, useId, useLayoutEffect, useRef, useState } from 'react';
import { isSameDay } from './format';
import { JumpButtons } from './JumpButtons';
import { type Flash, Row } from './Row';
import { Scrollbar } from './Scrollbar';
import type { Scroller } from './scroller';
import { useStore } from './stores';

/** Messages of one sender this close together stand under one heading, in ms. */
const GROUP_MS = 5 * 60_000;
/** How much of a screen a page key moves. */
const PAGE_SHARE = 0.9;

interface Props {
  readonly channel: Channel;
  readonly scroller: Scroller;
  readonly user: string;
  /** The keyboard leaves the list. */
  readonly onLeave: () => void;
}

export function MessageList({ channel, scroller, user, onLeave }: Props) {
  const shown = useStore(scroller.view);
  const box = useRef<HTMLDivElement>(null);
  const above = useRef<HTMLDivElement>(null);
  const rows = useRef<HTMLDivElement>(null);
  const below = useRef<HTMLDivElement>(null);
  const listId = useId();
  const [flash, setFlash] = useState<Flash | null>(null);

  useLayoutEffect(() => {
    if (!box.current || !above.current || !rows.current || !below.current) return;
    return scroller.attach({ box: box.current, above: above.current, rows: rows.current, below: below.current });
  }, [scroller]);
  useLayoutEffect(() => {
    scroller.changed(shown);
  }, [scroller, shown]);

  const goLate = useCallback(
    (run: LateRun): void => {
      setFlash((before) => ({ first: run.first, last: run.last, turn: before?.turn === 0 ? 1 : 0 }));
      void scroller.jump(run.first, { highlight: true, focus: true }).then((arrived) => {
        // A run that is longer than the screen is seen by having been led to it.
        if (arrived) channel.late.seen(run);
      });
    },
    [channel, scroller],
  );
  const onKeyDown = (event: KeyboardEvent): void => {
    const act = actionOf(event, { channel, scroller, goLate, onLeave, total: shown.total });
    if (!act) return;
    event.preventDefault();
    act();
  };

  return (
    <div className="messages">
      <div
        ref={box}
        id={listId}
        className="rows"
        role="list"
        aria-label="Messages"
        tabIndex={0}
        onKeyDown={onKeyDown}
        onFocus={(event) => {
          // Tab comes to the list and goes on to a row of it.
          if (event.target === box.current && event.relatedTarget) scroller.focus(scroller.activeIndex());
        }}
      >
        <div ref={above} role="presentation" />
        <div ref={rows} className="block" role="presentation">
          {shown.items.map((item, i) => (
            <Row
              key={item.placeholder ? item.index : item.id}
              item={item}
              index={shown.start + i}
              total={shown.total}
              channel={channel}
              user={user}
              flash={flashOf(item, flash)}
              {...headingsOf(shown, i)}
            />
          ))}
        </div>
        <div ref={below} role="presentation" />
      </div>
      {shown.total === 0 && <Empty channel={channel} />}
      <JumpButtons channel={channel} scroller={scroller} onLate={goLate} />
      <Scrollbar scroller={scroller} total={shown.total} listId={listId} />
    </div>
  );
}

function Empty({ channel }: { channel: Channel }) {
  const { backfill } = useStore(channel.info);
  return (
    <p className="empty">
      {backfill === 'running' ? 'Nothing of this channel is on this device yet.' : 'Nobody has written here yet.'}
    </p>
  );
}

/** Which headings stand above a row: its day, and who wrote it. */
function headingsOf({ items, start }: Window, i: number): { hasDay: boolean; hasSender: boolean } {
  const item = items[i];
  const before = items[i - 1];
  if (!item || item.placeholder) return { hasDay: false, hasSender: false };
  if (!before || before.placeholder) return { hasDay: start + i === 0, hasSender: true };
  const hasDay = !isSameDay(before.sentAt, item.sentAt);
  const isClose = before.from === item.from && item.sentAt - before.sentAt < GROUP_MS;
  return { hasDay, hasSender: hasDay || !isClose };
}

function flashOf(item: Message | Placeholder, flash: Flash | null): Flash['turn'] | undefined {
  if (!flash || item.placeholder) return undefined;
  return item.id >= flash.first && item.id <= flash.last ? flash.turn : undefined;
}

interface Acting {
  readonly channel: Channel;
  readonly scroller: Scroller;
  readonly goLate: (run: LateRun) => void;
  readonly onLeave: () => void;
  readonly total: number;
}

/** What a key does in the list. */
function actionOf(event: KeyboardEvent, acting: Acting): (() => void) | undefined {
  const { channel, scroller, goLate, onLeave, total } = acting;
  if (event.target instanceof HTMLElement && event.target.closest('button, a, textarea')) return undefined;
  if (event.altKey || event.metaKey || (event.ctrlKey && event.key !== 'End')) return undefined;
  const active = scroller.activeIndex();
  const page = (share: number) => () => {
    scroller.page(share);
    scroller.focus(scroller.place.getSnapshot().first + 1);
  };
  const late = (direction: 'up' | 'down') => () => {
    const run = channel.late.next(direction);
    if (run) goLate(run);
  };
  switch (event.key) {
    case 'ArrowUp':
      return () => { scroller.focus(Math.max(0, active - 1)); };
    case 'ArrowDown':
      return () => { scroller.focus(Math.min(total - 1, active + 1)); };
    case 'PageUp':
      return page(-PAGE_SHARE);
    case 'PageDown':
      return page(PAGE_SHARE);
    case 'Home':
      return () => void scroller.toIndex(0, { focus: true });
    case 'End':
      return event.ctrlKey ? onLeave : () => void scroller.toEnd({ focus: true });
    case 'l':
      return late('up');
    case 'L':
      return late('down');
    default:
      return undefined;
  }
}
