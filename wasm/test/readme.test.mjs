// The lines of README.md, run as they stand but for the relay's address and the folder.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { scratch, startRelay } from './relay.mjs';

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
const [, lines] = /```js\n(.*?)```/s.exec(readme);

test('the lines of the README send a message and show it', async () => {
  const space = scratch();
  const relay = await startRelay(`${space.folder}/data`);
  try {
    const code = lines.replace('http://127.0.0.1:8787', relay.url).replace("folder: 'ada'", `folder: '${space.folder}/ada'`);
    assert.notEqual(code, lines);
    const cwd = fileURLToPath(new URL('..', import.meta.url));
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', code], { cwd });
    assert.match(stdout, /of 1: hello from Node/);
    const { messages } = await (await fetch(`${relay.url}/api/channels/%23hello/messages`)).json();
    assert.deepEqual(messages.map(({ from, text }) => [from, text]), [['ada', 'hello from Node']]);
  } finally {
    await relay.stop();
    space.remove();
  }
});
