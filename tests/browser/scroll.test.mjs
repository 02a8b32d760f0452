// The scrollbar of a long channel reaches any row, and what is read stays where it is.
// BACKSCROLL_LONG=1 makes the channel a million messages long.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  addressOf, close, firstRow, isConnected, listOf, rests, rowOf, standsAt, startBrowser, startRelay, topOf, write,
} from './world.mjs';

const LONG = process.env.BACKSCROLL_LONG ? 1_000_000 : 30_000;
/** What opening a channel of a million messages may take. */
const BYTES_MAX = 150_000;
const START = Date.UTC(2024, 0, 1);
const rows = Array.from({ length: LONG }, (_, i) => ({
  channel: '#long',
  from: `user${i % 7}`,
  text: `message number ${i}`,
  sent_at: START + i * 20_000,
}));
const newest = `message number ${LONG - 1}`;

let relay;
let browser;

before(async () => {
  relay = await startRelay(rows);
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  await relay?.stop();
});

/** Numbers in [0, 1) that are the same each time. */
function* fractions(seed) {
  for (;;) {
    seed = (seed * 48_271) % 2_147_483_647;
    yield seed / 2_147_483_647;
  }
}

test('a long channel opens at its newest messages with few bytes', async (t) => {
  const tab = await browser.open(relay, 'bo', '#empty');
  const wire = await tab.context().newCDPSession(tab);
  let bytes = 0;
  wire.on('Network.webSocketFrameReceived', ({ response }) => (bytes += Buffer.from(response.payloadData, 'base64').length));
  await wire.send('Network.enable');
  const opened = () =>
    tab.evaluate(async (text) => {
      const isThere = () => [...document.querySelectorAll('[role=listitem] .text')].some((row) => row.textContent === text);
      while (!isThere()) await new Promise(requestAnimationFrame);
      return performance.now();
    }, newest);
  const start = await tab.evaluate((hash) => {
    location.hash = hash;
    return performance.now();
  }, new URL(addressOf(relay, 'bo', '#long')).hash);
  const warmMs = (await opened()) - start;
  const openBytes = bytes;
  await tab.reload();
  const coldMs = await opened();
  await isConnected(tab);
  t.diagnostic(`newest of ${LONG}: ${openBytes} bytes received, ${Math.round(warmMs)} ms in an open page, ${Math.round(coldMs)} ms with the page`);
  assert.ok(openBytes <= BYTES_MAX, `${openBytes} bytes`);
  await close(tab);
});

test('the thumb is dragged to twenty places of a long channel, and each row is right', async () => {
  const tab = await browser.open(relay, 'cleo', '#long');
  await rowOf(tab, newest).waitFor();
  await tab.getByText(`${LONG.toLocaleString('en')} messages`).first().waitFor();
  const track = await tab.locator('.track').boundingBox();
  const random = fractions(7);
  for (let i = 0; i < 20; i++) {
    const fraction = random.next().value;
    const thumb = await tab.getByRole('scrollbar').boundingBox();
    const held = (thumb.y - track.y) / (track.height - thumb.height);
    // Held where it was touched: the pointer goes as far as the thumb's place in the track does.
    await tab.mouse.move(track.x + track.width / 2, thumb.y + thumb.height / 2);
    await tab.mouse.down();
    await tab.mouse.move(track.x + track.width / 2, thumb.y + thumb.height / 2 + (fraction - held) * track.height, { steps: 4 });
    await tab.locator('.bubble').getByText(/20\d\d/).waitFor();
    await tab.mouse.up();
    const wanted = Math.round(fraction * LONG);
    await standsAt(tab, wanted - LONG * 0.006, wanted + LONG * 0.006);
    await isRight(tab);
  }
  await close(tab);
});

/** Every loaded row of the page stands at its index. */
async function isRight(tab) {
  const shown = await tab.locator('[role=listitem][data-message-id]').evaluateAll((all) =>
    all.map((row) => [Number(row.getAttribute('aria-posinset')) - 1, row.querySelector('.text').textContent]),
  );
  assert.ok(shown.length > 20, `${shown.length} rows`);
  for (const [index, text] of shown) assert.equal(text, `message number ${index}`);
}

test('the ends and each single row are reached by keyboard', async () => {
  const tab = await browser.open(relay, 'kim', '#long');
  await rowOf(tab, newest).waitFor();
  const thumb = tab.getByRole('scrollbar');
  await thumb.press('Home');
  await standsAt(tab, 0);
  await thumb.press('ArrowDown');
  await standsAt(tab, 1);
  await thumb.press('PageDown');
  await standsAt(tab, 5, 20);
  await thumb.press('End');
  await rowOf(tab, newest).waitFor();
  await standsAt(tab, LONG - 30, LONG);
  await thumb.press('Shift+Tab');
  const focused = () => tab.evaluate(() => Number(document.activeElement.getAttribute('aria-posinset')) - 1);
  const focuses = (row) =>
    tab.waitForFunction((place) => document.activeElement.getAttribute('aria-posinset') === place, String(row + 1));
  await tab.keyboard.press('End');
  await focuses(LONG - 1);
  await tab.keyboard.press('ArrowUp');
  await focuses(LONG - 2);
  await tab.keyboard.press('PageUp');
  await tab.waitForFunction((last) => Number(document.activeElement.getAttribute('aria-posinset') ?? last) < last, LONG - 1);
  const above = await focused();
  assert.ok(above < LONG - 8 && above > LONG - 40, `${above}`);
  await tab.keyboard.press('Home');
  await focuses(0);
  await tab.keyboard.press('Control+End');
  await tab.waitForFunction(() => document.activeElement.tagName === 'TEXTAREA');
  await close(tab);
});

