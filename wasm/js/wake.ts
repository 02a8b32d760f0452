/** When the engine runs next: at a time, or with the next frame. */

/** A page that is not shown gets no frames; then this long a delay collects changes instead, in ms. */
const HIDDEN_MS = 50;
/** Without frames (Node), in ms: what arrives together is shown together. */
const TICK_MS = 4;
/** The longest delay of a timer, in ms. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Runs one function, at the earlier of a time and the next frame. */
export class Wake {
  readonly #run: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #frame: { stop(): void } | undefined;

  constructor(run: () => void) {
    this.#run = run;
  }

  /** Runs with the next frame. */
  soon(): void {
    this.#frame ??= nextFrame(() => {
      this.#frame = undefined;
      this.#run();
    });
  }

  /** Runs at this time of `performance.now()`, instead of the time set before. */
  at(steadyMs: number | undefined): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (steadyMs === undefined) return;
    const delayMs = steadyMs - performance.now();
    if (delayMs <= 0) {
      this.soon();
    } else {
      this.#timer = setTimeout(this.#run, Math.min(Math.ceil(delayMs), TIMER_MS_MAX));
    }
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#frame?.stop();
    this.#timer = this.#frame = undefined;
  }
}

function nextFrame(run: () => void): { stop(): void } {
  const hasFrames = typeof requestAnimationFrame === 'function';
  const timer = setTimeout(done, hasFrames ? HIDDEN_MS : TICK_MS);
  const frame = hasFrames ? requestAnimationFrame(done) : undefined;
  function stop(): void {
    clearTimeout(timer);
    if (frame !== undefined) cancelAnimationFrame(frame);
  }
  function done(): void {
    stop();
    run();
  }
  return { stop };
}
