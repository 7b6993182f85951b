/**
 * One way to tell people: what waits for it, and the tries.
 *
 * Promise: of each alert the newest is told, in order, once in effect: tries at the same carry the same id. An alert
 * that was resolved before anybody could be told of it is told once, as over: that a line was away for an hour is worth
 * knowing, also where it took the way to the webhook with it.
 *
 * Bounds: one message at a time; from one to the next `pause`, and what comes meanwhile goes together, so that a
 * hundred alerts are a few messages; at most 200 wait, and none for longer than `giveUpAfter`. A try that failed is
 * made again after 5 s to 5 min, as long as something waits.
 */
import type { Clock, Timer } from "../core/clock.ts";
import { errorText } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { backoffMs } from "../relay/backoff.ts";
import type { Happening } from "./alerts.ts";
import { type Notification, notificationOf, type Telling } from "./notification.ts";
import type { ChannelConfig } from "./schema.ts";

const RETRY_MS_MIN = 5000;
const RETRY_MS_MAX = 300_000;
const WAITING_MAX = 200;
/** Told in one message. */
const TOGETHER_MAX = 50;
/** After so many tries in a row that failed it is a problem; one lost answer is none. */
const TRIES_OF_A_PROBLEM = 3;

export type ChannelOutcome = "sent" | "failed" | "dropped";

export interface NotifyChannelOptions {
  readonly name: string;
  readonly config: Pick<ChannelConfig, "pause" | "giveUpAfter" | "severity">;
  readonly gateway: string;
  /** Resolves when it was taken; rejects with why not. */
  readonly send: (notification: Notification) => Promise<void>;
  /** Resolves when what waits is on disk, as far as the disk takes it. */
  readonly saved: () => Promise<void>;
  readonly onOutcome: (channel: string, outcome: ChannelOutcome, tellings: readonly Telling[]) => void;
  readonly waiting: readonly Telling[];
  readonly steadyMs: () => number;
  readonly clock: Clock;
  readonly random: Random;
}

export interface ChannelState {
  readonly channel: string;
  readonly state: "idle" | "sending" | "waiting" | "failing";
  readonly waiting: number;
  readonly lastSentAtMs: number | null;
  readonly lastError: string | null;
  /** Since when no try has succeeded; epoch ms. */
  readonly failingSinceMs: number | null;
  readonly nextTryInMs: number | null;
}

export class NotifyChannel {
  readonly #options: NotifyChannelOptions;
  /** By alert, in the order in which they came. */
  readonly #waiting = new Map<string, Telling>();
  #timer: Timer | undefined;
  #nextTryMonoMs: number | null = null;
  #sending: Promise<void> | undefined;
  #failures = 0;
  #failingSinceMs: number | null = null;
  #lastError: string | null = null;
  #lastSentAtMs: number | null = null;
  #sentMonoMs = Number.NEGATIVE_INFINITY;
  #stopped = false;

  constructor(options: NotifyChannelOptions) {
    this.#options = options;
    for (const telling of options.waiting) this.#waiting.set(telling.alert.id, telling);
  }

  start(): void {
    this.#tryAfter(0);
  }

  /** Waits for the try that is under way; what waits stays in the file. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#sending;
  }

  waiting(): Telling[] {
    return [...this.#waiting.values()];
  }

  state(): ChannelState {
    const { name, clock } = this.#options;
    const waiting = this.#waiting.size;
    const calm = waiting > 0 ? "waiting" : "idle";
    return {
      channel: name,
      state: this.#failures > 0 ? "failing" : this.#sending ? "sending" : calm,
      waiting,
      lastSentAtMs: this.#lastSentAtMs,
      lastError: this.#lastError,
      failingSinceMs: this.#failingSinceMs,
      nextTryInMs: this.#nextTryMonoMs === null ? null : Math.max(0, this.#nextTryMonoMs - clock.monoMs()),
    };
  }

  /** Failing for longer than a hiccup. */
  get isTroubled(): boolean {
    return this.#failures >= TRIES_OF_A_PROBLEM;
  }

  /** Sent at once, whatever waits. Rejects where it was not taken. */
  async test(notification: Notification): Promise<void> {
    const { name, send, onOutcome, clock } = this.#options;
    try {
      await send(notification);
    } catch (error) {
      onOutcome(name, "failed", []);
      throw error;
    }
    this.#succeeded(clock.wallMs());
    onOutcome(name, "sent", []);
    this.#tryAfter(0);
  }

  #succeeded(wallMs: number): void {
    this.#failures = 0;
    this.#failingSinceMs = null;
    this.#lastError = null;
    this.#lastSentAtMs = wallMs;
  }

  take({ event, alert }: Happening, wallMs: number): void {
    const { config, name } = this.#options;
    if (config.severity === "alarm" && alert.severity !== "alarm") return;
    // Nobody who cannot be reached needs to be told so, when he can be again.
    if (alert.rule === "channels" && alert.subject === name) return;
    const known = this.#waiting.get(alert.id);
    if (event === "reminder" && known) return;
    const queuedSteadyMs = known?.queuedSteadyMs ?? this.#options.steadyMs();
    this.#waiting.set(alert.id, { event, alert, queuedSteadyMs, atMs: wallMs });
    while (this.#waiting.size > WAITING_MAX) this.#drop([this.#waiting.values().next().value!]);
    if (this.#failures === 0) this.#tryAfter(0);
  }

  #tryAfter(delayMs: number): void {
    const { clock, config } = this.#options;
    if (this.#stopped || this.#sending || this.#waiting.size === 0) return;
    const dueMs = Math.max(clock.monoMs() + delayMs, this.#sentMonoMs + config.pause);
    this.#timer?.cancel();
    this.#nextTryMonoMs = dueMs;
    this.#timer = clock.after(dueMs - clock.monoMs(), () => this.#try());
  }

  #try(): void {
    this.#nextTryMonoMs = null;
    this.#giveUpOld();
    if (this.#stopped || this.#waiting.size === 0) return;
    this.#sending = this.#send().then((delayMs) => {
      this.#sending = undefined;
      this.#tryAfter(delayMs);
    });
  }

  /** Never rejects; resolves with the delay before the next try. */
  async #send(): Promise<number> {
    const { gateway, send, saved, onOutcome, name, clock, random } = this.#options;
    // Else a restart would raise it again, under another id.
    await saved();
    const tellings = this.waiting().slice(0, TOGETHER_MAX);
    try {
      await send(notificationOf(tellings, gateway, clock.wallMs()));
    } catch (error) {
      this.#failures += 1;
      this.#failingSinceMs ??= clock.wallMs();
      this.#lastError = errorText(error);
      onOutcome(name, "failed", tellings);
      return backoffMs(this.#failures, RETRY_MS_MIN, RETRY_MS_MAX, random);
    }
    this.#succeeded(clock.wallMs());
    this.#sentMonoMs = clock.monoMs();
    for (const telling of tellings) {
      // What came of the alert meanwhile is still to be told.
      if (this.#waiting.get(telling.alert.id) === telling) this.#waiting.delete(telling.alert.id);
    }
    onOutcome(name, "sent", tellings);
    return 0;
  }

  #giveUpOld(): void {
    const { steadyMs, config } = this.#options;
    const nowMs = steadyMs();
    const old = this.waiting().filter(({ queuedSteadyMs }) => nowMs - queuedSteadyMs > config.giveUpAfter);
    if (old.length > 0) this.#drop(old);
  }

  #drop(tellings: readonly Telling[]): void {
    for (const { alert } of tellings) this.#waiting.delete(alert.id);
    this.#options.onOutcome(this.#options.name, "dropped", tellings);
  }
}
