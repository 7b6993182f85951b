/** How long a delivery still has to live, by its flow's ttl (one that is replayed has none) and by its own time. Pure. */
import type { Flow } from "../core/flow.ts";
import type { ClaimedDelivery } from "../queue/requests.ts";

/** Null where it lives for ever. */
export function timeLeftMs(
  { steadyAtMs, expireAtMs, replay }: Pick<ClaimedDelivery, "steadyAtMs" | "expireAtMs" | "replay">,
  { ttl }: Pick<Flow, "ttl">,
  steadyMs: number,
): number | null {
  const ends = [ttl === undefined || replay ? null : steadyAtMs + ttl, expireAtMs].filter(
    (end) => end !== null,
  );
  return ends.length === 0 ? null : Math.max(0, Math.min(...ends) - steadyMs);
}
