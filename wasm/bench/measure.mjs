// What design 10 asks of the engine in Wasm, measured in whatever runs this: Node or a page.
//
// The host here is the smallest there can be, so that the figures are the engine's, with the JSON that the
// facade reads and the window it makes of it. Waiting for the relay is not in them, but where they say so.
import { loadEngine } from '../dist/engine.js';
import { EMPTY, nextWindow } from '../dist/window.js';

const ROWS = 50;
const OPENINGS = 10;
const PLACES = 20;
const ROUNDS = 10;
const LATE = 40;
/** No run that works waits for it. */
const DEADLINE_MS = 60_000;

/** An engine with a socket, without a store. */
class Session {
  #engine;
  #url;
  #socket;
  #timer;
  #change = () => undefined;
  /** Time in the engine, in ms. */
  busy = 0;

  constructor(Engine, url, user) {
    this.#engine = new Engine(JSON.stringify({ user }), crypto.getRandomValues(new Uint8Array(32)));
    this.#url = url;
    this.call((engine) => engine.online());
  }

  call(use) {
    const from = performance.now();
    this.#engine.at(Date.now(), from);
    const answer = use(this.#engine);
    this.busy += performance.now() - from;
    return answer;
  }

  /** Does what the engine asks for. */
  pump() {
    for (;;) {
      const events = JSON.parse(this.call((engine) => engine.pollEvents()) ?? '[]');
      if (events.some(({ event }) => event === 'connect')) this.#connect();
      for (let frame; (frame = this.call((engine) => engine.pollFrame())) !== undefined;) this.#socket.send(frame);
      const at = this.call((engine) => engine.pollTimeout());
      clearTimeout(this.#timer);
      if (at === undefined) break;
      if (at > performance.now()) {
        this.#timer = setTimeout(() => this.#tick(), at - performance.now());
        break;
      }
      this.call((engine) => engine.tick());
    }
    this.#change();
  }

  #tick() {
    this.call((engine) => engine.tick());
    this.pump();
  }

  #connect() {
    const socket = new WebSocket(this.#url);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      this.call((engine) => engine.connected());
      this.pump();
    };
    socket.onmessage = ({ data }) => {
      this.call((engine) => engine.bytes(new Uint8Array(data)));
      this.pump();
    };
    this.#socket = socket;
  }

  /** The first truthy answer of `check`, asked after each thing that happens. */
  until(check) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`not before the deadline: ${check}`)), DEADLINE_MS);
      this.#change = () => {
        const answer = check();
        if (!answer) return;
        this.#change = () => undefined;
        clearTimeout(timer);
        resolve(answer);
      };
      this.pump();
    });
  }

  close() {
    clearTimeout(this.#timer);
    this.#socket.onmessage = null;
    this.#socket.close();
    this.#engine.free();
  }
}

const query = (at, before, after) => JSON.stringify({ at, before, after });

/** An open view, and its rows as an application gets them. */
async function open(Engine, { relay, channel, total }, user) {
  const session = new Session(Engine, `${relay.replace('http', 'ws')}/sync`, user);
  const view = session.call((engine) => engine.openView(channel, query('latest', ROWS, 0)));
  let window = EMPTY;
  const read = () => {
    const update = session.call((engine) => engine.pollView(view));
    if (update !== undefined) window = nextWindow(window, JSON.parse(update), null);
    return window;
  };
  await session.until(() => {
    const rows = read();
    return rows.exact && rows.total >= total;
  });
  if (window.items.length !== ROWS) throw new Error(`${window.items.length} rows`);
  return { session, view, read };
}

/** Measures on a relay that has `total` messages in `channel`; `wasm` gives the module. Rows of a table, times in ms. */
export async function measure(wasm, where) {
  const opened = { wall: [], busy: [] };
  for (let i = 0; i <= OPENINGS; i += 1) {
    const from = performance.now();
    const { Engine } = await loadEngine(wasm);
    const { session } = await open(Engine, where, `opener-${i}`);
    opened.wall.push(performance.now() - from);
    opened.busy.push(session.busy);
    session.close();
  }
  const { Engine } = await loadEngine(wasm);
  const reader = await open(Engine, where, 'reader');
  const viewport = await viewports(reader, where.total);
  const late = await lateMessages(reader, await open(Engine, where, 'writer'), where.channel);
  return [
    { what: `open to the newest ${ROWS}, warm, with the relay's answers`, ...summary(opened.wall.slice(1)) },
    { what: '… of that in the engine', ...summary(opened.busy.slice(1)) },
    { what: `a viewport of ${ROWS} anywhere, its segment loaded`, ...summary(viewport) },
    { what: 'one late message, from its bytes to the changed window', ...summary(late) },
  ];
}

/** Places all over the channel are loaded, then shown again in turns. */
async function viewports({ session, view, read }, total) {
  const times = [];
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (let place = 0; place < PLACES; place += 1) {
      const index = Math.floor(((place * 7) % PLACES + 0.5) / PLACES * (total - ROWS));
      const from = performance.now();
      session.call((engine) => engine.moveView(view, query({ index }, ROWS / 2, ROWS / 2)));
      let rows = read();
      const took = performance.now() - from;
      if (round > 0 && !rows.exact) throw new Error(`row ${index} was dropped`);
      if (round > 0) times.push(took);
      else rows = await session.until(() => ((rows = read()).exact ? rows : undefined));
      if (rows.items.length !== ROWS) throw new Error(`${rows.items.length} rows at ${index}`);
      session.pump();
    }
  }
  return times;
}

/** Another writes messages that belong between those that are shown. */
async function lateMessages(reader, writer, channel) {
  const { session, view, read } = reader;
  session.call((engine) => engine.moveView(view, query('latest', ROWS, 0)));
  let rows = await session.until(() => {
    const now = read();
    return now.exact ? now : undefined;
  });
  const times = [];
  for (let i = 0; i < LATE; i += 1) {
    const sentAt = rows.items[10 + (i % 30)].sentAt;
    const content = JSON.stringify({ text: `late ${i}`, sentAt });
    writer.session.call((engine) => engine.send(channel, content));
    const before = session.busy;
    let spent = 0;
    const waiting = session.until(() => {
      const from = performance.now();
      const now = read();
      spent += performance.now() - from;
      // What came in between, such as marks, is no part of it.
      return now.items.some(({ text }) => text === `late ${i}`) ? { now, took: session.busy - before + spent } : undefined;
    });
    writer.session.pump();
    const { now, took } = await waiting;
    rows = now;
    times.push(took);
  }
  session.close();
  writer.session.close();
  return times;
}

function summary(times) {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  const round = (ms) => Math.round(ms * 100) / 100;
  return { p50: round(at(0.5)), p99: round(at(0.99)), n: sorted.length };
}
