/** Errors with a stable `code`. */

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

/** Any thrown value as an error of ours; one with a code keeps it. */
export function toError(thrown: unknown, code: ErrorCode): BackscrollError {
  if (thrown instanceof BackscrollError) return thrown;
  if (thrown instanceof Error) {
    const own = (thrown as { code?: unknown }).code;
    return new BackscrollError(typeof own === 'string' ? own : code, thrown.message, { cause: thrown });
  }
  return new BackscrollError(code, String(thrown), { cause: thrown });
}
