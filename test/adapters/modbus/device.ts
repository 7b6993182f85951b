/** Modbus devices in front of a simulated PLC, with an intake that writes down what it is given. */
import { onTestFinished } from "vitest";
import type { Plc } from "../../../simulators/machines/plc.ts";
import { ModbusAdapter } from "../../../src/adapters/modbus/modbus.ts";
import { type ModbusDeviceConfig, modbusDeviceSchema } from "../../../src/adapters/modbus/schema.ts";
import { Observed } from "../observed.ts";

export const REGISTERS = {
  level: { table: "input", address: 0, type: "float32", unit: "l" },
  temperature: { table: "input", address: 2, type: "int16", scale: 0.1, unit: "°C" },
  speed: { table: "input", address: 3 },
  pieces: { table: "input", address: 6, type: "uint32" },
  alarms: { table: "input", address: 12, type: "bits", bits: { high: 0, low: 1, hot: 2, door: 3 } },
  name: { table: "input", address: 13, type: "string", length: 16 },
  setpoint: { table: "holding", address: 0 },
  motor: { table: "coil", address: 0 },
  running: { table: "discrete", address: 0 },
};

export type Raw = Record<string, unknown>;

export function deviceOn(port: number, more: Raw = {}, registers: Raw = REGISTERS): ModbusDeviceConfig {
  return modbusDeviceSchema.parse({
    type: "modbus",
    connection: { type: "tcp", host: "127.0.0.1", port },
    timeout: "250ms",
    backoffMax: "1s",
    groups: { fast: { every: "50ms", registers } },
    ...more,
  });
}

/** A device and its messages, as somebody downstream sees them. */
export class Reading extends Observed<ModbusAdapter> {
  constructor(devices: Readonly<Record<string, ModbusDeviceConfig>>) {
    super((context) => new ModbusAdapter(devices, context));
  }

  static async start(devices: Readonly<Record<string, ModbusDeviceConfig>>): Promise<Reading> {
    const reading = new Reading(devices);
    onTestFinished(() => reading.adapter.stop());
    await reading.adapter.start();
    return reading;
  }
}

export async function startPlc(plc: Plc): Promise<Plc> {
  await plc.start();
  onTestFinished(() => plc.stop());
  return plc;
}
