/**
 * A trial: one kind of fault, done to a real gateway process again and again under traffic, and the promise that
 * must hold through it. The torture command runs trials for as long as a person says; the fault tests run the
 * same trials for a given number of cycles, and run them once with a gateway that has a fault in it, to see
 * that the trial would notice.
 *
 * A trial never throws for a promise that is broken: that is a finding, and the report says it. It throws where
 * it could not do what it set out to do.
 */
import type { Clock } from "../../src/core/clock.ts";
import type { Random } from "../../src/core/random.ts";
import type { MeansName } from "./means.ts";

export interface TrialContext {
  /** An empty folder on the disk that is tried; removed afterwards. */
  readonly dir: string;
  readonly seed: number;
  /** Seeded with `seed`. */
  readonly random: Random;
  readonly clock: Clock;
  /** Whether there is to be a cycle after `cycles` of them. Asked before each one, first with 0. */
  readonly another: (cycles: number) => boolean;
  /** A script in place of src/main.ts: for tests, a gateway with a fault in it. With its environment. */
  readonly script?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** How long to wait for what may never come; default: far beyond what anything takes. */
  readonly patienceMs?: number;
  /** Progress, one line at a time, for a person who waits. */
  readonly say: (line: string) => void;
  /** Aborts when the person gives up: end soon, leave nothing behind. */
  readonly signal: AbortSignal;
}

export interface TrialReport {
  /** How often the fault was done. */
  readonly cycles: number;
  /** What was counted and measured, units in the names: acked, repeatsSent, resumeMsMax. */
  readonly figures: Readonly<Record<string, number>>;
  /** Each broken promise in a sentence that names the message or the moment; none where it held. */
  readonly findings: readonly string[];
}

export interface Trial {
  /** Kebab-case. */
  readonly name: string;
  /** What is done to the gateway, in a sentence. */
  readonly about: string;
  /** What must hold through it, in a sentence. */
  readonly promise: string;
  /** Without these it is skipped, by name. */
  readonly needs: readonly MeansName[];
  run(context: TrialContext): Promise<TrialReport>;
}
