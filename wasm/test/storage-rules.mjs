// Holds a place that keeps records against tests/data/storage-rules.json: what every such place must do. Runs in Node
// and, unchanged, in a page. Keys and values are hex; `{ "bytes": n }` stands for n bytes, the i-th being i % 251.

const fromHex = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16));
const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
const long = (length) => Uint8Array.from({ length }, (_, i) => i % 251);

const record = ([key, value]) => {
  if (value === null) return { key: fromHex(key) };
  return { key: fromHex(key), value: typeof value === 'string' ? fromHex(value) : long(value.bytes) };
};
const plain = ({ key, value }) => [toHex(key), value ? toHex(value) : null];

/** Takes the steps of a rule; `open` opens the same place each time, which is empty at first. */
export async function keepRule(open, steps) {
  let store = await open();
  const writing = [];
  for (const [at, { write, waits, together, reopen, read, gives }] of steps.entries()) {
    if (write) {
      const written = store.write(write.map(record));
      if (waits === false) writing.push(written);
      else await written;
    }
    // Not awaited one by one: the last one wins.
    if (together) await Promise.all(together.map((batch) => store.write(batch.map(record))));
    if (reopen) {
      await store.close();
      store = await open();
    }
    if (read) {
      const range = { from: fromHex(read.from), to: fromHex(read.to) };
      const is = JSON.stringify((await store.read(range, read.values, read.limit)).map(plain));
      const wanted = JSON.stringify(gives.map(record).map(plain));
      if (is !== wanted) throw new Error(`step ${at}: ${is.slice(0, 500)} instead of ${wanted.slice(0, 500)}`);
    }
  }
  await Promise.all(writing);
  await store.close();
}
