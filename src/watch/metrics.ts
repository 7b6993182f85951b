/**
 * Figures for Prometheus: names begin with `holdfast_`, units are seconds and bytes, and labels are flows,
 * targets and states alone. Never a device or a message: their number has no bound.
 *
 * What the store counts is read from its tally when it is asked for, so a counter here goes on over a
 * restart and agrees with what SQL, the API and the CLI say. What the store does not know (how long a
 * commit took) is observed as it happens.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "@prometheus-io/client";
import { flowWords, isBuiltInFlow, targetWords } from "../core/command-message.ts";
import type { Overview } from "../queue/queries-flows.ts";
import type { HealthReport } from "./health.ts";
import { everDelivered } from "./rates.ts";
import type { JobFacts, TargetFacts } from "./sources.ts";
import type { AuditRecord } from "./store-feed.ts";

const COMMIT_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];
const COMMIT_REQUESTS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];

const OPEN_OR_DEAD = ["waiting", "sending", "unknown", "dead"] as const;
const FINISHED = ["delivered", "expired", "evicted", "discarded"] as const;
const TARGET_STATES = ["healthy", "unproven", "stalled", "down"] as const;
const CIRCUIT_STATES = ["closed", "open", "half-open"] as const;
const STORE_STATES = ["ok", "full", "failed"] as const;

export interface MetricsFacts {
  readonly report: HealthReport & {
    readonly devices: { readonly online: number; readonly clientsOnline: number };
  };
  readonly overview: Overview | null;
  readonly targets: ReadonlyMap<string, TargetFacts>;
  readonly audit: AuditRecord | null;
  readonly jobs: JobFacts;
  readonly monoMs: number;
}

export class Metrics {
  readonly registry = new Registry();
  readonly #commitSeconds: Histogram;
  readonly #syncSeconds: Histogram;
  readonly #commitRequests: Histogram;
  readonly #outcomes: Counter<"target" | "outcome">;
  readonly #notifications: Counter<"channel" | "outcome">;
  readonly #spans: Counter<"outcome">;
  readonly #unfollowed: Counter;
  readonly #gauges = new Map<string, Gauge<string>>();
  readonly #counters = new Map<string, Counter<string>>();

  constructor({ version }: { readonly version: string }) {
    const registers = [this.registry];
    // Over the whole run: a window is turned by the wall clock, step by step, so that one jump from 1970 to today
    // would keep the process busy for seconds, and one back stop the window for good.
    const noWindow = { eventLoopUtilizationMaxAgeSeconds: 0, eventLoopUtilizationAgeBuckets: 1 };
    collectDefaultMetrics({ register: this.registry, ...noWindow });
    this.#commitSeconds = new Histogram({
      name: "holdfast_commit_duration_seconds",
      help: "Time the store thread took for one commit, fsync included.",
      buckets: COMMIT_SECONDS,
      registers,
    });
    this.#syncSeconds = new Histogram({
      name: "holdfast_commit_sync_duration_seconds",
      help: "Of one commit the part that waits for the disk: SQLite's COMMIT, which writes the log and fsyncs it.",
      buckets: COMMIT_SECONDS,
      registers,
    });
    this.#commitRequests = new Histogram({
      name: "holdfast_commit_requests",
      help: "Requests that shared one commit and its fsync.",
      buckets: COMMIT_REQUESTS,
      registers,
    });
    this.#outcomes = new Counter({
      name: "holdfast_outcomes_total",
      help: "Answers of targets in this run, by kind: delivered, retry, reject, unknown.",
      labelNames: ["target", "outcome"],
      registers,
    });
    this.#notifications = new Counter({
      name: "holdfast_notifications_total",
      help: "Tries at telling people in this run, by outcome: sent, failed, dropped.",
      labelNames: ["channel", "outcome"],
      registers,
    });
    this.#spans = new Counter({
      name: "holdfast_trace_spans_total",
      help: "Spans in this run, by outcome: exported, rejected by the collector, dropped because nobody took them, skipped above messagesPerSecondMax.",
      labelNames: ["outcome"],
      registers,
    });
    this.#unfollowed = new Counter({
      name: "holdfast_receipts_left_out_total",
      help: "Messages in this run that receipts do not follow any more, because there were more than receipts.followedMax.",
      registers,
    });
    new Gauge({
      name: "holdfast_info",
      help: "The running version.",
      labelNames: ["version"],
      registers,
    }).set({ version }, 1);
  }

  /** After each commit. */
  committed(requests: number, durationMs: number, syncMs?: number): void {
    if (syncMs !== undefined) this.#syncSeconds.observe(syncMs / 1000);
    this.#commitSeconds.observe(durationMs / 1000);
    this.#commitRequests.observe(requests);
  }

  /** After each call of a target. */
  answered(target: string, outcomes: readonly { readonly kind: string }[]): void {
    for (const { kind } of outcomes) this.#outcomes.inc({ target: labelOf(target), outcome: kind });
  }

  /** After each try at telling people. */
  notified(channel: string, outcome: string): void {
    this.#notifications.inc({ channel, outcome });
  }

  /** What became of spans for a collector. */
  traced(outcome: string, spans: number): void {
    this.#spans.inc({ outcome }, spans);
  }

  /** A message's producer is not told of it any more. */
  unfollowed(): void {
    this.#unfollowed.inc();
  }

  /** Sets everything that is read rather than observed. */
  refresh(facts: MetricsFacts): void {
    for (const gauge of this.#gauges.values()) gauge.reset();
    for (const counter of this.#counters.values()) counter.reset();
    if (facts.overview) this.#ofStore(facts.overview);
    this.#ofTargets(facts);
    this.#ofReport(facts);
    this.#ofJobs(facts.jobs);
  }

  #ofStore({ flows, door, exports }: Overview): void {
    const depth = this.#gauge("holdfast_deliveries", "Deliveries in a state now.", ["flow", "state"]);
    const age = this.#gauge(
      "holdfast_oldest_age_seconds",
      "Age of a flow's oldest waiting message; 0 for none.",
      ["flow"],
    );
    const held = this.#gauge(
      "holdfast_deliveries_held",
      "Deliveries of a flow that are held for an export now, among those that wait, are unknown or dead.",
      ["flow"],
    );
    const lanes = this.#gauge("holdfast_lanes_open", "Lanes of a flow with something open.", ["flow"]);
    const finished = this.#counter("holdfast_deliveries_total", "Deliveries that ended in a state, ever.", [
      "flow",
      "state",
    ]);
    const accepted = this.#counter("holdfast_flow_accepted_total", "Deliveries a flow has taken, ever.", [
      "flow",
    ]);
    const late = this.#counter("holdfast_flow_late_total", "Late messages of a flow, ever.", ["flow"]);
    const replayed = this.#counter(
      "holdfast_flow_replayed_total",
      "Deliveries that a replay put in line again, or brought from another flow, ever.",
      ["flow"],
    );
    for (const figures of flows) {
      const flow = flowWords(figures.flow);
      for (const state of OPEN_OR_DEAD) depth.set({ flow, state }, figures[state]);
      const ended = { ...figures, delivered: everDelivered(figures) };
      for (const state of FINISHED) finished.inc({ flow, state }, ended[state]);
      replayed.inc({ flow }, figures.replayed + figures.replayedInto);
      age.set({ flow }, (figures.oldest?.ageMs ?? 0) / 1000);
      held.set({ flow }, figures.held);
      lanes.set({ flow }, figures.openLanes);
      accepted.inc({ flow }, figures.accepted);
      late.inc({ flow }, figures.late);
    }
    this.#gauge(
      "holdfast_export_held_age_seconds",
      "Age of the oldest export for which something is held; 0 for none.",
    ).set((exports[0]?.ageMs ?? 0) / 1000);
    const messages = this.#counter(
      "holdfast_messages_total",
      "Messages at the gateway's door, ever, by what became of them.",
      ["result"],
    );
    for (const [result, n] of Object.entries(door)) messages.inc({ result }, n);
  }

  #ofTargets({ report, targets, monoMs }: MetricsFacts): void {
    const state = this.#gauge("holdfast_target_state", "1 for the state a target is in.", [
      "target",
      "state",
    ]);
    const circuit = this.#gauge("holdfast_circuit_state", "1 for the state of a target's circuit.", [
      "target",
      "state",
    ]);
    const evidence = this.#gauge(
      "holdfast_target_evidence_age_seconds",
      "Age of the newest delivery or answered probe.",
      ["target"],
    );
    const calls = this.#gauge("holdfast_target_calls_in_flight", "Calls a target has not answered yet.", [
      "target",
    ]);
    const probe = this.#gauge(
      "holdfast_target_next_probe_seconds",
      "Until a target that is away is asked again.",
      ["target"],
    );
    const stuck = this.#gauge(
      "holdfast_lanes_stuck",
      "Lanes whose head waits: for its next try (delayed) or for a person (held).",
      ["target", "why"],
    );
    for (const { target: name, ...seen } of report.targets) {
      const target = labelOf(name);
      for (const each of TARGET_STATES) state.set({ target, state: each }, seen.state === each ? 1 : 0);
      for (const each of CIRCUIT_STATES) circuit.set({ target, state: each }, seen.circuit === each ? 1 : 0);
      if (seen.evidenceAgeMs !== null) evidence.set({ target }, seen.evidenceAgeMs / 1000);
      const facts = targets.get(name);
      if (!facts) continue;
      calls.set({ target }, facts.callsInFlight);
      stuck.set({ target, why: "delayed" }, facts.lanesDelayed);
      stuck.set({ target, why: "held" }, facts.lanesHeld);
      if (facts.circuit.state === "open") {
        probe.set({ target }, Math.max(0, facts.circuit.probeAtMs - monoMs) / 1000);
      }
    }
  }

  #ofJobs(facts: JobFacts): void {
    const jobs = this.#gauge("holdfast_jobs", "Jobs that are open, by state.", ["kind", "state"]);
    const left = this.#gauge(
      "holdfast_jobs_left",
      "Deliveries that open jobs have still to do, as estimated.",
      ["kind"],
    );
    const done = this.#counter(
      "holdfast_job_deliveries_total",
      "Deliveries that jobs have put in line in this run.",
      ["kind"],
    );
    const open = facts.open();
    for (const [kind, n] of Object.entries(facts.moved)) {
      const ofKind = open.filter((job) => job.kind === kind);
      for (const state of ["running", "paused"]) {
        jobs.set({ kind, state }, ofKind.filter((job) => job.state === state).length);
      }
      const leftOf = ({ total, done, skipped }: (typeof ofKind)[number]) =>
        Math.max(0, (total ?? 0) - done - skipped);
      left.set(
        { kind },
        ofKind.reduce((sum, job) => sum + leftOf(job), 0),
      );
      done.inc({ kind }, n);
    }
  }

  #ofReport({ report, audit }: MetricsFacts): void {
    const { store, clock, devices } = report;
    const set = (name: string, help: string, value: number | null) => {
      // What is not known is left out: a 0 would be a claim.
      if (value === null) this.#forget(name);
      else this.#gauge(name, help).set(value);
    };
    set("holdfast_store_used_bytes", "Bytes of the store in use.", store.usedBytes);
    set("holdfast_store_max_bytes", "queue.bytesMax.", store.bytesMax);
    set("holdfast_store_wal_bytes", "Size of the write-ahead log.", store.walBytes);
    set("holdfast_disk_free_bytes", "Free space on the disk of the data folder.", store.diskFreeBytes);
    set("holdfast_clock_trusted", "1 where the wall clock is believed.", clock.trusted ? 1 : 0);
    set("holdfast_clients_online", "MQTT clients connected.", devices.clientsOnline);
    set("holdfast_devices_online", "Devices connected.", devices.online);
    set("holdfast_problems", "Problems the health report lists.", report.problems.length);
    set(
      "holdfast_accounting_mismatches",
      "Mismatches of the last audit; anything but 0 is an alarm.",
      audit?.result.mismatchesTotal ?? null,
    );
    set(
      "holdfast_accounting_checked_timestamp_seconds",
      "When the last audit ended.",
      audit && audit.atWallMs / 1000,
    );
    set(
      "holdfast_accounting_duration_seconds",
      "How long the last audit took.",
      audit && audit.tookMs / 1000,
    );
    const paused = this.#gauge("holdfast_flow_paused", "1 where a flow, or its target, is paused.", ["flow"]);
    for (const flow of report.flows) paused.set({ flow: flow.flow }, flow.state === "paused" ? 1 : 0);
    const devicesPaused = report.pauses.filter(({ kind }) => kind === "device").length;
    set("holdfast_devices_paused", "Devices whose messages are held by a pause.", devicesPaused);
    const state = this.#gauge("holdfast_store_state", "1 for the state the store is in.", ["state"]);
    for (const each of STORE_STATES) state.set({ state: each }, store.state === each ? 1 : 0);
  }

  #forget(name: string): void {
    if (this.#gauges.delete(name)) this.registry.removeSingleMetric(name);
  }

  #gauge(name: string, help: string, labelNames: readonly string[] = []): Gauge<string> {
    const known = this.#gauges.get(name);
    if (known) return known;
    const gauge = new Gauge<string>({ name, help, labelNames, registers: [this.registry] });
    this.#gauges.set(name, gauge);
    return gauge;
  }

  #counter(name: string, help: string, labelNames: readonly string[]): Counter<string> {
    const known = this.#counters.get(name);
    if (known) return known;
    const counter = new Counter<string>({ name, help, labelNames, registers: [this.registry] });
    this.#counters.set(name, counter);
    return counter;
  }
}

/** What a built-in target is, rather than what it is called inside: `device press-7`, `upstream mes`. */
function labelOf(target: string): string {
  return isBuiltInFlow(target) ? targetWords(target) : target;
}
