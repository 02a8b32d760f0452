/** How records cross between the engine and a store: one array of bytes a batch, all numbers little-endian. */

import type { StoredRecord } from '../storage.js';

/** Stands for the length of a value that is not there. */
const NONE = 0xffff_ffff;

/** Records as `u32` length of the key, `u32` length of the value, key, value. */
export function packRecords(records: readonly StoredRecord[]): Uint8Array {
  const length = records.reduce((sum, { key, value }) => sum + 8 + key.length + (value?.length ?? 0), 0);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const { key, value } of records) {
    view.setUint32(at, key.length, true);
    view.setUint32(at + 4, value?.length ?? NONE, true);
    bytes.set(key, at + 8);
    at += 8 + key.length;
    if (value) bytes.set(value, at);
    at += value?.length ?? 0;
  }
  return bytes;
}

/** The records of {@link packRecords}, from `start` on. */
export function unpackRecords(bytes: Uint8Array, start = 0): StoredRecord[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const records: StoredRecord[] = [];
  let at = start;
  const take = (length: number): Uint8Array => bytes.slice(at, (at += length));
  while (at < bytes.length) {
    const [keyLength, valueLength] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
    at += 8;
    const key = take(keyLength);
    records.push(valueLength === NONE ? { key } : { key, value: take(valueLength) });
  }
  return records;
}

/** A batch to write: its number as `f64`, then its records. */
export function unpackBatch(bytes: Uint8Array): { number: number; records: StoredRecord[] } {
  const number = new DataView(bytes.buffer, bytes.byteOffset).getFloat64(0, true);
  return { number, records: unpackRecords(bytes, 8) };
}
