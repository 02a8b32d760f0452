// Writes a message: Enter sends, Shift+Enter breaks the line. Never blocks on the network.
import type { Channel } from 'backscroll';
import { type KeyboardEvent, useState } from 'react';

export function Composer({ channel }: { channel: Channel }) {
  const [text, setText] = useState('');
  const [error, setError] = useState('');
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    if (!text.trim()) return;
    try {
      channel.send(text);
      setText('');
      setError('');
    } catch (reason) {
      setError(reason instanceof Error ? reason.message : String(reason));
    }
  };
  return (
    <div className="composer">
      <textarea
        aria-label="Message"
        placeholder="Write a message…"
        rows={1}
        value={text}
        onKeyDown={onKeyDown}
        onChange={(event) => {
          setText(event.target.value);
        }}
      />
      {error && <p role="alert">{error}</p>}
    </div>
  );
}
