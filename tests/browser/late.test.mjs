// Late messages: in view they appear in place, elsewhere they are counted, and nothing that is read moves.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  close, listOf, picture, rests, rowOf, standsAt, startBrowser, startRelay, textsOf, topOf,
} from './world.mjs';

const COUNT = 2_000;
const EVERY_MS = 60_000;
const START = Date.UTC(2026, 4, 1);
const CHANNELS = ['#in-view', '#at-end', '#elsewhere', '#long-run', '#anywhere'];
const rows = CHANNELS.flatMap((channel) =>
  Array.from({ length: COUNT }, (_, i) => ({
    channel,
    // Some under one heading, so that a late message may part them.
    from: `user${Math.floor(i / 3) % 5}`,
    text: `message ${i}`,
    sent_at: START + i * EVERY_MS,
  })),
);

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

/** A message written half a minute after message `i`, and late. */
const postAfter = (channel, i, text) =>
  relay.post(channel, { from: 'late-larry', text, sent_at: START + i * EVERY_MS + 30_000 });

/** A page that reads somewhere in the middle. */
async function reading(channel) {
  const tab = await browser.open(relay, 'ada', channel);
  await rowOf(tab, `message ${COUNT - 1}`).waitFor();
  const thumb = tab.getByRole('scrollbar');
  await thumb.press('Home');
  await standsAt(tab, 0);
  for (let first = 0; first < 40; ) {
    await thumb.press('PageDown');
    await tab.waitForFunction((was) => Number(document.querySelector('[role=scrollbar]').ariaValueNow) > was, first);
    first = Number(await thumb.getAttribute('aria-valuenow'));
  }
  return tab;
}

/** The texts that are seen whole. What is read is the first: its heading may be cut off. */
async function seenWhole(tab) {
  return tab.evaluate(() => {
    const box = document.querySelector('[role=list]').getBoundingClientRect();
    const rows = [...document.querySelectorAll('[role=listitem][data-message-id]')];
    const seen = rows.filter((row) => {
      const { top, bottom } = row.querySelector('.text').getBoundingClientRect();
      return top >= box.top && bottom <= box.bottom;
    });
    return seen.map((row) => row.querySelector('.text').textContent);
  });
}

const numberIn = (text) => Number(text.replace('message ', ''));

test('a late message inside the view appears in place, and what is read above it does not move by a pixel', async () => {
  const tab = await reading('#in-view');
  const seen = await seenWhole(tab);
  const third = numberIn(seen[3]);
  const tops = await Promise.all(seen.slice(0, 4).map((text) => topOf(tab, text)));
  await postAfter('#in-view', third, 'better late than never');
  await rowOf(tab, 'better late than never').waitFor();
  assert.deepEqual(await Promise.all(seen.slice(0, 4).map((text) => topOf(tab, text))), tops);
  const texts = await textsOf(tab);
  const at = texts.indexOf('better late than never');
  assert.deepEqual([texts[at - 1], texts[at + 1]], [`message ${third}`, `message ${third + 1}`]);
  await rowOf(tab, 'better late than never').getByText('late', { exact: true }).waitFor();
  // A count would come with what the page tells of its rows, after it has shown them.
  await rests(tab);
  assert.equal(await tab.locator('[data-late]').count(), 0, 'what is seen is not counted');
  await picture(tab, 'late-in-view');
  // Just above the first row that is read: that row stays, with whatever heading it gets now.
  const [, second] = await seenWhole(tab);
  const id = await rowOf(tab, second).getAttribute('data-message-id');
  await postAfter('#in-view', numberIn(seen[0]) - 2, 'hidden above');
  await tab.locator('[data-late=up]').filter({ hasText: '1' }).waitFor();
  assert.equal((await tab.locator(`[data-message-id="${id}"]`).boundingBox()).y, tops[1]);
  await close(tab);
});

test('at the end, a late message inside the view does not move the newest', async () => {
  const tab = await browser.open(relay, 'bea', '#at-end');
  const newest = `message ${COUNT - 1}`;
  await rowOf(tab, newest).waitFor();
  const top = await topOf(tab, newest);
  await postAfter('#at-end', COUNT - 4, 'almost in time');
  await rowOf(tab, 'almost in time').waitFor();
  assert.equal(await topOf(tab, newest), top);
  assert.deepEqual((await textsOf(tab)).slice(-4), [
    `message ${COUNT - 4}`, 'almost in time', `message ${COUNT - 3}`, `message ${COUNT - 2}`, newest,
  ].slice(1));
  await close(tab);
});

