/** What the engine asks of a place that keeps its records: an ordered map of bytes with atomic batches. */

/** One record; without a value it is deleted, or, in an answer, only its key was asked for. */
export interface StoredRecord {
  readonly key: Uint8Array;
  readonly value?: Uint8Array | undefined;
}

/** Keys from `from` up to, not including, `to`, in the order of their bytes. */
export interface KeyRange {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
}

/**
 * A store. Batches are written in the order of the calls, each wholly or not at all; when `write`
 * resolves its batch outlives a crash of the process.
 */
export interface Storage {
  write(batch: readonly StoredRecord[]): Promise<void>;
  /** At most `limit` records of a range, from its start; without their values if those are not wanted. */
  read(range: KeyRange, values: boolean, limit: number): Promise<StoredRecord[]>;
  close(): Promise<void>;
}
