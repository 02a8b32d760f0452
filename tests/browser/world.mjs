// A relay process that serves the built page, and a Chromium to look at it.
// Needs BACKSCROLL_BIN; CHROMIUM names another browser than Debian's.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const page = here('../../web-demo/dist');
const shots = process.env.SCREENSHOTS ?? here('./screenshots');

const binary = process.env.BACKSCROLL_BIN;
assert.ok(binary, 'set BACKSCROLL_BIN to the relay binary');
assert.ok(existsSync(join(page, 'index.html')), 'build the page first: make web');

/** What a browser says about a network that is not there; a page cannot keep it from saying so. */
const NETWORK = /WebSocket connection to .* failed|net::ERR_|Failed to load resource/;

/** A relay over a folder of its own, serving the page; `rows` are imported first. */
export async function startRelay(rows = []) {
  const folder = mkdtempSync(join(tmpdir(), 'backscroll-browser-'));
  const data = join(folder, 'data');
  if (rows.length > 0) {
    const input = rows.map((row) => JSON.stringify(row)).join('\n');
    execFileSync(binary, ['import', '--data', data, '-'], { input, stdio: ['pipe', 'ignore', 'ignore'] });
  }
  let running = await serve(data, '127.0.0.1:0');
  const { url } = running;
  const api = async (path, body) => {
    const init = body && { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
    const answer = await fetch(`${url}/api/channels${path}`, init || {});
    assert.ok(answer.ok, `${path}: ${answer.status}`);
    return answer.json();
  };
  return {
    url,
    /** The newest messages of a channel, oldest first. */
    newest: async (channel, count) =>
      (await api(`/${encodeURIComponent(channel)}/messages?before=${count}`)).messages,
    /** Stores a message: `{from, text, sent_at?}`. */
    post: (channel, message) => api(`/${encodeURIComponent(channel)}/messages`, message),
    /** Ends the process; `resume` starts another on the same address and folder. */
    halt: () => running.stop(),
    resume: async () => {
      running = await serve(data, new URL(url).host);
    },
    stop: async () => {
      await running.stop();
      rmSync(folder, { recursive: true });
    },
  };
}

/** A relay process over a folder, serving the page. */
export async function serve(data, address) {
  const child = spawn(binary, ['serve', '--listen', address, '--data', data, '--web', page], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let log = '';
  child.stderr.on('data', (part) => (log += part));
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const line = await new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', resolve);
    void ended.then((code) => reject(new Error(`the relay ended with ${code}: ${log}`)));
  });
  return {
    url: line.replace('listening on ', ''),
    stop: async () => {
      child.kill('SIGTERM');
      await ended;
      assert.doesNotMatch(log, / ERROR /);
    },
  };
}

/** A Chromium; its pages fail the test on an uncaught error or a console error. */
export async function startBrowser() {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-background-networking', '--disable-component-update'],
  });
  const errors = [];
  return {
    errors,
    /**
     * A page of a user of its own (nothing shared with the others), on a channel. With `offline` among
     * the options, the network may be missing meanwhile.
     */
    open: async (relay, user, channel, { offline = false, ...options } = {}) => {
      const context = await browser.newContext({ viewport: { width: 1000, height: 700 }, ...options });
      const tab = await context.newPage();
      tab.on('pageerror', (error) => errors.push(`${user}: ${error}`));
      tab.on('console', (message) => {
        if (message.type() !== 'error' || (offline && NETWORK.test(message.text()))) return;
        errors.push(`${user}: ${message.text()}`);
      });
      await tab.goto(addressOf(relay, user, channel));
      await isConnected(tab);
      return tab;
    },
    /** A page of any address. */
    blank: async (url) => {
      const tab = await (await browser.newContext()).newPage();
      await tab.goto(url);
      return tab;
    },
    stop: () => browser.close(),
  };
}

export const addressOf = (relay, user, channel) =>
  `${relay.url}/?user=${user}#/c/${encodeURIComponent(channel)}`;

export const isConnected = (tab) => tab.locator('[data-connection=live]').waitFor();

/** Closes pages with all that belongs to them. */
export async function close(...tabs) {
  await Promise.all(tabs.map((tab) => tab.context().close()));
}

/** Types a message and sends it with Enter. */
export async function write(tab, text) {
  const box = tab.getByRole('textbox', { name: 'Message', exact: true });
  await box.fill(text);
  await box.press('Enter');
}

export const listOf = (tab) => tab.getByRole('list', { name: 'Messages' });

/** The row whose text this is, once it is there. */
export const rowOf = (tab, text) =>
  listOf(tab).getByRole('listitem').filter({ has: tab.getByText(text, { exact: true }) });

/** The texts of the rows that a page holds, in order. */
export const textsOf = (tab) => tab.locator('[data-message-id] .text').allTextContents();

/** The index of the first visible row. */
export const firstRow = async (tab) =>
  Number(await tab.getByRole('scrollbar').getAttribute('aria-valuenow'));

/** Resolves once the first visible row is loaded and its index lies within [from, to]. */
export async function standsAt(tab, from, to = from) {
  await tab.waitForFunction(
    ([near, far]) => {
      const first = Number(document.querySelector('[role=scrollbar]').getAttribute('aria-valuenow'));
      const rows = [...document.querySelectorAll('[role=listitem][data-message-id]')];
      const isLoaded = rows.some((row) => Number(row.getAttribute('aria-posinset')) === first + 1);
      return isLoaded && first >= near && first <= far;
    },
    [from, to],
  );
}

/** Resolves once nothing has moved the list for some frames. */
export async function rests(tab) {
  await tab.evaluate(async () => {
    const box = document.querySelector('[role=list]');
    for (let frames = 0, last = NaN; frames < 12; frames++) {
      if (box.scrollTop !== last) frames = 0;
      last = box.scrollTop;
      await new Promise(requestAnimationFrame);
    }
  });
}

/** How far below the top of the page a row stands. */
export const topOf = async (tab, text) => (await rowOf(tab, text).boundingBox()).y;

/** Keeps a picture of the page to be looked at. */
export async function picture(tab, name) {
  mkdirSync(shots, { recursive: true });
  await tab.screenshot({ path: join(shots, `${name}.png`) });
}
