import { describe, expect, it } from "vitest";
import { BarcodeReader } from "../../../simulators/machines/barcode-reader.ts";
import type { InstrumentFault } from "../../../simulators/machines/instrument.ts";
import { NmeaTalker } from "../../../simulators/machines/nmea-talker.ts";
import { Scale } from "../../../simulators/machines/scale.ts";
import { capability } from "../../support/capabilities.ts";
import { eventually } from "../../support/journey.ts";
import { observe, plugged, serialDevice, shipped } from "./rig.ts";

const pty = capability("pty");

/** How long a scale that answers may take for it, on a machine with others at work. */
const PATIENT_MS = 5000;

async function scaleByConfig(scale: Scale, timeout = 250) {
  const device = await shipped("serial-scale.yaml", { SCALE_PORT: scale.path });
  device.groups.weight!.request!.every = 40;
  device.timeout = timeout;
  device.backoffMax = 600;
  return observe(device);
}

describe.skipIf(!pty.present)("a scale, by the config that comes with Holdfast", () => {
  it("is asked, and its weight and tare are what it says", async () => {
    const scale = await plugged(new Scale());
    scale.loadKg = 12.5;
    const observed = await scaleByConfig(scale, PATIENT_MS);
    await eventually(
      "both were read",
      () => observed.of("weight").length > 0 && observed.of("tare").length > 0,
    );
    expect(
      observed.messages().find((message) => message.kind === "poll" && message.group === "weight"),
    ).toMatchObject({
      device: "press-7",
      boot: "boot-1",
      readings: {
        weight: { value: 12.5, unit: "kg", quality: "good", reason: null },
        stable: { value: true, unit: null },
      },
    });
    expect(observed.drafts.map(({ topic }) => topic)).toContain("north/l3/press-7/weight");
    expect(observed.report()).toMatchObject({ type: "serial", state: "online", badFrames: 0, failures: 0 });
    // Within the deadband nothing is said; beyond it, and where it moves, everything is.
    const asked = scale.heard.length;
    scale.loadKg = 12.504;
    await eventually("it was asked again", () => scale.heard.length > asked + 3);
    expect(observed.of("weight")).toHaveLength(1);
    scale.stable = false;
    scale.loadKg = 14;
    await eventually("it is told", () => observed.of("weight").some(({ value }) => value === 14));
    expect(observed.of("stable").at(-1)).toMatchObject({ value: false });
  });

  it("that says no is failing, and has no value then", async () => {
    const scale = await plugged(new Scale());
    scale.loadKg = 31;
    const observed = await scaleByConfig(scale);
    await observed.until("failing");
    await eventually("it is told", () => observed.of("weight").length > 0);
    expect(observed.of("weight")[0]).toMatchObject({
      value: null,
      quality: "bad",
      reason: 'refused: it answered "S +"',
    });
    scale.loadKg = 1;
    await observed.until("online");
  });

  it("that never understands one of its requests is failing, and not by turns with being online", async () => {
    const scale = await plugged(new Scale());
    const error = "^(S [I+-]|E[SLT])$";
    const device = serialDevice(scale.path, {
      groups: {
        weight: {
          request: { send: "SI\r\n", every: "30ms" },
          match: "^S [SD] +(?<weight>[-0-9.]+) kg$",
          error,
          fields: { weight: {} },
        },
        odd: { request: { send: "XX\r\n", every: "30ms" }, match: "^X (?<x>.+)$", error, fields: { x: {} } },
      },
    });
    const observed = await observe(device);
    await observed.until("failing");
    const { sinceMs, requests } = observed.report();
    const states = new Set<string>();
    await eventually("it was asked again and again", () => {
      states.add(observed.report().state);
      return observed.report().requests > requests + 10;
    });
    expect([[...states], observed.report().sinceMs]).toEqual([["failing"], sinceMs]);
    expect(observed.of("weight").every(({ quality }) => quality === "good")).toBe(true);
  });

  it("switched to pounds is not read as kilograms", async () => {
    const scale = await plugged(new Scale());
    const observed = await scaleByConfig(scale);
    await observed.until("online");
    scale.setFault({ kind: "silence" });
    const answering = setInterval(() => scale.raw(Buffer.from("S S      2.205 lb\r\n")), 20);
    await eventually("they are counted", () => (observed.report().unknownFrames ?? 0) > 2);
    clearInterval(answering);
    expect(observed.of("weight").some(({ value }) => value === 2.205)).toBe(false);
  });

  it.each<[InstrumentFault, string, RegExp]>([
    [{ kind: "silence" }, "offline", /^timeout: /],
    [{ kind: "spoilt" }, "failing", /^garbled: |^cut-short: /],
  ])("with %o has stale values, and good ones when it is well", async (fault, state, reason) => {
    const scale = await plugged(new Scale());
    scale.loadKg = 5;
    const device = await shipped("serial-scale.yaml", { SCALE_PORT: scale.path });
    device.groups.weight!.request!.every = 40;
    device.timeout = 250;
    device.backoffMax = 300;
    device.framing.quiet = 100;
    const observed = await observe(device);
    await eventually("it is read", () => observed.of("weight").length > 0);
    scale.setFault(fault);
    await observed.until(state);
    await eventually("it is told", () => observed.of("weight").at(-1)?.quality === "stale");
    expect(observed.of("weight").at(-1)).toMatchObject({ value: 5, reason: expect.stringMatching(reason) });
    scale.setFault({ kind: "none" });
    await observed.until("online");
    await eventually("it is told", () => observed.of("weight").at(-1)?.quality === "good");
  });

  it("whose answers come in pieces is read all the same", async () => {
    const scale = await plugged(new Scale());
    scale.loadKg = 7.25;
    scale.setFault({ kind: "split", ms: 60 });
    const observed = await scaleByConfig(scale, PATIENT_MS);
    await eventually("it is read", () => observed.of("weight").length > 0);
    expect(observed.of("weight")[0]).toMatchObject({ value: 7.25, quality: "good" });
    expect(observed.report()).toMatchObject({ badFrames: 0, failures: 0 });
  });

  it("whose adapter is pulled out and plugged in again goes on by itself", async () => {
    const scale = await plugged(new Scale());
    const observed = await scaleByConfig(scale);
    await observed.until("online");
    for (let n = 0; n < 2; n++) {
      await scale.unplug();
      await observed.until("offline");
      expect(observed.report().lastError).toMatch(/^unreachable: /);
      await scale.plugIn();
      await observed.until("online");
    }
    await eventually("it is told", () => observed.of("weight").at(-1)?.quality === "good");
  });
});

