/**
 * Deliveries and what can come of them. Pure: no I/O, no clock.
 *
 * A delivery is one message on one flow. Its states:
 *
 *   waiting ──claim──▶ sending ──▶ delivered
 *      ▲                  ├──────▶ dead       (rejected for good, or attemptsMax reached)
 *      ├──── retry ───────┤
 *      └──── probe: no ── unknown             (sent, answer lost; also a crash in `sending`)
 *   waiting ──▶ expired | evicted | discarded
 *   dead, unknown ──▶ waiting (redrive) | discarded (by a person)
 *   delivered ──▶ waiting (replay, by a person)
 *
 * `dead` needs a person; expired, evicted and discarded are final, and so is delivered unless a person has it replayed.
 */
export const DELIVERY_STATES = [
  "waiting",
  "sending",
  "unknown",
  "delivered",
  "dead",
  "expired",
  "evicted",
  "discarded",
] as const;
export type DeliveryState = (typeof DELIVERY_STATES)[number];

/** States that hold a place in their lane: the lane's head is the oldest delivery in one of them. */
export const OPEN_STATES = ["waiting", "sending", "unknown"] as const satisfies readonly DeliveryState[];

export function isOpen(state: DeliveryState): boolean {
  return (OPEN_STATES as readonly DeliveryState[]).includes(state);
}

/**
 * What a target says of one delivery. A target never throws for control flow: a failure is an answer.
 *
 * `retry` says whose fault it was, because an outage is not the message's fault:
 * - message: the target answers, but not for this one (429 on the item, a lock, a 5xx amid successes).
 *   Charged against attemptsMax.
 * - target: unreachable, overloaded, refusing everyone. Not charged; opens the circuit.
 * - predecessor: never sent, because an earlier one of its lane did not get through. Not an attempt.
 */
export type Outcome = (
  | { readonly kind: "delivered"; readonly detail?: string }
  | {
      readonly kind: "retry";
      readonly fault: "message" | "target" | "predecessor";
      readonly reason: string;
      readonly retryAfterMs?: number;
    }
  | { readonly kind: "reject"; readonly reason: string }
  /** `hold`: a person is to decide, whatever the flow says of unknowns. */
  | { readonly kind: "unknown"; readonly reason: string; readonly hold?: boolean }
) & {
  /** What the history is to say of this try besides its outcome, oldest first. */
  readonly trail?: readonly TryNote[];
};

export interface TryNote {
  readonly kind: string;
  /** Wall clock, epoch ms. */
  readonly atMs: number;
  readonly detail: string | null;
}

export const delivered = (detail?: string): Outcome =>
  detail === undefined ? { kind: "delivered" } : { kind: "delivered", detail };
export const retryMessage = (reason: string, retryAfterMs?: number): Outcome => ({
  kind: "retry",
  fault: "message",
  reason,
  retryAfterMs,
});
export const retryTarget = (reason: string, retryAfterMs?: number): Outcome => ({
  kind: "retry",
  fault: "target",
  reason,
  retryAfterMs,
});
export const notSent: Outcome = {
  kind: "retry",
  fault: "predecessor",
  reason: "not sent: an earlier message of its lane did not get through",
};
export const reject = (reason: string): Outcome => ({ kind: "reject", reason });
export const unknown = (reason: string): Outcome => ({ kind: "unknown", reason });
