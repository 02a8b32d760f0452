// A relay as small as one can be: it stores changes unread and passes them on. It keeps no
// directory, so a channel can be opened only while it is empty, or resumed by who missed nothing.
import { WebSocketServer } from 'ws';
import { decode, encode } from './cbor.mjs';

const EPOCH = new Uint8Array(16).fill(7);
const NO_HASH = new Uint8Array(32);

export async function startFakeRelay() {
  const relay = new FakeRelay();
  await relay.listen(0);
  return relay;
}

class FakeRelay {
  pushes = 0;
  /** Answers the next push with this code. */
  refuseNext;
  #server;
  #port = 0;
  #channels = new Map();
  #sockets = new Set();

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  async listen(port) {
    this.#server = new WebSocketServer({ host: '127.0.0.1', port, path: '/sync' });
    await new Promise((resolve) => this.#server.once('listening', resolve));
    this.#port = this.#server.address().port;
    this.#server.on('connection', (socket) => {
      socket.open = new Set();
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('message', (data) => this.#handle(socket, decode(new Uint8Array(data))));
    });
  }

  /** Stops listening and cuts every connection. */
  async stop() {
    for (const socket of this.#sockets) socket.terminate();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Listens again, where it did. */
  async restart() {
    await this.listen(this.#port);
  }

  /** Closes every connection with a code. */
  closeAll(code) {
    for (const socket of this.#sockets) socket.close(code);
  }

  /** Sends bytes that are no frame to every connection. */
  babble() {
    for (const socket of this.#sockets) socket.send(new Uint8Array([0xff, 0x13]));
  }

  #handle(socket, [type, body]) {
    const send = (kind, fields) => socket.send(encode([kind, new Map(Object.entries(fields).map(([k, v]) => [Number(k), v]))]));
    switch (type) {
      case 1: {
        const limits = new Map([[0, 1 << 20], [1, 1 << 18], [2, 256], [3, 64]]);
        return send(16, { 0: 1, 1: EPOCH, 2: Date.now(), 3: limits });
      }
      case 2: {
        const channel = this.#channel(body.get(0));
        const cursor = body.get(1);
        const resumed = cursor !== undefined && cursor.get(1) === channel.seq;
        if (!resumed && channel.seq > 0) throw new Error('the fake relay has no directory to tell');
        socket.open.add(body.get(0));
        const head = new Map([[0, EPOCH], [1, channel.seq], [2, cursor?.get(2) ?? NO_HASH]]);
        return send(17, { 0: body.get(0), 1: head, 2: resumed, 4: channel.seq, 6: true });
      }
      case 3:
        return this.#push(send, body);
      case 7:
        socket.open.delete(body.get(0));
        return undefined;
      case 8: {
        const list = [...this.#channels].map(([name, { seq }]) => new Map([[0, name], [1, seq], [2, seq]]));
        return send(25, { 0: list, 1: false });
      }
      default:
        throw new Error(`the fake relay knows no frame of type ${type}`);
    }
  }

  #push(send, body) {
    this.pushes += 1;
    const [reference, name] = [body.get(0), body.get(1)];
    if (this.refuseNext) {
      const code = this.refuseNext;
      this.refuseNext = undefined;
      return send(21, { 0: reference, 1: name, 2: 0, 3: code, 4: 'refused by the test' });
    }
    const channel = this.#channel(name);
    const seqs = body.get(5).map((chunk) => {
      const key = Buffer.from(chunk).toString('base64');
      const known = channel.chunks.get(key);
      if (known !== undefined) return known;
      channel.seq += 1;
      channel.chunks.set(key, channel.seq);
      const change = new Map([[0, name], [1, channel.seq], [2, body.get(2)], [3, body.get(3)], [4, body.get(4)], [5, chunk]]);
      for (const socket of this.#sockets) if (socket.open.has(name)) socket.send(encode([19, change]));
      return channel.seq;
    });
    return send(20, { 0: reference, 1: name, 2: seqs });
  }

  #channel(name) {
    if (!this.#channels.has(name)) this.#channels.set(name, { seq: 0, chunks: new Map() });
    return this.#channels.get(name);
  }
}
