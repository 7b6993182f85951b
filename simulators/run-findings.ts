/** What was found at the end of a run: by the oracle, by the machines, and by the gateway's own count. */
import type { Found } from "./expectations.ts";
import { deadReasons, type GatewayFigures, gatewayFigures } from "./gateway-figures.ts";
import type { Verdict } from "./oracle.ts";
import type { Rig } from "./rig.ts";

/** Doubled messages whose history is looked at. */
const DOUBLED_ASKED_MAX = 1_000;
/** What a history says of a message that the backend may get a second time. */
const TELLS_OF_A_SECOND_TIME: ReadonlySet<string> = new Set(["unknown", "redrive"]);

export interface Findings {
  readonly verdict: Verdict;
  /** Of this run; null where the gateway does not answer. */
  readonly gateway: GatewayFigures | null;
  readonly found: Found;
}

/** `before`: the gateway's figures when the run began. */
export async function findOut(rig: Rig, before: GatewayFigures | null): Promise<Findings> {
  const { states, charged } = await rig.account();
  const verdict = rig.judgeNow(states);
  const gateway = since(before, await gatewayFigures(rig.http));
  const found = {
    figures: {
      ...figuresFound(rig, verdict, gateway),
      charged: rig.http === null ? null : charged,
      untold: await untold(rig, verdict),
    },
    flows: gateway?.flows ?? null,
    reasons: await deadReasons(rig.http),
  };
  return { verdict, gateway, found };
}

/** Doubled messages whose history gives no reason for a second time; null where there is nobody to ask. */
async function untold(rig: Rig, verdict: Verdict): Promise<number | null> {
  if (rig.http === null) return null;
  let count = 0;
  const doubled = verdict.findings.filter(({ kind }) => kind === "doubled");
  for (const { id } of doubled.slice(0, DOUBLED_ASKED_MAX)) {
    const history = (await rig.story(id))?.history ?? [];
    if (!history.some(({ kind }) => TELLS_OF_A_SECOND_TIME.has(kind))) count++;
  }
  return count;
}

function figuresFound(
  rig: Rig,
  verdict: Verdict,
  gateway: GatewayFigures | null,
): Omit<Found["figures"], "charged" | "untold"> {
  const { counts, figures } = verdict;
  const { waiting = 0, sending = 0, unknown = 0 } = figures.accounted;
  const waits = rig.fleet.ledger
    .entries()
    .flatMap(({ firstSentAtMs, ackedAtMs }) =>
      firstSentAtMs === null || ackedAtMs === null ? [] : [ackedAtMs - firstSentAtMs],
    );
  const { arrived: readings, gaps, notGood } = rig.readings();
  return {
    ...counts,
    readings,
    gaps,
    notGood,
    undelivered: waiting + sending + unknown,
    sent: figures.sent,
    arrived: figures.arrived,
    repeatsSent: figures.repeatsSent,
    ackSlowestMs: Math.round(waits.reduce((longest, wait) => Math.max(longest, wait), 0)),
    suppressedByBackend: figures.suppressedByBackend,
    duplicates: gateway?.duplicates ?? null,
    late: gateway?.late ?? null,
    waiting: gateway?.waiting ?? null,
    unknown: gateway?.unknown ?? null,
    dead: gateway?.dead ?? null,
    expired: gateway?.expired ?? null,
    evicted: gateway?.evicted ?? null,
    discarded: gateway?.discarded ?? null,
  };
}

/** A running gateway has a past: only what came since counts. */
function since(before: GatewayFigures | null, after: GatewayFigures | null): GatewayFigures | null {
  if (!before || !after) return after;
  return { ...less(after, before), balanced: after.balanced } as GatewayFigures;
}

function less(after: object, before: object): Record<string, unknown> {
  const then = before as Record<string, unknown>;
  return Object.fromEntries(
    Object.entries(after).map(([key, now]) => {
      const was = then[key];
      if (typeof now === "number" && typeof was === "number") return [key, Math.max(0, now - was)];
      return typeof now === "object" && now !== null ? [key, less(now, (was as object) ?? {})] : [key, now];
    }),
  );
}
