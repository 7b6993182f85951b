/**
 * The books of a run that may last for days: what machines were promised held against what took effect, message
 * by message as it happens, and forgotten when both sides agree. Memory is bounded by what is under way.
 *
 * It relies on ids that end in the message's number, counted from 1 without a gap in each lane (behaviour.ts).
 */

import { percentile } from "../../src/core/percentile.ts";
import { Ledger, type Sent } from "../machines/ledger.ts";
import { payloadId } from "../oracle.ts";

/** Numbers of a lane kept beyond the first that is missing; only QoS 0 may leave a gap for good. */
const BEYOND_MAX = 20_000;
const FINDINGS_KEPT = 50;

interface Lane {
  /** All below have taken effect, or are given up as QoS 0. */
  next: number;
  readonly beyond: Set<number>;
  highest: number;
}

export class SoakBook extends Ledger {
  readonly findings: string[] = [];
  readonly counts = { doubled: 0, outOfOrder: 0, stranger: 0 };
  arrived = 0;
  suppressedByBackend = 0;
  readonly #lanes = new Map<string, Lane>();
  /** Acknowledged, and not arrived yet: id → when, ms into the run. */
  readonly #owed = new Map<string, number>();
  #ackMs: number[] = [];

  constructor() {
    super({ forget: true });
  }

  override onAck(entry: Sent, atMs: number): void {
    const first = entry.ackedAtMs === null;
    super.onAck(entry, atMs);
    if (!first) return;
    this.#ackMs.push(atMs - (entry.firstSentAtMs ?? atMs));
    if (!this.#hasArrived(entry.id)) this.#owed.set(entry.id, atMs);
  }

  /** What the backend says of an arrival that it took. */
  onEffect(payload: Buffer, effect: boolean): void {
    const id = payloadId(payload);
    const place = id === null ? null : placeOf(id);
    if (id === null || place === null) {
      this.#find("stranger", `a message that no machine sent: ${id ?? "(no id)"}`);
      return;
    }
    if (!effect) {
      this.suppressedByBackend++;
      return;
    }
    const lane = this.#lane(place.lane);
    const { n } = place;
    if (this.#hasArrived(id)) {
      this.#find("doubled", `${id} took effect twice`);
      return;
    }
    if (n < lane.highest) {
      this.#find("outOfOrder", `${id} took effect after number ${lane.highest} of its lane`);
    }
    this.arrived++;
    this.#owed.delete(id);
    lane.highest = Math.max(lane.highest, n);
    lane.beyond.add(n);
    while (lane.beyond.delete(lane.next)) lane.next++;
    if (lane.beyond.size > BEYOND_MAX) this.#closeGap(lane);
  }

  /** Acknowledged and not there. */
  get owed(): number {
    return this.#owed.size;
  }

  /** Called when everything should have arrived: what is owed then is lost. */
  lost(): string[] {
    return [...this.#owed].map(
      ([id, atMs]) => `${id}: acknowledged ${Math.round(atMs)} ms into the run, never arrived`,
    );
  }

  /** Time to the acknowledgement since this was last asked, and how many there were. */
  takeAckTimes(): { readonly count: number; readonly p50Ms: number; readonly p99Ms: number } {
    const sorted = this.#ackMs.toSorted((a, b) => a - b);
    this.#ackMs = [];
    return { count: sorted.length, p50Ms: percentile(sorted, 0.5), p99Ms: percentile(sorted, 0.99) };
  }

  #find(kind: keyof SoakBook["counts"], text: string): void {
    this.counts[kind]++;
    if (this.findings.length < FINDINGS_KEPT) this.findings.push(`${kind}: ${text}`);
  }

  #hasArrived(id: string): boolean {
    const place = placeOf(id);
    const lane = place && this.#lanes.get(place.lane);
    return lane ? place.n < lane.next || lane.beyond.has(place.n) : false;
  }

  #lane(name: string): Lane {
    const known = this.#lanes.get(name);
    if (known) return known;
    const lane: Lane = { next: 1, beyond: new Set(), highest: 0 };
    this.#lanes.set(name, lane);
    return lane;
  }

  #closeGap(lane: Lane): void {
    lane.next = lane.highest - BEYOND_MAX / 2;
    for (const n of lane.beyond) if (n < lane.next) lane.beyond.delete(n);
    while (lane.beyond.delete(lane.next)) lane.next++;
  }
}

function placeOf(id: string): { readonly lane: string; readonly n: number } | null {
  const match = /^(.+)-(\d+)$/.exec(id);
  return match ? { lane: match[1]!, n: Number(match[2]) } : null;
}
