import { describe, expect, it } from "vitest";
import { Plc } from "../../../simulators/machines/plc.ts";
import { eventually } from "../../support/journey.ts";
import { command, never, run, WRITABLE } from "./commanding.ts";
import { deviceOn, Reading, startPlc } from "./device.ts";

describe("a line with polls on it", () => {
  it("lets a command go before all polls that wait, after the one under way", async () => {
    const plc = await startPlc(new Plc({ units: [1, 2, 3, 4] }));
    for (const unit of [1, 2, 3, 4]) plc.setFault({ kind: "slow", ms: 40 }, unit);
    const busy = { groups: { fast: { every: "20ms", registers: WRITABLE } } };
    const units = [1, 2, 3, 4].map(
      (unit) => [`press-${unit}`, deviceOn(plc.port, { ...busy, unit })] as const,
    );
    const reading = await Reading.start(Object.fromEntries(units));
    await reading.polled(1, "press-2");
    const from = plc.asked.length;
    const outcome = await reading.adapter.commanded.execute(
      command("level", 640, { device: "press-3" }),
      () => {},
      never,
    );
    expect(outcome.kind).toBe("verified");
    const at = plc.asked.slice(from).findIndex(({ code, unit }) => code === 6 && unit === 3);
    expect(at).toBeLessThanOrEqual(1);
    expect(plc.collisions).toBe(0);
  });

  it("is left to the others while a silent unit is asked again and again what became of a command", async () => {
    const plc = await startPlc(new Plc({ units: [1, 2] }));
    const registers = { level: WRITABLE.level };
    const live = deviceOn(plc.port, { unit: 1 }, registers);
    const dead = deviceOn(plc.port, { unit: 2, groups: { slow: { every: "10m", registers } } });
    const reading = await Reading.start({ live, dead });
    await reading.polled(1, "dead");
    plc.setFault({ kind: "silence" }, 2);
    const { commanded } = reading.adapter;
    const asked = () => plc.asked.filter(({ unit }) => unit === 2).length;
    const before = asked();
    // Two tries of 250 ms, and then one after 500 ms, 1 s, …
    for (const endMs = performance.now() + 1500; performance.now() < endMs; ) {
      const probed = await commanded.probe(command("level", 7, { device: "dead" }), never);
      expect(probed).toEqual({ kind: "cannot say", reason: expect.stringMatching(/^timeout: /) });
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(asked() - before).toBeLessThanOrEqual(4);
    expect(reading.report("dead").state).toBe("offline");
    expect(reading.report("live")).toMatchObject({ state: "online", failures: 0 });
    plc.setFault({ kind: "none" }, 2);
    await eventually("it is asked again", async () => {
      return (await commanded.probe(command("level", 7, { device: "dead" }), never)).kind === "not done";
    });
  });

  it("has nothing between the look at what must hold and the write", async () => {
    const plc = await startPlc(new Plc());
    plc.setFault({ kind: "slow", ms: 5 });
    const busy = { groups: { fast: { every: "10ms", registers: WRITABLE } } };
    const reading = await Reading.start({ "press-7": deviceOn(plc.port, busy) });
    await reading.polled(1);
    const preconditions = [{ signal: "temperature", is: "<", value: 80 }] as const;
    await run(reading.adapter.commanded, command("level", 640, { preconditions }));
    const write = plc.asked.findIndex(({ code }) => code === 6);
    expect(plc.asked[write - 1]).toMatchObject({ code: 4, address: 2, count: 1 });
  });
});