describe.skipIf(!pty.present)("a scale that talks by itself, between STX and ETX", () => {
  const device = (path: string, silence?: string) =>
    serialDevice(path, {
      framing: {
        type: "stx-etx",
        checksum: { algorithm: "xor-8", encoding: "binary", covers: { end: true } },
      },
      silence,
      groups: { weight: { match: "^S [SD] +(?<weight>[-0-9.]+) kg$", fields: { weight: { unit: "kg" } } } },
    });

  it("is read frame by frame, and what is spoilt is counted and no reading", async () => {
    const scale = await plugged(new Scale({ framing: "stx", talksEveryMs: 20 }));
    scale.loadKg = 3;
    const observed = await observe(device(scale.path));
    await observed.polled(3);
    scale.setFault({ kind: "spoilt" });
    await observed.until("failing");
    expect(observed.report().lastError).toMatch(/^checksum: it says .., and .. would be right$/);
    expect(observed.report().badFrames).toBeGreaterThanOrEqual(3);
    scale.setFault({ kind: "garbage" });
    const noise = observed.report().noiseBytes!;
    await eventually("noise is counted", () => observed.report().noiseBytes! > noise);
    scale.setFault({ kind: "none" });
    await observed.until("online");
    for (const { value, quality } of observed.of("weight")) expect([value, quality]).toEqual([3, "good"]);
    expect(scale.heard).toEqual([]);
  });

  it("that falls silent is offline, its value stale", async () => {
    const scale = await plugged(new Scale({ framing: "stx", talksEveryMs: 20 }));
    const observed = await observe(device(scale.path, "300ms"));
    expect(observed.report().state).toBe("starting");
    await observed.until("online");
    scale.setFault({ kind: "silence" });
    await observed.until("offline");
    expect(observed.of("weight").at(-1)).toMatchObject({
      quality: "stale",
      reason: "silence: nothing was said for 300 ms",
    });
    scale.setFault({ kind: "none" });
    await observed.until("online");
  });
});

