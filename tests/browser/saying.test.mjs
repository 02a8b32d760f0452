// What is said of messages that are there: edits, deletions, reactions, who read them, who is writing.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { close, listOf, picture, rowOf, startBrowser, startRelay, write } from './world.mjs';

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

const rowAt = (tab, place) => listOf(tab).getByRole('listitem').nth(place);
const reaction = (tab, place) => rowAt(tab, place).locator('[data-reaction]');
const box = (tab) => tab.getByRole('textbox', { name: 'Message', exact: true });

test('an edit, a reaction and a deletion show in both pages, and in one reloaded without a network', async () => {
  const ada = await browser.open(relay, 'ada', '#said', { offline: true });
  const bob = await browser.open(relay, 'bob', '#said', { offline: true });
  for (const text of ['first', 'second']) await write(ada, text);
  await rowOf(bob, 'second').waitFor();

  // By the keyboard alone: to the row, to its actions, and back.
  await ada.keyboard.press('Shift+Tab');
  await listOf(ada).focus();
  await ada.keyboard.press('Home');
  await ada.waitForFunction(() => document.activeElement.getAttribute('aria-posinset') === '1');
  await rowAt(ada, 0).getByRole('button', { name: 'Edit' }).focus();
  await ada.keyboard.press('Enter');
  const editor = ada.getByRole('textbox', { name: 'Edit the message' });
  await editor.fill('first, corrected');
  await editor.press('Enter');
  await editor.waitFor({ state: 'detached' });
  await ada.waitForFunction(() => document.activeElement.getAttribute('aria-posinset') === '1');

  await rowAt(bob, 0).hover();
  await rowAt(bob, 0).getByRole('button', { name: 'React with 👍' }).click();
  await reaction(ada, 0).filter({ hasText: '1' }).click();
  await reaction(bob, 0).filter({ hasText: '2' }).waitFor();
  await picture(ada, 'said');
  await rowAt(ada, 1).hover();
  await rowAt(ada, 1).getByRole('button', { name: 'Delete' }).click();
  await rowAt(ada, 1).getByRole('button', { name: 'Delete for everyone' }).click();

  const isAsSaid = async (tab) => {
    await rowAt(tab, 0).locator('.text').filter({ hasText: 'first, corrected (edited)' }).waitFor();
    await reaction(tab, 0).filter({ hasText: '2' }).waitFor();
    await rowAt(tab, 1).getByText('This message was deleted.').waitFor();
    assert.equal(await listOf(tab).getByRole('listitem').count(), 2);
  };
  for (const tab of [ada, bob]) await isAsSaid(tab);
  await bob.waitForFunction(async () => {
    await navigator.serviceWorker.ready;
    return navigator.serviceWorker.controller !== null;
  });
  await bob.context().setOffline(true);
  await bob.reload();
  await isAsSaid(bob);
  await rowAt(bob, 0).hover();
  await rowAt(bob, 0).getByRole('button', { name: 'React with 🎉' }).click();
  await bob.context().setOffline(false);
  await reaction(ada, 0).nth(1).waitFor();
  await close(ada, bob);
});

test('only the own messages can be changed', async () => {
  const tab = await browser.open(relay, 'cleo', '#others');
  await relay.post('#others', { from: 'dora', text: 'not yours' });
  await rowOf(tab, 'not yours').hover();
  await tab.getByRole('button', { name: 'React with 👍' }).waitFor();
  for (const name of ['Edit', 'Delete']) assert.equal(await tab.getByRole('button', { name, exact: true }).count(), 0);
  await close(tab);
});

test('who is writing is said until it is sent, and ticks say that it was read', async () => {
  const ada = await browser.open(relay, 'ada', '#ticks');
  const bob = await browser.open(relay, 'bob', '#ticks');
  await box(bob).pressSequentially('hel');
  await ada.getByText('bob is writing…').waitFor();
  await box(bob).fill('hello');
  await box(bob).press('Enter');
  await rowOf(ada, 'hello').waitFor();
  await ada.getByText('bob is writing…').waitFor({ state: 'detached' });
  await rowOf(bob, 'hello').getByRole('img', { name: 'Read' }).waitFor();
  await close(ada, bob);
});

test('no page reported an error', () => {
  assert.deepEqual(browser.errors, []);
});