test('late messages elsewhere raise the counts, move nothing, and the buttons lead to them and back', async () => {
  const tab = await reading('#elsewhere');
  const [held] = await seenWhole(tab);
  const top = await topOf(tab, held);
  await postAfter('#elsewhere', 3, 'from long ago');
  await tab.locator('button[data-late=up]').filter({ hasText: '1' }).waitFor();
  await postAfter('#elsewhere', 1_500, 'from later on');
  await postAfter('#elsewhere', 1_501, 'from later on too');
  await tab.locator('button[data-late=down]').filter({ hasText: '2' }).waitFor();
  assert.equal(await topOf(tab, held), top);
  assert.match(await tab.locator('button[data-late=down]').getAttribute('aria-label'), /^2 late messages below/);
  await tab.locator('.announcer').getByText(/earlier messages? from/).waitFor();
  await picture(tab, 'late-elsewhere');

  await tab.locator('button[data-late=down]').click();
  await isShownOff(tab, 'from later on');
  await rowOf(tab, 'from later on too').waitFor();
  await tab.locator('button[data-late=down]').waitFor({ state: 'detached' });
  await picture(tab, 'late-jumped-to');
  await tab.locator('button[data-late=up]').click();
  await isShownOff(tab, 'from long ago');
  await tab.locator('button[data-late]').first().waitFor({ state: 'detached' });
  assert.equal(await tab.evaluate(() => document.activeElement.querySelector('.text')?.textContent), 'from long ago');

  const back = tab.locator('[data-jump=back]');
  await back.click();
  await rowOf(tab, 'from later on').waitFor();
  await back.click();
  await rowOf(tab, held).waitFor();
  await tab.waitForFunction(
    ([text, y]) => [...document.querySelectorAll('.row')].some((row) =>
      row.querySelector('.text')?.textContent === text && row.getBoundingClientRect().top === y),
    [held, top],
  );
  await back.waitFor({ state: 'detached' });
  await close(tab);
});

async function isShownOff(tab, text) {
  await rowOf(tab, text).and(tab.locator('[data-flash]')).waitFor();
  const [row, list] = await Promise.all([rowOf(tab, text).boundingBox(), listOf(tab).boundingBox()]);
  assert.ok(row.y >= list.y && row.y + row.height <= list.y + list.height, 'not in view');
}

test('more late messages than a screen holds are done with in a few jumps, also without motion', async () => {
  const tab = await browser.open(relay, 'cleo', '#long-run', { reducedMotion: 'reduce' });
  await rowOf(tab, `message ${COUNT - 1}`).waitFor();
  const base = START + 500 * EVERY_MS;
  for (let i = 0; i < 40; i++) {
    await relay.post('#long-run', { from: 'late-larry', text: `late ${i}`, sent_at: base + 1_000 + i * 100 });
  }
  await tab.locator('button[data-late=up]').filter({ hasText: '40' }).waitFor();
  for (let jumps = 0; (await tab.locator('button[data-late]').count()) > 0; jumps++) {
    assert.ok(jumps < 6, 'too many jumps');
    const label = await tab.locator('button[data-late]').first().textContent();
    await tab.locator('button[data-late]').first().click();
    await tab.waitForFunction((was) => document.querySelector('button[data-late]')?.textContent !== was, label);
  }
  await close(tab);
});

test('wherever one reads, late messages do not move it, and they stand where they belong', async () => {
  const tab = await browser.open(relay, 'dora', '#anywhere');
  await rowOf(tab, `message ${COUNT - 1}`).waitFor();
  const track = await tab.locator('.track').boundingBox();
  let total = COUNT;
  for (const [fraction, wheel] of [[0.002, -600], [0.3, 700], [0.5, -2_500], [0.7, 1_900], [0.995, -300]]) {
    await tab.mouse.click(track.x + track.width / 2, track.y + fraction * track.height);
    await standsAt(tab, COUNT * (fraction - 0.02), COUNT * (fraction + 0.02));
    await listOf(tab).hover();
    await tab.mouse.wheel(0, wheel);
    await rests(tab);
    const [held] = await seenWhole(tab);
    const textTop = async () => (await rowOf(tab, held).locator('.text').boundingBox()).y;
    const top = await textTop();
    for (const distance of [-40, -3, -1, 0, 2, 5, 60]) {
      const after = Math.min(COUNT - 2, Math.max(0, numberIn(held) + distance));
      await postAfter('#anywhere', after, `late at ${total}`);
      total += 1;
      await tab.getByText(`${total.toLocaleString('en')} messages`).first().waitFor();
      await rests(tab);
      assert.equal(await textTop(), top, `${held} moved for one ${distance} rows away`);
    }
  }
  const ids = await listOf(tab).locator('[data-message-id]').evaluateAll((all) => all.map((row) => row.dataset.messageId));
  assert.deepEqual(ids, ids.toSorted());
  await close(tab);
});

test('no page reported an error', () => {
  assert.deepEqual(browser.errors, []);
});
