// Writes a message: Enter sends, Shift+Enter breaks the line. Never blocked by the network. What is
// not sent yet is kept on this device.
import type { Channel } from 'backscroll';
import { type KeyboardEvent, type Ref, useState } from 'react';
import { useStore } from './stores';
import { Typing } from './Typing';

interface Props {
  readonly ref: Ref<HTMLTextAreaElement>;
  readonly channel: Channel;
  readonly onSent: () => void;
}

export function Composer({ ref, channel, onSent }: Props) {
  const text = useStore(channel.draft) ?? '';
  const [error, setError] = useState('');
  const change = (draft: string): void => {
    channel.draft.set(draft === '' ? null : draft);
    channel.presence.typing(draft !== '');
  };
  const send = (): void => {
    if (!text.trim()) return;
    try {
      channel.send(text);
    } catch (reason) {
      setError(reason instanceof Error ? reason.message : String(reason));
      return;
    }
    change('');
    setError('');
    onSent();
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    send();
  };
  return (
    <div className="composer">
      <div className="field">
        <textarea
          ref={ref}
          aria-label="Message"
          placeholder={`Message ${channel.id}`}
          enterKeyHint="send"
          rows={1}
          value={text}
          onKeyDown={onKeyDown}
          onChange={(event) => { change(event.target.value); }}
        />
        <button type="button" className="primary send" aria-label="Send" disabled={!text.trim()} onClick={send}>
          <svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true">
            <path d="M10 16V4M4.5 9.5 10 4l5.5 5.5" fill="none" stroke="currentColor" strokeWidth="2.2" strokeLinecap="round" strokeLinejoin="round" />
          </svg>
        </button>
      </div>
      <Typing channel={channel} />
      {error && <p role="alert">{error}</p>}
    </div>
  );
}
