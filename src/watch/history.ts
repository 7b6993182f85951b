/**
 * How the figures went: rates, backlog and latency over the last hour, day and month, for charts.
 *
 * Promise: what it costs is known. Three rings of fixed size in memory (HISTORY_BYTES, about 280 KB), nothing on
 * disk; so it begins anew with each start, and every answer says since when it knows.
 *
 * Counts are differences of the store's own figures between two looks, so that they agree with what the store
 * says, and durations are observed as they happen. A step during which the store could not be read is not
 * guessed at: the next one is longer, and says how long it was (`forMs`). Steps are dated by the mono clock, as
 * ages, so that a wall clock that jumps does not fold the chart over itself.
 */
import type { Clock } from "../core/clock.ts";
import type { Overview } from "../queue/queries-flows.ts";
import { everDelivered } from "./rates.ts";

/** What is kept, by name: how long a step is and how many there are. */
export const HISTORY_SPANS = {
  hour: { stepMs: 10_000, steps: 360 },
  day: { stepMs: 60_000, steps: 1440 },
  month: { stepMs: 3_600_000, steps: 720 },
} as const;

export type HistorySpan = keyof typeof HISTORY_SPANS;

/** What each step says. Counts are of this step; waiting, unknown, dead and oldest are as at its end. */
const COLUMNS = [
  "accepted",
  "duplicates",
  "delivered",
  "failedTries",
  "waiting",
  "unknown",
  "dead",
  "oldestMs",
  "commitMsMean",
  "commitMsMax",
  "deliveryMsMean",
  "deliveryMsMax",
  "endMonoMs",
  "forMs",
] as const;

type Column = (typeof COLUMNS)[number];
type Row = Record<Column, number>;

/** All that the rings take. */
export const HISTORY_BYTES = Object.values(HISTORY_SPANS).reduce(
  (sum, { steps }) => sum + steps * COLUMNS.length * Float64Array.BYTES_PER_ELEMENT,
  0,
);

/** One number per step, oldest first; null where there was nothing to measure. */
export type HistoryView = {
  readonly span: HistorySpan;
  readonly stepMs: number;
  /** Wall clock, epoch ms. */
  readonly asOfMs: number;
  /** Wall clock of the start: nothing before it is known. */
  readonly sinceMs: number;
  /** How long before `asOfMs` each step ended. */
  readonly agoMs: readonly number[];
  readonly columns: Readonly<Record<Exclude<Column, "endMonoMs">, readonly (number | null)[]>>;
};

/** Values of one kind within a step. */
class Durations {
  #count = 0;
  #sum = 0;
  #max = 0;

  add(ms: number): void {
    this.#count += 1;
    this.#sum += ms;
    if (ms > this.#max) this.#max = ms;
  }

  take(): { mean: number; max: number } {
    const taken =
      this.#count === 0
        ? { mean: Number.NaN, max: Number.NaN }
        : { mean: this.#sum / this.#count, max: this.#max };
    this.#count = this.#sum = this.#max = 0;
    return taken;
  }
}

/** What the store counts, ever; a step's count is the difference of two. */
interface Counted {
  readonly accepted: number;
  readonly duplicates: number;
  readonly delivered: number;
}

class Ring {
  readonly commits = new Durations();
  readonly deliveries = new Durations();
  failedTries = 0;
  readonly #stepMs: number;
  readonly #steps: number;
  readonly #values: Float64Array;
  #written = 0;
  #began: { readonly monoMs: number; readonly counted: Counted } | undefined;

  constructor({ stepMs, steps }: { readonly stepMs: number; readonly steps: number }) {
    this.#stepMs = stepMs;
    this.#steps = steps;
    this.#values = new Float64Array(steps * COLUMNS.length);
  }

  look(monoMs: number, overview: Overview): void {
    const counted = countedIn(overview);
    this.#began ??= { monoMs, counted };
    const forMs = monoMs - this.#began.monoMs;
    if (forMs < this.#stepMs) return;
    const before = this.#began.counted;
    const commit = this.commits.take();
    const delivery = this.deliveries.take();
    const sum = (what: "waiting" | "sending" | "unknown" | "dead") =>
      overview.flows.reduce((total, flow) => total + flow[what], 0);
    this.#write({
      accepted: counted.accepted - before.accepted,
      duplicates: counted.duplicates - before.duplicates,
      delivered: counted.delivered - before.delivered,
      failedTries: this.failedTries,
      waiting: sum("waiting") + sum("sending"),
      unknown: sum("unknown"),
      dead: sum("dead"),
      oldestMs: Math.max(0, ...overview.flows.map(({ oldest }) => oldest?.ageMs ?? 0)),
      commitMsMean: commit.mean,
      commitMsMax: commit.max,
      deliveryMsMean: delivery.mean,
      deliveryMsMax: delivery.max,
      endMonoMs: monoMs,
      forMs,
    });
    this.failedTries = 0;
    this.#began = { monoMs, counted };
  }

  /** Of one column, oldest first. */
  column(name: Column): number[] {
    const at = COLUMNS.indexOf(name);
    const first = Math.max(0, this.#written - this.#steps);
    return Array.from(
      { length: this.#written - first },
      (_, n) => this.#values[((first + n) % this.#steps) * COLUMNS.length + at]!,
    );
  }

  #write(row: Row): void {
    const base = (this.#written % this.#steps) * COLUMNS.length;
    for (const [at, name] of COLUMNS.entries()) this.#values[base + at] = row[name];
    this.#written += 1;
  }
}

function countedIn({ door, flows }: Overview): Counted {
  return {
    accepted: door.accepted,
    duplicates: door.duplicates,
    delivered: flows.reduce((sum, flow) => sum + everDelivered(flow), 0),
  };
}

export class History {
  readonly #clock: Clock;
  readonly #sinceMs: number;
  readonly #rings: Readonly<Record<HistorySpan, Ring>>;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#sinceMs = clock.wallMs();
    this.#rings = {
      hour: new Ring(HISTORY_SPANS.hour),
      day: new Ring(HISTORY_SPANS.day),
      month: new Ring(HISTORY_SPANS.month),
    };
  }

  /** After each look at the store. */
  look(overview: Overview): void {
    const monoMs = this.#clock.monoMs();
    for (const ring of Object.values(this.#rings)) ring.look(monoMs, overview);
  }

  /** After each commit: how long it took, which is what an acknowledgement waits for. */
  committed(durationMs: number): void {
    for (const { commits } of Object.values(this.#rings)) commits.add(durationMs);
  }

  /** After each delivery: how old the message was then, on the steady clock. */
  delivered(ageMs: number): void {
    for (const { deliveries } of Object.values(this.#rings)) deliveries.add(Math.max(0, ageMs));
  }

  /** A target answered for one delivery with anything but `delivered`. */
  failed(): void {
    for (const ring of Object.values(this.#rings)) ring.failedTries += 1;
  }

  view(span: HistorySpan): HistoryView {
    const ring = this.#rings[span];
    const monoMs = this.#clock.monoMs();
    const columns = Object.fromEntries(
      COLUMNS.filter((name) => name !== "endMonoMs").map((name) => [
        name,
        ring.column(name).map((value) => (Number.isNaN(value) ? null : Math.round(value * 1000) / 1000)),
      ]),
    ) as Record<keyof HistoryView["columns"], (number | null)[]>;
    return {
      span,
      stepMs: HISTORY_SPANS[span].stepMs,
      asOfMs: this.#clock.wallMs(),
      sinceMs: this.#sinceMs,
      agoMs: ring.column("endMonoMs").map((end) => Math.round(monoMs - end)),
      columns,
    };
  }
}
