/** The WebSocket of a client: opened and closed when the engine says so. */

/** The part of a WebSocket that is used; browsers', Node's and `ws`'s all have it. */
export interface SocketLike {
  binaryType: string;
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number }) => void) | null;
  onerror: ((event: unknown) => void) | null;
  send(data: Uint8Array<ArrayBuffer>): void;
  close(): void;
}

export type OpenSocket = (url: string) => SocketLike;

/** What a connection tells. After `closed` it tells nothing more. */
export interface Handlers {
  opened(token: string | undefined): void;
  bytes(bytes: Uint8Array): void;
  closed(code: number | undefined, error: unknown): void;
}

/** One attempt, and the connection if it succeeds. */
export class Connection {
  readonly #handlers: Handlers;
  #socket: SocketLike | undefined;
  #over = false;

  constructor(
    open: OpenSocket,
    url: string,
    token: string | (() => Promise<string>) | undefined,
    handlers: Handlers,
  ) {
    this.#handlers = handlers;
    void this.#run(open, url, token);
  }

  send(frame: Uint8Array): void {
    this.#socket?.send(frame as Uint8Array<ArrayBuffer>);
  }

  /** Closes it; nothing is told about it. */
  close(): void {
    this.#over = true;
    const socket = this.#socket;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    // `ws` throws errors that nobody listens to.
    socket.onerror = () => undefined;
    socket.close();
  }

  async #run(open: OpenSocket, url: string, token: string | (() => Promise<string>) | undefined): Promise<void> {
    let failure: unknown;
    try {
      // Never within the call that asked for the connection.
      const credential = await (typeof token === 'function' ? token() : Promise.resolve(token));
      if (this.#over) return;
      const socket = open(url);
      this.#socket = socket;
      socket.binaryType = 'arraybuffer';
      socket.onopen = () => { this.#handlers.opened(credential); };
      socket.onmessage = ({ data }) => {
        if (data instanceof ArrayBuffer) this.#handlers.bytes(new Uint8Array(data));
      };
      socket.onerror = (event) => { failure = event; };
      socket.onclose = ({ code }) => {
        this.close();
        this.#handlers.closed(code, failure);
      };
    } catch (thrown) {
      if (this.#over) return;
      this.#over = true;
      this.#handlers.closed(undefined, thrown);
    }
  }
}

/** The address of a relay's `/sync`, from that of the relay. */
export function syncUrl(relay: string, base?: string): string {
  const url = new URL(relay, base);
  url.protocol = url.protocol.replace(/^http/, 'ws');
  if (url.protocol !== 'ws:' && url.protocol !== 'wss:') throw new TypeError(`no address of a relay: ${relay}`);
  url.pathname = url.pathname.replace(/\/*$/, '/sync');
  url.hash = '';
  return url.href;
}
