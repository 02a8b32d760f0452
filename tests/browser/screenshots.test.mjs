// Pictures of the page for people to look at: desktop and phone, light and dark, and offline.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { close, listOf, picture, rowOf, standsAt, startBrowser, startRelay, write } from './world.mjs';

const PEOPLE = ['Amina', 'Jonas', 'Mei', 'Rafael', 'Tove'];
const SAID = [
  'The ferry is late again, I will be there at nine.',
  'No hurry, the kettle is on.',
  'Did anyone bring the map from last time?',
  'I did! It has some coffee on the northern half, but the path along the lake is readable.',
  'Perfect.',
  'Then let us start at the lake and see how far we get before the weather turns.\nThe forecast says rain from three.',
  'I have a tent for four and a tarp for the rest.',
  'Can somebody pick up bread on the way?',
  'On it.',
  'The bridge by the mill is closed, take the road past the church instead.',
  'Thanks, that would have been a long way back.',
];
const COUNT = 40_000;
const EVERY_MS = 9 * 60_000;
const END = Date.UTC(2026, 4, 23, 18, 12);
const textOf = (i) => SAID[(i * 7) % SAID.length];
const rows = Array.from({ length: COUNT }, (_, i) => ({
  channel: '#hiking',
  from: PEOPLE[Math.floor(i / 2 + (i % 11) / 3) % PEOPLE.length],
  text: textOf(i),
  sent_at: END - (COUNT - i) * EVERY_MS + (i % 5) * 40_000,
}));
const others = ['#cooking', '#garden', '#live'].map((channel, i) => ({
  channel, from: PEOPLE[i], text: 'Hello everyone', sent_at: END - i * 86_400_000,
}));

const DESKTOP = { viewport: { width: 1180, height: 760 } };
const PHONE = { viewport: { width: 375, height: 740 }, hasTouch: true, isMobile: true };

let browser;

before(async () => {
  browser = await startBrowser();
});

after(() => browser?.stop());

for (const [form, options] of Object.entries({ desktop: DESKTOP, phone: PHONE })) {
  for (const colorScheme of ['light', 'dark']) {
    test(`pictures: ${form}, ${colorScheme}`, async () => {
      // A relay of its own, so that every picture shows the same.
      const relay = await startRelay([...rows, ...others]);
      const shot = (tab, what) => picture(tab, `${form}-${colorScheme}-${what}`);
      const tab = await browser.open(relay, 'Tove', '#hiking', { ...options, colorScheme, offline: true });
      await listOf(tab).locator('[data-message-id]').last().waitFor();
      await hasNoSidewaysScroll(tab);
      await shot(tab, 'newest');

      const track = await tab.locator('.track').boundingBox();
      const y = track.y + track.height * 0.4;
      await tab.mouse.move(track.x + track.width / 2, y - 60);
      await tab.mouse.down();
      await tab.mouse.move(track.x + track.width / 2, y, { steps: 3 });
      await tab.locator('.bubble').getByText(/20\d\d/).waitFor();
      await standsAt(tab, COUNT * 0.38, COUNT * 0.42);
      await shot(tab, 'dragging');
      await tab.mouse.up();

      const first = Number(await tab.getByRole('scrollbar').getAttribute('aria-valuenow'));
      const at = (i) => rows[i].sent_at + 60_000;
      const late = (i, text) => relay.post('#hiking', { from: 'Rafael', text, sent_at: at(i) });
      await late(first + 4, 'I wrote this in the tunnel.');
      await rowOf(tab, 'I wrote this in the tunnel.').waitFor();
      await late(first - 900, 'Sent from the hut, no signal there.');
      await late(first + 5_000, 'Another one from the hut.');
      await tab.locator('[data-late=up]').waitFor();
      await tab.locator('[data-late=down]').waitFor();
      await hasNoSidewaysScroll(tab);
      await shot(tab, 'late');

      await tab.locator('[data-jump=newest]').click();
      await tab.locator('[data-jump=newest]').waitFor({ state: 'detached' });
      await tab.context().setOffline(true);
      await tab.locator('[data-connection=offline]').waitFor();
      await write(tab, 'Somebody tell Mei that I have her gloves.');
      await write(tab, 'I am on the train, so this may take a while.');
      await tab.getByText('Sending when back online (2)').waitFor();
      await hasNoSidewaysScroll(tab);
      await shot(tab, 'offline');
      if (form === 'phone') {
        await tab.getByRole('button', { name: 'Channels' }).click();
        await tab.getByRole('link', { name: '#garden' }).waitFor();
        await tab.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished)));
        await shot(tab, 'channels');
      }
      await close(tab);
      await relay.stop();
    });
  }
}

async function hasNoSidewaysScroll(tab) {
  assert.ok(await tab.evaluate((width) => document.documentElement.scrollWidth <= width, tab.viewportSize().width));
}

test('no page reported an error', () => {
  assert.deepEqual(browser.errors, []);
});
