import { beforeEach, describe, expect, it } from "vitest";
import { Scale } from "../../../simulators/machines/scale.ts";
import { render } from "../../../src/adapters/serial/command-rules.ts";
import type { SerialAdapter } from "../../../src/adapters/serial/serial.ts";
import type { Command, CommandOutcome, CommandValue } from "../../../src/core/command.ts";
import { capability } from "../../support/capabilities.ts";
import { eventually } from "../../support/journey.ts";
import type { Observed } from "../observed.ts";
import { observe, plugged, serialDevice, shipped } from "./rig.ts";

const pty = capability("pty");
const never = new AbortController().signal;

let n = 0;
function command(signal: string, value: CommandValue = null, more: Partial<Command> = {}): Command {
  n += 1;
  return {
    id: `c-${n}`,
    device: "press-7",
    signal,
    value,
    preconditions: [],
    attempt: 1,
    answerWithinMs: 400,
    ...more,
  };
}

describe.skipIf(!pty.present)("a scale that may be commanded", () => {
  let scale: Scale;
  let observed: Observed<SerialAdapter>;

  beforeEach(async () => {
    scale = await plugged(new Scale());
    const device = await shipped("serial-scale.yaml", { SCALE_PORT: scale.path });
    device.groups.weight!.request!.every = 60;
    device.timeout = 250;
    observed = await observe(device);
    await observed.until("online");
  });

  const execute = async (given: Command, signal = never) => {
    let sent = 0;
    const outcome = await observed.adapter.commanded.execute(given, () => sent++, signal);
    return { outcome, sent };
  };
  const commandsHeard = () => scale.heard.filter((request) => !/^(SI|TA)$/.test(request));

  it("says which it takes, with their limits", () => {
    expect(observed.adapter.commanded.commandable().get("press-7")).toEqual([
      { signal: "tare-now", type: "none", idempotent: false, verifiable: true },
      { signal: "set-tare", type: "number", unit: "kg", min: 0, max: 20, idempotent: true, verifiable: true },
      { signal: "zero", type: "none", idempotent: false, verifiable: true },
    ]);
  });

  it("does what it is told, and what it answers is the evidence, while it is polled", async () => {
    scale.loadKg = 2.5;
    const before = scale.heard.length;
    expect(await execute(command("tare-now"))).toEqual({
      outcome: { kind: "verified", evidence: 'it answered "T S      2.500 kg"', value: 2.5 },
      sent: 1,
    });
    expect([scale.tares, scale.tareKg]).toEqual([1, 2.5]);
    await eventually("it is polled on", () => scale.heard.length > before + 3);
    await eventually("its net weight is read", () => observed.of("weight").at(-1)?.value === 0);
  });

  it("is read back where the config says what shows it", async () => {
    expect(await execute(command("set-tare", 1.25))).toEqual({
      outcome: { kind: "verified", evidence: "tare is 1.25", value: 1.25 },
      sent: 1,
    });
    expect(await observed.adapter.commanded.probe(command("set-tare", 1.25), never)).toMatchObject({
      kind: "done",
    });
    expect(await observed.adapter.commanded.probe(command("set-tare", 2), never)).toEqual({
      kind: "not done",
      evidence: "tare is 1.25",
    });
    expect(await observed.adapter.commanded.probe(command("zero"), never)).toMatchObject({
      kind: "cannot say",
      hold: true,
    });
  });

  it("that says no has failed", async () => {
    scale.stable = false;
    expect(await execute(command("tare-now"))).toEqual({
      outcome: { kind: "failed", reason: 'it answered "T I"' },
      sent: 1,
    });
    expect(scale.tares).toBe(0);
  });

  it.each<[string, Command, string, string]>([
    ["no such command", command("explode"), "devices.press-7.commands", "press-7 has no command explode"],
    [
      "too much",
      command("set-tare", 20.5),
      "devices.press-7.commands.set-tare.value.max",
      "20.5 is above 20",
    ],
    ["too little", command("set-tare", -1), "devices.press-7.commands.set-tare.value.min", "-1 is below 0"],
    [
      "finer than is sent",
      command("set-tare", 1.0005),
      "devices.press-7.commands.set-tare.value.decimals",
      "more decimals",
    ],
    [
      "text for a number",
      command("set-tare", "1 kg\r\nZ"),
      "devices.press-7.commands.set-tare.value.type",
      "is no number",
    ],
    ["a value for none", command("zero", 1), "devices.press-7.commands.zero.value", "it takes no value"],
    ["another device", command("zero", null, { device: "press-8" }), "devices", "there is no device press-8"],
    [
      "an unknown precondition",
      command("zero", null, { preconditions: [{ signal: "x", is: "=", value: 1 }] }),
      "preconditions[0]",
      "press-7 has no signal x",
    ],
  ])("is sent nothing where a rule forbids it, which is named: %s", async (_, given, rule, reason) => {
    const refused = { rule, reason: expect.stringContaining(reason) };
    expect(observed.adapter.commanded.refusal(given)).toEqual(refused);
    expect(await execute(given)).toEqual({ outcome: { kind: "refused", ...refused }, sent: 0 });
    expect(commandsHeard()).toEqual([]);
  });

  it("is not told to more often than its rate; a further try of the same is no new one", async () => {
    const first = command("zero");
    expect((await execute(first)).outcome.kind).toBe("verified");
    expect((await execute(command("zero"))).outcome.kind).toBe("verified");
    expect((await execute(command("zero"))).outcome).toEqual({
      kind: "refused",
      rule: "devices.press-7.commands.zero.rate",
      reason: "it was sent 2 times within 1m",
    });
    expect((await execute({ ...first, attempt: 2 })).outcome.kind).toBe("verified");
  });

  it("is told only where its preconditions hold, on a reading made just before", async () => {
    scale.loadKg = 0.5;
    const below = (value: number) => ({ preconditions: [{ signal: "weight", is: "<", value } as const] });
    expect((await execute(command("zero", null, below(0.4)))).outcome).toEqual({
      kind: "refused",
      rule: "preconditions[0]",
      reason: "weight is 0.5, not < 0.4",
    });
    expect(commandsHeard()).toEqual([]);
    expect((await execute(command("zero", null, below(0.6)))).outcome.kind).toBe("verified");
    scale.setFault({ kind: "silence" });
    expect((await execute(command("zero", null, below(0.6)))).outcome).toMatchObject({
      kind: "unreachable",
      reason: expect.stringContaining("weight cannot be read"),
    });
  });

  it("whose answer is lost may have done it: unknown, sent once, and seen where it can be", async () => {
    scale.loadKg = 3;
    scale.losesAnswers = true;
    const { outcome, sent } = await execute(command("tare-now"));
    expect([outcome, sent]).toEqual([{ kind: "unknown", reason: "no answer within 400ms" }, 1]);
    expect(scale.tares).toBe(1);
    expect(commandsHeard()).toEqual(["T"]);
    const set = await execute(command("set-tare", 4));
    expect(set.outcome).toMatchObject({ kind: "unknown" });
    scale.losesAnswers = false;
    // It was silent, and is given a moment before it is asked again.
    await eventually("it is seen to be done", async () => {
      return (await observed.adapter.commanded.probe(command("set-tare", 4), never)).kind === "done";
    });
  });

  it("that is not there was told nothing; that goes while it is told may have heard", async () => {
    scale.losesAnswers = true;
    const outcome = execute(command("tare-now", null, { answerWithinMs: 5000 }));
    await eventually("it heard", () => scale.tares === 1);
    await scale.unplug();
    expect(await outcome).toMatchObject({ outcome: { kind: "unknown" }, sent: 1 });
    await observed.until("offline");
    expect(await execute(command("tare-now"))).toEqual({
      outcome: { kind: "unreachable", reason: "the port is not open" },
      sent: 0,
    });
  });

  it("is answered for soon, and honestly, when the gateway stops", async () => {
    scale.losesAnswers = true;
    const stop = new AbortController();
    const outcome = execute(command("tare-now", null, { answerWithinMs: 60_000 }), stop.signal);
    await eventually("it heard", () => scale.tares === 1);
    stop.abort();
    expect(await outcome).toMatchObject({ outcome: { kind: "unknown" }, sent: 1 });
    expect(await execute(command("tare-now"), stop.signal)).toMatchObject({
      outcome: { kind: "unreachable" },
      sent: 0,
    });
  });
});

