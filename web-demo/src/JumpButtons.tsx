// The ways to what is not in view: late messages, new ones, and back to where one was.
import type { Channel, ChannelState, LateRun, LateState } from 'backscroll';
import { counted, numberOf } from './format';
import type { Scroller } from './scroller';
import { useStore } from './stores';

interface Props {
  readonly channel: Channel;
  readonly scroller: Scroller;
  readonly onLate: (run: LateRun) => void;
}

export function JumpButtons({ channel, scroller, onLate }: Props) {
  const late = useStore(channel.late);
  const info = useStore(channel.info);
  const trail = useStore(scroller.trail);
  const { atEnd } = useStore(scroller.place);
  const fresh = newerOf(info, late);
  const goLate = (direction: 'up' | 'down'): void => {
    const run = channel.late.next(direction);
    if (run) onLate(run);
  };
  return (
    <div className="jumps">
      {trail > 0 && (
        <button type="button" data-jump="back" aria-label="Back to where you were" onClick={() => void scroller.back()}>
          <Arrow path="M8 5 3.5 9.5 8 14M4 9.5h8a4.5 4.5 0 0 1 0 9H9" /> <span className="word">Back</span>
        </button>
      )}
      {late.above > 0 && <LateButton direction="up" count={late.above} onClick={() => { goLate('up'); }} />}
      {late.below > 0 && <LateButton direction="down" count={late.below} onClick={() => { goLate('down'); }} />}
      {!atEnd && (
        <button
          type="button"
          data-jump="newest"
          aria-label={fresh > 0 ? `${counted(fresh, 'new message')}, go to the newest` : 'Go to the newest message'}
          onClick={() => {
            scroller.remember();
            void scroller.toEnd();
          }}
        >
          {fresh > 0 && <>{numberOf(fresh)} <span className="word">new </span></>}
          <Arrow path={DOWN} />
        </button>
      )}
    </div>
  );
}

interface LateButtonProps {
  readonly direction: 'up' | 'down';
  readonly count: number;
  readonly onClick: () => void;
}

function LateButton({ direction, count, onClick }: LateButtonProps) {
  const where = direction === 'up' ? 'above' : 'below';
  const key = direction === 'up' ? 'L' : 'Shift+L';
  return (
    <button
      type="button"
      data-late={direction}
      aria-label={`${counted(count, 'late message')} ${where}, go to the nearest`}
      title={`Late messages ${where} (${key} in the list)`}
      onClick={onClick}
    >
      {count} <span className="word">late </span><Arrow path={direction === 'up' ? UP : DOWN} />
    </button>
  );
}

const UP = 'M10 16V4M4.5 9.5 10 4l5.5 5.5';
const DOWN = 'M10 4v12M4.5 10.5 10 16l5.5-5.5';

function Arrow({ path }: { path: string }) {
  return (
    <svg viewBox="0 0 20 20" width="14" height="14" aria-hidden="true">
      <path d={path} fill="none" stroke="currentColor" strokeWidth="2.2" strokeLinecap="round" strokeLinejoin="round" />
    </svg>
  );
}

/** Unread messages at the end: those that are not late ones from before. */
function newerOf({ unread, firstUnread }: ChannelState, late: LateState): number {
  const earlier = late.runs.filter((run) => firstUnread === null || run.last < firstUnread);
  return Math.max(0, unread - earlier.reduce((sum, run) => sum + run.count, 0));
}
