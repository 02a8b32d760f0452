// Without a network the page opens, takes messages, says how many wait, and sends them when it is back.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  addressOf, close, isConnected, picture, rowOf, startBrowser, startRelay, textsOf, write,
} from './world.mjs';

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

const isAway = (tab) => tab.locator('[data-connection=offline], [data-connection=connecting]').waitFor();
const waiting = (tab, count) => tab.getByRole('status').getByText(`Sending when back online (${count})`).waitFor();

/** The page and all it needs are kept, and the next visit gets them from there. */
const isKept = (tab) =>
  tab.waitForFunction(async () => {
    await navigator.serviceWorker.ready;
    return navigator.serviceWorker.controller !== null;
  });

const offlineOptions = { offline: true };

test('written offline, messages wait and are counted, and go out in order when the network is back', async () => {
  const ada = await browser.open(relay, 'ada', '#talk', offlineOptions);
  const bob = await browser.open(relay, 'bob', '#talk');
  await ada.context().setOffline(true);
  await isAway(ada);
  for (const text of ['one', 'two', 'three']) await write(ada, text);
  await rowOf(ada, 'three').waitFor();
  assert.deepEqual(await textsOf(ada), ['one', 'two', 'three']);
  await ada.locator('[data-send=queued]').nth(2).waitFor();
  await waiting(ada, 3);
  await picture(ada, 'offline-waiting');
  for (const text of ['four', 'five']) await write(bob, text);
  await bob.locator('[data-send=relayed]').nth(1).waitFor();
  assert.deepEqual(await textsOf(bob), ['four', 'five'], 'the network was not off');
  await ada.context().setOffline(false);
  await isConnected(ada);
  await ada.locator('[data-send=relayed]').nth(2).waitFor();
  await ada.getByRole('status').getByText('Online').waitFor();
  const all = ['one', 'two', 'three', 'four', 'five'];
  for (const tab of [ada, bob]) {
    await rowOf(tab, 'one').waitFor();
    await rowOf(tab, 'five').waitFor();
    assert.deepEqual(await textsOf(tab), all);
  }
  assert.deepEqual((await relay.newest('#talk', 10)).map(({ text }) => text), all);
  await close(ada, bob);
});

test('messages written while the relay is down go out when it is up again', async () => {
  const tab = await browser.open(relay, 'cleo', '#down', offlineOptions);
  await write(tab, 'before');
  await tab.locator('[data-send=relayed]').waitFor();
  await relay.halt();
  await isAway(tab);
  await write(tab, 'meanwhile');
  await waiting(tab, 1);
  await relay.resume();
  await tab.locator('[data-send=relayed]').nth(1).waitFor();
  assert.deepEqual((await relay.newest('#down', 10)).map(({ text }) => text), ['before', 'meanwhile']);
  await close(tab);
});

test('after the first visit the page opens without a network, at the channel and under the name in its address', async () => {
  const tab = await browser.open(relay, 'dora', '#kept', offlineOptions);
  await isKept(tab);
  await tab.context().setOffline(true);
  // With neither network nor relay, what comes can only be what was kept.
  await relay.halt();
  await tab.reload();
  await tab.getByRole('heading', { name: '#kept' }).waitFor();
  await tab.locator('.me').getByText('dora').waitFor();
  await isAway(tab);
  await write(tab, 'written in a page that was never sent');
  await rowOf(tab, 'written in a page that was never sent').waitFor();
  await waiting(tab, 1);
  await relay.resume();
  await tab.context().setOffline(false);
  await tab.locator('[data-send=relayed]').waitFor();
  await close(tab);
});

test('what was written offline survives a reload, and merges with what others wrote meanwhile', async () => {
  const ada = await browser.open(relay, 'ada', '#merge', offlineOptions);
  await isKept(ada);
  await ada.context().setOffline(true);
  await isAway(ada);
  for (const text of ['one', 'two', 'three']) await write(ada, text);
  await ada.reload();
  await rowOf(ada, 'three').waitFor();
  assert.deepEqual(await textsOf(ada), ['one', 'two', 'three']);
  await waiting(ada, 3);
  const bob = await browser.open(relay, 'bob', '#merge');
  for (const text of ['four', 'five']) await write(bob, text);
  await bob.locator('[data-send=relayed]').nth(1).waitFor();
  await ada.context().setOffline(false);
  const all = ['one', 'two', 'three', 'four', 'five'];
  for (const tab of [ada, bob]) {
    // Rows that are counted but not here yet stand there without a text.
    for (const text of all) await rowOf(tab, text).waitFor();
    assert.deepEqual(await textsOf(tab), all);
  }
  await close(ada, bob);
});

