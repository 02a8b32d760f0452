// Two browsers and a relay: what is typed in one is seen in the other, in timestamp order.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { addressOf, close, isConnected, rowOf, startBrowser, startRelay, textsOf, write } from './world.mjs';

let relay;
let browser;

before(async () => {
  relay = await startRelay();
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  await relay?.stop();
});

test('what is typed in one page is seen in the other', async () => {
  const ada = await browser.open(relay, 'ada', '#talk');
  const bob = await browser.open(relay, 'bob', '#talk');
  await write(ada, 'hello from ada');
  await rowOf(bob, 'hello from ada').waitFor();
  await write(bob, 'hello yourself');
  await rowOf(ada, 'hello yourself').waitFor();
  for (const tab of [ada, bob]) {
    assert.deepEqual(await textsOf(tab), ['hello from ada', 'hello yourself']);
    assert.deepEqual(await tab.locator('.row .from').allTextContents(), ['ada', 'bob']);
  }
  await ada.locator('[data-send=relayed]').waitFor();
  const stored = await relay.newest('#talk', 10);
  const shown = await ada.locator('[role=list] [role=listitem]').evaluateAll((all) =>
    all.map((row) => [row.dataset.messageId, row.getAttribute('aria-posinset'), row.getAttribute('aria-setsize')]),
  );
  assert.deepEqual(shown, stored.map(({ id }, index) => [id, String(index + 1), '2']));
  await close(ada, bob);
});

test('Enter sends, Shift+Enter breaks the line, and a draft is kept for each channel', async () => {
  const tab = await browser.open(relay, 'cleo', '#drafts');
  const box = tab.getByRole('textbox', { name: 'Message', exact: true });
  await box.fill('two');
  await box.press('Shift+Enter');
  await box.pressSequentially('lines');
  await box.press('Enter');
  await rowOf(tab, 'two\nlines').waitFor();
  assert.equal(await box.inputValue(), '');
  await box.fill('not yet');
  await tab.goto(addressOf(relay, 'cleo', '#other'));
  await tab.getByRole('heading', { name: '#other' }).waitFor();
  assert.equal(await box.inputValue(), '');
  await tab.goto(addressOf(relay, 'cleo', '#drafts'));
  await tab.reload();
  // It is read from the store, which is not what being connected waits for.
  await tab.waitForFunction(() => document.querySelector('textarea')?.value === 'not yet');
  await close(tab);
});

test('the channel list has totals, and counts what came to a channel that is open and not shown', async () => {
  const tab = await browser.open(relay, 'dora', '#here');
  const link = tab.getByRole('navigation', { name: 'Channels' }).getByRole('link');
  await write(tab, 'first of here');
  await tab.getByLabel('Go to channel').fill('#there');
  await tab.getByLabel('Go to channel').press('Enter');
  await tab.getByRole('heading', { name: '#there' }).waitFor();
  await relay.post('#here', { from: 'eve', text: 'are you there?' });
  const here = link.filter({ hasText: '#here' });
  await here.filter({ hasText: '1 unread' }).filter({ hasText: '2 messages' }).waitFor();
  await here.click();
  await rowOf(tab, 'are you there?').waitFor();
  await here.and(tab.locator('[aria-current=page]:not([data-unread])')).waitFor();
  await close(tab);
});

test('another name is kept on this device', async () => {
  const tab = await browser.open(relay, 'frida', '#names');
  await tab.getByRole('button', { name: 'Change your name' }).click();
  await tab.getByLabel('What should others call you?').fill('Frida K.');
  await tab.keyboard.press('Enter');
  await tab.locator('.me').getByText('Frida K.').waitFor();
  await isConnected(tab);
  await write(tab, 'it is me');
  await rowOf(tab, 'it is me').getByText('Frida K.').waitFor();
  await tab.reload();
  await tab.locator('.me').getByText('Frida K.').waitFor();
  await close(tab);
});

test('what cannot be sent stays in the composer, and it says why', async () => {
  const tab = await browser.open(relay, 'gil', '#refused');
  await write(tab, 'x'.repeat(65_537));
  await tab.locator('.composer').getByRole('alert').waitFor();
  const box = tab.getByRole('textbox', { name: 'Message', exact: true });
  assert.equal((await box.inputValue()).length, 65_537);
  await write(tab, 'shorter');
  await rowOf(tab, 'shorter').waitFor();
  await tab.locator('.composer').getByRole('alert').waitFor({ state: 'detached' });
  await close(tab);
});

test('on a phone the channel list is a drawer, with the focus in it while it is open', async () => {
  const tab = await browser.open(relay, 'hal', '#phone', { viewport: { width: 375, height: 700 } });
  await write(tab, 'from a phone');
  const open = tab.getByRole('button', { name: 'Channels' });
  const focuses = (label) =>
    tab.waitForFunction((name) => document.activeElement.getAttribute('aria-label') === name, label);
  await open.click();
  await focuses('Close the channel list');
  await tab.keyboard.press('Escape');
  await focuses('Channels');
  await open.click();
  await tab.getByRole('link', { name: '#refused' }).click();
  await tab.getByRole('heading', { name: '#refused' }).waitFor();
  await tab.locator('.side').waitFor({ state: 'hidden' });
  await close(tab);
});

test('no page reported an error', () => {
  assert.deepEqual(browser.errors, []);
});
