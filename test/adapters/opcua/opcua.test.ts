import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { TcpProxy } from "../../../simulators/backends/tcp-proxy.ts";
import { OpcuaServer } from "../../../simulators/machines/opcua-server.ts";
import { capability } from "../../support/capabilities.ts";
import { eventually } from "../../support/journey.ts";
import { deviceAt, type Raw, Watching } from "./device.ts";

const stack = capability("opcua-server");
/** The stack is heavy, and a small machine takes its time to load it. */
const START_MS_MAX = 120_000;

let server: OpcuaServer;
beforeAll(async () => {
  if (stack.present) server = await new OpcuaServer().start();
}, START_MS_MAX);
afterAll(() => server?.stop());

let level = 0;
/** A level that no test has had before. */
const nextLevel = () => ++level;

async function through(): Promise<TcpProxy> {
  const proxy = new TcpProxy({ to: { host: "127.0.0.1", port: server.port } });
  await proxy.start();
  onTestFinished(() => proxy.stop());
  return proxy;
}

const at = ({ port }: { readonly port: number }) => `opc.tcp://127.0.0.1:${port}`;

describe.skipIf(!stack.present)("an OPC UA server", () => {
  it("is subscribed to, and its readings are what its nodes hold, of every kind", async () => {
    const nodes = Object.fromEntries(
      ["Tank.Level", "Tank.Temperature", "Motor.Speed", "Motor.On", "Pieces", "Total", "Name", "Profile"].map(
        (name) => [name.replace(".", "-"), { node: `ns=1;s=${name}` }],
      ),
    );
    const producedAt = new Date("2026-05-04T03:02:01.987Z");
    server.set("Tank.Level", 123.5, "Good", producedAt);
    // A float32: what is sent is 21.100000381469727.
    server.set("Tank.Temperature", 21.1);
    const watching = await Watching.start(deviceAt(server.endpoint, {}, { nodes }));
    await eventually("all of them came", () => watching.values("Name").length > 0);
    expect(watching.messages[0]).toMatchObject({
      kind: "poll",
      device: "plant",
      sequence: 1,
      group: "fast",
      readings: {
        "Tank-Level": { value: 123.5, quality: "good", reason: null, producedAt: producedAt.toISOString() },
        "Tank-Temperature": { value: 21.1 },
        "Motor-Speed": { value: 0 },
        "Motor-On": { value: true },
        // Beyond 2^53, and not a digit lost.
        Total: { value: "18014398509481985" },
        Name: { value: "PLANT-1" },
        Profile: { value: [1, 2.5, 4] },
      },
    });
    expect(watching.drafts[0]).toMatchObject({ topic: "plant/fast", source: "opcua", device: "plant" });
    expect(watching.report).toMatchObject({ state: "online", type: "opcua", where: server.endpoint });
  });

  it("says by its status whether a value is good, uncertain, or none", async () => {
    server.set("Tank.Level", nextLevel());
    const watching = await Watching.start(deviceAt(server.endpoint));
    await watching.has("level", level);
    server.set("Tank.Level", nextLevel(), "UncertainSensorNotAccurate");
    await eventually("the one came", () => watching.of("level").length >= 2);
    server.set("Tank.Level", null, "BadSensorFailure");
    await eventually("the other came", () => watching.of("level").length >= 3);
    expect(watching.of("level").slice(1)).toMatchObject([
      { value: level, quality: "stale", reason: expect.stringMatching(/^UncertainSensorNotAccurate: \S/) },
      { value: null, quality: "bad", reason: expect.stringMatching(/^BadSensorFailure: \S/) },
    ]);
  });

  it("that has not one of the nodes costs that one alone, by name", async () => {
    const nodes = { level: { node: "ns=1;s=Tank.Level" }, gone: { node: "ns=1;s=Gone" } };
    server.set("Tank.Level", nextLevel());
    const watching = await Watching.start(deviceAt(server.endpoint, {}, { nodes }));
    await watching.has("level", level);
    expect(watching.of("gone").slice(-1)).toMatchObject([
      { value: null, quality: "bad", reason: expect.stringContaining("BadNodeIdUnknown: ") },
    ]);
    expect(watching.report).toMatchObject({ state: "online", lastError: expect.stringContaining("(gone)") });
  });

  it("that has none of the nodes is failing", async () => {
    const watching = await Watching.start(
      deviceAt(server.endpoint, {}, { nodes: { gone: { node: "ns=1;s=Gone" } } }),
    );
    await watching.until("failing");
  });

  it("keeps values in its queue until it sends, and all of them come, in their order", async () => {
    server.set("Tank.Level", nextLevel());
    const watching = await Watching.start(deviceAt(server.endpoint, {}, { every: "1s" }));
    await watching.has("level", level);
    const before = watching.values("level").length;
    const sent = [nextLevel(), nextLevel(), nextLevel(), nextLevel()];
    await server.setEach("Tank.Level", sent);
    await watching.has("level", level);
    expect(watching.values("level").slice(before)).toEqual(sent);
    expect(watching.gaps).toEqual([]);
  });

  it("whose queue overflows is found out, and the gap says which signal and why", async () => {
    server.set("Tank.Level", nextLevel());
    const group = { every: "2s", queueSize: 3 };
    const watching = await Watching.start(deviceAt(server.endpoint, {}, group));
    await watching.has("level", level);
    const before = watching.values("level").length;
    await server.setEach("Tank.Level", Array.from({ length: 6 }, nextLevel));
    await watching.has("level", level);
    const found = watching.values("level").slice(before);
    expect(found.slice(-3)).toEqual([level - 2, level - 1, level]);
    expect(found.length).toBeLessThan(6);
    expect(watching.gaps).toMatchObject([
      { count: null, reason: expect.stringMatching(/^group fast: queue-overflow: .*\blevel\b/) },
    ]);
    // Its number is its own: no reading has it.
    const numbers = watching.messages.map(({ sequence }) => sequence);
    expect(numbers).toEqual(numbers.map((_, index) => index + 1));
  });

  it("leaves out what lies within a deadband", async () => {
    const node = { node: "ns=1;s=Tank.Level", deadband: 10 };
    level += 1000;
    server.set("Tank.Level", level);
    const watching = await Watching.start(deviceAt(server.endpoint, {}, { nodes: { level: node } }));
    await watching.has("level", level);
    await server.setEach("Tank.Level", [level + 9]);
    level += 20;
    server.set("Tank.Level", level);
    await watching.has("level", level);
    expect(watching.values("level")).toEqual([level - 20, level]);
  });

  it("has its deadband in percent of a range, and says by name where a node has none", async () => {
    const nodes = {
      level: { node: "ns=1;s=Tank.Level", deadbandPercent: 5 },
      speed: { node: "ns=1;s=Motor.Speed", deadbandPercent: 5 },
    };
    server.set("Tank.Level", 100);
    const watching = await Watching.start(deviceAt(server.endpoint, {}, { nodes }));
    await watching.has("level", 100);
    await server.setEach("Tank.Level", [149, 200]);
    await watching.has("level", 200);
    expect(watching.values("level")).toEqual([100, 200]);
    expect(watching.of("speed").at(-1)).toMatchObject({
      quality: "bad",
      reason: expect.stringMatching(/^Bad\w+: .*leave `deadband` to the gateway/),
    });
  });

  it("is reported by exception, and at the heartbeat though nothing changes", async () => {
    server.set("Tank.Level", nextLevel());
    const report = { deadband: 5, heartbeat: "200ms" };
    const watching = await Watching.start(deviceAt(server.endpoint, {}, { report }));
    await eventually("it was said again and again", () => watching.values("level").length >= 3);
    expect(new Set(watching.values("level"))).toEqual(new Set([level]));
  });

  it("may have a message for each value, and groups of their own", async () => {
    const groups = {
      quick: { every: "20ms", nodes: { level: { node: "ns=1;s=Tank.Level" } } },
      slow: { every: "100ms", nodes: { name: { node: "ns=1;s=Name" } } },
    };
    const watching = await Watching.start(deviceAt(server.endpoint, { message: "signal", groups }));
    await eventually("both came", () => watching.drafts.length >= 2);
    expect(watching.drafts.map(({ topic }) => topic).toSorted()).toEqual(["plant/level", "plant/name"]);
    expect(server.subscriptions).toBeGreaterThanOrEqual(2);
  });
});

