import { describe, expect, it } from "vitest";
import { Plc, type PlcFault } from "../../../simulators/machines/plc.ts";
import { eventually } from "../../support/journey.ts";
import { deviceOn, REGISTERS, Reading, startPlc } from "./device.ts";

describe("a PLC over TCP", () => {
  it("is read in as few requests as its map allows, and its readings are what stands there", async () => {
    const plc = await startPlc(new Plc());
    plc.model().doorOpen = true;
    const reading = await Reading.start({ "press-7": deviceOn(plc.port) });
    await reading.polled(2);
    const [message] = reading.messages();
    expect(message).toMatchObject({
      kind: "poll",
      device: "press-7",
      boot: "boot-1",
      sequence: 1,
      group: "fast",
      readings: {
        level: { unit: "l", quality: "good", reason: null, value: expect.closeTo(400, -2) },
        temperature: { value: expect.closeTo(21, 0), unit: "°C" },
        alarms: { value: { high: false, low: false, hot: false, door: true } },
        name: { value: "PLC-1" },
        setpoint: { value: 600 },
        motor: { value: true },
        running: { value: true },
      },
    });
    // input 0-3, 6-7, 12-20; holding; coil; discrete.
    const first = plc.asked.slice(0, 6).map(({ code, address, count }) => [code, address, count]);
    expect(first.toSorted()).toEqual(
      [
        [4, 0, 4],
        [4, 6, 2],
        [4, 12, 9],
        [3, 0, 1],
        [1, 0, 1],
        [2, 0, 1],
      ].toSorted(),
    );
    expect(reading.report()).toMatchObject({ state: "online", lastError: null, failures: 0, missed: 0 });
  });

  it("may have a topic of its place, and a message for each signal", async () => {
    const plc = await startPlc(new Plc());
    const device = deviceOn(plc.port, {
      message: "signal",
      place: { site: "north", area: "hall-2", line: "l4" },
      topic: "{site}/{area}/{line}/{device}/{signal}",
    });
    const reading = await Reading.start({ "press-7": device });
    await reading.polled(9);
    expect(
      reading.drafts
        .slice(0, 9)
        .map(({ topic }) => topic)
        .toSorted(),
    ).toEqual(
      Object.keys(REGISTERS)
        .map((signal) => `north/hall-2/l4/press-7/${signal}`)
        .toSorted(),
    );
    expect(reading.messages()[0]).toMatchObject({ kind: "signal", sequence: 1, quality: "good" });
  });

  it("is reported by exception where the map says so", async () => {
    const plc = await startPlc(new Plc());
    const registers = { setpoint: REGISTERS.setpoint, motor: REGISTERS.motor };
    const groups = { slow: { every: "20ms", report: {}, registers } };
    const reading = await Reading.start({ "press-7": deviceOn(plc.port, { groups }) });
    await reading.polled(1);
    const before = plc.asked.length;
    await eventually("it is read again and again", () => plc.asked.length > before + 10);
    expect(reading.messages()).toHaveLength(1);
  });

  it("has groups with intervals of their own", async () => {
    const plc = await startPlc(new Plc());
    const groups = {
      quick: { every: "20ms", registers: { speed: REGISTERS.speed } },
      slow: { every: "10m", registers: { setpoint: REGISTERS.setpoint } },
    };
    const reading = await Reading.start({ "press-7": deviceOn(plc.port, { groups }) });
    await eventually(
      "both have been read",
      () => reading.of("setpoint").length > 0 && reading.of("speed").length > 5,
    );
    expect(reading.of("setpoint")).toHaveLength(1);
  });

  it.each([
    [1, "illegal-function"],
    [2, "illegal-data-address"],
    [3, "illegal-data-value"],
    [4, "device-failure"],
    [5, "acknowledge"],
    [6, "device-busy"],
    [7, "negative-acknowledge"],
    [8, "memory-parity-error"],
    [9, "exception-9"],
    [10, "gateway-path-unavailable"],
    [11, "gateway-target-silent"],
  ])("that answers with exception %i is told by its name, %s, and has no value", async (code, name) => {
    const plc = await startPlc(new Plc());
    plc.setFault({ kind: "exception", code });
    const reading = await Reading.start({ "press-7": deviceOn(plc.port) });
    await reading.polled(1);
    expect(reading.of("level")[0]).toMatchObject({
      value: null,
      quality: "bad",
      reason: expect.stringContaining(`${name}: `),
    });
    // From a Modbus gateway these two say that the unit is not there.
    expect(reading.report()).toMatchObject({ state: code < 10 ? "failing" : "offline" });
    expect(reading.report().lastError).toContain(`exception ${code}`);
  });

  it("that has not one of the registers loses that one alone", async () => {
    const plc = await startPlc(new Plc());
    const registers = { last: { table: "input", address: 63 }, beyond: { table: "input", address: 64 } };
    const reading = await Reading.start({ "press-7": deviceOn(plc.port, {}, registers) });
    await eventually("the one that is there is read", () =>
      reading.of("last").some(({ quality }) => quality === "good"),
    );
    expect(reading.of("beyond").at(-1) ?? reading.of("beyond")[0]).toMatchObject({ quality: "bad" });
    // It stays so, and does not change with each answer.
    const { sinceMs, requests } = reading.report();
    const states = new Set<string>();
    await eventually("it was asked again and again", () => {
      states.add(reading.report().state);
      return reading.report().requests > requests + 10;
    });
    expect([...states]).toEqual(["failing"]);
    expect(reading.report()).toMatchObject({
      sinceMs,
      lastError: "illegal-data-address: it has no such register (exception 2): input 64",
    });
  });

  it("that falls silent has stale values, and good ones when it is back", async () => {
    const plc = await startPlc(new Plc());
    const reading = await Reading.start({ "press-7": deviceOn(plc.port) });
    await reading.polled(2);
    plc.setFault({ kind: "silence" });
    await reading.until("offline");
    await eventually("it is said", () => reading.of("setpoint").at(-1)?.quality === "stale");
    const good = reading.of("setpoint").findLast(({ quality }) => quality === "good")!;
    expect(reading.of("setpoint").at(-1)).toEqual({
      ...good,
      quality: "stale",
      reason: "timeout: no answer within 250 ms",
    });
    // Said once, not at each try.
    const said = reading.of("setpoint").filter(({ quality }) => quality === "stale").length;
    const asked = plc.asked.length;
    await eventually("it is tried again", () => plc.asked.length > asked + 1);
    expect(reading.of("setpoint").filter(({ quality }) => quality === "stale")).toHaveLength(said);
    plc.setFault({ kind: "none" });
    await reading.until("online");
    await eventually("it has values again", () => reading.of("setpoint").at(-1)?.quality === "good");
  });

  it("that is switched off and on is found again, with its counters begun anew", async () => {
    const plc = await startPlc(new Plc());
    plc.model().step(60_000);
    const reading = await Reading.start({ "press-7": deviceOn(plc.port) });
    await reading.polled(2);
    const before = Number(reading.of("pieces").at(-1)!.value);
    expect(before).toBeGreaterThan(10);
    await plc.stop();
    await reading.until("offline");
    expect(reading.report().lastError).toMatch(/^unreachable: /);
    await plc.restart();
    await reading.until("online");
    await eventually("it is read", () => reading.of("pieces").at(-1)?.quality === "good");
    expect(Number(reading.of("pieces").at(-1)!.value)).toBeLessThan(before);
  });

  it.each<[string, PlcFault]>([
    ["answers in another unit's name", { kind: "spoilt" }],
    ["answers with noise", { kind: "garbage" }],
    ["hangs up", { kind: "hang-up" }],
    ["answers too late", { kind: "slow", ms: 400 }],
  ])("that %s gives no reading that it did not mean, and recovers", async (_, fault) => {
    const plc = await startPlc(new Plc());
    const registers = { setpoint: REGISTERS.setpoint, speed: REGISTERS.speed };
    const reading = await Reading.start({ "press-7": deviceOn(plc.port, {}, registers) });
    await reading.polled(2);
    plc.setFault(fault);
    await reading.until("offline");
    plc.setFault({ kind: "none" });
    await reading.until("online");
    await reading.polled(2);
    for (const { quality, value } of reading.of("setpoint")) {
      if (quality === "good") expect(value).toBe(600);
    }
  });

  it("that ends a connection between two polls, as many do, is read over another one without a word", async () => {
    const plc = await startPlc(new Plc());
    const reading = await Reading.start({ "press-7": deviceOn(plc.port) });
    await reading.polled(2);
    for (let n = 0; n < 3; n++) {
      plc.dropConnections();
      await reading.polled(2);
    }
    expect(plc.connections).toBe(4);
    expect(reading.of("setpoint").every(({ quality }) => quality === "good")).toBe(true);
  });
});

