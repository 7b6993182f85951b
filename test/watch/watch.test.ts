import pino from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { commandFlow } from "../../src/core/command-message.ts";
import { silentLogger } from "../../src/core/logger.ts";
import type { Querying } from "../../src/queue/reader.ts";
import { DirectReader } from "../../src/queue/reader-direct.ts";
import { type HealthConfig, healthSchema } from "../../src/watch/schema.ts";
import type { DeviceFacts, StoreView, TargetFacts } from "../../src/watch/sources.ts";
import { Watch } from "../../src/watch/watch.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { ScriptedJobs } from "../support/scripted-jobs.ts";
import { StoreBuilder } from "../support/store-builder.ts";
import { GIB, target } from "./health-facts.ts";

let built: StoreBuilder;
let direct: DirectReader;
let watch: Watch | undefined;
let clock: ManualClock;
let store: { state: StoreView["state"]; steadyMs(): number };
let targets: Map<string, TargetFacts>;
let devices: DeviceFacts[];
let published: { topic: string; payload: string }[];
let announced: string[];

beforeEach(() => {
  built = new StoreBuilder();
  direct = new DirectReader(built.dataDir);
  clock = new ManualClock();
  store = { state: { kind: "ok" }, steadyMs: () => clock.monoMs() };
  targets = new Map([["mes", target()]]);
  devices = [];
  published = [];
  announced = [];
});

afterEach(async () => {
  await watch?.stop();
  watch = undefined;
  direct.close();
  built.remove();
});

async function startWatch(
  config: Partial<HealthConfig> = {},
  reader: Querying = direct,
  logger = silentLogger,
): Promise<Watch> {
  watch = new Watch({
    config: { ...healthSchema.parse({}), ...config },
    gateway: "line-3",
    version: "0.1.0",
    boot: "boot-1",
    dataDir: built.dataDir,
    bytesMax: GIB,
    flows: [{ name: "mes", hash: "h", to: "mes" }],
    relay: { views: () => targets, pauses: { all: [] } },
    jobs: new ScriptedJobs(),
    store,
    broker: { clientsOnline: 3, devices: () => devices, read: () => [] },
    reader,
    publish: async (topic, payload) => void published.push({ topic, payload }),
    announce: (health) => void announced.push(health),
    clock,
    logger,
  });
  await watch.start();
  return watch;
}

const reports = () =>
  published
    .filter(({ topic }) => topic === "holdfast/line-3/health")
    .map(({ payload }) => JSON.parse(payload));