describe.skipIf(!stack.present)("what an OPC UA server holds", () => {
  it("is acknowledged to it when it is stored, and not before", async () => {
    server.set("Tank.Level", nextLevel());
    const watching = await Watching.start(deviceAt(server.endpoint));
    await watching.has("level", level);
    await eventually("all is acknowledged", () => server.unacknowledged === 0);
    watching.takes(false);
    for (let n = 1; n <= 3; n++) {
      server.set("Tank.Level", nextLevel());
      await eventually(`${n} are made and wait`, () => watching.report.held >= n);
    }
    // A keep-alive and more goes by, each an occasion to acknowledge.
    const { lastAnswerAtMs } = watching.report;
    await eventually("it said something", () => watching.report.lastAnswerAtMs! > lastAnswerAtMs! + 600);
    expect(server.unacknowledged).toBe(3);
    watching.takes(true);
    await eventually("they are acknowledged", () => server.unacknowledged === 0);
    expect(watching.values("level").slice(-3)).toEqual([level - 2, level - 1, level]);
  });

  /** Sets some values while `breaks` is done to the way; what came of them. */
  async function broken(
    breaks: (proxy: TcpProxy) => void | Promise<void>,
    more: Raw = {},
  ): Promise<{ watching: Watching; sent: number[]; before: number }> {
    const proxy = await through();
    server.set("Tank.Level", nextLevel());
    const watching = await Watching.start(deviceAt(at(proxy), more));
    await watching.has("level", level);
    const before = watching.values("level").length;
    proxy.setMode("cut");
    await watching.until("offline");
    expect(watching.of("level").at(-1)).toMatchObject({ value: level, quality: "stale" });
    const sent = [nextLevel(), nextLevel(), nextLevel()];
    await server.setEach("Tank.Level", sent);
    await breaks(proxy);
    proxy.setMode("pass");
    await watching.until("online");
    await watching.has("level", level);
    await eventually(
      "what did not change is good again",
      () => watching.of("speed").at(-1)?.quality === "good",
    );
    return { watching, sent, before };
  }

  it("while the line is broken comes afterwards, once and in order, and nothing is said to be missing", async () => {
    const { watching, sent, before } = await broken(() => {});
    expect(watching.values("level").slice(before)).toEqual(sent);
    expect(watching.gaps).toEqual([]);
  });

  it("goes over to a new session where the old one has ended meanwhile", async () => {
    const security = { mode: "Sign", trusted: [server.fingerprint] };
    const { watching, sent, before } = await broken(() => server.forgetSessions(true), { security });
    expect(watching.values("level").slice(before)).toEqual(sent);
    expect(watching.gaps).toEqual([]);
  });

  it("is not handed over to somebody who cannot show who he is, and the gap says that", async () => {
    const { watching } = await broken(() => server.forgetSessions(true));
    expect(watching.gaps).toMatchObject([{ reason: expect.stringContaining("BadUserAccessDenied") }]);
  });

  it("is lost with the subscription, and the gap says so and since when", async () => {
    const { watching, sent, before } = await broken(() => server.forgetSessions(false));
    expect(watching.values("level").slice(before)).toEqual([sent.at(-1)]);
    const [gap] = watching.gaps;
    expect(gap).toMatchObject({
      count: null,
      reason: expect.stringMatching(/^group fast: .*could not be taken over \(BadSubscriptionIdInvalid/),
    });
    expect(Date.parse(gap!.from!)).toBeLessThan(Date.parse(gap!.to!));
  });

  it("and has sent into a dead line is asked for again", async () => {
    const proxy = await through();
    server.set("Tank.Level", nextLevel());
    const watching = await Watching.start(deviceAt(at(proxy), { timeout: "1s" }));
    await watching.has("level", level);
    const before = watching.values("level").length;
    await eventually("all is acknowledged", () => server.unacknowledged === 0);
    proxy.setMode("drop-answers");
    const sent = [nextLevel(), nextLevel()];
    for (const value of sent) {
      const { unacknowledged } = server;
      server.set("Tank.Level", value);
      await eventually("the server has sent it", () => server.unacknowledged > unacknowledged);
    }
    await eventually("the silence is noticed", () => watching.report.failures > 0);
    proxy.setMode("pass");
    await watching.has("level", level);
    expect(watching.values("level").slice(before)).toEqual(sent);
    expect(watching.gaps).toEqual([]);
  });

  it("and has sent into a dead line, and thrown away since, is missed by its number", async () => {
    const proxy = await through();
    server.set("Tank.Level", nextLevel());
    const watching = await Watching.start(deviceAt(at(proxy), { timeout: "1s" }));
    await watching.has("level", level);
    await eventually("all is acknowledged", () => server.unacknowledged === 0);
    proxy.setMode("drop-answers");
    server.set("Tank.Level", nextLevel());
    await eventually("the server has sent it", () => server.unacknowledged > 0);
    server.forgetUnacknowledged();
    await eventually("the silence is noticed", () => watching.report.failures > 0);
    proxy.setMode("pass");
    // By the next notification, or by the next keep-alive, which bears the same number.
    await eventually("the hole is seen", () => watching.gaps.length > 0);
    expect(watching.gaps).toMatchObject([
      { reason: expect.stringMatching(/no longer has notifications \d+ to \d+/) },
    ]);
    server.set("Tank.Level", nextLevel());
    await watching.has("level", level);
  });

  it("is thrown away at a stop: the session and its subscriptions are not left behind", async () => {
    const others = { sessions: server.sessions, subscriptions: server.subscriptions };
    const watching = await Watching.start(deviceAt(server.endpoint));
    await watching.until("online");
    expect(server.subscriptions).toBe(others.subscriptions + 1);
    await watching.adapter.stop();
    await eventually("none is left", () => server.subscriptions === others.subscriptions);
    expect(server.sessions).toBe(others.sessions);
  });
});
