/**
 * When spans begin and end: by the wall clock, as collectors want it, finer than its milliseconds, and with durations
 * that no jump of it changes.
 */
import { type Clock, wallClockTrusted } from "../core/clock.ts";

/** The wall clock is followed where it has gone so far from where the mono clock would have it. */
const APART_MS_MAX = 5;

/** The beginning of a span. */
export interface Begun {
  /** Epoch ms, with a fraction. */
  readonly startMs: number;
  /** Now, on the same scale, by the mono clock. */
  nowMs(): number;
  /** What a reader of the span should know of its time. */
  readonly doubt: { readonly "holdfast.clock_trusted"?: false };
}

export class SpanClock {
  readonly #clock: Clock;
  /** Of the wall clock from the mono clock. */
  #offsetMs = Number.NaN;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  begin(): Begun {
    const beganMs = this.#clock.monoMs();
    const wallMs = this.#clock.wallMs();
    const apartMs = Math.abs(beganMs + this.#offsetMs - wallMs);
    if (!(apartMs <= APART_MS_MAX)) this.#offsetMs = wallMs - beganMs;
    const offsetMs = this.#offsetMs;
    return {
      startMs: beganMs + offsetMs,
      nowMs: () => this.#clock.monoMs() + offsetMs,
      doubt: wallClockTrusted(wallMs) ? {} : { "holdfast.clock_trusted": false },
    };
  }
}