describe.skipIf(!pty.present)("an instrument that talks by itself and never answers", () => {
  it("is seen to have done it by what it says then", async () => {
    const scale = await plugged(new Scale({ talksEveryMs: 30 }));
    scale.losesAnswers = true;
    scale.loadKg = 2;
    const weight = { match: "^S S +(?<weight>[-0-9.]+) kg$", fields: { weight: {} } };
    const device = serialDevice(scale.path, {
      framing: { type: "delimiter" },
      groups: { weight },
      commands: { tare: { send: "T\r\n", readBack: { signal: "weight", value: 0 }, deadline: "1s" } },
    });
    const observed = await observe(device);
    await observed.until("online");
    // That it does not show is no proof that it was not done: no reason to tare a second time.
    expect(await observed.adapter.commanded.probe(command("tare"), never)).toEqual({
      kind: "cannot say",
      reason: "weight is 2, and twice is not once",
      hold: true,
    });
    const outcome = await observed.adapter.commanded.execute(command("tare"), () => {}, never);
    expect(outcome).toEqual({ kind: "verified", evidence: "weight is 0", value: 0 } satisfies CommandOutcome);
    expect(await observed.adapter.commanded.probe(command("tare"), never)).toMatchObject({ kind: "done" });
    // It stands still: nothing is done by the next one.
    scale.stable = true;
    scale.tareKg = 1;
    scale.setFault({ kind: "none" });
    scale.loadKg = 40;
    expect(
      await observed.adapter.commanded.execute(
        command("tare", null, { answerWithinMs: 300 }),
        () => {},
        never,
      ),
    ).toMatchObject({
      kind: "unknown",
    });
  });
});

