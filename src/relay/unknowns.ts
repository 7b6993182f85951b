/**
 * What is done with a delivery whose answer was lost, before anything is sent again: an idempotent target is
 * simply given it again under the same id; for others the flow, or the target itself, says `retry`, `probe` or `hold`.
 */
import { errorText } from "../core/errors.ts";
import type { Flow } from "../core/flow.ts";
import { notSent, type Outcome, unknown } from "../core/outcome.ts";
import type { ClaimedDelivery, Settlement } from "../queue/requests.ts";
import type { Target, TargetDelivery } from "../targets/target.ts";

/** `held` is not an outcome: nothing was tried, and the lane waits for a person. */
export type Prepared =
  | { readonly kind: "send" }
  | { readonly kind: "held" }
  | { readonly kind: "done"; readonly outcome: Outcome };

const SEND: Prepared = { kind: "send" };

export interface UnknownsContext {
  readonly target: Target;
  readonly flowOf: (delivery: ClaimedDelivery) => Flow;
  /** As the target is given it. */
  readonly given: (delivery: ClaimedDelivery) => TargetDelivery;
  readonly signal: AbortSignal;
}

/** Says for each delivery of a batch whether it is to be sent; asks the backend where that is wanted. */
export async function prepareUnknowns(
  deliveries: readonly ClaimedDelivery[],
  context: UnknownsContext,
): Promise<Prepared[]> {
  const { target, flowOf } = context;
  if (target.idempotent || !deliveries.some((delivery) => delivery.wasUnknown))
    return deliveries.map(() => SEND);
  const stopped = new Set<number>();
  const prepared: Prepared[] = [];
  for (const delivery of deliveries) {
    const step = stopped.has(delivery.lane)
      ? ({ kind: "done", outcome: notSent } as const)
      : await prepareOne(delivery, context);
    if (step.kind === "held" || (step.kind === "done" && !isSettled(step.outcome))) {
      if (flowOf(delivery).orderBy !== "none") stopped.add(delivery.lane);
    }
    prepared.push(step);
  }
  return prepared;
}

function isSettled({ kind }: Outcome): boolean {
  return kind === "delivered" || kind === "reject";
}

async function prepareOne(delivery: ClaimedDelivery, context: UnknownsContext): Promise<Prepared> {
  if (!delivery.wasUnknown) return SEND;
  const { target, flowOf, given, signal } = context;
  const asGiven = given(delivery);
  const policy = target.onUnknown?.(asGiven) ?? flowOf(delivery).onUnknown;
  if (policy === "retry") return SEND;
  if (policy === "hold" || !target.findOut) return { kind: "held" };
  const found = await target
    .findOut(asGiven, signal)
    .catch((error) => unknown(`it could not be found out what became of it: ${errorText(error)}`));
  return found === "send again" ? SEND : { kind: "done", outcome: found };
}

export function heldSettlement(delivery: ClaimedDelivery): Settlement {
  return {
    lane: delivery.lane,
    seq: delivery.message.seq,
    state: "unknown",
    attempts: delivery.attempts,
    resend: true,
    dueAtMs: null,
    reason: "the answer was lost; its flow holds it for a person (onUnknown: hold)",
    note: "held",
  };
}
