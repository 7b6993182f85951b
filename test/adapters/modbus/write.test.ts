import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { Plc } from "../../../simulators/machines/plc.ts";
import type { Command, Commanded, CommandOutcome } from "../../../src/core/command.ts";
import { capability } from "../../support/capabilities.ts";
import { eventually } from "../../support/journey.ts";
import { serialLineTo } from "../../support/serial-line.ts";
import { command, never, run, still, WRITABLE } from "./commanding.ts";
import { deviceOn, Reading, startPlc } from "./device.ts";

const pty = capability("pty");
const RULE = "devices.press-7.groups.fast.registers";

describe("a register of a PLC", () => {
  const plc = new Plc();
  let reading: Reading;
  let commanded: Commanded;
  beforeAll(async () => {
    await plc.start();
    reading = new Reading({ "press-7": deviceOn(plc.port, still()) });
    commanded = reading.adapter.commanded;
    await reading.adapter.start();
    await reading.polled(1);
  });
  afterAll(async () => {
    await reading.adapter.stop();
    await plc.stop();
  });
  beforeEach(() => {
    plc.setFault({ kind: "none" });
    plc.written.length = 0;
  });

  it.each([
    ["level", 700, { code: 6, address: 0, what: "02bc" }],
    ["speed", 21.5, { code: 6, address: 1, what: "002b" }],
    ["dose", 0.1, { code: 16, address: 2, what: "0002043dcccccd" }],
    ["motor", false, { code: 5, address: 0, what: "0000" }],
    ["recipe", "Früchte 7", { code: 16, address: 8, what: expect.stringContaining("4672fc63687465203700") }],
    ["lamp", true, { code: 22, address: 4, what: "fff70008" }],
    ["horn", true, { code: 6, address: 4, what: "0208" }],
    ["lamp", false, { code: 22, address: 4, what: "fff70000" }],
    ["mode", 4, { code: 6, address: 20, what: "0004" }],
  ])("called %s is written, %j, and read back", async (signal, value, written) => {
    const { outcome, sent } = await run(commanded, command(signal, value));
    expect(outcome).toMatchObject({ kind: "verified", value, evidence: expect.stringContaining("reads") });
    expect([sent, plc.written]).toEqual([1, [{ unit: 1, ...written }]]);
    // What was read back is a reading like any other.
    await eventually("the reading is there", () => reading.of(signal).at(-1)?.value === value);
  });

  it("between whose steps a value lies has the nearest, where its tolerance lets it", async () => {
    const { outcome } = await run(commanded, command("speed", 700.2));
    expect(outcome).toMatchObject({ kind: "verified", value: 700 });
  });

  it("that does not keep what is written is not read back, and no more than that is said", async () => {
    const before = plc.model().strokes;
    const { outcome } = await run(commanded, command("feed", true));
    expect(outcome).toEqual({ kind: "acknowledged", evidence: "it took it" });
    expect(plc.model().strokes).toBe(before + 1);
  });

  it.each<[string, string, Command["value"], string, RegExp]>([
    ["above its range", "level", 901, `${RULE}.level.write.max`, /901 is above 900/],
    ["below it", "level", -1, `${RULE}.level.write.min`, /-1 is below 0/],
    ["that is none of its values", "mode", 2, `${RULE}.mode.write.values`, /none of 0, 1, 4/],
    ["of another type", "level", "700", `${RULE}.level.type`, /takes a number/],
    ["of another type", "motor", 1, `${RULE}.motor.type`, /true or false/],
    ["that is no number", "dose", Number.NaN, `${RULE}.dose.type`, /takes a number/],
    ["that it cannot hold", "level", 1.5, `${RULE}.level.scale`, /steps of 1/],
    ["that is too long", "recipe", "x".repeat(17), `${RULE}.recipe.length`, /16 characters/],
    ["with characters that it has not", "recipe", "漢", `${RULE}.recipe.type`, /Latin-1/],
    ["where writing is off", "temperature", 5, `${RULE}.temperature.write`, /writing is off/],
    ["where there is none", "nothing", 5, "devices.press-7.groups", /no signal nothing/],
  ])("is not written with a value %s, and the rule is named", async (_, signal, value, rule, reason) => {
    const given = command(signal, value);
    const { outcome, sent } = await run(commanded, given);
    expect(outcome).toEqual({ kind: "refused", rule, reason: expect.stringMatching(reason) });
    expect(commanded.refusal(given)).toEqual({ rule, reason: expect.stringMatching(reason) });
    expect([sent, plc.written]).toEqual([0, []]);
  });

  it("has a pause after a write, in which only the same command may be tried again", async () => {
    const first = command("slow", 3);
    expect((await run(commanded, first)).outcome.kind).toBe("verified");
    const next = command("slow", 4);
    const refused = { rule: `${RULE}.slow.write.pauseMin`, reason: expect.stringMatching(/1h must pass/) };
    expect(commanded.refusal(next)).toEqual(refused);
    expect((await run(commanded, next)).outcome).toEqual({ kind: "refused", ...refused });
    expect((await run(commanded, { ...first, attempt: 2 })).outcome.kind).toBe("verified");
    expect(plc.written).toHaveLength(2);
  });

  it("is written where what must hold before holds, by a fresh reading", async () => {
    const preconditions = [
      { signal: "temperature", is: "<", value: 80 },
      { signal: "alarms.doorOpen", is: "=", value: false },
    ] as const;
    plc.model().doorOpen = false;
    const { outcome } = await run(commanded, command("level", 500, { preconditions }));
    expect(outcome.kind).toBe("verified");
    plc.model().doorOpen = true;
    const { outcome: after, sent } = await run(commanded, command("level", 510, { preconditions }));
    expect(after).toEqual({
      kind: "refused",
      rule: "preconditions[1]",
      reason: "alarms.doorOpen is true, not = false",
    });
    expect([sent, plc.written.length]).toEqual([0, 1]);
  });

  it.each([
    [{ signal: "alarms", is: "<", value: 1 }, /cannot be compared/],
    [{ signal: "motor", is: ">", value: true }, /cannot be compared/],
    [{ signal: "temperature", is: "=", value: "21" }, /cannot be compared/],
    [{ signal: "pressure", is: "<", value: 3 }, /no signal pressure/],
    [{ signal: "alarms.nothing", is: "=", value: true }, /no signal alarms\.nothing/],
  ] as const)("is not written where nobody can say whether %j holds", async (precondition, reason) => {
    const { outcome, sent } = await run(commanded, command("level", 1, { preconditions: [precondition] }));
    expect(outcome).toMatchObject({ kind: "refused", rule: "preconditions[0]" });
    expect((outcome as { reason: string }).reason).toMatch(reason);
    expect(sent).toBe(0);
  });

  it("that the machine refuses is told by the exception's name", async () => {
    plc.setFault({ kind: "write-exception", code: 4 });
    const { outcome } = await run(commanded, command("level", 700));
    expect(outcome).toMatchObject({ kind: "failed", reason: expect.stringMatching(/^device-failure: /) });
    plc.setFault({ kind: "write-exception", code: 11 });
    // Passed on by a Modbus gateway, which heard nothing: it may have been done.
    expect((await run(commanded, command("level", 700))).outcome).toMatchObject({ kind: "unknown" });
    plc.setFault({ kind: "write-exception", code: 5 });
    // Begun, and not done in the time it has.
    expect((await run(commanded, command("level", 701))).outcome).toMatchObject({ kind: "failed" });
  });

  it("that holds something else afterwards has failed, and it is said what", async () => {
    plc.setFault({ kind: "write-clamped", max: 650 });
    const { outcome } = await run(commanded, command("level", 700));
    expect(outcome).toMatchObject({
      kind: "failed",
      value: 650,
      reason: expect.stringMatching(/^holding 0 reads 650 l, \d+ ms after the write, and not 700$/),
    });
  });

  it("that takes its time is looked at again until it is through", async () => {
    plc.setFault({ kind: "write-late", ms: 80 });
    expect((await run(commanded, command("level", 710))).outcome).toMatchObject({ kind: "verified" });
    plc.setFault({ kind: "write-late", ms: 400 });
    const late = await run(commanded, command("level", 720));
    expect(late.outcome).toMatchObject({ kind: "failed", value: 710 });
    await eventually("it is through", () => plc.written.length === 2);
  });

  it.each([1, 2])(
    "whose answer is lost is written once, and a look tells that it was (%i)",
    async (value) => {
      plc.setFault({ kind: "write-answer-lost" });
      const given = command("level", value);
      const { outcome, sent } = await run(commanded, given);
      expect(outcome).toMatchObject({ kind: "unknown", reason: expect.stringMatching(/^timeout: /) });
      expect(await commanded.probe(given, never)).toMatchObject({ kind: "done", value });
      expect(await commanded.probe({ ...given, value: 334 }, never)).toMatchObject({ kind: "not done" });
      expect([sent, plc.written.length]).toEqual([1, 1]);
    },
  );

  it("would be seen to be written twice by one who tries again when the answer is lost", async () => {
    const saboteur: Commanded["execute"] = async (...given) => {
      const outcome = await commanded.execute(...given);
      return outcome.kind === "unknown" ? commanded.execute(...given) : outcome;
    };
    plc.setFault({ kind: "write-answer-lost" });
    const before = plc.model().strokes;
    await saboteur(command("feed", true), () => {}, never);
    expect([plc.written.length, plc.model().strokes - before]).toEqual([2, 2]);
  });

  it("that was never written, since the line broke before, is found so", async () => {
    plc.setFault({ kind: "hang-up" });
    const given = command("level", 777);
    expect((await run(commanded, given)).outcome).toMatchObject({ kind: "unknown" });
    plc.setFault({ kind: "none" });
    expect(await commanded.probe(given, never)).toMatchObject({ kind: "not done" });
    expect(plc.written).toHaveLength(0);
  });

  it.each([
    ["feed", true, /does not tell how often/],
    ["recipe", "a", /does not tell how often/],
    ["temperature", 1, /writing is off/],
    ["level", 1000, /above 900/],
  ])("called %s cannot be judged by a look, now or ever", async (signal, value, reason) => {
    expect(await commanded.probe(command(signal, value), never)).toEqual({
      kind: "cannot say",
      reason: expect.stringMatching(reason),
      hold: true,
    });
  });

  it("of a machine that is silent cannot be judged either", async () => {
    plc.setFault({ kind: "silence" });
    const probed = await commanded.probe(command("level", 7), never);
    expect(probed).toEqual({ kind: "cannot say", reason: expect.stringMatching(/^timeout: /) });
  });

  it("is not written after a stop was asked for, and not said to be done where it came amid", async () => {
    expect((await run(commanded, command("level", 1), AbortSignal.abort())).outcome.kind).toBe("unreachable");
    expect(plc.written).toHaveLength(0);
    plc.setFault({ kind: "write-answer-lost" });
    const stopping = new AbortController();
    const running = commanded.execute(
      command("level", 2),
      () => setImmediate(() => stopping.abort()),
      stopping.signal,
    );
    expect(await running).toMatchObject({ kind: "unknown", reason: /gateway stopped/ });
  });

  it("is not written any more where it was given up while it waited for the line", async () => {
    plc.setFault({ kind: "slow", ms: 100 });
    const first = run(commanded, command("level", 1));
    const late = new AbortController();
    const second = run(commanded, command("level", 2), late.signal);
    await eventually("the line is the first one's", () => plc.asked.at(-1)?.code === 6);
    late.abort();
    expect(await second).toMatchObject({ outcome: { kind: "unreachable" }, sent: 0 });
    expect((await first).outcome.kind).toBe("verified");
    expect((await run(commanded, command("level", 3))).outcome.kind).toBe("verified");
    expect(plc.written.map(({ what }) => what)).toEqual(["0001", "0003"]);
  });

  it("is listed with what may be written", () => {
    const listed = commanded.commandable().get("press-7")!;
    expect(listed.map(({ signal }) => signal)).toEqual(
      Object.entries(WRITABLE).flatMap(([signal, register]) => ("write" in register ? [signal] : [])),
    );
    expect(listed[0]).toEqual({
      signal: "level",
      type: "uint16",
      unit: "l",
      min: 0,
      max: 900,
      idempotent: true,
      verifiable: true,
    });
    expect(listed.find(({ signal }) => signal === "feed")).toMatchObject({
      idempotent: false,
      verifiable: false,
    });
  });

  it("of a device that there is not is refused", async () => {
    const given = command("level", 1, { device: "press-8" });
    expect((await run(commanded, given)).outcome).toMatchObject({ kind: "refused", rule: "devices" });
  });
});

