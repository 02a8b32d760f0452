// A scrollbar over ranks, not pixels: its thumb stands where the first visible row stands among all
// messages, and reaches any of a million. While it is dragged a bubble says of when the messages are.
import type { View } from 'backscroll';
import { type KeyboardEvent, type PointerEvent, useRef, useState } from 'react';
import { dayOf, numberOf, timeOf } from './format';
import type { Scroller } from './scroller';
import { useStore } from './stores';

/** Times of rows that the bubble is drawn from; between them it guesses. */
const TICKS = 500;
/** A channel this short shows times of day, in ms. */
const SHORT_MS = 3 * 86_400_000;

interface Tick {
  readonly index: number;
  readonly time: number;
}

interface Props {
  readonly scroller: Scroller;
  readonly total: number;
  readonly listId: string;
}

export function Scrollbar({ scroller, total, listId }: Props) {
  const place = useStore(scroller.place);
  const track = useRef<HTMLDivElement>(null);
  /** How far from where it should be the thumb was grabbed. */
  const grip = useRef(0);
  const [dragged, setDragged] = useState<number | null>(null);
  const [ticks, setTicks] = useState<readonly Tick[]>([]);
  const last = Math.max(0, total - 1);
  const end = Math.max(0, total - place.count);
  const first = dragged ?? place.first;
  const fraction = end === 0 || (place.atEnd && dragged === null) ? 1 : Math.min(1, first / end);

  const indexAt = (event: PointerEvent): number => {
    const box = track.current?.getBoundingClientRect();
    if (!box) return first;
    const at = (event.clientY - grip.current - box.top) / box.height;
    return Math.round(Math.min(1, Math.max(0, at)) * end);
  };
  const drag = (event: PointerEvent): void => {
    const index = indexAt(event);
    setDragged(index);
    scroller.dragTo(index >= end ? last : index);
  };
  const onPointerDown = (event: PointerEvent<HTMLElement>): void => {
    if (event.button !== 0 || end === 0) return;
    event.preventDefault();
    const box = event.currentTarget.getBoundingClientRect();
    const isThumb = event.target instanceof HTMLElement && event.target.role === 'scrollbar';
    grip.current = isThumb ? event.clientY - box.top - fraction * box.height : 0;
    event.currentTarget.setPointerCapture(event.pointerId);
    void ticksOf(scroller.view).then(setTicks);
    if (isThumb) setDragged(first);
    else drag(event);
  };
  const release = (): void => { setDragged(null); };
  const onKeyDown = (event: KeyboardEvent): void => {
    const to = keyTarget(event.key, first, Math.max(1, place.count - 1), last);
    if (to === undefined) return;
    event.preventDefault();
    void scroller.toIndex(to);
  };
  const time = dragged === null ? undefined : timeAt(ticks, dragged);
  return (
    <div
      ref={track}
      className="track"
      data-idle={end === 0 || undefined}
      onPointerDown={onPointerDown}
      onPointerMove={(event) => {
        if (event.currentTarget.hasPointerCapture(event.pointerId)) drag(event);
      }}
      onLostPointerCapture={release}
    >
      <div
        className="thumb"
        role="scrollbar"
        aria-label="Position in the channel"
        aria-controls={listId}
        aria-orientation="vertical"
        aria-valuemin={0}
        aria-valuemax={last}
        aria-valuenow={place.first}
        aria-valuetext={valueText(place.first, total, place.time)}
        tabIndex={0}
        onKeyDown={onKeyDown}
        style={{ '--at': fraction }}
      >
        {dragged !== null && (
          <output className="bubble">
            {time !== undefined && <b>{isShort(ticks) ? `${dayOf(time)}, ${timeOf(time)}` : dayOf(time)}</b>}
            <span>
              {numberOf(dragged + 1)} of {numberOf(total)}
            </span>
          </output>
        )}
      </div>
    </div>
  );
}

function keyTarget(key: string, first: number, page: number, last: number): number | undefined {
  const steps: Partial<Record<string, number>> = {
    ArrowUp: first - 1,
    ArrowDown: first + 1,
    PageUp: first - page,
    PageDown: first + page,
    Home: 0,
    End: last,
  };
  const to = steps[key];
  return to === undefined ? undefined : Math.min(last, Math.max(0, to));
}

function valueText(first: number, total: number, time: number | undefined): string {
  if (total === 0) return 'no messages';
  const at = `message ${numberOf(first + 1)} of ${numberOf(total)}`;
  return time === undefined ? at : `${at}, ${dayOf(time)}`;
}

async function ticksOf(view: View): Promise<readonly Tick[]> {
  try {
    return await view.ticks(TICKS);
  } catch {
    // The view was closed meanwhile.
    return [];
  }
}

function isShort(ticks: readonly Tick[]): boolean {
  const [first, last] = [ticks[0], ticks.at(-1)];
  return first !== undefined && last !== undefined && last.time - first.time < SHORT_MS;
}

/** When a row was sent, about, by its place between the ticks. */
function timeAt(ticks: readonly Tick[], index: number): number | undefined {
  const next = ticks.findIndex((tick) => tick.index >= index);
  const after = ticks[next] ?? ticks.at(-1);
  const before = ticks[next - 1] ?? after;
  if (!before || !after) return undefined;
  const span = after.index - before.index;
  return span === 0 ? after.time : before.time + ((index - before.index) / span) * (after.time - before.time);
}
