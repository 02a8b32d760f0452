// `make figures`: the relay's figures P1 to P7, each beside a floor of the same minute, as one Markdown table.
// About four minutes on a quiet machine. From the Makefile: BACKSCROLL_BIN. Also: MESSAGES (of the large store,
// default 1,000,000), FIGURES_DIR (where stores are made, on the disk to measure; default the temporary folder).
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const binary = process.env.BACKSCROLL_BIN;
if (!binary || !existsSync(binary)) throw new Error('set BACKSCROLL_BIN to the relay binary');
const messages = Number(process.env.MESSAGES ?? 1_000_000);
const folder = mkdtempSync(join(process.env.FIGURES_DIR ?? tmpdir(), 'backscroll-figures-'));
const large = join(folder, 'large');
const rows = [];
const running = new Set();
let failed = false;

const say = (text) => process.stderr.write(`== ${text}\n`);
const run = (...args) => execFileSync(binary, args, { stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8', maxBuffer: 1 << 26 });

/** A relay; `readyMs` is from its start to the first 200 of /readyz. */
async function start(data, settings = {}) {
  const begun = performance.now();
  const environment = Object.entries(settings).map(([key, value]) => [`BACKSCROLL_SERVER__${key.toUpperCase()}`, String(value)]);
  const child = spawn(binary, ['serve', '--listen', '127.0.0.1:0', '--data', data, '--log', 'warn'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...Object.fromEntries(environment) },
  });
  running.add(child);
  const ended = new Promise((resolve) => child.once('exit', resolve)).then(() => running.delete(child));
  const line = await Promise.race([
    new Promise((resolve) => createInterface({ input: child.stdout }).once('line', resolve)),
    ended.then(() => { throw new Error('the relay ended'); }),
  ]);
  const url = line.replace('listening on ', '');
  const ready = await fetch(`${url}/readyz`);
  if (!ready.ok) throw new Error(`not ready: ${ready.status}`);
  const readyMs = performance.now() - begun;
  const end = (signal) => { child.kill(signal); return ended; };
  return { url, pid: child.pid, readyMs, stop: () => end('SIGTERM'), kill: () => end('SIGKILL') };
}

/** Runs `backscroll load` against a relay; its report. A broken promise fails all of this. */
function load(relay, flags) {
  const args = ['load', '--relay', relay.url, '--json', '--floor-dir', folder, ...flags.split(' ')];
  return new Promise((resolve, reject) => {
    const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    running.add(child);
    let out = '';
    child.stdout.on('data', (part) => (out += part));
    child.once('exit', () => {
      running.delete(child);
      if (out === '') { reject(new Error(`no report: ${args.join(' ')}`)); return; }
      const report = JSON.parse(out);
      for (const line of [...report.remarks, ...report.violations_listed]) {
        failed = true;
        say(`${flags}: ${line}`);
      }
      resolve({ ...report, command: `load ${flags}` });
    });
  });
}

const numberOf = (value) => {
  if (value === undefined || Number.isNaN(value)) return '–';
  if (value >= 1_000) return Math.round(value).toLocaleString('en');
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
};

/** A row: what, the target as text and as a test, the value, its floor, and how it was measured. */
function row(what, target, meets, value, floor, unit, command, { scale = 1 } = {}) {
  const [of, under] = [value, floor].map((number) => (number === undefined ? undefined : number * scale));
  const ratio = under > 0 ? (of / under).toFixed(2) : '–';
  const verdict = of === undefined ? 'not measured' : meets === null ? '' : meets(of) ? 'met' : '**missed**';
  const text = (number) => (number === undefined ? '–' : `${numberOf(number)} ${unit}`.trim());
  rows.push([what, target, text(of), text(under), ratio, verdict, command ? `\`${command}\`` : '']);
}
const atMost = (bound) => (value) => value <= bound;
const atLeast = (bound) => (value) => value >= bound;

async function largeStore() {
  say(`a store of ${messages} messages`);
  const file = join(folder, 'large.jsonl');
  run('simulate', '--out', file, '--channel', 'large', '--count', String(messages), '--seed', '1');
  run('import', '--data', large, file);
  rmSync(file);
}

async function starts() {
  say('P6: ready after a clean start, and after kill -9');
  await (await start(large)).stop();
  const clean = [];
  for (let i = 0; i < 3; i += 1) {
    const relay = await start(large);
    clean.push(relay.readyMs);
    await relay.stop();
  }
  const killed = [];
  for (let i = 0; i < 3; i += 1) {
    const relay = await start(large);
    // So that there is a log to read.
    await load(relay, '--profile publish --count 30000');
    await relay.kill();
    const again = await start(large);
    killed.push(again.readyMs);
    await again.stop();
  }
  const how = `longest of 3, ${messages.toLocaleString('en')} messages`;
  row('P6 ready after a clean start', '2 s', atMost(2), Math.max(...clean) / 1_000, undefined, 's', '');
  row('P6 ready after kill -9 under load', '5 s', atMost(5), Math.max(...killed) / 1_000, undefined, 's', '');
  rows.slice(-2).forEach((cells) => { cells[6] = how; });
}

async function views() {
  say('P4: viewports');
  const relay = await start(large);
  const report = await load(relay, '--profile view --channel large --count 3000');
  for (const [way, what] of [['latest', 'the newest 50'], ['index', '50 rows at a random index'], ['page', '50 rows before an id']]) {
    row(`P4 ${what}, p50, over a socket`, '1 ms', atMost(1), report.figures[`${way}_ms_p50`], undefined, 'ms', report.command);
    row(`P4 … p99`, '5 ms', atMost(5), report.figures[`${way}_ms_p99`], undefined, 'ms', report.command);
  }
  await relay.stop();
}

async function publishes() {
  say('P2: durable publishes');
  const relay = await start(large);
  const many = await load(relay, '--profile publish --seconds 10 --floor');
  row('P2 durable publish, 64 senders, 256 B', '15,000/s', atLeast(15_000), many.figures.acks_per_s, many.floor.acks_per_s, 'acks/s', many.command);
  row('P2 … p99', '30 ms', atMost(30), many.figures.ack_ms_p99, many.floor.ack_ms_p99, 'ms', many.command);
  const each = await load(relay, '--profile publish --in-flight 1 --seconds 5 --floor');
  row('P2 … one in flight each', '', null, each.figures.acks_per_s, each.floor.acks_per_s, 'acks/s', each.command);
  row('P2 … p99', '30 ms', atMost(30), each.figures.ack_ms_p99, each.floor.ack_ms_p99, 'ms', each.command);
  const one = await load(relay, '--profile publish --senders 1 --in-flight 1 --seconds 5 --floor');
  const disk = one.floor.fdatasync_ms_p50;
  row('P2 1 sender, p50; the floor is write + fdatasync', `${numberOf(2 * disk)} ms (twice the floor)`, atMost(2 * disk), one.figures.ack_ms_p50, disk, 'ms', one.command);
  const trip = disk + one.floor.ack_ms_p50;
  row('P2 … the floor with a bare round trip over a socket', '', null, one.figures.ack_ms_p50, trip, 'ms', one.command);
  await relay.stop();
}

async function fanOuts() {
  say('P3: fan-out');
  const relay = await start(join(folder, 'fanout'));
  const most = await load(relay, '--profile fanout --seconds 8 --floor');
  row('P3 fan-out 1 to 1,000, 256 B', '100,000/s', atLeast(100_000), most.figures.deliveries_per_s, most.floor.deliveries_per_s, 'deliveries/s', most.command);
  const paced = await load(relay, '--profile fanout --rate 50 --seconds 8 --floor');
  row('P3 … at 50,000 deliveries/s, p99', '100 ms', atMost(100), paced.figures.delivery_ms_p99, paced.floor.delivery_ms_p99, 'ms', paced.command);
  await relay.stop();
}

async function idles() {
  say('P1: idle sockets');
  const relay = await start(join(folder, 'idle'), { connections_max: 12_000 });
  // Long enough for one ping to each.
  const report = await load(relay, `--profile idle --seconds 26 --pid ${relay.pid} --floor`);
  const command = 'load --profile idle --seconds 26 --pid PID --floor';
  row('P1 memory of an idle socket, of 10,000', '16 kB', atMost(16), report.figures.resident_bytes_per_socket, report.floor.resident_bytes_per_socket, 'kB', command, { scale: 1e-3 });
  row('P1 … kernel slab, each end', '', null, report.figures.kernel_slab_bytes_per_end, report.floor.kernel_slab_bytes_per_end, 'kB', command, { scale: 1e-3 });
  row('P1 … processor time of all of them', '5 % of a core', atMost(5), report.figures.cpu_percent_of_a_core, report.floor.cpu_percent_of_a_core, '%', command);
  await relay.stop();
}

async function storms() {
  say('P5: reconnect storm');
  const relay = await start(join(folder, 'storm'));
  const report = await load(relay, '--profile storm');
  row('P5 5,000 clients that missed 100 messages are all back', '10 s', atMost(10), report.figures.all_recovered_s, undefined, 's', report.command);
  row('P5 … messages missing or doubled', '0', atMost(0), report.violations, undefined, '', report.command);
  row('P5 … of the 1,000/s that others send meanwhile, kept', '50 %', atLeast(50), report.figures.others_rate_kept_percent, undefined, '%', report.command);
  await relay.stop();
}

async function accepts() {
  say('P7: upgrades');
  const relay = await start(join(folder, 'accept'), { connections_max: 4_000 });
  const report = await load(relay, '--profile accept --count 5000 --floor');
  row('P7 upgrades', '1,000/s', atLeast(1_000), report.figures.upgrades_per_s, report.floor.upgrades_per_s, '/s', report.command);
  row('P7 … above the cap of 4,000: 503 within (p99)', '50 ms', atMost(50), report.figures.refusal_ms_p99, undefined, 'ms', report.command);
  await relay.stop();
}

function print() {
  const model = /model name\s*:\s*(.*)/.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown processor';
  let commit = 'unknown commit';
  try {
    commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch { /* not a clone */ }
  const load1 = readFileSync('/proc/loadavg', 'utf8').split(' ')[0];
  console.log(`${cpus().length} cores (${model}), ${Math.round(totalmem() / 2 ** 30)} GiB, relay and load tool on the same machine; commit ${commit}; load average at the end ${load1}\n`);
  const head = ['figure', 'target', 'value', 'floor', 'ratio', '', '`backscroll …`'];
  for (const cells of [head, head.map(() => '---'), ...rows]) console.log(`| ${cells.join(' | ')} |`);
}

const stopAll = () => running.forEach((child) => child.kill('SIGKILL'));
process.once('SIGINT', () => { stopAll(); rmSync(folder, { recursive: true, force: true }); process.exit(130); });
try {
  // Small stores first: what a large one leaves in the page cache and to compact concerns none of them.
  for (const part of [idles, accepts, storms, fanOuts, largeStore, views, publishes, starts]) await part();
  print();
} finally {
  stopAll();
  rmSync(folder, { recursive: true, force: true });
}
if (failed) { say('a promise was broken'); process.exitCode = 1; }
