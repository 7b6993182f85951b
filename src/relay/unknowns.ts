/**
 * What is done with a delivery whose answer was lost, before anything is sent again: an idempotent target is
 * simply given it again under the same id; for others the flow says `retry`, `probe` or `hold`.
 */
import type { Flow } from "../core/flow.ts";
import { delivered, notSent, type Outcome } from "../core/outcome.ts";
import type { ClaimedDelivery } from "../queue/requests.ts";
import type { Target } from "../targets/target.ts";

/** `held` is not an outcome: nothing was tried, and the lane waits for a person. */
export type Prepared =
  | { readonly kind: "send" }
  | { readonly kind: "held" }
  | { readonly kind: "done"; readonly outcome: Outcome };

const SEND: Prepared = { kind: "send" };

/** Says for each delivery of a batch whether it is to be sent; asks the backend where the flow wants that. */
export async function prepareUnknowns(
  deliveries: readonly ClaimedDelivery[],
  flowOf: (delivery: ClaimedDelivery) => Flow,
  target: Target,
  signal: AbortSignal,
): Promise<Prepared[]> {
  if (target.idempotent || !deliveries.some((delivery) => delivery.wasUnknown))
    return deliveries.map(() => SEND);
  const stopped = new Set<number>();
  const prepared: Prepared[] = [];
  for (const delivery of deliveries) {
    const step = stopped.has(delivery.lane)
      ? ({ kind: "done", outcome: notSent } as const)
      : await prepareOne(delivery, flowOf(delivery), target, signal);
    if (step.kind === "held" || (step.kind === "done" && step.outcome.kind !== "delivered")) {
      if (flowOf(delivery).orderBy !== "none") stopped.add(delivery.lane);
    }
    prepared.push(step);
  }
  return prepared;
}

async function prepareOne(
  delivery: ClaimedDelivery,
  flow: Flow,
  target: Target,
  signal: AbortSignal,
): Promise<Prepared> {
  if (!delivery.wasUnknown || flow.onUnknown === "retry") return SEND;
  if (flow.onUnknown === "hold" || !target.has) return { kind: "held" };
  const answer = await target.has(delivery.message.id, signal).catch(() => "cannot say" as const);
  if (answer === "yes") return { kind: "done", outcome: delivered("the backend was asked and has it") };
  if (answer === "no") return SEND;
  return {
    kind: "done",
    outcome: { kind: "unknown", reason: "the backend was asked whether it has it and could not say" },
  };
}
