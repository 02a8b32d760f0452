// The part of CBOR (RFC 8949) that frames have: integers, bytes, text, arrays, maps, booleans.

export function encode(value) {
  const out = [];
  put(out, value);
  return Uint8Array.from(out);
}

function head(out, major, number) {
  const kind = major << 5;
  if (number < 24) out.push(kind | number);
  else if (number < 0x100) out.push(kind | 24, number);
  else if (number < 0x10000) out.push(kind | 25, number >> 8, number & 255);
  else {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(BigInt(number));
    if (number < 0x100000000) out.push(kind | 26, ...bytes.subarray(4));
    else out.push(kind | 27, ...bytes);
  }
}

function put(out, value) {
  if (typeof value === 'number') head(out, 0, value);
  else if (typeof value === 'boolean') out.push(value ? 0xf5 : 0xf4);
  else if (value instanceof Uint8Array) {
    head(out, 2, value.length);
    out.push(...value);
  } else if (typeof value === 'string') {
    const bytes = Buffer.from(value);
    head(out, 3, bytes.length);
    out.push(...bytes);
  } else if (Array.isArray(value)) {
    head(out, 4, value.length);
    for (const item of value) put(out, item);
  } else if (value instanceof Map) {
    head(out, 5, value.size);
    for (const [key, item] of value) {
      put(out, key);
      put(out, item);
    }
  } else throw new TypeError(`no CBOR for ${String(value)}`);
}

export function decode(bytes) {
  const state = { bytes: Buffer.from(bytes), at: 0 };
  const value = take(state);
  if (state.at !== bytes.length) throw new RangeError('bytes after the frame');
  return value;
}

function take(state) {
  const first = state.bytes.readUInt8(state.at);
  state.at += 1;
  const [major, info] = [first >> 5, first & 31];
  if (major === 7) return { 20: false, 21: true, 22: undefined }[info];
  const number = takeNumber(state, info);
  switch (major) {
    case 0:
      return number;
    case 2:
      return new Uint8Array(takeBytes(state, number));
    case 3:
      return takeBytes(state, number).toString();
    case 4:
      return Array.from({ length: number }, () => take(state));
    case 5:
      return new Map(Array.from({ length: number }, () => [take(state), take(state)]));
    default:
      throw new TypeError(`CBOR of major type ${major}`);
  }
}

function takeNumber(state, info) {
  if (info < 24) return info;
  const length = 1 << (info - 24);
  const bytes = takeBytes(state, length);
  return length === 8 ? Number(bytes.readBigUInt64BE()) : bytes.readUIntBE(0, length);
}

function takeBytes(state, length) {
  const bytes = state.bytes.subarray(state.at, state.at + length);
  if (bytes.length < length) throw new RangeError('the frame is cut off');
  state.at += length;
  return bytes;
}
