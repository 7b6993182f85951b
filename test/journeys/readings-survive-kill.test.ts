/**
 * Readings of a PLC that is polled, of a server that is subscribed to, and of serial instruments, while the gateway
 * is killed, and while its store has no room: what the device's cursor says is stored arrives, once and in order, and what was missed
 * is said to be.
 */
import { describe, expect, onTestFinished, test } from "vitest";
import type { Backend } from "../../simulators/backends/backend.ts";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { OpcuaServer } from "../../simulators/machines/opcua-server.ts";
import { Plc } from "../../simulators/machines/plc.ts";
import { Scale } from "../../simulators/machines/scale.ts";
import type { DeviceReport } from "../../src/adapters/adapter.ts";
import { readingsMessage } from "../../src/adapters/readings.ts";
import { capability } from "../support/capabilities.ts";
import { eventually, FLOW, Journey, startBackend } from "../support/journey.ts";
import { readRows } from "../support/test-store.ts";

const MIB = 2 ** 20;
const wide = capability("wide");
const KILLS = capability("long").present ? 10 : 1;
const LOST_AFTER_MS = 2_000;
/** The stack is heavy to load, here and in each start of the gateway. */
const SUBSCRIBED_MS_MAX = 120_000;

async function startPlc(): Promise<Plc> {
  const plc = await new Plc({ units: [1, 2] }).start();
  onTestFinished(() => plc.stop());
  return plc;
}

/** `press-1` and `press-2`, two units behind one port. */
function devicesOn(port: number, registers: object, more: object = {}) {
  const device = (unit: number) => ({
    type: "modbus",
    connection: { type: "tcp", host: "127.0.0.1", port },
    unit,
    topic: "plant/{device}/{signal}",
    groups: { fast: { every: "10ms", registers } },
    ...more,
  });
  return { "press-1": device(1), "press-2": device(2) };
}

/** `press-1` and `press-2`, two sessions at one server. */
function subscribersAt(endpoint: string) {
  const nodes = { level: { node: "ns=1;s=Tank.Level" }, pieces: { node: "ns=1;s=Pieces" } };
  const device = {
    type: "opcua",
    endpoint,
    security: { mode: "None" },
    topic: "plant/{device}/{signal}",
    groups: { fast: { every: "50ms", nodes } },
  };
  return { "press-1": device, "press-2": device };
}

const FEW = { speed: { table: "input", address: 3 }, pieces: { table: "input", address: 6, type: "uint32" } };
/** Some kilobytes in each message. */
const MANY = Object.fromEntries(
  Array.from({ length: 60 }, (_, at) => [`register-${at}`, { table: "input", address: at }]),
);

async function devicesOf(journey: Journey): Promise<{ boot: string; devices: readonly DeviceReport[] }> {
  const response = await fetch(`${journey.http}/v1/devices`);
  const { devices } = (await response.json()) as { devices: DeviceReport[] };
  return { boot: response.headers.get("holdfast-boot")!, devices };
}

/** What the gateway said was stored: by device and boot, the number up to which. */
type Cursors = Map<string, number>;

function note(cursors: Cursors, { boot, devices }: Awaited<ReturnType<typeof devicesOf>>): void {
  for (const { device, storedSequence } of devices) cursors.set(`${device} ${boot}`, storedSequence);
}

interface Told {
  readonly device: string;
  readonly boot: string;
  readonly from: number;
  readonly to: number;
  /** It stands for readings that were missed, perhaps for a single one. */
  readonly isGap: boolean;
}

/** What took effect at the backend, in its order: each message a number, or a gap a range of them. */
function told(backend: Backend): Told[] {
  return backend
    .arrivals()
    .filter(({ effect }) => effect)
    .map(({ payload }) => {
      const message = readingsMessage.parse(JSON.parse(payload.toString()));
      const { device, boot, sequence } = message;
      const isGap = message.kind === "gap";
      return { device, boot, from: isGap ? message.fromSequence : sequence, to: sequence, isGap };
    });
}

/** Every number of each boot once, in order, and up to the cursor at least. */
function complaints(all: readonly Told[], cursors: Cursors): string[] {
  const found: string[] = [];
  const next = new Map<string, number>();
  for (const { device, boot, from, to } of all) {
    const key = `${device} ${boot}`;
    const expected = next.get(key) ?? 1;
    if (from < expected) found.push(`${key}: ${from} came again or out of its order`);
    if (from > expected) found.push(`${key}: ${expected} to ${from - 1} are missing`);
    next.set(key, Math.max(expected, to + 1));
  }
  for (const [key, cursor] of cursors) {
    const last = (next.get(key) ?? 1) - 1;
    if (last < cursor)
      found.push(`${key}: stored up to ${cursor}, they said; arrived are those up to ${last}`);
  }
  return found;
}

interface Plant {
  readonly devices: object;
  stop(): Promise<void>;
}

async function polled(): Promise<Plant> {
  const plc = await startPlc();
  return { devices: devicesOn(plc.port, FEW), stop: () => plc.stop() };
}

/** A scale that is asked, and one that talks by itself. */
async function weighed(): Promise<Plant> {
  const scales = [new Scale(), new Scale({ talksEveryMs: 10 })] as const;
  for (const scale of scales) {
    onTestFinished(() => scale.stop());
    await scale.start();
  }
  const device = ({ path }: Scale, request?: object) => ({
    type: "serial",
    connection: { path },
    topic: "plant/{device}/{signal}",
    groups: { fast: { request, match: "^S S +(?<weight>[-0-9.]+) kg$", fields: { weight: { unit: "kg" } } } },
  });
  const [asked, talking] = scales;
  return {
    devices: { "press-1": device(asked, { send: "SI\r\n", every: "10ms" }), "press-2": device(talking) },
    stop: async () => void (await Promise.all(scales.map((scale) => scale.unplug()))),
  };
}

