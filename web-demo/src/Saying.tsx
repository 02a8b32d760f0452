// What can be said of a message that is there: reactions, an edit in its place, its deletion.
import type { Channel, Message } from 'backscroll';
import { type KeyboardEvent, useState } from 'react';

const EMOJIS = ['👍', '❤️', '😂', '🎉'];

interface Props {
  readonly message: Message;
  readonly channel: Channel;
  readonly user: string;
}

interface ActionsProps extends Props {
  readonly onEdit: () => void;
}

/** Beside a row that is pointed at or has the focus. Only the own messages can be changed. */
export function Actions({ message, channel, user, onEdit }: ActionsProps) {
  const { id, from, reactions } = message;
  const [isSure, setSure] = useState(false);
  return (
    <div className="actions" role="group" aria-label="Actions">
      {EMOJIS.map((emoji) => {
        const isOn = reactions[emoji]?.includes(user) ?? false;
        return (
          <button key={emoji} type="button" aria-label={`React with ${emoji}`} aria-pressed={isOn} onClick={() => { channel.react(id, emoji, !isOn); }}>
            {emoji}
          </button>
        );
      })}
      {from === user && <button type="button" onClick={onEdit}>Edit</button>}
      {from === user && !isSure && <button type="button" onClick={() => { setSure(true); }}>Delete</button>}
      {from === user && isSure && (
        <button type="button" className="sure" autoFocus onBlur={() => { setSure(false); }} onClick={() => { channel.remove(id); }}>
          Delete for everyone
        </button>
      )}
    </div>
  );
}

/** Who reacted; a press joins in, or takes it back. */
export function Reactions({ message: { id, reactions }, channel, user }: Props) {
  return Object.entries(reactions).map(([emoji, users]) => {
    const isOn = users.includes(user);
    return (
      <button
        key={emoji}
        type="button"
        className="chip"
        data-reaction={emoji}
        aria-pressed={isOn}
        aria-label={`${emoji} ${users.length}`}
        title={users.join(', ')}
        onClick={() => { channel.react(id, emoji, !isOn); }}
      >
        {emoji} {users.length}
      </button>
    );
  });
}

interface EditorProps {
  readonly message: Message;
  readonly channel: Channel;
  readonly onDone: () => void;
}

/** Enter keeps the new text, Escape the old one. */
export function Editor({ message: { id, text }, channel, onDone }: EditorProps) {
  const [next, setNext] = useState(text);
  const [error, setError] = useState('');
  const save = (): void => {
    try {
      if (next !== text) channel.edit(id, next);
      onDone();
    } catch (reason) {
      setError(reason instanceof Error ? reason.message : String(reason));
    }
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    // The list's own keys are not meant.
    event.stopPropagation();
    if (event.nativeEvent.isComposing || event.shiftKey) return;
    if (event.key === 'Escape') onDone();
    if (event.key !== 'Enter' || !next.trim()) return;
    event.preventDefault();
    save();
  };
  return (
    <div className="editor">
      <textarea
        aria-label="Edit the message"
        autoFocus
        rows={1}
        value={next}
        onFocus={({ target }) => { target.setSelectionRange(target.value.length, target.value.length); }}
        onChange={({ target }) => { setNext(target.value); }}
        onKeyDown={onKeyDown}
      />
      <button type="button" className="primary" disabled={!next.trim()} onClick={save}>Save</button>
      <button type="button" onClick={onDone}>Cancel</button>
      {error && <p role="alert">{error}</p>}
    </div>
  );
}
