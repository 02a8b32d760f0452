// A scrollbar over ranks, not pixels: its thumb stands where the first visible row stands among all
// messages, and reaches any of a million.
import { type KeyboardEvent, type PointerEvent, useRef } from 'react';

interface Props {
  readonly first: number;
  readonly total: number;
  readonly onJump: (index: number) => void;
}

const PAGE_ROWS = 20;

export function Scrollbar({ first, total, onJump }: Props) {
  const track = useRef<HTMLDivElement>(null);
  const last = Math.max(0, total - 1);
  const fraction = last > 0 ? Math.min(1, first / last) : 1;

  const jumpTo = (event: PointerEvent): void => {
    const box = track.current?.getBoundingClientRect();
    if (!box) return;
    const at = Math.min(1, Math.max(0, (event.clientY - box.top) / box.height));
    onJump(Math.round(at * last));
  };
  const onPointerDown = (event: PointerEvent): void => {
    event.currentTarget.setPointerCapture(event.pointerId);
    jumpTo(event);
  };
  const onPointerMove = (event: PointerEvent): void => {
    if (event.currentTarget.hasPointerCapture(event.pointerId)) jumpTo(event);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const steps: Partial<Record<string, number>> = {
      ArrowUp: first - 1,
      ArrowDown: first + 1,
      PageUp: first - PAGE_ROWS,
      PageDown: first + PAGE_ROWS,
      Home: 0,
      End: last,
    };
    const to = steps[event.key];
    if (to === undefined) return;
    event.preventDefault();
    onJump(Math.min(last, Math.max(0, to)));
  };
  return (
    <div className="track" ref={track} onPointerDown={onPointerDown} onPointerMove={onPointerMove}>
      <div
        className="thumb"
        role="scrollbar"
        aria-label="Position in the channel"
        aria-orientation="vertical"
        aria-valuemin={0}
        aria-valuemax={last}
        aria-valuenow={first}
        tabIndex={0}
        onKeyDown={onKeyDown}
        style={{ top: `calc(${fraction} * (100% - var(--thumb)))` }}
      />
    </div>
  );
}
