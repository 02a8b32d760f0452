// One row: a message, or the place of one that is not loaded yet.
import type { Message, Placeholder } from 'backscroll';
import { memo } from 'react';

interface Props {
  readonly item: Message | Placeholder;
  readonly index: number;
  readonly total: number;
}

const TIME = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

export const Row = memo(function Row({ item, index, total }: Props) {
  const place = { 'aria-posinset': index + 1, 'aria-setsize': total, 'data-index': index };
  if ('placeholder' in item) {
    return <div role="listitem" className="row placeholder" aria-busy="true" {...place} />;
  }
  const state = typeof item.send === 'object' ? 'failed' : item.send;
  return (
    <div role="listitem" className="row" data-message-id={item.id} data-send={state} {...place}>
      <span className="from">{item.from}</span>
      <time dateTime={new Date(item.sentAt).toISOString()}>{TIME.format(item.sentAt)}</time>
      {item.late && <span className="late">late</span>}
      {state && state !== 'relayed' && <span className="send">{state}</span>}
      <p className="text">{item.text}</p>
    </div>
  );
});
