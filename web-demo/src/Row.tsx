// One row: a message, or the place of one that is not loaded yet.
import type { Channel, Message, MsgId, Placeholder } from 'backscroll';
import { type FocusEvent, memo, useRef, useState } from 'react';
import { Avatar, hueOf } from './Avatar';
import { fullTimeOf, longDayOf, timeOf } from './format';
import { Actions, Editor, Reactions } from './Saying';

/** A late message that came this recently comes into view with a highlight, in ms. */
const FRESH_MS = 3_000;
/** Later than this after it was written is worth saying, in ms. */
const DELAY_MS_MIN = 1_000;
/** Placeholders are as wide as messages: some more, some less, in percent. */
const WIDTHS = [62, 38, 74, 51, 29, 67, 45];

/** Messages to show off; another turn shows the same ones off again. */
export interface Flash {
  readonly first: MsgId;
  readonly last: MsgId;
  readonly turn: 0 | 1;
}

interface Props {
  readonly item: Message | Placeholder;
  readonly index: number;
  readonly total: number;
  readonly channel: Channel;
  readonly user: string;
  readonly hasDay: boolean;
  readonly hasSender: boolean;
  readonly flash: Flash['turn'] | undefined;
}

export const Row = memo(function Row({ item, index, total, ...rest }: Props) {
  const place = { role: 'listitem', 'aria-posinset': index + 1, 'aria-setsize': total };
  if (item.placeholder) {
    const width = WIDTHS[index % WIDTHS.length] ?? 50;
    return (
      <div {...place} className="row placeholder" aria-busy="true">
        <span style={{ width: `${width}%` }} />
      </div>
    );
  }
  return <MessageRow place={place} message={item} {...rest} />;
});

interface MessageProps extends Omit<Props, 'item' | 'index' | 'total'> {
  readonly place: { readonly role: string };
  readonly message: Message;
}

function MessageRow({ place, message, channel, user, hasDay, hasSender, flash }: MessageProps) {
  const [isFresh] = useState(() => message.late && Date.now() - message.arrivedAt < FRESH_MS);
  const [isPointedAt, setPointedAt] = useState(false);
  const [isFocused, setFocused] = useState(false);
  const [isEditing, setEditing] = useState(false);
  const row = useRef<HTMLDivElement>(null);
  const isOwn = message.from === user;
  const canSay = !message.deleted && typeof message.send !== 'object';
  const endEdit = (): void => {
    setEditing(false);
    row.current?.focus();
  };
  const shown = flash === undefined ? (isFresh ? 'fresh' : undefined) : `turn-${flash}`;
  return (
    <div
      {...place}
      ref={row}
      className={hasSender ? 'row head' : 'row'}
      tabIndex={-1}
      data-message-id={message.id}
      data-send={stateOf(message)}
      data-own={isOwn || undefined}
      data-flash={shown}
      onPointerEnter={({ pointerType }) => { setPointedAt(pointerType !== 'touch'); }}
      onPointerLeave={() => { setPointedAt(false); }}
      onFocus={() => { setFocused(true); }}
      onBlur={({ currentTarget, relatedTarget }: FocusEvent) => { setFocused(currentTarget.contains(relatedTarget)); }}
    >
      {hasDay && (
        <h3 className="day">
          <time dateTime={new Date(message.sentAt).toISOString()}>{longDayOf(message.sentAt)}</time>
        </h3>
      )}
      {hasSender && <Heading message={message} />}
      <div className="said">
        {!hasSender && <Time ms={message.sentAt} />}
        {isEditing && canSay
          ? <Editor message={message} channel={channel} onDone={endEdit} />
          : <Text message={message} />}
        {!hasSender && <Marks message={message} />}
      </div>
      <Beside message={message} channel={channel} user={user} />
      {canSay && !isEditing && (isPointedAt || isFocused) && (
        <Actions message={message} channel={channel} user={user} onEdit={() => { setEditing(true); }} />
      )}
      {isOwn && <Failure message={message} channel={channel} />}
    </div>
  );
}

function Heading({ message }: { message: Message }) {
  return (
    <div className="heading">
      <Avatar name={message.from} />
      <span className="from" style={{ '--hue': hueOf(message.from) }}>{message.from}</span>
      <Time ms={message.sentAt} />
      <Marks message={message} />
    </div>
  );
}

function Time({ ms }: { ms: number }) {
  return (
    <time className="time" dateTime={new Date(ms).toISOString()} title={fullTimeOf(ms)}>
      {timeOf(ms)}
    </time>
  );
}

function Text({ message: { text, deleted, editedAt } }: { message: Message }) {
  if (deleted) return <p className="text gone">This message was deleted.</p>;
  return (
    <p className="text">
      {text}
      {editedAt !== undefined && <span className="edited" title={fullTimeOf(editedAt)}> (edited)</span>}
    </p>
  );
}

/** That it came late, and where it stands on its way. */
function Marks({ message: { late, sentAt, arrivedAt, send } }: { message: Message }) {
  const tick = typeof send === 'string' ? TICKS[send] : undefined;
  const delay = arrivedAt - sentAt > DELAY_MS_MIN ? `Written ${fullTimeOf(sentAt)}, arrived ${fullTimeOf(arrivedAt)}` : undefined;
  return (
    <>
      {late && <span className="mark late" title={delay}>late</span>}
      {send === 'queued' && <span className="mark queued" title="Waits to be sent">waiting</span>}
      {tick && <span className={`mark ${tick.name}`} role="img" aria-label={tick.word} title={tick.word}>{tick.sign}</span>}
    </>
  );
}

const TICKS: Partial<Record<string, { readonly name: string; readonly sign: string; readonly word: string }>> = {
  relayed: { name: 'relayed', sign: '✓', word: 'Sent' },
  delivered: { name: 'delivered', sign: '✓✓', word: 'Delivered' },
  read: { name: 'read', sign: '✓✓', word: 'Read' },
};

function Beside({ message, channel, user }: { message: Message; channel: Channel; user: string }) {
  const { attachments, reactions } = message;
  if (!attachments && Object.keys(reactions).length === 0) return null;
  return (
    <p className="beside">
      {attachments?.map((file) => (
        <span key={`${file.name} ${file.sha256 ?? file.url ?? ''}`} className="chip">📎 {file.name}</span>
      ))}
      <Reactions message={message} channel={channel} user={user} />
    </p>
  );
}

function Failure({ message: { id, send }, channel }: { message: Message; channel: Channel }) {
  if (typeof send !== 'object') return null;
  return (
    <p className="failure">
      <span>Not sent: {REASONS[send.failed] ?? send.failed}</span>
      {send.retryable && <button type="button" onClick={() => { channel.retry(id); }}>Try again</button>}
      <button type="button" onClick={() => { channel.discard(id); }}>Discard</button>
    </p>
  );
}

const REASONS: Partial<Record<string, string>> = {
  forbidden: 'you may not write here',
  unauthorized: 'you are not signed in',
  rate_limited: 'too many messages at once',
  too_large: 'it is too long',
  future_id: 'the clock of this device is fast',
  id_taken: 'its id is taken',
  duplicate: 'it was sent before',
};

/** How far it is on its way to the relay; ticks say how far beyond. */
function stateOf({ send }: Message): string | undefined {
  if (typeof send === 'object') return 'failed';
  return send === 'delivered' || send === 'read' ? 'relayed' : send;
}
