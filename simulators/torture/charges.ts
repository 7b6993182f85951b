/** Whether a gateway has charged outages to messages. */
import { payloadId } from "../oracle.ts";
import type { Site } from "./site.ts";

/** A message whose answer is lost when the link breaks may have this long to be noticed. */
const NOTICED_MS_MAX = 1_500;
/** Messages about whose attempts the gateway is asked, at most. */
const ASKED_MAX = 150;

/** When a link was not well, in ms of the run. */
export interface Spell {
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * An outage is not the message's fault. What a link takes with it at the moment of breaking may be charged where
 * others were answered at that moment; so a message may have at most one attempt charged for each time that its link
 * broke while it was on its way.
 */
export async function lookAtCharges(
  site: Site,
  spells: ReadonlyMap<string, readonly Spell[]>,
): Promise<number> {
  const when = new Map<string, { firstMs: number; lastMs: number }>();
  for (const { backend } of site.ways) {
    for (const { payload, at } of backend.arrivals()) {
      const id = payloadId(payload);
      if (id === null) continue;
      const { firstMs, lastMs } = when.get(id) ?? { firstMs: at, lastMs: at };
      when.set(id, { firstMs: Math.min(firstMs, at), lastMs: Math.max(lastMs, at) });
    }
  }
  // What came to one backend long after another, or again, has met an outage on its way.
  const most = [...when]
    .toSorted(([, a], [, b]) => b.lastMs - b.firstMs - (a.lastMs - a.firstMs))
    .slice(0, ASKED_MAX);
  const sent = new Map(site.fleet.ledger.entries().map((entry) => [entry.id, entry]));
  let chargesMax = 0;
  for (const [id] of most) {
    const entry = sent.get(id);
    const story = entry && (await site.story(id));
    for (const { flow, attempts, updatedAtMs } of story?.deliveries ?? []) {
      const tookMs = updatedAtMs - story!.message.acceptedAtMs;
      const endedMs = entry!.firstSentAtMs! + tookMs;
      const broken = (spells.get(flow) ?? []).filter(
        ({ fromMs, toMs }) => fromMs <= endedMs && toMs + NOTICED_MS_MAX >= entry!.firstSentAtMs!,
      );
      chargesMax = Math.max(chargesMax, attempts - 1);
      if (attempts - 1 > broken.length) {
        site.findings.push(
          `charged: ${id} has had ${attempts - 1} attempts charged on ${flow}, whose link broke ${broken.length} times meanwhile`,
        );
      }
    }
  }
  return chargesMax;
}