test('scrolling up loads older rows, and a message elsewhere does not move the row being read', async () => {
  const tab = await browser.open(relay, 'dora', '#long');
  await rowOf(tab, newest).waitFor();
  await listOf(tab).hover();
  let last = await firstRow(tab);
  for (let i = 0; i < 12; i++) {
    await tab.mouse.wheel(0, -900);
    await tab.waitForFunction(
      (before) => Number(document.querySelector('[role=scrollbar]').getAttribute('aria-valuenow')) < before,
      last,
    );
    last = await firstRow(tab);
  }
  assert.ok(last < LONG - 150, `first visible row is ${last}`);
  await isRight(tab);
  await rests(tab);
  const held = await middleRow(tab);
  const top = await topOf(tab, held);
  const other = await browser.open(relay, 'eve', '#long');
  await write(other, 'a new one at the end');
  await rowOf(other, 'a new one at the end').waitFor();
  await tab.getByRole('button', { name: '1 new message, go to the newest' }).waitFor();
  assert.equal(await topOf(tab, held), top, 'a message elsewhere moved the row being read');
  await tab.locator('[data-jump=newest]').click();
  await rowOf(tab, 'a new one at the end').waitFor();
  await write(other, 'and one more');
  await rowOf(tab, 'and one more').waitFor();
  await rests(tab);
  assert.ok(await isInView(tab, 'and one more'), 'the end is not followed');
  await tab.getByRole('button', { name: 'Back to where you were' }).click();
  await rowOf(tab, held).waitFor();
  await tab.waitForFunction(([id, y]) => document.querySelector(`[data-message-id="${id}"]`)?.getBoundingClientRect().top === y, [
    await rowOf(tab, held).getAttribute('data-message-id'),
    top,
  ]);
  await close(tab, other);
});

test('a channel that is shown again stands where it was left, to the pixel', async () => {
  const tab = await browser.open(relay, 'fay', '#long');
  await rowOf(tab, newest).waitFor();
  const track = await tab.locator('.track').boundingBox();
  await tab.mouse.click(track.x + track.width / 2, track.y + track.height / 3);
  await standsAt(tab, LONG * 0.3, LONG * 0.37);
  await listOf(tab).hover();
  await tab.mouse.wheel(0, 133);
  await rests(tab);
  const held = await middleRow(tab);
  const top = await topOf(tab, held);
  for (const channel of ['#elsewhere', '#long']) {
    await tab.goto(addressOf(relay, 'fay', channel));
    await tab.getByRole('heading', { name: channel }).waitFor();
  }
  await rowOf(tab, held).waitFor();
  await rests(tab);
  assert.equal(await topOf(tab, held), top);
  await close(tab);
});

test('another user of the same page begins at the newest, and each finds the place where he was', async () => {
  const tab = await browser.open(relay, 'ann', '#long');
  await rowOf(tab, newest).waitFor();
  await tab.getByRole('scrollbar').press('Home');
  await standsAt(tab, 0);
  const rename = async (name) => {
    await tab.getByRole('button', { name: 'Change your name' }).click();
    await tab.getByLabel('What should others call you?').fill(name);
    await tab.keyboard.press('Enter');
    await tab.locator('.me').getByText(name, { exact: true }).waitFor();
    await isConnected(tab);
  };
  await rename('ben');
  await standsAt(tab, LONG - 40, LONG);
  await rename('ann');
  await standsAt(tab, 0);
  await close(tab);
});

/** The text of a row in the middle of what is seen. */
async function middleRow(tab) {
  const id = await tab.evaluate(() => {
    const box = document.querySelector('[role=list]');
    const middle = box.getBoundingClientRect().top + box.clientHeight / 2;
    const rows = [...box.querySelectorAll('[data-message-id]')];
    return rows.find((row) => row.getBoundingClientRect().top > middle).dataset.messageId;
  });
  return tab.locator(`[data-message-id="${id}"] .text`).textContent();
}

async function isInView(tab, text) {
  const [row, list] = await Promise.all([rowOf(tab, text).boundingBox(), listOf(tab).boundingBox()]);
  return row.y >= list.y && row.y + row.height <= list.y + list.height;
}

test('no page reported an error', () => {
  assert.deepEqual(browser.errors, []);
});
