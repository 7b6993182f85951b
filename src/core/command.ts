/**
 * What a command is to the device it is for, whatever the protocol: the contract between what carries commands
 * (queue, relay, the `device` target) and what can execute one (an adapter, the broker).
 *
 * Honesty is all of it. `unreachable` and `refused` claim that nothing was sent; `verified` and `acknowledged`
 * claim what the device itself has shown; what was sent and not answered is `unknown`, and is never sent again
 * by itself unless its class says that it may be. Pure: no I/O.
 */

import type { UnknownPolicy } from "./command-message.ts";

/** What a precondition may be compared by. */
export const COMPARISONS = ["<", "<=", "=", "!=", ">=", ">"] as const;
export type Comparison = (typeof COMPARISONS)[number];

export type CommandValue = boolean | number | string | null;

/** Checked on the box, on a fresh reading, just before the command is sent. */
export interface Precondition {
  readonly signal: string;
  readonly is: Comparison;
  readonly value: CommandValue;
}

export interface Command {
  /** That of its message: the same over every try. */
  readonly id: string;
  readonly device: string;
  /** What is to be set or done: a writable signal's name, or that of a command in the device's config. */
  readonly signal: string;
  readonly value: CommandValue;
  readonly preconditions: readonly Precondition[];
  /** 1 for the first try. */
  readonly attempt: number;
  /** The device is given this long to answer, from the sending on. */
  readonly answerWithinMs: number;
}

export type CommandOutcome =
  /** Done, and seen to be done: read back, or what the device answered says so. */
  | { readonly kind: "verified"; readonly evidence: string; readonly value?: CommandValue }
  /** The device says that it took it; what came of it was not looked at. */
  | { readonly kind: "acknowledged"; readonly evidence: string; readonly value?: CommandValue }
  /** Not sent, for good: a rule forbids it, named as in the config (`devices[2].write.max`), or nobody could. */
  | { readonly kind: "refused"; readonly rule: string; readonly reason: string }
  /** The device said no, or what was read back is not what was sent. */
  | { readonly kind: "failed"; readonly reason: string; readonly value?: CommandValue }
  /** Not sent: the device cannot be reached now. */
  | { readonly kind: "unreachable"; readonly reason: string }
  /** Sent, and the answer lost: it may have been done. */
  | { readonly kind: "unknown"; readonly reason: string };

/** What was found where an earlier try's answer was lost. */
export type ProbeOutcome =
  | { readonly kind: "done"; readonly evidence: string; readonly value?: CommandValue }
  /** It did not happen, so that it may be sent again. */
  | { readonly kind: "not done"; readonly evidence: string }
  /** It was tried, and the device said no. */
  | { readonly kind: "failed"; readonly reason: string; readonly value?: CommandValue }
  /** `hold`: nor will it ever, however often it is asked; a person is to say. */
  | { readonly kind: "cannot say"; readonly reason: string; readonly hold?: boolean };

/** A signal that can be commanded, for people and for what checks a command before it is taken. */
export interface CommandableSignal {
  readonly signal: string;
  /** As in the config: `float32`, `bool`. */
  readonly type: string;
  readonly unit?: string;
  readonly min?: number;
  readonly max?: number;
  /** Doing it twice is the same as doing it once: a setpoint is, a step is not. */
  readonly idempotent: boolean;
  /** Whether what was done can be seen afterwards. */
  readonly verifiable: boolean;
}

/** The same as people are shown it, with the class whose rules hold for it; null where it is in none. */
export interface OfferedSignal extends CommandableSignal {
  readonly class: string | null;
  /** It is given up when it could not be sent within this time, where the command does not say itself. */
  readonly ttlMs: number;
  /** What is done where its answer was lost. */
  readonly onUnknown: UnknownPolicy;
}

/** Whoever can execute commands for some devices. Never throws for control flow. */
export interface Commanded {
  /** By device; a device that takes none is not in it. */
  commandable(): ReadonlyMap<string, readonly CommandableSignal[]>;
  /** What forbids it now, without asking the device; null for nothing. For an early answer: execute() checks again. */
  refusal(command: Command): { readonly rule: string; readonly reason: string } | null;
  /**
   * `onSent` is called when the first byte has left, or may have. `signal` aborts at shutdown, and when the command's
   * time is over before that: from then on nothing is sent, and the answer comes soon, and honestly.
   */
  execute(command: Command, onSent: () => void, signal: AbortSignal): Promise<CommandOutcome>;
  /** Looks, without changing anything, whether it was done. */
  probe(command: Command, signal: AbortSignal): Promise<ProbeOutcome>;
}
