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

/** A relay over a folder of its own, serving the page; `rows` are imported first. */
export async function startRelay(rows = []) {
  const folder = mkdtempSync(join(tmpdir(), 'backscroll-browser-'));
  const data = join(folder, 'data');
  if (rows.length > 0) {
    const input = rows.map((row) => JSON.stringify(row)).join('\n');
    execFileSync(binary, ['import', '--data', data, '-'], { input, stdio: ['pipe', 'ignore', 'ignore'] });
  }
  const child = spawn(binary, ['serve', '--listen', '127.0.0.1:0', '--data', data, '--web', page], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const line = await new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', resolve);
    child.once('exit', (code) => reject(new Error(`the relay ended with ${code}`)));
  });
  const url = line.replace('listening on ', '');
  return {
    url,
    api: async (path) => (await fetch(`${url}${path}`)).json(),
    stop: async () => {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await ended;
      rmSync(folder, { recursive: true });
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
    /** A page of a user of its own (nothing shared with the others), on a channel. */
    open: async (relay, user, channel, options = {}) => {
      const context = await browser.newContext({ viewport: { width: 1000, height: 700 }, ...options });
      const tab = await context.newPage();
      tab.on('pageerror', (error) => errors.push(`${user}: ${error}`));
      tab.on('console', (message) => {
        if (message.type() === 'error') errors.push(`${user}: ${message.text()}`);
      });
      await tab.goto(`${relay.url}/?user=${user}#/c/${encodeURIComponent(channel)}`);
      await tab.locator('[data-connection=live]').waitFor();
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

/** Types a message and sends it with Enter. */
export async function write(tab, text) {
  const box = tab.getByRole('textbox', { name: 'Message' });
  await box.fill(text);
  await box.press('Enter');
}

/** The row that shows this text, once it is there. */
export const rowOf = (tab, text) => tab.getByRole('listitem').filter({ hasText: text });

/** Keeps a picture of the page to be looked at. */
export async function picture(tab, name) {
  mkdirSync(shots, { recursive: true });
  await tab.screenshot({ path: join(shots, `${name}.png`) });
}
