/** Errors with a stable `code`. */

import type { MsgId, Refused } from './types.js';

/** Stable codes of errors that this package throws or reports. */
export type ErrorCode =
  | 'bad_request'
  | 'bad_channel'
  | 'bad_id'
  | 'too_large'
  | 'closed'
  | 'superseded'
  | 'unsupported_storage'
  | 'storage_failed'
  | 'bad_record'
  | 'unsupported_engine'
  | 'init_failed'
  | 'engine_failed'
  | 'connection_failed'
  | 'not_found'
  | 'forbidden'
  | (string & {});

/** An error of Backscroll. */
export class BackscrollError extends Error {
  override readonly name = 'BackscrollError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The relay refused a change to a message. */
export class RefusedError extends BackscrollError implements Refused {
  readonly channel: string;
  readonly id: MsgId;

  constructor(code: ErrorCode, channel: string, id: MsgId) {
    super(code, `channel ${channel}: the change to message ${id} was refused (${code})`);
    this.channel = channel;
    this.id = id;
  }
}

/** Any thrown value as an error of ours; one with a code keeps it. */
export function toError(thrown: unknown, code: ErrorCode): BackscrollError {
  if (thrown instanceof BackscrollError) return thrown;
  if (thrown instanceof Error) {
    const own = (thrown as { code?: unknown }).code;
    return new BackscrollError(typeof own === 'string' ? own : code, thrown.message, { cause: thrown });
  }
  return new BackscrollError(code, String(thrown), { cause: thrown });
}
