// What every place that keeps records must do. Runs in Node and, unchanged, in a page.
// `open` opens the same place each time; it is empty at first.

const bytes = (...numbers) => Uint8Array.from(numbers);
const plain = (records) => records.map(({ key, value }) => [[...key], value ? [...value] : null]);
const ALL = { from: bytes(), to: bytes(255, 255) };

function same(is, wanted, what) {
  const [a, b] = [JSON.stringify(is), JSON.stringify(wanted)];
  if (a !== b) throw new Error(`${what}: ${a} instead of ${b}`);
}

export const rules = {
  async 'records come in the order of their bytes, within the range, as many as asked for'(open) {
    const store = await open();
    const keys = [[2], [1, 255], [0x80], [1], [1, 0], [255], [0x7f, 1]];
    await store.write(keys.map((key, i) => ({ key: bytes(...key), value: bytes(i) })));
    const sorted = [[[1], [3]], [[1, 0], [4]], [[1, 255], [1]], [[2], [0]], [[0x7f, 1], [6]], [[0x80], [2]], [[255], [5]]];
    same(plain(await store.read(ALL, true, 100)), sorted, 'all');
    const range = { from: bytes(1, 0), to: bytes(0x80) };
    same(plain(await store.read(range, false, 100)), sorted.slice(1, 5).map(([key]) => [key, null]), 'keys of a range');
    same(plain(await store.read(range, true, 2)), sorted.slice(1, 3), 'the first two');
    same(plain(await store.read({ from: bytes(3), to: bytes(4) }, true, 9)), [], 'an empty range');
    await store.write(keys.map((key) => ({ key: bytes(...key) })));
    same(plain(await store.read(ALL, true, 100)), [], 'after all were deleted');
    await store.close();
  },

  async 'batches go in order, replace and delete, and are there after it was closed'(open) {
    const store = await open();
    // Not awaited one by one: the last one wins.
    await Promise.all([1, 2, 3].map((i) => store.write([
      { key: bytes(9), value: bytes(i) },
      { key: bytes(9, i), value: bytes(i) },
      { key: bytes(9, i - 1) },
    ])));
    await store.close();
    const again = await open();
    same(plain(await again.read({ from: bytes(9), to: bytes(10) }, true, 10)), [[[9], [3]], [[9, 3], [3]]], 'after it was opened again');
    await again.close();
  },

  async 'what was written is read back by who asks next, values of any size'(open) {
    const store = await open();
    const large = Uint8Array.from({ length: 300_000 }, (_, i) => i % 251);
    const written = store.write([{ key: bytes(30), value: large }, { key: bytes(31), value: bytes() }]);
    const [first, second] = await store.read({ from: bytes(30), to: bytes(32) }, true, 10);
    await written;
    same([first.value.length, first.value[299_999], second.value.length], [300_000, 299_999 % 251, 0], 'large and empty values');
    await store.close();
  },
};
