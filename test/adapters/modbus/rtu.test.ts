import ModbusSerial from "modbus-serial";
import { describe, expect, it, onTestFinished } from "vitest";
import { Plc, type PlcFault } from "../../../simulators/machines/plc.ts";
import { Line } from "../../../src/adapters/modbus/line.ts";
import { connectionSchema } from "../../../src/adapters/modbus/schema.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { capability } from "../../support/capabilities.ts";
import { serialLineTo } from "../../support/serial-line.ts";
import { deviceOn, type Raw, REGISTERS, Reading, startPlc } from "./device.ts";

const pty = capability("pty");

async function bus(units: readonly number[]) {
  const plc = await startPlc(new Plc({ framing: "rtu", units }));
  const path = await serialLineTo(plc.port);
  const connection = { type: "serial", path, baud: 115_200, parity: "none" };
  const device = (unit: number, more: Raw = {}, registers?: Raw) => {
    return deviceOn(0, { connection, unit, ...more }, registers);
  };
  return { plc, device };
}

describe.skipIf(!pty.present)("a serial bus", () => {
  it("carries several units, one question at a time", async () => {
    const { plc, device } = await bus([1, 2, 3]);
    const reading = await Reading.start({ a: device(1), b: device(2), c: device(3) });
    await Promise.all(["a", "b", "c"].map((name) => reading.polled(3, name)));
    expect(plc.collisions).toBe(0);
    expect(["a", "b", "c"].map((name) => reading.of("name", name)[0]?.value)).toEqual([
      "PLC-1",
      "PLC-2",
      "PLC-3",
    ]);
    expect(reading.of("alarms", "b")[0]?.value).toEqual({ high: false, low: false, hot: false, door: false });
  });

  it.each<[string, PlcFault, RegExp]>([
    ["with a wrong checksum", { kind: "spoilt" }, /^garbled: its checksum is wrong/],
    ["with noise", { kind: "garbage" }, /^(garbled|timeout): /],
    ["not at all", { kind: "silence" }, /^timeout: /],
  ])("on which a unit answers %s has no reading of it, and all of the others", async (_, fault, reason) => {
    const { plc, device } = await bus([1, 2]);
    const registers = { setpoint: REGISTERS.setpoint, name: REGISTERS.name };
    const reading = await Reading.start({ good: device(1, {}, registers), odd: device(2, {}, registers) });
    await reading.polled(2, "odd");
    plc.setFault(fault, 2);
    await reading.until("offline", "odd");
    expect(reading.report("odd").lastError).toMatch(reason);
    await reading.polled(5, "good");
    plc.setFault({ kind: "none" }, 2);
    await reading.until("online", "odd");
    for (const [name, plcName] of [
      ["good", "PLC-1"],
      ["odd", "PLC-2"],
    ] as const) {
      for (const { quality, value } of reading.of("name", name))
        if (quality === "good") expect(value).toBe(plcName);
      for (const { quality, value } of reading.of("setpoint", name))
        if (quality === "good") expect(value).toBe(600);
    }
  });

  /** The line by itself, without a poller that would take its time. */
  async function lineTo(plc: Plc): Promise<Line> {
    const connection = { type: "serial", path: await serialLineTo(plc.port), baud: 115_200, parity: "none" };
    const line = new Line(connectionSchema.parse(connection), systemClock);
    onTestFinished(() => line.close());
    return line;
  }
  const SETPOINT = { unit: 1, table: "holding", address: 0, count: 1 } as const;
  const NOTHING = { ...SETPOINT, address: 40 };

  // On a machine that stands still for a moment an answer may be later than any line is given to fall silent.
  it("takes no late answer for the answer to the next question", { retry: 3 }, async () => {
    const plc = await startPlc(new Plc({ framing: "rtu" }));
    const line = await lineTo(plc);
    // On this bus nothing tells the two answers apart but time.
    plc.setFault({ kind: "slow", ms: 110 });
    const [first, second] = await Promise.all([line.ask(SETPOINT, 100), line.ask(NOTHING, 1000)]);
    expect(first).toMatchObject({ ok: false, failure: { name: "timeout" } });
    expect(second).toEqual({ ok: true, data: Buffer.from([0, 0]) });
  });

  it("takes noise that was left over for no part of the next answer", async () => {
    const plc = await startPlc(new Plc({ framing: "rtu" }));
    const line = await lineTo(plc);
    plc.setFault({ kind: "garbage" });
    expect((await line.ask(SETPOINT, 200)).ok).toBe(false);
    plc.setFault({ kind: "none" });
    expect(await line.ask(SETPOINT, 1000)).toEqual({ ok: true, data: Buffer.from([2, 88]) });
  });

  it("carries such an answer: the library by itself takes it for the next one", async () => {
    const plc = await startPlc(new Plc({ framing: "rtu" }));
    const client = new ModbusSerial.default();
    onTestFinished(() => client.close(() => {}));
    await client.connectRTUBuffered(await serialLineTo(plc.port), { baudRate: 115_200 });
    client.setID(1);
    client.setTimeout(100);
    plc.setFault({ kind: "slow", ms: 130 });
    await expect(client.readHoldingRegisters(0, 1)).rejects.toMatchObject({
      name: "TransactionTimedOutError",
    });
    // It stands at 40, where there is nothing, and is the level setpoint.
    expect((await client.readHoldingRegisters(40, 1)).data).toEqual([600]);
  });
});