describe.skipIf(!pty.present)("a barcode reader, by the config that comes with Holdfast", () => {
  it("has a message for each scan, two of one code included, and none when it is pulled out", async () => {
    const reader = await plugged(new BarcodeReader());
    const observed = await observe(await shipped("barcode-reader.yaml", { READER_PORT: reader.path }));
    await eventually("it listens", () => reader.scan("first") && observed.drafts.length > 0);
    reader.scan("4006381333931");
    reader.scan("4006381333931");
    reader.scan("01/234+#", "Q3");
    reader.raw(Buffer.from("no identifier\r\n"));
    const scans = () => observed.messages().flatMap((each) => (each.kind === "poll" ? [each.readings] : []));
    await eventually("all have come", () => scans().at(-1)?.code?.value === "no identifier");
    const others = scans().filter(({ code }) => code?.value !== "first");
    expect(others.map(({ code, symbology }) => [code?.value, symbology?.value])).toEqual([
      ["4006381333931", "E0"],
      ["4006381333931", "E0"],
      ["01/234+#", "Q3"],
      ["no identifier", null],
    ]);
    expect(observed.drafts[0]?.topic).toBe("hall-2/press-7/scan");
    const told = observed.drafts.length;
    await reader.unplug();
    await observed.until("offline");
    await reader.plugIn();
    await observed.until("starting");
    expect(observed.drafts).toHaveLength(told);
  });
});

describe.skipIf(!pty.present)("an NMEA talker, by the config that comes with Holdfast", () => {
  it("is where it says it is; sentences nobody asked about are counted and left", async () => {
    const gps = await plugged(new NmeaTalker({ everyMs: 40 }));
    const observed = await observe(await shipped("nmea.yaml", { GPS_PORT: gps.path }));
    await eventually(
      "both sentences are read",
      () => observed.of("latitude").length > 2 && observed.of("speed").length > 0,
    );
    const [latitude] = observed.of("latitude").slice(-1);
    expect(latitude).toMatchObject({ unit: "°", quality: "good", value: expect.closeTo(53.54, 1) });
    expect(observed.of("longitude")[0]).toMatchObject({ value: expect.closeTo(9.99, 1) });
    expect(observed.of("fix")[0]).toMatchObject({ value: "gps" });
    expect(observed.of("satellites")[0]).toMatchObject({ value: 8 });
    expect(observed.of("altitude")[0]).toMatchObject({ value: 12.4, unit: "m" });
    expect(observed.of("speed")[0]).toMatchObject({ value: 6.2, unit: "kn" });
    await eventually("the others are counted", () => (observed.report().unknownFrames ?? 0) > 0);
    expect(observed.report()).toMatchObject({ state: "online", badFrames: 0 });
    gps.hasFix = false;
    await eventually("it has lost its place", () => observed.of("fix").at(-1)?.value === "none");
    expect(observed.of("latitude").at(-1)).toMatchObject({
      value: null,
      quality: "bad",
      reason: expect.stringMatching(/^empty: /),
    });
  });

  it("with wrong checksums gives no reading", async () => {
    const gps = await plugged(new NmeaTalker({ everyMs: 20 }));
    gps.setFault({ kind: "spoilt" });
    const observed = await observe(await shipped("nmea.yaml", { GPS_PORT: gps.path }));
    await observed.until("failing");
    expect(observed.readings().every(({ quality }) => quality !== "good")).toBe(true);
  });
});