describe("several units on one line", () => {
  it("are asked one at a time, over one connection", async () => {
    const plc = await startPlc(new Plc({ units: [1, 2, 3] }));
    for (const unit of [1, 2, 3]) plc.setFault({ kind: "slow", ms: 5 }, unit);
    const devices = [1, 2, 3].map((unit) => [`press-${unit}`, deviceOn(plc.port, { unit })] as const);
    const reading = await Reading.start(Object.fromEntries(devices));
    await Promise.all(devices.map(([device]) => reading.polled(3, device)));
    expect([plc.collisions, plc.connections]).toEqual([0, 1]);
    expect(reading.of("name", "press-2")[0]).toMatchObject({ value: "PLC-2" });
  });

  it("would be found to collide, if two asked at the same time", async () => {
    const plc = await startPlc(new Plc({ units: [1, 2] }));
    for (const unit of [1, 2]) plc.setFault({ kind: "slow", ms: 50 }, unit);
    const apart = await Promise.all(
      [1, 2].map((unit) => Reading.start({ press: deviceOn(plc.port, { unit }) })),
    );
    await Promise.all(apart.map((each) => each.polled(2, "press")));
    expect(plc.collisions).toBeGreaterThan(0);
    expect(plc.connections).toBe(2);
  });

  it("are hardly slowed by one that is silent: it is asked less and less often", async () => {
    const plc = await startPlc(new Plc({ units: [1, 2] }));
    plc.setFault({ kind: "silence" }, 2);
    const registers = { speed: REGISTERS.speed };
    // It has all the time that a machine with others at work on it may take.
    const live = deviceOn(plc.port, { unit: 1, timeout: "10s" }, registers);
    const dead = deviceOn(plc.port, { unit: 2, backoffMax: "30s" }, registers);
    const reading = await Reading.start({ live, dead });
    await reading.until("offline", "dead");
    const asked = () => plc.asked.filter(({ unit }) => unit === 2);
    await eventually("the silent one has been tried thrice more", () => asked().length >= 4);
    const times = asked().map(({ atMs }) => atMs);
    const pauses = times.slice(1).map((atMs, at) => atMs - times[at]!);
    // A repetition at once, then 500 ms, 1 s, … beside the timeout of 250 ms.
    expect(pauses[1]).toBeGreaterThan(600);
    expect(pauses[2]).toBeGreaterThan(pauses[1]! + 300);
    expect(reading.of("speed", "live").length).toBeGreaterThan(20);
    expect(reading.report("live")).toMatchObject({ state: "online", failures: 0 });
  });
});
