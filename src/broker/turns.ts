/**
 * Whose packets are worked on next: the main thread's time, shared out fairly.
 *
 * Promise: whoever has nothing in hand comes before those who have, and among equals each gets as many
 * packets as the others, so that a client that sends one message waits for a moment of work and never for
 * all that a faster one has sent. Work is cut into turns of a few milliseconds; between two of them sockets
 * are read and answers written.
 *
 * While nobody waits a client goes on without asking, so that a single fast one is not slowed down.
 */
import type { Clock } from "../core/clock.ts";

/** A turn ends after so much time… */
const TURN_MS = 8;
/** …and a client's part of it after so many packets, where others wait. */
export const PART_PACKETS = 128;

export interface Waiting {
  /** It has nothing in hand. */
  readonly isIdle: boolean;
  /** Hands over its part; calls wait() again where it has more. */
  takeTurn(): void;
}

export class Turns {
  readonly #clock: Clock;
  #idle = new Set<Waiting>();
  #busy = new Set<Waiting>();
  /** Hold back until there is room in the workload. */
  readonly #held = new Set<Waiting>();
  /** Reads on although all have their share of what is not whole yet, so that at least one gets done. */
  #reader: Waiting | null = null;
  #startMs = 0;
  #isOpen = false;
  #isServing = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether more may be worked on now, by somebody who has just been given something or has had its part. */
  get mayGoOn(): boolean {
    if (!this.#isOpen) this.#open();
    if (this.#isServing || this.#idle.size > 0 || this.#busy.size > 0) return false;
    return this.#clock.monoMs() - this.#startMs < TURN_MS;
  }

  /** Its turn will come. */
  wait(waiting: Waiting): void {
    (waiting.isIdle ? this.#idle : this.#busy).add(waiting);
    if (!this.#isOpen) this.#open();
  }

  /** Its turn will come when released() says that there is room. */
  hold(waiting: Waiting): void {
    this.#held.add(waiting);
  }

  leave(waiting: Waiting): void {
    this.#idle.delete(waiting);
    this.#busy.delete(waiting);
    this.#held.delete(waiting);
    this.hasRead(waiting);
  }

  /** Whether it may read on where there is no room for more: one at a time may. */
  mayRead(waiting: Waiting): boolean {
    this.#reader ??= waiting;
    return this.#reader === waiting;
  }

  /** Its packet is whole. */
  hasRead(waiting: Waiting): void {
    if (this.#reader !== waiting) return;
    this.#reader = null;
    this.released();
  }

  /** There is room again for those who were held. */
  released(): void {
    if (this.#held.size === 0) return;
    for (const waiting of this.#held) this.#busy.add(waiting);
    this.#held.clear();
    if (!this.#isOpen) this.#open();
  }

  #open(): void {
    this.#isOpen = true;
    this.#startMs = this.#clock.monoMs();
    setImmediate(() => this.#next());
  }

  #next(): void {
    this.#isOpen = false;
    if (this.#idle.size === 0 && this.#busy.size === 0) return;
    this.#open();
    this.#isServing = true;
    // Those that wait now; who comes back meanwhile is behind them.
    const [idle, busy] = [this.#idle, this.#busy];
    [this.#idle, this.#busy] = [new Set(), new Set()];
    this.#serve(idle);
    // One of each at least, or those with nothing in hand could keep the others out.
    this.#serve(busy);
    for (const waiting of this.#idle) idle.add(waiting);
    for (const waiting of this.#busy) busy.add(waiting);
    [this.#idle, this.#busy] = [idle, busy];
    this.#isServing = false;
  }

  /** Gives turns until the time is over, and takes out those who had theirs. */
  #serve(line: Set<Waiting>): void {
    let served = 0;
    for (const waiting of line) {
      if (served++ > 0 && this.#clock.monoMs() - this.#startMs >= TURN_MS) return;
      line.delete(waiting);
      waiting.takeTurn();
    }
  }
}
