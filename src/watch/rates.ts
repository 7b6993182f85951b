/** How many messages a second, by flow: from the store's own counts at each look, over the last minute. Pure. */
import type { FlowFigures, Overview } from "../queue/queries-flows.ts";

/** Only grows, whatever is replayed. */
export function everDelivered({ delivered, replayed }: Pick<FlowFigures, "delivered" | "replayed">): number {
  return delivered + replayed;
}

/** Rates are over this much of the past, or over what has been seen of it. */
const WINDOW_MS = 60_000;
/** Looks kept in it: they are a second apart, or more. */
const LOOKS_MAX = 64;

export interface FlowRates {
  /** Taken by the flow, and delivered by it, a second; null before two looks have been taken. */
  readonly acceptedPerSecond: number | null;
  readonly deliveredPerSecond: number | null;
}

type Counts = ReadonlyMap<string, { readonly accepted: number; readonly delivered: number }>;

const NOT_KNOWN: FlowRates = { acceptedPerSecond: null, deliveredPerSecond: null };

export class Rates {
  readonly #looks: { readonly atMs: number; readonly counts: Counts }[] = [];

  /** At each look. */
  add(monoMs: number, { flows }: Pick<Overview, "flows">): void {
    const counts = new Map(
      flows.map((figures) => [
        figures.flow,
        { accepted: figures.accepted, delivered: everDelivered(figures) },
      ]),
    );
    this.#looks.push({ atMs: monoMs, counts });
    while (this.#looks.length > LOOKS_MAX || monoMs - this.#looks[0]!.atMs > WINDOW_MS) this.#looks.shift();
  }

  of(flow: string): FlowRates {
    const first = this.#looks[0];
    const last = this.#looks.at(-1);
    const now = last?.counts.get(flow);
    if (!first || !last || !now || last.atMs === first.atMs) return NOT_KNOWN;
    const then = first.counts.get(flow) ?? { accepted: 0, delivered: 0 };
    const seconds = (last.atMs - first.atMs) / 1000;
    const rate = (n: number) => Math.max(0, Math.round((n / seconds) * 100) / 100);
    return {
      acceptedPerSecond: rate(now.accepted - then.accepted),
      deliveredPerSecond: rate(now.delivered - then.delivered),
    };
  }
}
