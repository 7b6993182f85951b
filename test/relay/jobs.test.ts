/** Jobs carried on by the driver over the real store, with targets that do as they are told, on a clock that is moved by hand. */
import { describe, expect, it, onTestFinished } from "vitest";
import { flowSchema, makeFlow } from "../../src/core/flow.ts";
import { silentLogger } from "../../src/core/logger.ts";
import { reject, retryTarget } from "../../src/core/outcome.ts";
import { DirectReader } from "../../src/queue/reader-direct.ts";
import { type JobAsk, Jobs } from "../../src/relay/jobs.ts";
import { relaySchema } from "../../src/relay/schema.ts";
import { RelayRig, type RelayRigOptions } from "../support/relay-rig.ts";
import { ScriptedTarget } from "../support/scripted-target.ts";
import { eventually } from "../support/test-store.ts";

const ACT = { who: "anna", what: "beginJob", detail: {}, reason: null };

class JobsRig {
  readonly rig: RelayRig;
  readonly jobs: Jobs;
  readonly told: string[] = [];

  private constructor(rig: RelayRig, options: RelayRigOptions, config: object = {}) {
    this.rig = rig;
    const reader = new DirectReader(rig.store.dataDir);
    const flows = Object.entries(options.flows ?? { outbox: {} }).map(([name, raw]) =>
      makeFlow(name, flowSchema.parse({ from: "#", to: options.target.name, ...raw })),
    );
    this.jobs = new Jobs({
      config: relaySchema.parse({ jobs: config }).jobs,
      flows,
      store: rig.store.store,
      reader,
      relay: rig.relay,
      clock: rig.clock,
      logger: silentLogger,
    });
    this.jobs.onState = ({ id, state }) => this.told.push(`${id} ${state}`);
    onTestFinished(async () => {
      await this.jobs.stop();
      reader.close();
    });
  }

  static async open(options: RelayRigOptions, config: object = {}): Promise<JobsRig> {
    const opened = new JobsRig(await RelayRig.open(options), options, config);
    await opened.jobs.start();
    return opened;
  }

  begin(ask: JobAsk) {
    return this.jobs.begin(ask, ACT);
  }

  count(state: string, flow = "outbox"): number {
    return this.rig.store.value(
      "SELECT count(*) FROM deliveries d JOIN lanes l ON l.id = d.lane WHERE d.state = ? AND l.flow = ?",
      state,
      flow,
    );
  }

  figure(what: string, flow = "outbox"): number {
    return this.rig.store.value("SELECT n FROM tally WHERE flow = ? AND what = ?", flow, what) ?? 0;
  }

  /** In steps, so that what the store answers in between has its effect. */
  async pass(ms: number, stepMs = 250): Promise<void> {
    for (let leftMs = ms; leftMs > 0; leftMs -= stepMs) await this.rig.advance(stepMs);
  }

  /** Lets time pass until no job is open; how long that took, ms. */
  async run(): Promise<number> {
    const beganMs = this.rig.clock.monoMs();
    for (let steps = 0; this.jobs.open().some(({ state }) => state === "running"); steps++) {
      if (steps > 1000) throw new Error("the job does not end");
      await this.rig.advance(100);
    }
    await this.rig.calm(40);
    return this.rig.clock.monoMs() - beganMs;
  }
}

/** Messages of three devices, all dead of the same fault but for each tenth, which has another. */
async function deadOnes(count: number, options: Partial<RelayRigOptions> = {}, config: object = {}) {
  const target = new ScriptedTarget();
  target.script = ({ message }) =>
    reject(message.seq % 10 === 0 ? "HTTP 413" : `HTTP 422: no ${message.seq}`);
  const opened = await JobsRig.open({ target, ...options }, config);
  for (const device of ["a", "b", "c"]) await opened.rig.put(device, count / 3);
  await eventually(() => opened.count("dead")).toBe(count);
  await opened.rig.calm();
  target.script = () => ({ kind: "delivered" });
  return { target, ...opened, opened, rig: opened.rig };
}

const balanced = (rig: RelayRig) => expect(rig.store.audit().mismatches).toEqual([]);

