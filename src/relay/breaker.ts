/**
 * Watches over one target: opens its circuit (circuit.ts) when it is away, has it probed until it answers,
 * and remembers the evidence on which its health rests.
 *
 * Evidence is an answer for a message, or an answered probe. A target that has given none for a while is
 * probed even though nothing is wrong, so that nobody calls it healthy from memory.
 */
import type { Clock, Timer } from "../core/clock.ts";
import { errorText } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import type { Outcome } from "../core/outcome.ts";
import type { Random } from "../core/random.ts";
import type { Target, TargetHealth } from "../targets/target.ts";
import { backoffMs, pauseMs } from "./backoff.ts";
import { type Circuit, circuitFailed, circuitProbed, circuitSucceeded, failuresNext } from "./circuit.ts";
import type { RelayConfig } from "./schema.ts";

export interface BreakerOptions {
  readonly target: Target;
  readonly config: RelayConfig;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Whether anything is due that a half-open circuit could be tried with. */
  readonly hasWork: () => boolean;
  /** Called when deliveries may go again. */
  readonly onPassable: () => void;
}

export interface Evidence {
  /** Epoch ms, or null for never in this run. */
  readonly lastDeliveredAtMs: number | null;
  readonly lastProbeOkAtMs: number | null;
  readonly lastError: string | null;
}

export class Breaker {
  readonly #options: BreakerOptions;
  readonly #abort = new AbortController();
  #circuit: Circuit;
  #probing = false;
  #probeTimer: Timer | undefined;
  #idleTimer: Timer | undefined;
  #lastDeliveredAtMs: number | null = null;
  #lastProbeOkAtMs: number | null = null;
  #lastError: string | null = null;
  /** When the target last answered for any message, and last gave any evidence; mono ms. */
  #lastAnswerMonoMs = Number.NEGATIVE_INFINITY;
  #lastEvidenceMonoMs = Number.NEGATIVE_INFINITY;

  constructor(options: BreakerOptions) {
    this.#options = options;
    this.#circuit = { state: "closed", sinceMs: options.clock.wallMs() };
  }

  get circuit(): Circuit {
    return this.#circuit;
  }

  get evidence(): Evidence {
    return {
      lastDeliveredAtMs: this.#lastDeliveredAtMs,
      lastProbeOkAtMs: this.#lastProbeOkAtMs,
      lastError: this.#lastError,
    };
  }

  /** How many calls may be in flight. */
  get callsMax(): number {
    if (this.#circuit.state === "closed") return this.#options.target.concurrency;
    return this.#circuit.state === "half-open" ? 1 : 0;
  }

  start(): void {
    if (this.#options.target.probing?.whenIdle !== false) void this.#probeWhenIdle();
  }

  stop(): void {
    this.#abort.abort(new Error("the gateway is stopping"));
    this.#probeTimer?.cancel();
    this.#idleTimer?.cancel();
  }

  /** True where the target answered for any message since then (mono ms). */
  answeredSince(monoMs: number): boolean {
    return this.#lastAnswerMonoMs >= monoMs;
  }

  /** What the outcomes of a call say about the target itself. */
  learn(outcomes: readonly Outcome[]): void {
    const { clock } = this.#options;
    const answered = outcomes.some(isAnswer);
    if (answered) {
      this.#lastAnswerMonoMs = clock.monoMs();
      this.#lastEvidenceMonoMs = this.#lastAnswerMonoMs;
      if (outcomes.some(({ kind }) => kind === "delivered")) this.#lastDeliveredAtMs = clock.wallMs();
    }
    const away = outcomes.find((outcome) => outcome.kind === "retry" && outcome.fault === "target");
    const silent = answered ? undefined : outcomes.find(({ kind }) => kind === "unknown");
    const failure = away ?? silent;
    if (failure && "reason" in failure) {
      this.#callFailed(failure.reason, failure.kind === "retry" ? pauseMs(failure.retryAfterMs) : 0);
    } else if (answered) this.#succeed();
  }

  /** Calls that were in flight together fail together: that is one failure. */
  #callFailed(reason: string, retryAfterMs: number): void {
    const circuit = this.#circuit;
    if (circuit.state !== "open") {
      this.#fail(reason, retryAfterMs);
      return;
    }
    this.#lastError = reason;
    const probeAtMs = Math.max(circuit.probeAtMs, this.#options.clock.monoMs() + retryAfterMs);
    this.#circuit = { ...circuit, probeAtMs };
    this.#armProbe(probeAtMs);
  }

  #fail(reason: string, retryAfterMs = 0): void {
    const { config, clock, random, logger, target } = this.#options;
    this.#lastError = reason;
    const { probeDelayMin } = config;
    const probeDelayMax = target.probing?.delayMsMax ?? config.probeDelayMax;
    const delayMs = backoffMs(failuresNext(this.#circuit), probeDelayMin, probeDelayMax, random);
    const probeAtMs = clock.monoMs() + Math.max(delayMs, retryAfterMs);
    if (this.#circuit.state === "closed") {
      logger.warn({ target: target.name, reason }, "target away: circuit open");
    }
    this.#circuit = circuitFailed(this.#circuit, { reason, wallMs: clock.wallMs(), probeAtMs });
    this.#armProbe(probeAtMs);
  }

  #armProbe(atMs: number): void {
    const { clock } = this.#options;
    this.#probeTimer?.cancel();
    this.#probeTimer = clock.after(atMs - clock.monoMs(), () => void this.#probe());
  }

  #succeed(): void {
    const { clock, logger, target } = this.#options;
    if (this.#circuit.state !== "closed") {
      logger.info({ target: target.name }, "target answers again: circuit closed");
    }
    this.#circuit = circuitSucceeded(this.#circuit, clock.wallMs());
    this.#probeTimer?.cancel();
  }

  async #probe(): Promise<void> {
    const { clock, hasWork, onPassable } = this.#options;
    if (this.#probing || this.#abort.signal.aborted) return;
    this.#probing = true;
    const health = await this.#ask();
    this.#probing = false;
    if (this.#abort.signal.aborted) return;
    if (!health.reachable) {
      this.#fail(health.detail);
      return;
    }
    this.#lastProbeOkAtMs = clock.wallMs();
    this.#lastEvidenceMonoMs = clock.monoMs();
    this.#circuit = circuitProbed(this.#circuit);
    // With nothing due, the probe's answer is all the proof there can be.
    if (this.#circuit.state === "half-open" && !hasWork()) this.#succeed();
    onPassable();
  }

  async #ask(): Promise<TargetHealth> {
    try {
      return await this.#options.target.probe(this.#abort.signal);
    } catch (error) {
      return { reachable: false, detail: errorText(error) };
    }
  }

  async #probeWhenIdle(): Promise<void> {
    const { clock, config } = this.#options;
    const idleMs = clock.monoMs() - this.#lastEvidenceMonoMs;
    if (this.#circuit.state !== "open" && idleMs >= config.probeIdleEvery) await this.#probe();
    if (this.#abort.signal.aborted) return;
    this.#idleTimer = clock.after(config.probeIdleEvery, () => void this.#probeWhenIdle());
  }
}

/** True where the outcome is the target's own word on the message, good or bad. */
function isAnswer(outcome: Outcome): boolean {
  if (outcome.kind === "retry") return outcome.fault === "message";
  return outcome.kind === "delivered" || outcome.kind === "reject";
}
