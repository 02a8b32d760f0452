/** The engine's module: loaded once, one instance of it for each engine, called through a guard. */

import { makeGlue } from './glue.js';
import type { Engine, Glue } from './glue.js';
import { BackscrollError, toError } from './errors.js';

export type { Engine } from './glue.js';

/** What a module can be loaded from. */
export type WasmSource = URL | string | Response | BufferSource | WebAssembly.Module;

/** An instance of the module, for one engine: what goes wrong in it harms no other. */
export type EngineModule = Pick<Glue, 'Engine' | 'lastPanic'>;

let loading: Promise<WebAssembly.Module> | undefined;

/** Loads the module, the first time, and gives an instance of it; a failed attempt can be made again. */
export async function loadEngine(source: () => WasmSource | Promise<WasmSource>): Promise<EngineModule> {
  try {
    loading ??= load(source);
    const module = await loading;
    const glue = makeGlue();
    await glue.init({ module_or_path: module });
    return glue;
  } catch (thrown) {
    loading = undefined;
    throw new BackscrollError(
      'init_failed',
      'the engine (backscroll.wasm) did not load: check that it is served as application/wasm and that the '
        + "content security policy allows 'wasm-unsafe-eval', or pass the option `wasm`",
      { cause: thrown },
    );
  }
}

async function load(source: () => WasmSource | Promise<WasmSource>): Promise<WebAssembly.Module> {
  const glue = makeGlue();
  await glue.init({ module_or_path: await source() });
  warmUp(glue);
  return glue.module();
}

/** Browsers compile a module lazily: what a first message needs is compiled before there is one. */
function warmUp({ Engine }: EngineModule): void {
  const engine = new Engine('{"user":"warm"}', new Uint8Array(32));
  engine.at(0, 0);
  const view = engine.openView('warm', '{"at":"latest","before":1,"after":0}');
  engine.send('warm', '{"text":"warm"}');
  engine.pollView(view);
  engine.free();
}

/** How an engine is set up. */
export interface EngineOptions {
  user: string;
  newest?: number | undefined;
  memoryBytes?: number | undefined;
  storage?: boolean;
}

/** Calls an engine; one that broke off is called no more. */
export class Guard {
  readonly #module: EngineModule;
  readonly #engine: Engine;
  readonly #onFailure: (error: BackscrollError) => void;
  #failure: BackscrollError | undefined;
  #told = false;
  #freed = false;

  /** `onFailure` is told once, after the call that failed, that the engine broke off. */
  constructor(module: EngineModule, options: EngineOptions, onFailure: (error: BackscrollError) => void) {
    const seed = globalThis.crypto.getRandomValues(new Uint8Array(32));
    this.#module = module;
    try {
      this.#engine = new module.Engine(JSON.stringify(options), seed);
    } catch (thrown) {
      throw toError(thrown, 'bad_request');
    }
    this.#onFailure = onFailure;
  }

  /** Whether calls are in vain. */
  get dead(): boolean {
    if (this.#failure) this.#tell(this.#failure);
    return this.#freed || this.#failure !== undefined;
  }

  /** One call, of the engine and nothing else. Its time is now. */
  call<T>(use: (engine: Engine) => T): T {
    if (this.#failure) {
      this.#tell(this.#failure);
      throw this.#failure;
    }
    if (this.#freed) throw new BackscrollError('closed', 'the client is closed');
    try {
      this.#engine.at(Date.now(), performance.now());
      return use(this.#engine);
    } catch (thrown) {
      if (isRefusal(thrown)) throw toError(thrown, 'bad_request');
      const failure = new BackscrollError('engine_failed', `the engine stopped: ${this.#wordsOf(thrown)}`, { cause: thrown });
      this.#failure = failure;
      this.#tell(failure);
      throw failure;
    }
  }

  /**
   * Tells of the failure, once, and not from here: the stack may be at its end. There may not even be
   * room for this, so whoever asks next tries again.
   */
  #tell(failure: BackscrollError): void {
    if (this.#told) return;
    queueMicrotask(() => { this.#onFailure(failure); });
    this.#told = true;
  }

  free(): void {
    if (!this.dead) this.#engine.free();
    this.#freed = true;
  }

  #wordsOf(thrown: unknown): string {
    try {
      return this.#module.lastPanic() || String(thrown);
    } catch {
      return String(thrown);
    }
  }
}

/**
 * A refused call throws an error with a code, an argument of another type than the engine's is a
 * `TypeError`. Whatever else comes out of the module (a trap, a stack that is full, a second use of an
 * engine that was left in the middle) has left it in no state to go on.
 */
function isRefusal(thrown: unknown): boolean {
  return thrown instanceof TypeError || (thrown instanceof Error && typeof (thrown as { code?: unknown }).code === 'string');
}
