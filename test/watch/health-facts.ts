/** Facts for the health tests: a gateway on which nothing is wrong, to be changed from there. */
import type { FlowFigures, Overview } from "../../src/queue/queries-flows.ts";
import { assess, type Facts, type HealthReport, type Memory, NOTHING_KNOWN } from "../../src/watch/health.ts";
import { type HealthConfig, healthSchema } from "../../src/watch/schema.ts";
import type { TargetFacts } from "../../src/watch/sources.ts";
import { BUILT_AT_MS } from "../support/store-builder.ts";

export const CONFIG: HealthConfig = healthSchema.parse({ provenWithin: "60s", stalledAfter: "30s" });
export const GIB = 2 ** 30;

export function target(facts: Partial<TargetFacts> = {}): TargetFacts {
  return {
    circuit: { state: "closed", sinceMs: BUILT_AT_MS },
    lastDeliveredAtMs: null,
    lastProbeOkAtMs: null,
    lastError: null,
    lanesDelayed: 0,
    lanesHeld: 0,
    callsInFlight: 0,
    canBeAsked: false,
    ...facts,
  };
}

export function flow(name: string, figures: Partial<FlowFigures> = {}): FlowFigures {
  return {
    flow: name,
    target: "mes",
    from: ["#"],
    orderBy: "device",
    version: "h",
    waiting: 0,
    sending: 0,
    unknown: 0,
    delivered: 0,
    dead: 0,
    expired: 0,
    evicted: 0,
    discarded: 0,
    accepted: 0,
    duplicates: 0,
    replayed: 0,
    replayedInto: 0,
    late: 0,
    held: 0,
    openLanes: 0,
    oldest: null,
    // Nothing is held, unless it is said.
    oldestFree: figures.oldest ?? null,
    ...figures,
  };
}

export function oldest(seq: number, ageMs: number): NonNullable<FlowFigures["oldest"]> {
  return { seq, id: `message-${seq}`, device: "press-7", acceptedAtMs: BUILT_AT_MS, ageMs };
}

export function overview(flows: readonly FlowFigures[]): Overview {
  return {
    flows,
    door: { accepted: 0, duplicates: 0, unrouted: 0, dropped: 0, refused: 0 },
    bytes: { file: 10_000, free: 1000 },
    boot: null,
    salvages: [],
    exports: [],
  };
}

/** Assesses one moment after another, as the gateway would: what was remembered is carried along. */
export class Health {
  #memory: Memory = NOTHING_KNOWN;
  #facts: Facts = {
    monoMs: 0,
    wallMs: BUILT_AT_MS,
    clockTrusted: true,
    stopping: false,
    store: { kind: "ok" },
    flows: [{ name: "mes", hash: "h", to: "mes" }],
    pauses: [],
    targets: new Map([["mes", target()]]),
    devices: [],
    overview: overview([flow("mes")]),
    blind: null,
    audit: null,
    disk: { freeBytes: 100 * GIB, walBytes: 0 },
    channels: [],
    bytesMax: 4 * GIB,
  };

  /** `afterMs` later, on both clocks, with these facts changed. */
  after(afterMs: number, changed: Partial<Facts> = {}): HealthReport {
    const { monoMs, wallMs } = this.#facts;
    this.#facts = { ...this.#facts, monoMs: monoMs + afterMs, wallMs: wallMs + afterMs, ...changed };
    const { report, memory } = assess(this.#facts, CONFIG, this.#memory);
    this.#memory = memory;
    return report;
  }

  get wallMs(): number {
    return this.#facts.wallMs;
  }
}
