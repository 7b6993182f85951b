/**
 * What is true about the gateway, pure: facts and what was remembered go in, a report and what to remember
 * come out. No I/O, no clock of its own.
 *
 * Promise: nothing is called well without evidence. A socket that is open is none.
 *
 * A target is
 *   down      its circuit is open: since when, the last error, the next try
 *   stalled   one of its flows is stalled
 *   healthy   it took a message, or answered a probe, within `provenWithin`
 *   unproven  none of these: there is no evidence either way, as after a start
 *
 * A flow is (what an export keeps here is left out of account)
 *   paused    it or its target, by a person or by the config
 *   stalled   its oldest message is older than `stalledAfter`, and its target took nothing for as long
 *   held      its oldest message has been the same for `stalledAfter` while others went: one lane is stuck
 *   exporting an export keeps here all that waits: it is not to be sent before that is ended
 *   flowing   something was taken within `stalledAfter`
 *   waiting   something waits, not for long yet
 *   idle      nothing waits
 *
 * Evidence is dated on the mono clock by when it was first seen here, so that a wall clock that jumps makes
 * nothing look fresh or stale. Progress of a flow is read from the store's own figures: deliveries that were
 * recorded, not calls that were made.
 */
import type { Pause } from "../queue/pauses.ts";
import type { Audit } from "../queue/queries-audit.ts";
import type { FlowFigures, Overview } from "../queue/queries-flows.ts";
import { describeProblems, type Problem } from "./problems.ts";
import { everDelivered } from "./rates.ts";
import type { HealthConfig } from "./schema.ts";
import { type DeviceMemory, rememberDevices } from "./silence.ts";
import type { ChannelTrouble, DiskFacts, FlowFacts, ReadFacts, StoreView, TargetFacts } from "./sources.ts";

export interface Facts {
  readonly monoMs: number;
  readonly wallMs: number;
  readonly clockTrusted: boolean;
  readonly stopping: boolean;
  readonly store: StoreView["state"];
  readonly flows: readonly FlowFacts[];
  readonly pauses: readonly Pause[];
  readonly targets: ReadonlyMap<string, TargetFacts>;
  /** Machines that are configured, and read. */
  readonly devices: readonly ReadFacts[];
  /** From the store; null where it could not be read, and why. */
  readonly overview: Overview | null;
  readonly blind: string | null;
  readonly audit: { readonly result: Audit; readonly atWallMs: number; readonly tookMs: number } | null;
  readonly disk: DiskFacts | null;
  /** Ways to tell people that do not work. */
  readonly channels: readonly ChannelTrouble[];
  readonly bytesMax: number;
}

export type TargetState = "healthy" | "unproven" | "stalled" | "down";
export type FlowState = "idle" | "waiting" | "flowing" | "held" | "stalled" | "paused" | "exporting";

export interface TargetReport {
  readonly target: string;
  readonly state: TargetState;
  readonly circuit: "closed" | "open" | "half-open";
  /** Where it is down: since when it is away (epoch ms) and why. */
  readonly downSinceMs: number | null;
  readonly lastError: string | null;
  /** Until it is tried again, where it is down. */
  readonly nextTryInMs: number | null;
  readonly lastDeliveredAtMs: number | null;
  readonly lastProbeOkAtMs: number | null;
  /** How old the newest evidence is; null for none in this run. */
  readonly evidenceAgeMs: number | null;
  /** Whether it can say if it has a message whose answer was lost. */
  readonly canBeAsked: boolean;
}

export interface FlowReport {
  readonly flow: string;
  readonly target: string;
  readonly version: string;
  readonly state: FlowState;
  /** Null where the store could not be read. */
  readonly figures: Pick<
    FlowFigures,
    "waiting" | "sending" | "unknown" | "dead" | "held" | "delivered" | "accepted" | "oldest" | "oldestFree"
  > | null;
}

export interface HealthReport {
  /** Running: acknowledging. Blocked: the store has no room, nothing is acknowledged. Failed: it is over. */
  readonly state: "running" | "blocked" | "failed" | "stopping";
  /** alarm: messages may be, or are, in danger. attention: somebody should look. */
  readonly verdict: "ok" | "attention" | "alarm";
  readonly problems: readonly Problem[];
  readonly targets: readonly TargetReport[];
  readonly flows: readonly FlowReport[];
  /** What somebody has stopped, since when and why. */
  readonly pauses: readonly Pause[];
  readonly store: {
    readonly state: "ok" | "full" | "failed";
    readonly usedBytes: number | null;
    readonly bytesMax: number;
    readonly walBytes: number | null;
    readonly diskFreeBytes: number | null;
  };
  readonly accounting: {
    readonly state: "unchecked" | "balanced" | "mismatch";
    readonly checkedAtMs: number | null;
    readonly tookMs: number | null;
    readonly mismatches: readonly string[];
  };
  readonly clock: { readonly trusted: boolean };
  /** Messages taken and duplicates suppressed at the door, ever; null where the store could not be read. */
  readonly door: Overview["door"] | null;
}

