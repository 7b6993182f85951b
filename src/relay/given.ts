/** A delivery as its target is given it. Pure. */
import type { Flow } from "../core/flow.ts";
import type { ClaimedDelivery } from "../queue/requests.ts";
import type { TargetDelivery } from "../targets/target.ts";
import { timeLeftMs } from "./time-left.ts";

export function givenTo(
  flow: Flow,
  key: string,
  delivery: Omit<ClaimedDelivery, "lane" | "wasUnknown">,
  steadyMs: number,
): TargetDelivery {
  return {
    message: delivery.message,
    flow: flow.name,
    lane: flow.orderBy === "none" ? `${flow.name}/${delivery.message.seq}` : `${flow.name}/${key}`,
    attempt: delivery.attempts + 1,
    resend: delivery.resend,
    late: delivery.late,
    edited: delivery.edited,
    replay: delivery.replay,
    expiresInMs: timeLeftMs(delivery, flow, steadyMs),
    waitedMs: Math.max(0, steadyMs - delivery.steadyAtMs),
  };
}
