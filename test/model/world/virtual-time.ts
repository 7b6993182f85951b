/**
 * Time in a simulated world: it stands still while anything is at work, and then jumps to the next thing that is
 * due. So an hour of waiting costs nothing, and the same seed gives the same order of everything.
 *
 * Libraries that take no clock of ours (aedes, mqtt.js, undici) are given this one as well: while a world runs,
 * the process's timers and Date.now() are this clock's. What a timer was set for by a gateway that has been
 * killed since never happens.
 */
import type { Clock, Timer } from "../../../src/core/clock.ts";

interface Event {
  readonly dueMs: number;
  readonly order: number;
  readonly fn: () => void;
  cancelled: boolean;
}

/** An immediate of the process, and who asked for it. */
interface Immediate {
  readonly fn: () => void;
  readonly owner: Owner | null;
  cancelled: boolean;
}

interface Owner {
  readonly dead: boolean;
}

/**
 * Runs what nextTick and promises have left to do, until none of it is left, as Node does by itself after each
 * callback. A turn of its event loop comes to the same and costs more than most of what is done in one.
 */
const { _tickCallback: runTicks } = process as unknown as { readonly _tickCallback: () => void };
const realSetImmediate = setImmediate;

export class VirtualTime implements Clock {
  #nowMs = 0;
  #order = 0;
  readonly #wallStartMs: number;
  readonly #heap: Event[] = [];
  #immediates: Immediate[] = [];
  /** Whose timers the process's own functions set now; null for the world's. */
  owner: Owner | null = null;

  constructor(wallStartMs: number) {
    this.#wallStartMs = wallStartMs;
  }

  monoMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#wallStartMs + this.#nowMs;
  }

  after(delayMs: number, fn: () => void): Timer {
    const dueMs = this.#nowMs + Math.max(0, delayMs);
    const event: Event = { dueMs, order: this.#order++, fn, cancelled: false };
    this.#push(event);
    return {
      cancel: () => {
        event.cancelled = true;
      },
    };
  }

  /** Lets everything happen that is due before `untilMs`, until `done` says so. False where the time was over first. */
  run(untilMs: number, done: () => boolean): Promise<boolean> {
    // All of it in one callback of the event loop: inside of a promise's own, others would have to wait.
    return new Promise((resolve, reject) => {
      realSetImmediate(() => {
        try {
          resolve(this.#run(untilMs, done));
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  #run(untilMs: number, done: () => boolean): boolean {
    this.#settle();
    while (!done()) {
      const next = this.#pop();
      if (!next || next.dueMs > untilMs) {
        if (next) this.#push(next);
        this.#nowMs = untilMs;
        return false;
      }
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.fn();
      // What is due at the same moment shares the pause in which promises settle.
      while (this.#heap[0] && this.#heap[0].dueMs <= this.#nowMs) this.#pop()?.fn();
      this.#settle();
    }
    return true;
  }

  /** Until no promise and no immediate is left that could go on by itself. */
  #settle(): void {
    runTicks();
    while (this.#immediates.length > 0) {
      // Those that are asked for meanwhile come in the next round, as in the event loop.
      const round = this.#immediates;
      this.#immediates = [];
      for (const { fn, owner, cancelled } of round) {
        if (cancelled || owner?.dead) continue;
        fn();
        runTicks();
      }
    }
  }

  /** Puts this clock in the place of the process's timers; what it returns puts them back. */
  takeOverProcess(): () => void {
    const { setTimeout, setInterval, clearTimeout, clearInterval, setImmediate, clearImmediate } = globalThis;
    const { now } = Date;
    const performanceNow = performance.now;
    const set = (fn: (...args: unknown[]) => void, delayMs = 0, repeat: boolean, args: unknown[]) =>
      new ProcessTimer(this, () => fn(...args), Math.max(1, Number(delayMs) || 1), repeat);
    const clear = (timer: unknown) => {
      if (timer instanceof ProcessTimer) timer.close();
    };
    Object.assign(globalThis, {
      setTimeout: (fn: () => void, delayMs?: number, ...args: unknown[]) => set(fn, delayMs, false, args),
      setInterval: (fn: () => void, delayMs?: number, ...args: unknown[]) => set(fn, delayMs, true, args),
      clearTimeout: clear,
      clearInterval: clear,
      setImmediate: (fn: (...args: unknown[]) => void, ...args: unknown[]): Immediate => {
        const immediate = { fn: () => fn(...args), owner: this.owner, cancelled: false };
        this.#immediates.push(immediate);
        return immediate;
      },
      clearImmediate: (immediate?: Immediate) => {
        if (immediate) immediate.cancelled = true;
      },
    });
    Date.now = () => Math.round(this.wallMs());
    performance.now = () => this.#nowMs;
    return () => {
      Object.assign(globalThis, {
        setTimeout,
        setInterval,
        clearTimeout,
        clearInterval,
        setImmediate,
        clearImmediate,
      });
      Date.now = now;
      performance.now = performanceNow;
    };
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  /** The next that was not cancelled. */
  #pop(): Event | undefined {
    for (;;) {
      const first = this.#heap[0];
      if (!first) return undefined;
      this.#removeFirst();
      if (!first.cancelled) return first;
    }
  }

  #removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order);
}

/** What setTimeout and setInterval return, as far as libraries use it. */
class ProcessTimer {
  readonly #time: VirtualTime;
  readonly #fn: () => void;
  readonly #delayMs: number;
  readonly #repeat: boolean;
  readonly #owner: VirtualTime["owner"];
  #timer: Timer | null = null;

  constructor(time: VirtualTime, fn: () => void, delayMs: number, repeat: boolean) {
    this.#time = time;
    this.#fn = fn;
    this.#delayMs = delayMs;
    this.#repeat = repeat;
    this.#owner = time.owner;
    this.refresh();
  }

  refresh(): this {
    this.close();
    this.#timer = this.#time.after(this.#delayMs, () => {
      this.#timer = null;
      if (this.#owner?.dead) return;
      if (this.#repeat) this.refresh();
      this.#fn();
    });
    return this;
  }

  close(): this {
    this.#timer?.cancel();
    this.#timer = null;
    return this;
  }

  hasRef(): boolean {
    return false;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
