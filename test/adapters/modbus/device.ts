/** Modbus devices in front of a simulated PLC, with an intake that writes down what it is given. */
import { onTestFinished } from "vitest";
import type { Plc } from "../../../simulators/machines/plc.ts";
import { ModbusAdapter } from "../../../src/adapters/modbus/modbus.ts";
import { type ModbusDeviceConfig, modbusDeviceSchema } from "../../../src/adapters/modbus/schema.ts";
import { readingsMessage } from "../../../src/adapters/readings.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { silentLogger } from "../../../src/core/logger.ts";
import { seededRandom } from "../../../src/core/random.ts";
import type { Draft } from "../../../src/intake/draft.ts";
import { eventually } from "../../support/journey.ts";

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
export class Reading {
  readonly adapter: ModbusAdapter;
  readonly drafts: Draft[] = [];

  constructor(devices: Readonly<Record<string, ModbusDeviceConfig>>) {
    this.adapter = new ModbusAdapter(devices, {
      intake: {
        accept: async (draft) => {
          this.drafts.push(draft);
          return { kind: "stored", id: draft.producerId!, seq: this.drafts.length, flows: 1, late: false };
        },
      },
      boot: "boot-1",
      dataDir: "/nowhere",
      clock: systemClock,
      random: seededRandom(1),
      logger: silentLogger,
    });
  }

  static async start(devices: Readonly<Record<string, ModbusDeviceConfig>>): Promise<Reading> {
    const reading = new Reading(devices);
    onTestFinished(() => reading.adapter.stop());
    await reading.adapter.start();
    return reading;
  }

  messages(device = "press-7") {
    return this.drafts
      .filter((draft) => draft.device === device)
      .map((draft) => readingsMessage.parse(JSON.parse(draft.payload.toString())));
  }

  /** Readings of one signal in messages of whole polls, from the message `from` on. */
  of(signal: string, device = "press-7", from = 0) {
    return this.messages(device)
      .slice(from)
      .flatMap((message) => (message.kind === "poll" ? (message.readings[signal] ?? []) : []));
  }

  report(device = "press-7") {
    return this.adapter.devices().find((each) => each.device === device)!;
  }

  async polled(n: number, device = "press-7"): Promise<void> {
    const from = this.messages(device).length;
    await eventually(`${device} has ${n} more messages`, () => this.messages(device).length >= from + n);
  }

  async until(state: string, device = "press-7"): Promise<void> {
    await eventually(`${device} is ${state}`, () => this.report(device).state === state);
  }
}

export async function startPlc(plc: Plc): Promise<Plc> {
  await plc.start();
  onTestFinished(() => plc.stop());
  return plc;
}
