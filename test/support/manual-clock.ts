/**
 * A clock that stands still until it is told to move. Timers fire while it is advanced, in the order of
 * their due time, and each sees the clock at its own due time; a timer that arms another within the span
 * of the advance has that one fire too.
 */
import type { Clock, Timer } from "../../src/core/clock.ts";

interface Pending {
  readonly dueMs: number;
  readonly order: number;
  readonly fn: () => void;
}

export class ManualClock implements Clock {
  #monoMs: number;
  #wallMs: number;
  #order = 0;
  readonly #pending = new Set<Pending>();

  constructor(start: { monoMs?: number; wallMs?: number } = {}) {
    this.#monoMs = start.monoMs ?? 0;
    this.#wallMs = start.wallMs ?? Date.UTC(2026, 5, 1, 12);
  }

  monoMs(): number {
    return this.#monoMs;
  }

  wallMs(): number {
    return this.#wallMs;
  }

  /** How many timers are armed: a test can tell that a stopped service left none. */
  get timers(): number {
    return this.#pending.size;
  }

  /** Mono ms at which the next timer is due, or null where none is armed. */
  get nextDueMs(): number | null {
    return this.#earliest()?.dueMs ?? null;
  }

  after(delayMs: number, fn: () => void): Timer {
    const pending: Pending = { dueMs: this.#monoMs + Math.max(0, delayMs), order: this.#order++, fn };
    this.#pending.add(pending);
    return { cancel: () => void this.#pending.delete(pending) };
  }

  /** Moves both clocks on by `ms` and fires what comes due. Callbacks run synchronously. */
  advance(ms: number): void {
    const endMs = this.#monoMs + ms;
    for (;;) {
      const next = this.#earliest();
      if (!next || next.dueMs > endMs) break;
      this.#pending.delete(next);
      this.#moveTo(Math.max(next.dueMs, this.#monoMs));
      next.fn();
    }
    this.#moveTo(endMs);
  }

  /**
   * Like advance(), but lets promises settle before each timer and after the last one, so that code which
   * awaits between two timers is carried along.
   */
  async advanceAsync(ms: number): Promise<void> {
    const endMs = this.#monoMs + ms;
    await settle();
    for (;;) {
      const next = this.#earliest();
      if (!next || next.dueMs > endMs) break;
      this.#pending.delete(next);
      this.#moveTo(Math.max(next.dueMs, this.#monoMs));
      next.fn();
      await settle();
    }
    this.#moveTo(endMs);
  }

  /** The wall clock jumps (a time server, a person); the mono clock does not. Fires nothing. */
  setWallMs(wallMs: number): void {
    this.#wallMs = wallMs;
  }

  #moveTo(monoMs: number): void {
    this.#wallMs += monoMs - this.#monoMs;
    this.#monoMs = monoMs;
  }

  #earliest(): Pending | undefined {
    let earliest: Pending | undefined;
    for (const pending of this.#pending) {
      if (
        !earliest ||
        pending.dueMs < earliest.dueMs ||
        (pending.dueMs === earliest.dueMs && pending.order < earliest.order)
      ) {
        earliest = pending;
      }
    }
    return earliest;
  }
}

/** Two turns of the event loop's check phase: microtasks and I/O callbacks that are ready have run. */
async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
}