interface FlowMemory {
  /** What the target has answered for good, ever: the two ways of leaving a flow that are progress. */
  readonly delivered: number;
  readonly dead: number;
  /** When it was first seen, and when progress was last seen; null for not in this run. */
  readonly seenAtMs: number;
  readonly progressAtMs: number | null;
  readonly oldestSeq: number | null;
  readonly oldestSinceMs: number;
  /** Since when there are unknowns, null where there are none. */
  readonly unknownSinceMs: number | null;
}

interface TargetMemory {
  /** The newest evidence as the relay dates it; told apart by its date alone. */
  readonly mark: string;
  readonly evidenceAtMs: number | null;
}

/** What one assessment hands to the next. */
export interface Memory {
  readonly flows: ReadonlyMap<string, FlowMemory>;
  readonly targets: ReadonlyMap<string, TargetMemory>;
  readonly devices: ReadonlyMap<string, DeviceMemory>;
  /** Since when (epoch ms) each problem has been there, by its key. */
  readonly problems: ReadonlyMap<string, number>;
}

export const NOTHING_KNOWN: Memory = {
  flows: new Map(),
  targets: new Map(),
  devices: new Map(),
  problems: new Map(),
};

export function assess(
  facts: Facts,
  config: HealthConfig,
  memory: Memory,
): { readonly report: HealthReport; readonly memory: Memory } {
  const flowsRemembered = new Map<string, FlowMemory>();
  const flows = facts.flows.map((flow) => {
    const figures = facts.overview?.flows.find((row) => row.flow === flow.name) ?? null;
    const known = memory.flows.get(flow.name);
    const seen = facts.overview ? rememberFlow(figures, known, facts.monoMs) : known;
    if (seen) flowsRemembered.set(flow.name, seen);
    return reportFlow(flow, figures, seen, facts, config);
  });
  const targetsRemembered = new Map<string, TargetMemory>();
  const targets = [...facts.targets].map(([name, target]) => {
    const seen = rememberTarget(target, memory.targets.get(name), facts);
    targetsRemembered.set(name, seen);
    const stalled = flows.some((flow) => flow.target === name && flow.state === "stalled");
    return reportTarget(name, target, seen, stalled, facts, config);
  });
  const { pauses } = facts;
  const parts = { flows, targets, pauses, store: reportStore(facts), accounting: reportAccounting(facts) };
  const unknownLong = flows
    .filter(({ flow }) => {
      const since = flowsRemembered.get(flow)?.unknownSinceMs ?? null;
      return since !== null && facts.monoMs - since >= config.stalledAfter;
    })
    .map(({ flow }) => flow);
  const devices = rememberDevices(facts.devices, memory.devices, facts.monoMs, config.deviceSilentAfter);
  const silent = facts.devices.filter(({ device }) => devices.get(device)?.silent.on);
  const failing = facts.devices.filter(
    (each) => devices.get(each.device)?.failing.on && !silent.includes(each),
  );
  const context = { config, unknownLong, silent, failing, since: memory.problems };
  const problems = describeProblems(parts, facts, context);
  return {
    report: {
      state: gatewayState(facts),
      verdict: problems.some(({ severity }) => severity === "alarm")
        ? "alarm"
        : problems.length > 0
          ? "attention"
          : "ok",
      problems,
      ...parts,
      clock: { trusted: facts.clockTrusted },
      door: facts.overview?.door ?? null,
    },
    memory: {
      flows: flowsRemembered,
      targets: targetsRemembered,
      devices,
      problems: new Map(problems.map(({ key, sinceMs }) => [key, sinceMs])),
    },
  };
}

function rememberFlow(
  figures: FlowFigures | null,
  known: FlowMemory | undefined,
  monoMs: number,
): FlowMemory {
  const { dead = 0, unknown = 0 } = figures ?? {};
  const delivered = figures ? everDelivered(figures) : 0;
  const oldestSeq = figures?.oldestFree?.seq ?? null;
  // What expires or is discarded was not taken by anyone. Late messages may be dead on arrival: that some
  // are is progress only where the oldest has moved on too.
  const progressed =
    known !== undefined &&
    (delivered > known.delivered || (dead > known.dead && oldestSeq !== known.oldestSeq));
  return {
    delivered,
    dead,
    seenAtMs: known?.seenAtMs ?? monoMs,
    progressAtMs: progressed ? monoMs : (known?.progressAtMs ?? null),
    oldestSeq,
    oldestSinceMs: known === undefined || known.oldestSeq !== oldestSeq ? monoMs : known.oldestSinceMs,
    unknownSinceMs: unknown === 0 ? null : (known?.unknownSinceMs ?? monoMs),
  };
}

