/**
 * What every simulated machine is, whichever way it hands its readings in: it makes them at its rate, keeps them in
 * their order until they are answered for, and never gives one up. How they get to the gateway, and which of the
 * mishaps that its behaviour draws can befall them on the way, is each kind's own.
 */
import type { Timer } from "../../src/core/clock.ts";
import { type Random, seededRandom } from "../../src/core/random.ts";
import { type Mishaps, NO_MISHAPS, type Reading, readings } from "./behaviour.ts";
import { payloadDigest, type Sent } from "./ledger.ts";
import type { MachineOptions } from "./machine-options.ts";

const BACKOFF_MS = { first: 50, max: 1_000 };

/** A message in the machine. */
export interface Kept {
  readonly sent: Sent;
  readonly payload: Buffer;
  /** Those still to come. */
  mishaps: Mishaps;
}

export abstract class Machine {
  readonly device: string;
  readonly seed: number;
  /** Times it connected. */
  connects = 0;

  protected readonly options: MachineOptions;
  /** For everything that depends on timing; the readings have a generator of their own. */
  protected readonly chance: Random;
  /** Not handed in yet, oldest first. */
  protected readonly outbox: Kept[] = [];
  protected stopped = false;
  /** Its network is switched off. */
  protected isOffline = false;
  readonly #nextReading: ReturnType<typeof readings>;
  #made = 0;
  /** Tries in vain, one after the other. */
  #failures = 0;
  #producing = false;
  /** What was answered last, oldest first. */
  readonly #answered: Kept[] = [];
  readonly #timers = new Set<Timer>();
  #idleWaiters: (() => void)[] = [];

  constructor(options: MachineOptions) {
    this.options = options;
    this.device = options.device;
    this.seed = options.seed;
    this.chance = seededRandom(options.seed ^ 0x5bd1e995);
    this.#nextReading = readings({
      behaviour: options.behaviour,
      device: options.device,
      run: options.run,
      random: seededRandom(options.seed),
      wallMs: options.clock.wallMs,
    });
  }

  /** It is connected, as far as it knows. */
  abstract get up(): boolean;

  /** Breaks the connection without a word, and comes back. */
  abstract cut(): void;

  /** True where everything it made is on the other side and answered. */
  abstract get idle(): boolean;

  /** Makes for the gateway, at the start and when its network is there again. */
  protected abstract connect(): void;

  /** Sends what can be sent of the outbox. */
  protected abstract pump(): void;

  /** Leaves, decently where it can. */
  protected abstract leave(): Promise<void>;

  start(): void {
    const { behaviour } = this.options;
    this.#producing = true;
    this.connect();
    if (behaviour.rate > 0) this.#tick();
    if (behaviour.burst) this.every(behaviour.burst.every, () => this.burst(behaviour.burst!.size));
    if (behaviour.reconnect) this.every(behaviour.reconnect.every, () => this.cut());
  }

  /** Makes no more readings; what it has still goes out. */
  silence(): void {
    this.#producing = false;
  }

  /** Makes this many readings at once. */
  burst(size: number): void {
    const max = this.options.behaviour.messages ?? Number.POSITIVE_INFINITY;
    for (let i = 0; i < size && this.#producing && this.#made < max; i++) {
      this.#made++;
      this.#keep(this.#nextReading());
    }
    this.pump();
  }

  /** Sends a reading that was made elsewhere, such as one of a capture. */
  hand(reading: Reading): void {
    this.#keep(reading);
    this.pump();
  }

  /** Its network is gone until `online`; its readings wait in it. */
  offline(): void {
    this.isOffline = true;
    this.cut();
  }

  online(): void {
    if (!this.isOffline) return;
    this.isOffline = false;
    this.connect();
  }

  /** Hands in the readings that were answered last once more; at most `keeps` of them. */
  sendAgain(last: number): void {
    this.outbox.push(...this.#answered.slice(-last).map(again));
    this.pump();
  }

  whenIdle(): Promise<void> {
    if (this.idle) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.#producing = false;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    this.#wakeIdleWaiters();
    await this.leave();
  }

  protected after(delayMs: number, fn: () => void): void {
    if (this.stopped) return;
    const timer = this.options.clock.after(delayMs, () => {
      this.#timers.delete(timer);
      fn();
    });
    this.#timers.add(timer);
  }

  /** Again and again, each time a quarter sooner or later, so that machines do not march in step. */
  protected every(periodMs: number, fn: () => void): void {
    this.after(periodMs * (0.75 + this.chance.unit() / 2), () => {
      fn();
      this.every(periodMs, fn);
    });
  }

  /** Does it after a while, the longer the more tries were in vain. */
  protected retryLater(fn: () => void): void {
    const ceilingMs = Math.min(BACKOFF_MS.max, BACKOFF_MS.first * 2 ** Math.min(this.#failures, 10));
    this.#failures++;
    this.after(ceilingMs * (0.5 + this.chance.unit() / 2), fn);
  }

  /** To be called when a try was not in vain. */
  protected succeeded(): void {
    this.#failures = 0;
  }

  /** To be called when one has been answered for, or under QoS 0 sent. */
  protected done(kept: Kept): void {
    const { keeps = 0 } = this.options;
    if (keeps > 0) {
      this.#answered.push(kept);
      if (this.#answered.length > keeps) this.#answered.shift();
    }
    if (kept.mishaps.republish) this.outbox.push(again(kept));
  }

  /** To be called when it may have become idle. */
  protected perhapsIdle(): void {
    if (this.idle) this.#wakeIdleWaiters();
  }

  #wakeIdleWaiters(): void {
    for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }

  /** Timers are too coarse for high rates: each tick makes as many readings as the time passed asks for. */
  #tick(): void {
    const { clock, behaviour } = this.options;
    let owed = this.chance.unit();
    let lastMs = clock.monoMs();
    const periodMs = Math.max(10, 1000 / behaviour.rate);
    const tick = () => {
      if (!this.#producing) return;
      const nowMs = clock.monoMs();
      owed += ((nowMs - lastMs) / 1000) * behaviour.rate;
      lastMs = nowMs;
      const whole = Math.floor(owed);
      owed -= whole;
      if (whole > 0) this.burst(whole);
      this.after(periodMs * (0.75 + this.chance.unit() / 2), tick);
    };
    this.after(periodMs * this.chance.unit(), tick);
  }

  #keep({ payload, mishaps, ...reading }: Reading): void {
    const sent: Sent = {
      ...reading,
      device: this.device,
      bytes: payload.length,
      digest: payloadDigest(payload),
      copies: 0,
      firstSentAtMs: null,
      ackedAtMs: null,
    };
    this.options.ledger.made(sent);
    this.outbox.push({ sent, payload, mishaps });
  }
}

const again = ({ sent, payload }: Kept): Kept => ({ sent, payload, mishaps: NO_MISHAPS });
