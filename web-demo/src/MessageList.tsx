// The messages around where the user looks. The engine's view holds a few screens of rows; the
// list scrolls inside them, asks for others near their ends, and keeps the row being read in place.
import type { Channel, View } from 'backscroll';
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from 'react';
import { Row } from './Row';
import { Scrollbar } from './Scrollbar';
import { useStore } from './stores';

const BEFORE = 100;
const AFTER = 60;
/** Ask for other rows when fewer than this many pixels are left to scroll. */
const EDGE_PX = 800;
/** Closer to the end than this is at the end. */
const PINNED_PX = 8;

export function MessageList({ channel }: { channel: Channel }) {
  const [view, setView] = useState<View | null>(null);
  useEffect(() => {
    const opened = channel.view({ at: 'latest', before: BEFORE, after: AFTER });
    setView(opened);
    return () => {
      opened[Symbol.dispose]();
    };
  }, [channel]);
  return view ? <Rows view={view} /> : <div className="messages" />;
}

/** Where the first visible row stands, so that it can be put there again. */
interface Anchor {
  readonly key: string;
  readonly top: number;
}

function Rows({ view }: { view: View }) {
  const shown = useStore(view);
  const list = useRef<HTMLDivElement>(null);
  const anchor = useRef<Anchor | null>(null);
  const pinned = useRef(true);
  const asking = useRef(false);
  const [first, setFirst] = useState(0);

  const ask = useCallback(
    (at: Parameters<View['goto']>[0]) => {
      asking.current = true;
      const done = (): void => {
        asking.current = false;
      };
      // A newer question supersedes this one: nothing to tell the user.
      void view.goto(at).then(done, done);
    },
    [view],
  );

  const look = useCallback(() => {
    const box = list.current;
    if (!box) return;
    pinned.current =
      shown.foundNewest && box.scrollHeight - box.scrollTop - box.clientHeight < PINNED_PX;
    const row = firstVisible(box);
    if (!row) return;
    anchor.current = { key: keyOf(row), top: row.offsetTop - box.scrollTop };
    const index = Number(row.getAttribute('aria-posinset')) - 1;
    setFirst(index);
    const visible = rowsOf(box).filter((r) => r.offsetTop < box.scrollTop + box.clientHeight);
    const ids = visible.slice(visible.indexOf(row)).flatMap((r) => r.dataset['messageId'] ?? []);
    const [from, to] = [ids[0], ids.at(-1)];
    if (from && to) view.setVisible(from as never, to as never, pinned.current);
    const below = box.scrollHeight - box.scrollTop - box.clientHeight;
    const needsOlder = !shown.foundOldest && box.scrollTop < EDGE_PX;
    const needsNewer = !shown.foundNewest && below < EDGE_PX;
    if ((needsOlder || needsNewer) && !asking.current) ask({ index });
  }, [ask, shown, view]);

  // Before the browser paints: the row being read goes back to where it was, or the end is shown.
  useLayoutEffect(() => {
    const box = list.current;
    if (!box) return;
    if (pinned.current) {
      box.scrollTop = box.scrollHeight;
    } else if (anchor.current) {
      const { key, top } = anchor.current;
      const row = rowsOf(box).find((candidate) => keyOf(candidate) === key);
      if (row) box.scrollTop = row.offsetTop - top;
    }
    look();
  }, [shown, look]);

  const jump = useCallback(
    (index: number) => {
      pinned.current = false;
      anchor.current = { key: String(index), top: 0 };
      setFirst(index);
      ask(index >= shown.total - 1 ? 'latest' : { index });
      if (index >= shown.total - 1) pinned.current = true;
    },
    [ask, shown.total],
  );

  return (
    <div className="messages">
      <div className="rows" ref={list} onScroll={look} role="list" aria-label="Messages" tabIndex={0}>
        {shown.items.map((item, i) => (
          <Row key={'placeholder' in item ? `p${item.index}` : item.id} item={item} index={shown.start + i} total={shown.total} />
        ))}
        {shown.total === 0 && <p className="empty">Nobody has written here yet.</p>}
      </div>
      <Scrollbar first={first} total={shown.total} onJump={jump} />
    </div>
  );
}

function rowsOf(box: HTMLElement): HTMLElement[] {
  return [...box.querySelectorAll<HTMLElement>('[role=listitem]')];
}

/** A jump is anchored by index until its row is there; a row by its message. */
function keyOf(row: HTMLElement): string {
  return row.dataset['messageId'] ?? row.dataset['index'] ?? '';
}

function firstVisible(box: HTMLElement): HTMLElement | undefined {
  return rowsOf(box).find((row) => row.offsetTop + row.offsetHeight > box.scrollTop + 1);
}
