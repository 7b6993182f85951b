/** What every target needs to answer a batch by the contract. */
import type { Outcome } from "../core/outcome.ts";
import type { TargetDelivery } from "./target.ts";

/** Places in the batch, lane by lane, each lane in its order. */
export function placesByLane(batch: readonly TargetDelivery[]): number[][] {
  const lanes = new Map<string, number[]>();
  for (const [at, { lane }] of batch.entries()) {
    const places = lanes.get(lane);
    if (places) places.push(at);
    else lanes.set(lane, [at]);
  }
  return [...lanes.values()];
}

/** One message on one flow: what a target that remembers deliveries knows them by. */
export function deliveryKey(flow: string, id: string): string {
  return `${flow}\u0000${id}`;
}

/** True where the lane goes on behind it: delivered, or rejected for good. */
export function letsLaneGoOn(outcome: Outcome): boolean {
  return outcome.kind === "delivered" || outcome.kind === "reject";
}

/** Not an attempt and nobody's fault: the gateway is about to stop. */
export const notSentStopping: Outcome = {
  kind: "retry",
  fault: "predecessor",
  reason: "not sent: the gateway is stopping",
};

/** Resolves true when `signal` aborts before `work` is done, false when `work` is; what `work` yields is `work`'s. */
export async function abortedBefore(work: Promise<unknown>, signal: AbortSignal): Promise<boolean> {
  // Whoever leaves early must not leave a rejection that nobody hears.
  work.catch(() => {});
  if (signal.aborted) return true;
  let onAbort = () => {};
  const aborted = new Promise<true>((resolve) => {
    onAbort = () => resolve(true);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([aborted, work.then(() => false as const)]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
