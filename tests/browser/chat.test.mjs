// Two browsers and a relay: what is typed in one is seen in the other, in timestamp order; the
// scrollbar reaches any row of a long channel.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { picture, rowOf, startBrowser, startRelay, write } from './world.mjs';

const LONG = 30_000;
const START = Date.UTC(2024, 0, 1);
const rows = Array.from({ length: LONG }, (_, i) => ({
  channel: '#long',
  from: `user${i % 7}`,
  text: `message number ${i}`,
  sent_at: START + i * 20_000,
}));

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

test('a message typed in one browser is seen in the other', async () => {
  const ada = await browser.open(relay, 'ada', '#talk');
  const bob = await browser.open(relay, 'bob', '#talk');
  await write(ada, 'hello from ada');
  await rowOf(bob, 'hello from ada').waitFor();
  await write(bob, 'hello yourself');
  await rowOf(ada, 'hello yourself').waitFor();
  for (const tab of [ada, bob]) {
    assert.deepEqual(await tab.locator('.row .text').allTextContents(), ['hello from ada', 'hello yourself']);
    assert.deepEqual(await tab.locator('.row .from').allTextContents(), ['ada', 'bob']);
  }
  await ada.locator('[data-send=relayed]').waitFor();
  const stored = await relay.api('/api/channels/%23talk/messages?before=10');
  const shown = await ada.getByRole('listitem').evaluateAll((all) => all.map((row) => row.dataset.messageId));
  assert.deepEqual(stored.messages.map((message) => message.id), shown);
  await picture(ada, 'talk');
  await Promise.all([ada.context().close(), bob.context().close()]);
});

test('a page opens a long channel at its end, and the scrollbar reaches any row', async () => {
  const tab = await browser.open(relay, 'cleo', '#long');
  await rowOf(tab, `message number ${LONG - 1}`).waitFor();
  assert.match(await tab.locator('.channel-header').innerText(), /30,000 messages/);
  await picture(tab, 'long-newest');
  const track = await tab.locator('.track').boundingBox();
  const thumb = tab.getByRole('scrollbar');
  for (const fraction of [0.5, 0.1, 0.93, 0, 0.27]) {
    await tab.mouse.click(track.x + track.width / 2, track.y + 1 + fraction * (track.height - 2));
    const wanted = Math.round(fraction * (LONG - 1));
    const close = (now) => Math.abs(now - wanted) <= LONG * 0.004;
    await tab.waitForFunction(
      ([near, far]) => {
        const first = Number(document.querySelector('[role=scrollbar]').getAttribute('aria-valuenow'));
        const rows = [...document.querySelectorAll('[role=listitem][data-message-id]')];
        const there = rows.some((row) => Number(row.getAttribute('aria-posinset')) === first + 1);
        return there && first >= near && first <= far;
      },
      [wanted - LONG * 0.004, wanted + LONG * 0.004],
    );
    const first = Number(await thumb.getAttribute('aria-valuenow'));
    assert.ok(close(first), `${first} for ${fraction}`);
    const shown = await tab.locator('[role=listitem][data-message-id]').evaluateAll((all) =>
      all.map((row) => [Number(row.getAttribute('aria-posinset')) - 1, row.querySelector('.text').textContent]),
    );
    assert.ok(shown.length > 20);
    for (const [index, text] of shown) assert.equal(text, `message number ${index}`);
  }
  await picture(tab, 'long-middle');
  await tab.context().close();
});

test('scrolling up loads older rows and the row being read stays where it is', async () => {
  const tab = await browser.open(relay, 'dora', '#long');
  await rowOf(tab, `message number ${LONG - 1}`).waitFor();
  const list = tab.getByRole('list', { name: 'Messages' });
  await list.hover();
  const first = async () => Number(await tab.getByRole('scrollbar').getAttribute('aria-valuenow'));
  let last = await first();
  for (let i = 0; i < 12; i++) {
    await tab.mouse.wheel(0, -900);
    await tab.waitForFunction(
      (before) => Number(document.querySelector('[role=scrollbar]').getAttribute('aria-valuenow')) < before,
      last,
    );
    last = await first();
  }
  assert.ok(last < LONG - 150, `first visible row is ${last}`);
  const held = `message number ${last + 2}`;
  const top = async () => (await rowOf(tab, held).last().boundingBox()).y;
  const before = await top();
  const other = await browser.open(relay, 'eve', '#long');
  await write(other, 'a new one at the end');
  await rowOf(other, 'a new one at the end').waitFor();
  await tab.waitForFunction(() => document.querySelector('.channel-header').textContent.includes('30,001'));
  assert.equal(await top(), before, 'a message elsewhere moved the row being read');
  await Promise.all([tab.context().close(), other.context().close()]);
});

test('no page reported an error', () => {
  assert.deepEqual(browser.errors, []);
});