describe("what is sent", () => {
  const device = serialDevice("/dev/none", {
    framing: { type: "stx-etx", checksum: { algorithm: "xor-8", encoding: "binary" } },
    groups: { any: { match: "^(?<x>.*)$", fields: { x: { type: "text" } } } },
    commands: {
      name: { send: "N{value}", framed: true, value: { type: "text", pattern: "[a-z$&]+" }, answer: "OK" },
      lamp: { send: "L{value}\r", value: { type: "bool", true: "ON", false: "OFF" }, answer: "OK" },
      speed: { send: "V{value}\r", value: { type: "number", min: -5, max: 5, decimals: 1 }, answer: "OK" },
    },
  });
  const written = (name: string, value: CommandValue) => {
    const rendered = render(device.commands[name]!, value, device.framing);
    return rendered.ok ? rendered.bytes.toString("latin1") : rendered.key.join(".");
  };

  it("is the template with the value, framed where the config says so", () => {
    expect(written("name", "ab")).toBe(`\x02Nab\x03${String.fromCharCode(0x4e ^ 0x61 ^ 0x62)}`);
    expect(written("name", "$&")).toContain("N$&\x03");
    expect([written("lamp", true), written("lamp", false)]).toEqual(["LON\r", "LOFF\r"]);
    expect([written("speed", 2), written("speed", -0), written("speed", -1.5)]).toEqual([
      "V2.0\r",
      "V0.0\r",
      "V-1.5\r",
    ]);
  });

  it("never holds a second command, whatever the value", () => {
    for (const value of ["a\rRESET", "a\x03", "ab\n", "a\0", "ä€", "", "AB", "a".repeat(300), 5, null]) {
      expect(written("name", value), JSON.stringify(value)).toMatch(/^value/);
    }
    for (const value of [1, "true", null]) expect(written("lamp", value)).toBe("value.type");
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, "1"])
      expect(written("speed", value)).toBe("value.type");
  });
});
