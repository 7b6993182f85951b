/**
 * Time, passed in. The only file that reads the system's clocks.
 *
 * Three kinds, never mixed:
 * - mono: milliseconds since some point in this run. For timers, timeouts, durations. Never jumps.
 * - wall: epoch milliseconds. For people and backends. May jump, may start in 1970.
 * - steady: milliseconds that the gateway has lived through, kept over restarts (see SteadyClock). For
 *   ages and deadlines that must outlive a restart and must not believe a wall clock that jumps.
 */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  wallMs(): number;
  monoMs(): number;
  /** Runs `fn` once, `delayMs` from now on the mono clock. The timer does not keep the process alive. */
  after(delayMs: number, fn: () => void): Timer;
}

/** setTimeout takes at most this; a longer wait is cut into pieces. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monoMs: () => performance.now(),
  after(delayMs, fn) {
    let handle: NodeJS.Timeout;
    const arm = (leftMs: number) => {
      const stepMs = Math.min(Math.max(leftMs, 0), TIMEOUT_MS_MAX);
      handle = setTimeout(() => (leftMs > stepMs ? arm(leftMs - stepMs) : fn()), stepMs);
      handle.unref();
    };
    arm(delayMs);
    return { cancel: () => clearTimeout(handle) };
  },
};

/** Resolves after `delayMs`, or at once when `signal` aborts; never rejects. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const onAbort = () => {
      timer.cancel();
      resolve();
    };
    const timer = clock.after(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/**
 * No wall time before this is believed: the code did not exist yet, so a box that says so has no
 * battery clock and has not reached its time server.
 */
export const CLOCK_TRUSTED_FROM_MS = Date.UTC(2026, 0, 1);

export function wallClockTrusted(wallMs: number): boolean {
  return wallMs >= CLOCK_TRUSTED_FROM_MS;
}

/**
 * Two readings of wall clocks that lie further apart than this say that one of them is wrong, not that so much
 * time has passed: a box that lay switched off for a year is rarer than a battery clock that woke up in 2036.
 */
export const WALL_APART_MS_BELIEVED_MAX = 366 * 86_400_000;

/** ms from one reading to a later one; null where the two say nothing of the time between them. */
export function wallMsBetween(fromWallMs: number, toWallMs: number): number | null {
  const apartMs = toWallMs - fromWallMs;
  const believable = wallClockTrusted(toWallMs) && Math.abs(apartMs) <= WALL_APART_MS_BELIEVED_MAX;
  return believable ? apartMs : null;
}

/** Where a steady clock stood, and what the wall clock said then. */
export interface SteadyMark {
  readonly steadyMs: number;
  readonly wallMs: number;
}

/** Where the steady clock goes on at `wallMs` after it was last seen at `last`; see SteadyClock. */
export function steadyMsAfter(last: SteadyMark | null, wallMs: number): number {
  if (!last) return 0;
  const awayMs = wallClockTrusted(last.wallMs) ? (wallMsBetween(last.wallMs, wallMs) ?? 0) : 0;
  return last.steadyMs + Math.max(0, awayMs);
}

/**
 * A clock for ages that outlive a restart. Inside a run it advances with the mono clock. Over a restart
 * it advances by the wall clock's difference, but only forward, only where both readings are trusted, and only
 * by as much as can be believed; otherwise the time spent switched off counts as nothing, and nothing expires
 * early for it.
 */
export class SteadyClock {
  readonly #clock: Clock;
  readonly #offsetMs: number;

  constructor(clock: Clock, last: SteadyMark | null) {
    this.#clock = clock;
    this.#offsetMs = steadyMsAfter(last, clock.wallMs()) - clock.monoMs();
  }

  nowMs(): number {
    return Math.round(this.#clock.monoMs() + this.#offsetMs);
  }
}
