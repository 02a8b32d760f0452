/** The engine's module: loaded once, called through one guard. */

import init, { Engine, lastPanic } from './glue.js';
import { BackscrollError, toError } from './errors.js';

export type { Engine } from './glue.js';

/** What a module can be loaded from. */
export type WasmSource = URL | string | Response | BufferSource | WebAssembly.Module;

let loading: Promise<void> | undefined;

/** Loads the module, the first time; a failed attempt can be made again. */
export function loadEngine(source: () => WasmSource | Promise<WasmSource>): Promise<void> {
  loading ??= (async () => {
    try {
      await init({ module_or_path: await source() });
      warmUp();
    } catch (thrown) {
      loading = undefined;
      throw new BackscrollError(
        'init_failed',
        'the engine (backscroll.wasm) did not load: check that it is served as application/wasm and that the '
          + "content security policy allows 'wasm-unsafe-eval', or pass the option `wasm`",
        { cause: thrown },
      );
    }
  })();
  return loading;
}

/** Browsers compile a module lazily: what a first message needs is compiled before there is one. */
function warmUp(): void {
  const engine = new Engine('{"user":"warm"}', new Uint8Array(32));
  engine.at(0, 0);
  const view = engine.openView('warm', '{"at":"latest","before":1,"after":0}');
  engine.send('warm', '{"text":"warm"}');
  engine.view(view);
  engine.free();
}

/** How an engine is set up. */
export interface EngineOptions {
  user: string;
  newest?: number | undefined;
  memoryBytes?: number | undefined;
  storage?: boolean;
}

/** Calls an engine; after a panic it is called no more. */
export class Guard {
  readonly #engine: Engine;
  readonly #onFailure: (error: BackscrollError) => void;
  #failure: BackscrollError | undefined;
  #freed = false;

  constructor(options: EngineOptions, onFailure: (error: BackscrollError) => void) {
    const seed = globalThis.crypto.getRandomValues(new Uint8Array(32));
    try {
      this.#engine = new Engine(JSON.stringify(options), seed);
    } catch (thrown) {
      throw toError(thrown, 'bad_request');
    }
    this.#onFailure = onFailure;
  }

  /** Whether calls are in vain. */
  get dead(): boolean {
    return this.#freed || this.#failure !== undefined;
  }

  /** One call. Its time is now. */
  call<T>(use: (engine: Engine) => T): T {
    if (this.#failure) throw this.#failure;
    if (this.#freed) throw new BackscrollError('closed', 'the client is closed');
    try {
      this.#engine.at(Date.now(), performance.now());
      return use(this.#engine);
    } catch (thrown) {
      // A refused call throws an error with a code; a panic is a trap of the module.
      if (!(thrown instanceof WebAssembly.RuntimeError)) throw toError(thrown, 'bad_request');
      const failure = new BackscrollError('engine_failed', `the engine stopped: ${panicWords(thrown)}`, { cause: thrown });
      this.#failure = failure;
      this.#onFailure(failure);
      throw failure;
    }
  }

  free(): void {
    if (!this.dead) this.#engine.free();
    this.#freed = true;
  }
}

function panicWords(trap: WebAssembly.RuntimeError): string {
  try {
    return lastPanic() || trap.message;
  } catch {
    return trap.message;
  }
}
