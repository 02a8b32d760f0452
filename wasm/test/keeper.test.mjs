// What stands between an engine and its store, with both played by the test.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Keeper } from '../dist/keeper.js';
import { packRecords } from '../dist/storage/frame.js';

const KEY = Uint8Array.of(1);

function batch(number) {
  const head = new Uint8Array(8);
  new DataView(head.buffer).setFloat64(0, number, true);
  return Uint8Array.from([...head, ...packRecords([{ key: KEY, value: KEY }])]);
}

const question = (id) => JSON.stringify({ id, from: [0], to: [9], values: true, limit: 10 });

/** An engine that asks for these, and notes what it is told. */
function world({ batches = [], questions = [], write = async () => undefined, fails = false } = {}) {
  const told = [];
  const reported = [];
  let closed = false;
  const answer = (name) => (number) => {
    if (fails) throw new Error('an answer that is not taken');
    told.push([name, number]);
  };
  const engine = {
    pollStorage: () => batches.shift(),
    pollRead: () => questions.shift(),
    stored: answer('stored'),
    storageFailed: answer('storageFailed'),
    records: answer('records'),
    readFailed: answer('readFailed'),
  };
  const host = {
    dead: false,
    call: (use) => use(engine),
    drain: () => { keeper.drain(); },
    report: (error) => reported.push(error.message),
  };
  const storage = { write, read: async () => [{ key: KEY, value: KEY }], close: async () => { closed = true; } };
  const keeper = new Keeper(host, storage, 'world');
  return { keeper, batches, questions, told, reported, isClosed: () => closed };
}

test('answers that are not taken are reported, and the store is closed all the same', async () => {
  const { keeper, told, reported, isClosed } = world({ batches: [batch(1)], questions: [question(1)], fails: true });
  keeper.drain();
  await keeper.close();
  assert.deepEqual(told, []);
  assert.deepEqual(reported, Array(2).fill('an answer that is not taken'));
  assert.ok(isClosed());
});

test('what is asked at the start is there once nothing more is asked', async () => {
  const { keeper, questions, told } = world({ questions: [question(1), question(2)] });
  keeper.drain();
  assert.equal(keeper.restored, false);
  questions.push(question(3));
  await keeper.close();
  assert.deepEqual(told, [['records', 1], ['records', 2], ['records', 3]]);
  assert.equal(keeper.restored, true);
});

test('an engine that takes over hears nothing of what the one before asked', async () => {
  let finish;
  const write = () => new Promise((resolve, reject) => { finish = { resolve, reject }; });
  const { keeper, batches, questions, told, reported } = world({ batches: [batch(1)], questions: [question(1)], write });
  keeper.drain();
  keeper.restart();
  finish.reject(new Error('the disk is full'));
  questions.push(question(1));
  keeper.drain();
  assert.equal(keeper.restored, false);
  batches.push(batch(1));
  keeper.drain();
  finish.resolve();
  await keeper.close();
  assert.deepEqual(told.toSorted(), [['records', 1], ['stored', 1]]);
  assert.deepEqual(reported, ['the disk is full']);
});
