import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { TcpProxy } from "../../../simulators/backends/tcp-proxy.ts";
import { OpcuaServer } from "../../../simulators/machines/opcua-server.ts";
import { isWritten } from "../../../src/adapters/opcua/write-checks.ts";
import type { WriteConfig } from "../../../src/adapters/opcua/write-schema.ts";
import type { Command } from "../../../src/core/command.ts";
import { capability } from "../../support/capabilities.ts";
import { eventually } from "../../support/journey.ts";
import { deviceAt, Watching } from "./device.ts";

const stack = capability("opcua-server");
const START_MS_MAX = 120_000;

let server: OpcuaServer;
beforeAll(async () => {
  if (stack.present) server = await new OpcuaServer().start();
}, START_MS_MAX);
afterAll(() => server?.stop());
beforeEach(() => {
  if (stack.present) server.set("Tank.Setpoint", 600);
});

const write = { type: "float64", min: 0, max: 900, pauseMin: "0ms", readAfter: "10ms", readWithin: "300ms" };
const nodes = {
  setpoint: { node: "ns=1;s=Tank.Setpoint", unit: "l", write: { ...write, idempotent: true } },
  slowly: { node: "ns=1;s=Motor.Setpoint", write: { ...write, type: "uint16", pauseMin: "1h" } },
  "read-only": { node: "ns=1;s=Tank.Level", write },
  "other-type": { node: "ns=1;s=Motor.On", write },
  blind: { node: "ns=1;s=Pieces", write: { ...write, type: "uint32", verify: false } },
  level: { node: "ns=1;s=Tank.Temperature" },
};

async function online(port = server.port): Promise<Watching> {
  const watching = await Watching.start(deviceAt(`opc.tcp://127.0.0.1:${port}`, {}, { nodes }));
  await watching.until("online");
  return watching;
}

let commands = 0;
const command = (signal: string, value: Command["value"], more: Partial<Command> = {}): Command => ({
  id: `command-${++commands}`,
  device: "plant",
  signal,
  value,
  preconditions: [],
  attempt: 1,
  answerWithinMs: 5000,
  ...more,
});

const never = new AbortController().signal;

async function execute({ adapter }: Watching, given: Command, signal = never) {
  let sent = 0;
  const outcome = await adapter.commanded.execute(given, () => void sent++, signal);
  return { outcome, sent };
}