describe("a PLC that cannot be reached", () => {
  it("has had nothing sent to it", async () => {
    const away = new Plc();
    await away.start();
    await away.stop();
    const { adapter } = await Reading.start({ "press-7": deviceOn(away.port, still()) });
    const { outcome, sent } = await run(adapter.commanded, command("level", 700));
    expect(outcome).toMatchObject({ kind: "unreachable", reason: expect.stringMatching(/ECONNREFUSED/) });
    expect(sent).toBe(0);
  });

  it("that is silent on what must hold before has had nothing sent to it either", async () => {
    const plc = await startPlc(new Plc());
    plc.setFault({ kind: "silence" });
    const { adapter } = await Reading.start({ "press-7": deviceOn(plc.port, { ...still(), retries: 0 }) });
    const preconditions = [{ signal: "temperature", is: "<", value: 80 }] as const;
    const { outcome, sent } = await run(adapter.commanded, command("level", 700, { preconditions }));
    expect(outcome).toMatchObject({ kind: "unreachable" });
    expect([sent, plc.asked.filter(({ code }) => code === 6)]).toEqual([0, []]);
  });

  it("is found by the command that comes when it is back", async () => {
    const plc = await startPlc(new Plc());
    const reading = await Reading.start({ "press-7": deviceOn(plc.port, still()) });
    await reading.polled(1);
    await plc.restart();
    const outcomes: CommandOutcome["kind"][] = [];
    await eventually("it is written", async () => {
      outcomes.push((await run(reading.adapter.commanded, command("level", 700))).outcome.kind);
      return outcomes.at(-1) === "verified";
    });
    expect(plc.written).toHaveLength(1);
  });
});

describe.skipIf(!pty.present)("a register on a serial bus", () => {
  it("is written, and read back", async () => {
    const plc = await startPlc(new Plc({ framing: "rtu" }));
    const connection = { type: "serial", path: await serialLineTo(plc.port), parity: "none" };
    const { adapter } = await Reading.start({ "press-7": deviceOn(0, { connection, ...still() }) });
    for (const [signal, value] of [
      ["level", 610],
      ["dose", 2.5],
      ["motor", false],
      ["lamp", true],
    ] as const) {
      expect((await run(adapter.commanded, command(signal, value))).outcome).toMatchObject({
        kind: "verified",
        value,
      });
    }
    plc.setFault({ kind: "spoilt" });
    // It was done, and what was heard of it makes no sense.
    expect((await run(adapter.commanded, command("level", 620))).outcome).toMatchObject({ kind: "unknown" });
    expect(plc.written).toHaveLength(5);
    onTestFinished(() => adapter.stop());
  });
});
