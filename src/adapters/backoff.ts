/**
 * A machine that does not answer is left alone for a while, twice as long each time, up to `backoffMax`: then it is asked
 * one question, without repetitions, until it answers again. So one that is off costs its line one timeout now and then.
 *
 * States: heard ──fell──▶ silent, resting ──(its time)──▶ silent, due ──fell──▶ …; ──heard──▶ heard.
 */
import type { Clock } from "../core/clock.ts";

/** The first wait; doubled from there. */
const FIRST_MS = 500;
const DOUBLINGS_MAX = 30;

export interface BackoffOptions {
  /** Tries beyond the first before it counts as silent. */
  readonly retries: number;
  readonly backoffMax: number;
}

export class Backoff {
  readonly #clock: Clock;
  readonly #options: BackoffOptions;
  #falls = 0;
  /** Mono. */
  #untilMs = 0;

  constructor(clock: Clock, options: BackoffOptions) {
    this.#clock = clock;
    this.#options = options;
  }

  get isSilent(): boolean {
    return this.#falls > 0;
  }

  /** It is silent, and its next question is not due. */
  get rests(): boolean {
    return this.isSilent && this.#clock.monoMs() < this.#untilMs;
  }

  /** From when it may be asked, mono; in the past where it may be now. */
  get untilMs(): number {
    return this.#untilMs;
  }

  /** How often it is asked before it counts as silent. */
  get triesMax(): number {
    return this.isSilent ? 1 : 1 + this.#options.retries;
  }

  heard(): void {
    this.#falls = 0;
    this.#untilMs = 0;
  }

  /** It did not answer in as many tries. */
  fell(): void {
    this.#untilMs = this.#clock.monoMs() + Math.min(FIRST_MS * 2 ** this.#falls, this.#options.backoffMax);
    this.#falls = Math.min(this.#falls + 1, DOUBLINGS_MAX);
  }

  /** While it is asked its one question nothing else is; the result ends that. */
  asked(): () => void {
    if (!this.isSilent) return () => {};
    this.#untilMs = Number.POSITIVE_INFINITY;
    return () => {
      if (this.#untilMs === Number.POSITIVE_INFINITY) this.#untilMs = 0;
    };
  }
}
