/**
 * The engine's module as wasm-bindgen makes it, but for each call another instance of it
 * (`scripts/build.mjs`). Only `engine.ts` uses it. The methods are described in `src/engine.rs`.
 */

export interface Engine {
  free(): void;
  at(wallMs: number, steadyMs: number): void;
  connected(token?: string): void;
  closed(closeCode?: number): void;
  bytes(bytes: Uint8Array): void;
  online(): void;
  stop(): void;
  tick(): void;
  pollTimeout(): number | undefined;
  pollFrame(): Uint8Array | undefined;
  pollEvents(): string | undefined;
  connection(): string;
  channels(): string;
  askChannels(): void;
  openChannel(channel: string): void;
  closeChannel(channel: string): boolean;
  info(channel: string): string | undefined;
  send(channel: string, message: string): string;
  retry(channel: string, id: string): boolean;
  discard(channel: string, id: string): boolean;
  message(channel: string, id: string): string | undefined;
  indexOf(channel: string, id: string): number;
  ticks(channel: string, count: number): string;
  edit(channel: string, id: string, edit: string): void;
  remove(channel: string, id: string): void;
  react(channel: string, id: string, emoji: string, on: boolean): void;
  markRead(channel: string, upTo?: string): void;
  receipts(channel: string, id: string): string;
  say(channel: string, text: string): void;
  late(channel: string, view?: number): string;
  lateNext(channel: string, view: number | undefined, toward: string): string | undefined;
  lateSeen(channel: string, first?: string, last?: string): void;
  openView(channel: string, query: string): number;
  moveView(view: number, query: string): void;
  closeView(view: number): void;
  pollView(view: number): string | undefined;
  isDamaged(view: number): boolean;
  setVisible(view: number, edges: string, atEnd: boolean): void;
  pollStorage(): Uint8Array | undefined;
  stored(batch: number): void;
  storageFailed(batch: number, text: string): void;
  pollRead(): string | undefined;
  isReading(channel: string): boolean;
  records(question: number, records: Uint8Array): void;
  readFailed(question: number, text: string): void;
  writtenElsewhere(keys: Uint8Array): void;
  save(): void;
  isSaved(): boolean;
}

/** One instance of the module; nothing but `init` may be called before that is done. */
export interface Glue {
  readonly Engine: new (options: string, seed: Uint8Array) => Engine;
  lastPanic(): string;
  init(options: {
    module_or_path: WebAssembly.Module | BufferSource | Response | Promise<Response> | URL | string;
  }): Promise<unknown>;
  /** The compiled module, which further instances can be made of. */
  module(): WebAssembly.Module;
}

export function makeGlue(): Glue;