describe("a redrive", () => {
  it("puts every dead letter back at its rate, in the order of each lane, under its id", async () => {
    const { opened, rig, target } = await deadOnes(90);
    expect(await opened.jobs.estimate({ kind: "redrive", selection: {} })).toMatchObject({
      count: 90,
      bytes: 180,
      complete: true,
    });
    const { id, total } = await opened.begin({ kind: "redrive", selection: {}, rate: 30 });
    expect(total).toBe(90);
    const tookMs = await opened.run();
    expect(tookMs).toBeGreaterThanOrEqual(2500);
    expect(tookMs).toBeLessThanOrEqual(3500);
    expect(target.takenIds).toHaveLength(90);
    for (const device of ["a", "b", "c"]) {
      const ids = target.takenIds.filter((each) => each.startsWith(device));
      expect(ids).toEqual(Array.from({ length: 30 }, (_, at) => `${device}-${at + 1}`));
    }
    expect(target.taken.some(({ replay }) => replay)).toBe(false);
    expect(opened.told).toEqual([`${id} running`, `${id} finished`]);
    balanced(rig);
  });

  it("can be kept to a flow, a group of reasons, a device and a time", async () => {
    const { opened, rig } = await deadOnes(60);
    const estimate = (selection: object) => opened.jobs.estimate({ kind: "redrive", selection });
    expect((await estimate({ group: "HTTP 422: no 17" })).count).toBe(54);
    expect((await estimate({ device: "b", group: "HTTP 413" })).count).toBe(2);
    expect((await estimate({ flow: "other" })).count).toBe(0);
    expect((await estimate({ toMs: rig.clock.wallMs() })).count).toBe(0);
    await opened.begin({ kind: "redrive", selection: { device: "b", group: "HTTP 413" } });
    await opened.run();
    expect(opened.count("delivered")).toBe(2);
    expect(opened.count("dead")).toBe(58);
    balanced(rig);
  });

  it("takes a letter once, however often it dies again, and nothing that came later", async () => {
    const { opened, rig, target } = await deadOnes(30);
    target.script = () => reject("still not");
    await opened.begin({ kind: "redrive", selection: {}, rate: 2000 });
    await rig.put("late", 5);
    await opened.run();
    expect(target.calls.flatMap(({ batch }) => batch)).toHaveLength(30 + 30 + 5);
    expect(opened.count("dead")).toBe(35);
    balanced(rig);
  });

  it("stands still while it is paused, over a restart too, goes on where it was, and can be cancelled", async () => {
    const { opened, rig, target } = await deadOnes(90);
    const { id } = await opened.begin({ kind: "redrive", selection: {}, rate: 30 });
    await opened.pass(1000);
    const paused = await opened.jobs.change(id, "paused", ACT);
    await rig.calm(20);
    const taken = target.taken.length;
    expect(taken).toBeGreaterThan(20);
    expect(taken).toBeLessThan(60);
    await expect(opened.jobs.change(id, "paused", ACT)).rejects.toMatchObject({ code: "HF_JOB_STATE" });
    await rig.advance(10_000);
    expect(target.taken).toHaveLength(taken);
    await opened.jobs.stop();
    await rig.stop();
    const again = await JobsRig.open({ target, store: rig.store, clock: rig.clock });
    expect(again.jobs.open()).toMatchObject([
      { id, state: "paused", done: paused.done, atSeq: paused.atSeq },
    ]);
    await again.jobs.change(id, "running", ACT);
    await again.pass(1000);
    await again.jobs.change(id, "cancelled", ACT);
    const left = again.count("dead");
    expect(left).toBeGreaterThan(0);
    await again.run();
    expect(again.count("dead")).toBe(left);
    expect(new Set(target.takenIds).size).toBe(target.taken.length);
    await expect(again.jobs.change(id, "running", ACT)).rejects.toMatchObject({ code: "HF_JOB_STATE" });
    balanced(again.rig);
  });

  it("waits while its target is away, and says so", async () => {
    const { opened, rig, target } = await deadOnes(30);
    target.script = () => retryTarget("ECONNREFUSED");
    target.reachable = () => false;
    await rig.put("knock");
    await eventually(() => rig.circuit).toBe("open");
    const { id } = await opened.begin({ kind: "redrive", selection: { flow: "outbox" }, rate: 1000 });
    await rig.advance(5000);
    expect(opened.jobs.open()).toMatchObject([{ id, done: 0, waitsFor: "target backend is away" }]);
    target.script = () => ({ kind: "delivered" });
    target.reachable = () => true;
    await opened.run();
    expect(target.taken).toHaveLength(31);
    balanced(rig);
  });

  it("is refused above the highest rate, and where too many are open", async () => {
    const { opened } = await deadOnes(3, {}, { openMax: 1, rateMax: 100 });
    await expect(opened.begin({ kind: "redrive", selection: {}, rate: 101 })).rejects.toMatchObject({
      code: "HF_REQUEST",
    });
    await opened.begin({ kind: "redrive", selection: {}, rate: 0.1 });
    await expect(opened.begin({ kind: "redrive", selection: {} })).rejects.toMatchObject({
      code: "HF_TOO_MANY",
    });
  });
});