/** Until the condition holds, moving the clock on in steps and letting the disk answer. */
async function until(holds: () => boolean, stepMs = 100): Promise<void> {
  for (let i = 0; i < 300 && !holds(); i++) {
    clock.advance(stepMs);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  expect(holds()).toBe(true);
}

describe("watch", () => {
  it("publishes online and health at the start, health again each interval, and offline at the end", async () => {
    const watching = await startWatch();
    expect(published.map(({ topic }) => topic)).toEqual(["holdfast/line-3/status", "holdfast/line-3/health"]);
    expect(published[0]!.payload).toBe("online");
    expect(announced).toEqual([published[1]!.payload]);
    await until(() => reports().length >= 4);
    const [first, , second] = reports();
    expect(first).toMatchObject({ gateway: "line-3", version: "0.1.0", boot: "boot-1", verdict: "ok" });
    expect(second.atMs).toBeGreaterThan(first.atMs);
    await watching.stop();
    expect(published.slice(-2).map(({ payload }) => payload.slice(0, 20))).toContain("offline");
    expect(reports().at(-1).state).toBe("stopping");
    expect(clock.timers).toBe(0);
  });

  it("publishes at once when something changes, and is told of it by a nudge", async () => {
    const watching = await startWatch({ interval: 3_600_000 });
    await until(() => reports().at(-1).accounting.state === "balanced");
    const before = reports().length;
    store.state = { kind: "full", sinceMs: 0 };
    watching.nudge();
    await until(() => reports().length > before, 20);
    expect(reports().at(-1)).toMatchObject({ state: "blocked", verdict: "alarm" });
  });

  it("tells figures of the store as they are, and balances the accounts", async () => {
    built.message({ deliveries: [{ flow: "mes" }] });
    const watching = await startWatch();
    await until(() => watching.report().accounting.state === "balanced");
    expect(watching.report()).toMatchObject({
      flows: [{ flow: "mes", figures: { waiting: 1, accepted: 1 } }],
      door: { accepted: 1 },
      devices: { known: 0, online: 0, clientsOnline: 3 },
    });
    expect(watching.report().store.diskFreeBytes).toBeGreaterThan(0);
  });

  it("alarms when a row was deleted behind the tally's back", async () => {
    built.message({ deliveries: [{ flow: "mes", state: "delivered" }] });
    const watching = await startWatch({ auditEvery: 1000 });
    await until(() => watching.report().accounting.state === "balanced");
    built.db.exec("DELETE FROM deliveries");
    await until(() => watching.report().verdict === "alarm");
    expect(reports().at(-1).problems[0]).toMatchObject({ key: "accounting-mismatch", severity: "alarm" });
  });

  it("does not pass old figures off as true when the reader stops answering", async () => {
    let answering = true;
    const mute: Querying = {
      query: (name, params) => (answering ? direct.query(name, params) : new Promise(() => {})),
    };
    const watching = await startWatch({}, mute);
    answering = false;
    await until(() => watching.report().problems.some(({ kind }) => kind === "blind"));
    expect(watching.report().flows[0]!.figures).toBeNull();
    expect(watching.report().problems[0]!.sentence).toContain("the reader does not answer");
  });

  it("logs a problem once when it begins and once when it is over", async () => {
    const logged: string[] = [];
    const logger = pino(
      { base: null, timestamp: false },
      { write: (line) => void logged.push(`${JSON.parse(line).problem} ${JSON.parse(line).msg}`) },
    );
    const watching = await startWatch({}, direct, logger);
    await until(() => watching.report().uptimeMs > 3000);
    store.state = { kind: "full", sinceMs: 0 };
    await until(() => watching.report().verdict === "alarm");
    await until(() => watching.report().uptimeMs > 8000);
    store.state = { kind: "ok" };
    await until(() => watching.report().verdict === "ok");
    expect(logged).toEqual([
      expect.stringMatching(/^store-full the store has no room: senders wait/),
      "store-full over",
    ]);
  });

  it("publishes nothing where topics are switched off, and reports all the same", async () => {
    const watching = await startWatch({ topics: false });
    await until(() => watching.report().accounting.state === "balanced");
    await watching.stop();
    expect(published).toEqual([]);
  });

  it("publishes the health of each device", async () => {
    devices = [
      {
        device: "press-7",
        online: true,
        lastMessageAtMs: 1,
        messages: 2,
        duplicates: 0,
        late: 0,
        refused: 0,
      },
    ];
    await startWatch();
    expect(published.map(({ topic }) => topic)).toContain("holdfast/line-3/devices/press-7/health");
  });
});

describe("after a restart", () => {
  it("takes back the health of devices that the last run left behind", async () => {
    const insert = built.db.prepare(
      "INSERT INTO sessions (kind, client, key, value) VALUES (?, ?, ?, x'00')",
    );
    insert.run("retained", "", "holdfast/line-3/devices/press-7/health");
    insert.run("retained", "", "holdfast/line-4/devices/press-7/health");
    insert.run("subscription", "", "holdfast/line-3/devices/press-7/health");
    await startWatch();
    expect(published).toContainEqual({ topic: "holdfast/line-3/devices/press-7/health", payload: "" });
    expect(published.filter(({ payload }) => payload === "")).toHaveLength(1);
  });
});

describe("metrics", () => {
  it("agree with the store, in base units, with labels for flow, target and state alone", async () => {
    built.message({ device: "secret-device", deliveries: [{ flow: "mes", state: "dead" }] });
    built.message({ steadyAt: 0, deliveries: [{ flow: "mes" }] });
    built.flow(commandFlow("press-7"), { from: "$command/press-7/#", to: "$command/press-7" });
    built.message({ deliveries: [{ flow: commandFlow("press-7") }] });
    built.tally("", "duplicate", 4);
    built.message({ deliveries: [{ flow: "mes", state: "dead", heldFor: built.export("e-1") }] });
    targets.set(
      "mes",
      target({
        circuit: { state: "open", sinceMs: 1, failures: 1, reason: "away", probeAtMs: 7000 },
        lastProbeOkAtMs: clock.wallMs(),
      }),
    );
    const watching = await startWatch();
    watching.metrics.committed(100, 4, 0.8);
    watching.metrics.answered("$command/press-7", [{ kind: "delivered" }]);
    watching.metrics.answered("mes", [{ kind: "delivered" }, { kind: "reject" }, { kind: "delivered" }]);
    await until(() => watching.report().accounting.state === "balanced");
    await clock.advanceAsync(60_000 - clock.monoMs());
    const { text, contentType } = await watching.exposition();
    expect(contentType).toContain("text/plain");
    const lines = text.split("\n");
    for (const line of [
      'holdfast_deliveries{flow="mes",state="waiting"} 1',
      'holdfast_deliveries{flow="mes",state="dead"} 2',
      'holdfast_deliveries_held{flow="mes"} 1',
      'holdfast_deliveries_held{flow="commands to press-7"} 0',
      "holdfast_export_held_age_seconds 60",
      'holdfast_oldest_age_seconds{flow="mes"} 60',
      'holdfast_flow_accepted_total{flow="mes"} 3',
      'holdfast_messages_total{result="duplicates"} 4',
      'holdfast_circuit_state{target="mes",state="open"} 1',
      'holdfast_target_state{target="mes",state="down"} 1',
      'holdfast_outcomes_total{target="mes",outcome="delivered"} 2',
      'holdfast_commit_duration_seconds_bucket{le="0.005"} 1',
      'holdfast_commit_sync_duration_seconds_bucket{le="0.001"} 1',
      'holdfast_commit_sync_duration_seconds_bucket{le="0.0005"} 0',
      'holdfast_deliveries{flow="commands to press-7",state="waiting"} 1',
      'holdfast_outcomes_total{target="device press-7",outcome="delivered"} 1',
      "holdfast_commit_requests_sum 100",
      "holdfast_accounting_mismatches 0",
      'holdfast_store_state{state="ok"} 1',
      'holdfast_info{version="0.1.0"} 1',
    ]) {
      expect(lines).toContain(line);
    }
    expect(text).toContain("nodejs_eventloop_lag_p99_seconds");
    expect(text).not.toContain("secret-device");
    expect(text).not.toContain("$command");
    const labels = new Set(
      [...text.matchAll(/^holdfast_\w+\{([^}]*)\}/gm)].flatMap(([, inner]) =>
        [...inner!.matchAll(/(\w+)="/g)].map(([, label]) => label),
      ),
    );
    expect([...labels].sort()).toEqual([
      "flow",
      "kind",
      "le",
      "outcome",
      "result",
      "state",
      "target",
      "version",
      "why",
    ]);
  });

  it("do not count twice when they are asked for twice, and leave out what is not known", async () => {
    built.message({ deliveries: [{ flow: "mes" }] });
    const watching = await startWatch({ auditEvery: 3_600_000 });
    for (let i = 0; i < 3; i++) {
      const { text } = await watching.exposition();
      expect(text).toContain('holdfast_flow_accepted_total{flow="mes"} 1\n');
      expect(text).not.toMatch(/^holdfast_accounting/m);
    }
  });
});