function reportFlow(
  flow: FlowFacts,
  figures: FlowFigures | null,
  seen: FlowMemory | undefined,
  facts: Facts,
  config: HealthConfig,
): FlowReport {
  const report = { flow: flow.name, target: flow.to, version: flow.hash };
  if (!figures || !seen) {
    return { ...report, state: pauseOf(flow, facts.pauses) ? "paused" : "idle", figures: null };
  }
  const { waiting, sending, unknown, dead, held, delivered, accepted, oldest, oldestFree } = figures;
  return {
    ...report,
    state: flowState(flow, figures, seen, facts, config),
    figures: { waiting, sending, unknown, dead, held, delivered, accepted, oldest, oldestFree },
  };
}

/** The pause that stops a flow as a whole, if any: its own, or its target's. */
export function pauseOf(
  { name, to }: { readonly name: string; readonly to?: string },
  pauses: readonly Pause[],
): Pause | undefined {
  return pauses.find(
    (pause) => pause.name === (pause.kind === "target" ? to : name) && pause.kind !== "device",
  );
}

function flowState(
  flow: FlowFacts,
  { oldest: waits, oldestFree: oldest, unknown }: FlowFigures,
  seen: FlowMemory,
  { monoMs, pauses }: Facts,
  { stalledAfter }: HealthConfig,
): FlowState {
  if (pauseOf(flow, pauses)) return "paused";
  const flowing = seen.progressAtMs !== null && monoMs - seen.progressAtMs < stalledAfter;
  if (waits && !oldest) return "exporting";
  if (!oldest) return flowing ? "flowing" : unknown > 0 ? "waiting" : "idle";
  const old = oldest.ageMs >= stalledAfter;
  if (old && monoMs - (seen.progressAtMs ?? seen.seenAtMs) >= stalledAfter) return "stalled";
  if (old && flowing && monoMs - seen.oldestSinceMs >= stalledAfter) return "held";
  return flowing ? "flowing" : "waiting";
}

function rememberTarget(target: TargetFacts, known: TargetMemory | undefined, facts: Facts): TargetMemory {
  const { lastDeliveredAtMs, lastProbeOkAtMs } = target;
  const mark = `${lastDeliveredAtMs} ${lastProbeOkAtMs}`;
  if (known?.mark === mark) return known;
  const dates = [lastDeliveredAtMs, lastProbeOkAtMs].filter((date) => date !== null);
  if (dates.length === 0) return { mark, evidenceAtMs: null };
  if (known) return { mark, evidenceAtMs: facts.monoMs };
  // Seen for the first time: its date is all there is to go by, and a date to come is no newer than now.
  const ageMs = Math.max(0, facts.wallMs - Math.max(...dates));
  return { mark, evidenceAtMs: facts.monoMs - ageMs };
}

function reportTarget(
  name: string,
  target: TargetFacts,
  { evidenceAtMs }: TargetMemory,
  stalled: boolean,
  { monoMs }: Facts,
  config: HealthConfig,
): TargetReport {
  const { circuit } = target;
  const evidenceAgeMs = evidenceAtMs === null ? null : Math.round(monoMs - evidenceAtMs);
  const down = circuit.state !== "closed";
  const proven = evidenceAgeMs !== null && evidenceAgeMs < config.provenWithin;
  return {
    target: name,
    state: down ? "down" : stalled ? "stalled" : proven ? "healthy" : "unproven",
    circuit: circuit.state,
    downSinceMs: down ? circuit.sinceMs : null,
    lastError: down ? circuit.reason : target.lastError,
    nextTryInMs:
      circuit.state === "open" ? Math.max(0, Math.round(circuit.probeAtMs - monoMs)) : down ? 0 : null,
    lastDeliveredAtMs: target.lastDeliveredAtMs,
    lastProbeOkAtMs: target.lastProbeOkAtMs,
    evidenceAgeMs,
    canBeAsked: target.canBeAsked,
  };
}

function reportStore({ store, overview, disk, bytesMax }: Facts): HealthReport["store"] {
  return {
    state: store.kind,
    usedBytes: overview ? overview.bytes.file - overview.bytes.free : null,
    bytesMax,
    walBytes: disk?.walBytes ?? null,
    diskFreeBytes: disk?.freeBytes ?? null,
  };
}

function reportAccounting({ audit }: Facts): HealthReport["accounting"] {
  if (!audit) return { state: "unchecked", checkedAtMs: null, tookMs: null, mismatches: [] };
  const { result, atWallMs, tookMs } = audit;
  return {
    state: result.balanced ? "balanced" : "mismatch",
    checkedAtMs: atWallMs,
    tookMs: Math.round(tookMs),
    mismatches: result.mismatches.map(({ sentence }) => sentence),
  };
}

function gatewayState({ stopping, store }: Facts): HealthReport["state"] {
  if (store.kind === "failed") return "failed";
  if (stopping) return "stopping";
  return store.kind === "full" ? "blocked" : "running";
}