describe.skipIf(!stack.present)("a command to an OPC UA node", () => {
  it("is written, read back, and seen to be done", async () => {
    const { outcome, sent } = await execute(await online(), command("setpoint", 451.5));
    expect(outcome).toMatchObject({
      kind: "verified",
      value: 451.5,
      evidence: expect.stringMatching(/^ns=1;s=Tank\.Setpoint reads 451\.5 l, \d+ ms after the write$/),
    });
    expect([sent, server.get("Tank.Setpoint")]).toEqual([1, 451.5]);
  });

  it("is not sent where a rule forbids it, and the rule is named as in the config", async () => {
    const watching = await online();
    const rule = (path: string) => `devices.plant.groups.fast.nodes.${path}`;
    for (const [given, named] of [
      [command("setpoint", 901), rule("setpoint.write.max")],
      [command("setpoint", -1), rule("setpoint.write.min")],
      [command("setpoint", "much"), rule("setpoint.write.type")],
      [command("level", 1), rule("level.write")],
      [command("nothing", 1), "devices.plant.groups"],
      [command("setpoint", 1, { device: "other" }), "devices"],
      [
        command("setpoint", 1, { preconditions: [{ signal: "gone", is: "=", value: 1 }] }),
        "preconditions[0]",
      ],
    ] as const) {
      expect(watching.adapter.commanded.refusal(given)).toMatchObject({ rule: named });
      const { outcome, sent } = await execute(watching, given);
      expect(outcome).toMatchObject({ kind: "refused", rule: named });
      expect(sent).toBe(0);
    }
    expect(server.get("Tank.Setpoint")).toBe(600);
    expect([...watching.adapter.commanded.commandable().get("plant")!].map(({ signal }) => signal)).toEqual([
      "setpoint",
      "slowly",
      "read-only",
      "other-type",
      "blind",
    ]);
  });

  it("waits for its pause, but a further try of the same command does not", async () => {
    const watching = await online();
    const first = command("slowly", 700);
    expect((await execute(watching, first)).outcome.kind).toBe("verified");
    expect((await execute(watching, command("slowly", 701))).outcome).toMatchObject({
      kind: "refused",
      rule: expect.stringMatching(/slowly\.write\.pauseMin$/),
    });
    expect((await execute(watching, { ...first, attempt: 2 })).outcome.kind).toBe("verified");
  });

  it("is sent only while its preconditions hold, looked at in the machine itself", async () => {
    const watching = await online();
    server.set("Tank.Temperature", 50);
    const when = (is: "<" | ">") => ({ preconditions: [{ signal: "level", is, value: 40 }] });
    expect((await execute(watching, command("setpoint", 10, when("<")))).outcome).toEqual({
      kind: "refused",
      rule: "preconditions[0]",
      reason: "level is 50, not < 40",
    });
    expect(server.get("Tank.Setpoint")).toBe(600);
    expect((await execute(watching, command("setpoint", 10, when(">")))).outcome.kind).toBe("verified");
  });

  it.each([
    ["read-only", "BadNotWritable"],
    ["other-type", "BadTypeMismatch"],
  ])("fails by the name that the server gives: %s", async (signal, name) => {
    const { outcome, sent } = await execute(await online(), command(signal, 1));
    expect(outcome).toMatchObject({ kind: "failed", reason: expect.stringMatching(`^${name}: `) });
    expect(sent).toBe(1);
  });

  it("that was taken and holds another value is failed, with the value found", async () => {
    const watching = await online();
    const overwriting = setInterval(() => server.set("Tank.Setpoint", 333), 1);
    onTestFinished(() => clearInterval(overwriting));
    expect((await execute(watching, command("setpoint", 20))).outcome).toMatchObject({
      kind: "failed",
      value: 333,
    });
  });

  it("whose answer is lost is unknown, never sent again by itself, and a probe finds it done", async () => {
    const proxy = new TcpProxy({ to: { host: "127.0.0.1", port: server.port } });
    await proxy.start();
    onTestFinished(() => proxy.stop());
    const watching = await online(proxy.port);
    proxy.setMode("drop-answers");
    const given = command("setpoint", 77, { answerWithinMs: 1000 });
    const { outcome, sent } = await execute(watching, given);
    expect([outcome.kind, sent]).toEqual(["unknown", 1]);
    await eventually("the machine has it", () => server.get("Tank.Setpoint") === 77);
    proxy.setMode("pass");
    await eventually("it is reached again", async () => {
      const found = await watching.adapter.commanded.probe(given, never);
      return found.kind === "done" && found.value === 77;
    });
    server.set("Tank.Setpoint", 600);
    expect(await watching.adapter.commanded.probe(given, never)).toMatchObject({ kind: "not done" });
    expect(await watching.adapter.commanded.probe(command("blind", 1), never)).toMatchObject({
      kind: "cannot say",
      hold: true,
    });
  });

  it.each([
    ["float32", 0.1, 0.1, true],
    ["float32", 0.1, Math.fround(0.1), true],
    ["float32", 0.1, 0.11, false],
    ["float64", 0.1, Math.fround(0.1), false],
  ] as const)(
    "that wrote a %s of %d has done it where %d is read back: %s",
    (type, value, found, written) => {
      expect(isWritten(found, value, { type, tolerance: 0 } as WriteConfig)).toBe(written);
    },
  );

  it("to a server that is away is not sent", async () => {
    const watching = await Watching.start(deviceAt("opc.tcp://127.0.0.1:1", {}, { nodes }));
    const { outcome, sent } = await execute(watching, command("setpoint", 5));
    expect([outcome.kind, sent]).toEqual(["unreachable", 0]);
  });

  it("that a stop of the gateway overtakes says how far it had come", async () => {
    const watching = await online();
    const stopping = new AbortController();
    const going = watching.adapter.commanded.execute(
      command("setpoint", 5),
      () => stopping.abort(),
      stopping.signal,
    );
    expect((await going).kind).toBe("unknown");
    expect((await execute(watching, command("setpoint", 6), stopping.signal)).outcome.kind).toBe(
      "unreachable",
    );
  });
});