test('a tab closed right after Enter, offline, has lost nothing', async () => {
  const tab = await browser.open(relay, 'eve', '#closed', offlineOptions);
  await isKept(tab);
  await tab.context().setOffline(true);
  await isAway(tab);
  await write(tab, 'last words');
  await tab.close();
  const next = await tab.context().newPage();
  await next.goto(addressOf(relay, 'eve', '#closed'));
  await rowOf(next, 'last words').waitFor();
  await tab.context().setOffline(false);
  await isConnected(next);
  await next.waitForFunction(() => document.querySelector('[data-message-id]')?.dataset.send !== 'queued');
  assert.deepEqual((await relay.newest('#closed', 10)).map(({ text }) => text), ['last words']);
  await close(tab);
});

test('two tabs share what is kept: one shows what the other wrote offline, and sends it when that is closed', async () => {
  const first = await browser.open(relay, 'gus', '#tabs', offlineOptions);
  await isKept(first);
  const second = await first.context().newPage();
  await second.goto(addressOf(relay, 'gus', '#tabs'));
  await isConnected(second);
  await first.context().setOffline(true);
  await isAway(first);
  await isAway(second);
  await write(first, 'from the first tab');
  await rowOf(second, 'from the first tab').waitFor();
  await write(second, 'from the second tab');
  await rowOf(first, 'from the second tab').waitFor();
  await first.close();
  await second.context().setOffline(false);
  await isConnected(second);
  await second.locator('[data-send=queued]').first().waitFor({ state: 'detached' });
  const texts = ['from the first tab', 'from the second tab'];
  assert.deepEqual(await textsOf(second), texts);
  assert.deepEqual((await relay.newest('#tabs', 10)).map(({ text }) => text), texts);
  await close(second);
});

/** Runs in a page before its scripts: counts instances of the engine, and lets one trap when asked to. */
function watchEngines() {
  window.engines = 0;
  const { instantiate, instantiateStreaming } = WebAssembly;
  const watched = ({ exports }) => {
    window.engines += 1;
    const takeBytes = (...args) => {
      if (window.isToTrap) {
        window.isToTrap = false;
        throw new WebAssembly.RuntimeError('unreachable');
      }
      return exports.engine_bytes(...args);
    };
    return Object.create(WebAssembly.Instance.prototype, { exports: { value: { ...exports, engine_bytes: takeBytes } } });
  };
  WebAssembly.instantiate = async (...args) => watched(await instantiate(...args));
  WebAssembly.instantiateStreaming = async (...args) => {
    const { module, instance } = await instantiateStreaming(...args);
    return { module, instance: watched(instance) };
  };
}

test('an engine that breaks off is replaced, and the page goes on where it was', async () => {
  const tab = await browser.open(relay, 'ida', '#breaks', offlineOptions);
  await write(tab, 'one');
  await tab.locator('[data-send=relayed]').waitFor();
  await tab.context().addInitScript(watchEngines);
  await tab.reload();
  await isConnected(tab);
  await rowOf(tab, 'one').waitFor();
  const engines = await tab.evaluate(() => {
    window.isToTrap = true;
    return window.engines;
  });
  await relay.post('#breaks', { from: 'jon', text: 'two' });
  await rowOf(tab, 'two').waitFor();
  assert.deepEqual(await tab.evaluate(() => [window.isToTrap, window.engines]), [false, engines + 1]);
  await write(tab, 'three');
  await rowOf(tab, 'three').and(tab.locator('[data-send=relayed]')).waitFor();
  assert.deepEqual(await textsOf(tab), ['one', 'two', 'three']);
  await close(tab);
});

test('no page reported an error', () => {
  assert.deepEqual(browser.errors, []);
});
