/**
 * What an outcome means for a delivery: its next state, whether it is charged, when it may be tried again.
 * Pure.
 *
 * Charged against attemptsMax is only a try that the target answered for this message, or that it left
 * unanswered while it answered others: an outage is not the message's fault.
 */
import type { Flow } from "../core/flow.ts";
import { cutReason } from "../core/limits.ts";
import type { Outcome } from "../core/outcome.ts";
import type { Random } from "../core/random.ts";
import type { ClaimedDelivery, Settlement } from "../queue/requests.ts";
import { backoffMs, pauseMs } from "./backoff.ts";

export interface VerdictContext {
  readonly flow: Flow;
  readonly steadyMs: number;
  readonly random: Random;
  /** True where the target answered other messages while this one went unanswered. */
  readonly othersAnswered: boolean;
}

export function verdict(delivery: ClaimedDelivery, outcome: Outcome, context: VerdictContext): Settlement {
  const base = {
    lane: delivery.lane,
    seq: delivery.message.seq,
    attempts: delivery.attempts,
    resend: delivery.resend,
    dueAtMs: null,
    reason: null,
    note: null,
    trail: outcome.trail,
  };
  switch (outcome.kind) {
    case "delivered": {
      const first = delivery.attempts === 0 && !delivery.resend && !delivery.replay;
      const reason = outcome.detail ? cutReason(outcome.detail) : null;
      return {
        ...base,
        state: "delivered",
        attempts: delivery.attempts + 1,
        resend: false,
        reason,
        note: first ? null : "delivered",
      };
    }
    case "reject":
      return {
        ...base,
        state: "dead",
        attempts: delivery.attempts + 1,
        reason: cutReason(outcome.reason),
        note: "dead",
      };
    case "unknown":
      if (outcome.hold) return held(outcome.reason, base);
      return unanswered(delivery, outcome.reason, context, base);
    case "retry":
      if (outcome.fault === "predecessor") return { ...base, ...back(delivery) };
      if (outcome.fault === "target") {
        return { ...base, ...back(delivery), reason: cutReason(outcome.reason), note: "outage" };
      }
      return failed(delivery, outcome.reason, outcome.retryAfterMs, context, base);
  }
}

type Base = Omit<Settlement, "state">;

/** Where a delivery that was not taken goes: an earlier try's lost answer stays lost. */
function back(delivery: ClaimedDelivery): Pick<Settlement, "state" | "dueAtMs"> {
  return delivery.wasUnknown ? { state: "unknown", dueAtMs: 0 } : { state: "waiting", dueAtMs: null };
}

function failed(
  delivery: ClaimedDelivery,
  reason: string,
  retryAfterMs: number | undefined,
  context: VerdictContext,
  base: Base,
): Settlement {
  const { retry } = context.flow;
  const attempts = delivery.attempts + 1;
  if (attempts >= retry.attemptsMax) return gaveUp(attempts, reason, base);
  const delayMs = Math.max(
    backoffMs(attempts, retry.delayMin, retry.delayMax, context.random),
    pauseMs(retryAfterMs),
  );
  return {
    ...base,
    ...back(delivery),
    attempts,
    dueAtMs: context.steadyMs + delayMs,
    reason: cutReason(reason),
    note: "retry",
  };
}

function unanswered(
  delivery: ClaimedDelivery,
  reason: string,
  context: VerdictContext,
  base: Base,
): Settlement {
  const { retry } = context.flow;
  const attempts = delivery.attempts + (context.othersAnswered ? 1 : 0);
  // What a device was told and did not answer has not failed: nobody knows.
  if (attempts >= retry.attemptsMax && context.flow.commands) return held(reason, base);
  // Dead, but the backend may have it: whoever redrives it should know.
  if (attempts >= retry.attemptsMax) return { ...gaveUp(attempts, reason, base), resend: true };
  const delayMs = backoffMs(Math.max(attempts, 1), retry.delayMin, retry.delayMax, context.random);
  return {
    ...base,
    state: "unknown",
    attempts,
    resend: true,
    dueAtMs: context.steadyMs + delayMs,
    reason: cutReason(reason),
    note: "unknown",
  };
}

/** It waits for a person. */
function held(reason: string, base: Base): Settlement {
  return { ...base, state: "unknown", resend: true, dueAtMs: null, reason: cutReason(reason), note: "held" };
}

function gaveUp(attempts: number, reason: string, base: Base): Settlement {
  return {
    ...base,
    state: "dead",
    attempts,
    reason: cutReason(`gave up after ${attempts} tries; the last: ${reason}`),
    note: "dead",
  };
}