async function subscribed(): Promise<Plant> {
  const server = await new OpcuaServer({ lives: true }).start();
  onTestFinished(() => server.stop());
  return { devices: subscribersAt(server.endpoint), stop: () => server.stop() };
}

async function killedWhileReading(plant: Plant, kills: number, fault?: string) {
  const { backend, url } = await startBackend(new HttpBackend());
  if (fault) await backend.goAway();
  const { devices } = plant;
  const targets = { backend: { type: "http", url, requestTimeout: "300ms" } };
  const journey = await Journey.start({ fault, config: { devices, targets, flows: { all: FLOW } } });
  const cursors: Cursors = new Map();
  for (let n = 0; n < kills; n++) {
    await eventually("both have stored something", async () => {
      const found = await devicesOf(journey);
      if (found.devices.some(({ storedSequence }) => storedSequence < 8 + 3 * n)) return false;
      note(cursors, found);
      const said = found.devices.reduce((sum, { stored }) => sum + stored, 0);
      // The twin that answers early is caught in between.
      return !fault || said > readRows(journey.process.dataDir, "SELECT 1 FROM messages").length;
    });
    await journey.killAndStart();
  }
  await eventually("the last boot has its readings too", async () => {
    const found = await devicesOf(journey);
    note(cursors, found);
    return found.devices.every(({ storedSequence }) => storedSequence > 5);
  });
  // A machine that is off says so once, and then nothing more is made.
  await plant.stop();
  await backend.comeBack();
  // The twin's last commits never come.
  await (fault ? journey.drained(LOST_AFTER_MS).catch(() => {}) : journey.drained());
  return { journey, backend, cursors };
}

describe("what was read", () => {
  test("survives kill -9 while it is polled: as far as the cursor said, once, and in order", async () => {
    const { journey, backend, cursors } = await killedWhileReading(await polled(), KILLS);
    expect(cursors.size).toBe(2 * (KILLS + 1));
    expect(complaints(told(backend), cursors)).toEqual([]);
    expect(await journey.audited()).toMatchObject({ state: "balanced" });
  });

  test.skipIf(!wide.present || !capability("pty").present)(
    "survives it on serial lines, asked for or said by itself",
    async () => {
      const { journey, backend, cursors } = await killedWhileReading(await weighed(), KILLS);
      expect(cursors.size).toBe(2 * (KILLS + 1));
      expect(complaints(told(backend), cursors)).toEqual([]);
      expect(await journey.audited()).toMatchObject({ state: "balanced" });
    },
  );

  const stack = capability("opcua-server");
  test.skipIf(!wide.present || !stack.present)(
    "survives kill -9 while it is subscribed to, just the same",
    async () => {
      const { journey, backend, cursors } = await killedWhileReading(await subscribed(), 1);
      expect(cursors.size).toBe(4);
      expect(complaints(told(backend), cursors)).toEqual([]);
      expect(await journey.audited()).toMatchObject({ state: "balanced" });
    },
    SUBSCRIBED_MS_MAX,
  );

  test.skipIf(!wide.present)(
    "and a gateway whose cursor runs ahead of its commits is found out",
    async () => {
      const { backend, cursors } = await killedWhileReading(await polled(), 1, "early-ack");
      expect(complaints(told(backend), cursors)).toContainEqual(expect.stringContaining("stored up to"));
    },
  );

  test("and what comes twice, out of order, or not at all is found out", () => {
    const at = (from: number, to = from): Told => ({ device: "a", boot: "b", from, to, isGap: to > from });
    expect(complaints([at(1), at(2), at(3, 7), at(8)], new Map([["a b", 8]]))).toEqual([]);
    expect(complaints([at(1), at(2), at(2)], new Map())).toHaveLength(1);
    expect(complaints([at(1), at(3), at(2)], new Map())).toHaveLength(2);
    expect(complaints([at(1)], new Map([["a b", 2]]))).toHaveLength(1);
  });

  test("while the store has no room is held, the newest of it, and what was missed stands in a gap record", async () => {
    const plc = await startPlc();
    const { backend, url } = await startBackend(new HttpBackend());
    await backend.goAway();
    const journey = await Journey.start({
      config: {
        devices: devicesOn(plc.port, MANY, { hold: { messagesMax: 20 } }),
        targets: { backend: { type: "http", url } },
        queue: { bytesMax: 4 * MIB, reserve: MIB, walBytesMax: MIB },
      },
    });
    const cursors: Cursors = new Map();
    const missing = await eventually("both have given up some", async () => {
      const found = await devicesOf(journey);
      return found.devices.every(({ missed }) => missed > 20) ? found.devices : null;
    });
    expect((await journey.ready()).code).toBe(503);
    for (const { held, state } of missing) expect([held, state]).toEqual([20, "online"]);
    expect(await journey.cli("device", "list")).toMatchObject({
      stdout: expect.stringMatching(/\d+ missed; 20 held/),
    });
    await backend.comeBack();
    await eventually("what was held is stored", async () => {
      const found = await devicesOf(journey);
      note(cursors, found);
      return found.devices.every(({ held, storedSequence, made }) => held <= 1 && storedSequence >= made - 1);
    });
    await plc.stop();
    await journey.drained();
    const all = told(backend);
    expect(complaints(all, cursors)).toEqual([]);
    for (const { device, missed } of (await devicesOf(journey)).devices) {
      const gaps = all.filter((each) => each.device === device && each.isGap);
      expect(gaps.length).toBeGreaterThan(0);
      expect(gaps.reduce((sum, { from, to }) => sum + to - from + 1, 0)).toBe(missed);
    }
  });
});