describe("a replay", () => {
  const flows = { outbox: {}, archive: { to: "archive", orderBy: "topic" } };

  async function delivered(count: number, more: Record<string, Record<string, unknown>> = flows) {
    const target = new ScriptedTarget();
    const archive = new ScriptedTarget({ name: "archive" });
    const opened = await JobsRig.open({ target, others: [archive], flows: more });
    for (const device of ["a", "b", "c"]) await opened.rig.put(device, count / 3);
    await eventually(() => opened.count("delivered")).toBe(count);
    return { opened, rig: opened.rig, target, archive };
  }

  it("delivers again on the same flow, in order, marked, with figures that say what was ever delivered", async () => {
    const { opened, rig, target } = await delivered(30);
    const ask: JobAsk = { kind: "replay", selection: { flow: "outbox", device: "b" }, rate: 100 };
    expect(await opened.jobs.estimate(ask)).toMatchObject({ count: 10, goneAtMost: 0 });
    const { id } = await opened.begin(ask);
    await opened.run();
    const again = target.taken.slice(30);
    expect(again.map(({ message }) => message.id)).toEqual(
      Array.from({ length: 10 }, (_, at) => `b-${at + 1}`),
    );
    expect(again.every(({ replay }) => replay)).toBe(true);
    expect(target.taken.slice(0, 30).some(({ replay }) => replay)).toBe(false);
    expect([opened.figure("accepted"), opened.figure("delivered"), opened.figure("replayed")]).toEqual([
      30, 30, 10,
    ]);
    expect(rig.history("b-1")).toEqual([
      `replay: delivered once; to be delivered again (job ${id} of anna)`,
      "delivered",
    ]);
    balanced(rig);
  });

  it("delivers on another flow as well, once, with its own order, counted as accepted there", async () => {
    const { opened, rig, archive } = await delivered(30);
    const ask: JobAsk = { kind: "replay", selection: { flow: "outbox", into: "archive" }, rate: 1000 };
    await opened.begin(ask);
    await opened.run();
    expect(archive.taken).toHaveLength(30);
    expect(archive.taken.every(({ replay }) => replay)).toBe(true);
    expect(archive.takenIds.filter((each) => each.startsWith("c"))).toEqual(
      Array.from({ length: 10 }, (_, at) => `c-${at + 1}`),
    );
    expect([opened.figure("accepted", "archive"), opened.figure("delivered", "archive")]).toEqual([30, 30]);
    expect(opened.figure("replayedInto", "archive")).toBe(30);
    expect(opened.count("delivered")).toBe(30);
    balanced(rig);
    // Its checksum goes with its routes: it can be sent again from either flow.
    await opened.begin({ kind: "replay", selection: { flow: "archive" } });
    await opened.run();
    expect(archive.taken).toHaveLength(60);
    balanced(rig);
  });

  it("is not stopped by its flow's ttl: it is old on purpose", async () => {
    for (const orderBy of ["device", "none"]) {
      const { opened, rig, target } = await delivered(6, {
        outbox: { ttl: "2s", orderBy },
        archive: { to: "archive" },
      });
      await rig.advance(60_000);
      target.script = () => retryTarget("ECONNREFUSED");
      target.reachable = () => false;
      await opened.begin({ kind: "replay", selection: {}, rate: 1000 });
      await rig.put("late", 2);
      await opened.pass(6000, 500);
      expect([opened.count("expired"), opened.count("waiting")]).toEqual([2, 6]);
      target.script = () => ({ kind: "delivered" });
      target.reachable = () => true;
      await opened.pass(40_000, 5000);
      expect(opened.count("delivered")).toBe(6);
      balanced(rig);
    }
  });

  it("takes those that are named, and leaves alone what is not delivered", async () => {
    const { opened, rig, target } = await delivered(30);
    target.script = ({ message }) => (message.device === "x" ? reject("no") : { kind: "delivered" });
    await rig.put("x", 2);
    await eventually(() => opened.count("dead")).toBe(2);
    await opened.begin({ kind: "replay", selection: {}, ids: ["a-3", "x-1", "nobody", "a-1"] });
    await opened.run();
    expect(target.takenIds.slice(30)).toEqual(["a-1", "a-3"]);
    expect(rig.store.value("SELECT count(*) FROM job_messages")).toBe(0);
    balanced(rig);
  });

  it("is refused into a flow that there is not, and of commands", async () => {
    const { opened } = await delivered(3);
    for (const selection of [{ into: "nowhere" }, { flow: "$command/press-7" }]) {
      await expect(opened.jobs.estimate({ kind: "replay", selection })).rejects.toMatchObject({
        code: "HF_REQUEST",
      });
    }
  });
});
