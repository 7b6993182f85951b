/** A PLC as a scenario has it: over Modbus TCP, or RTU on a pty. */
import { z } from "zod";
import type { Clock } from "../../src/core/clock.ts";
import { Plc, type PlcFault } from "./plc.ts";
import { type Pty, ptyTo } from "./pty.ts";
import type { WiredMachine } from "./wired-fleet.ts";
import { WIRED_DEVICE, wiredGroupKeys } from "./wired-group.ts";

export const plcGroupSchema = z.strictObject({
  ...wiredGroupKeys("plc"),
  line: z
    .enum(["tcp", "rtu"])
    .default("tcp")
    .describe("`rtu`: on a serial line of its own, with a checksum in each frame."),
});

export type PlcGroup = z.output<typeof plcGroupSchema> & { readonly seed?: number };

/** Signal whose value never changes: a good reading that says otherwise is somebody else's, or nobody's. */
const NAME_SIGNAL = "name";

/** As in plc-unit.ts. */
const REGISTERS = {
  level: { table: "input", address: 0, type: "float32", unit: "l" },
  temperature: { table: "input", address: 2, type: "int16", scale: 0.1, unit: "°C" },
  speed: { table: "input", address: 3, unit: "rpm" },
  pieces: { table: "input", address: 6, type: "uint32" },
  alarms: { table: "input", address: 12, type: "bits", bits: { high: 0, low: 1, hot: 2, door: 3 } },
  [NAME_SIGNAL]: { table: "input", address: 13, type: "string", length: 16 },
  motor: { table: "coil", address: 0 },
};

export class WiredPlc implements WiredMachine {
  readonly noun = "PLC";
  readonly device: string;
  readonly #group: PlcGroup;
  readonly #plc: Plc;
  #pty: Pty | null = null;

  constructor(group: PlcGroup, device: string, seed: number, clock: Clock) {
    this.device = device;
    this.#group = group;
    this.#plc = new Plc({ seed, clock, framing: group.line, name: () => device });
  }

  get group(): string {
    return this.#group.name;
  }

  get onSerialLine(): boolean {
    return this.#group.line === "rtu";
  }

  get up(): boolean {
    return this.#plc.up && (this.#pty?.isPlugged ?? true);
  }

  async start(): Promise<void> {
    await this.#plc.start();
    if (!this.onSerialLine) return;
    this.#pty = ptyTo(this.#plc.port);
    await this.#pty.plugIn();
  }

  config(): Record<string, unknown> {
    const { every, message, device } = this.#group;
    const connection = this.#pty
      ? { type: "serial", path: this.#pty.path, baud: 115_200, parity: "none" }
      : { type: "tcp", host: "127.0.0.1", port: this.#plc.port };
    const groups = { process: { every, registers: REGISTERS } };
    return { type: "modbus", connection, timeout: "250ms", ...WIRED_DEVICE, message, groups, ...device };
  }

  isTrue(signal: string, value: unknown): boolean {
    return signal !== NAME_SIGNAL || value === this.device;
  }

  setFault(fault: PlcFault): void {
    this.#plc.setFault(fault);
  }

  off(): Promise<void> {
    return this.#plc.stop();
  }

  /** With its counters begun anew. */
  on(): Promise<void> {
    return this.#plc.restart();
  }

  async unplug(): Promise<void> {
    await this.#pty?.unplug();
  }

  async plugIn(): Promise<void> {
    await this.#pty?.plugIn();
  }

  async stop(): Promise<void> {
    await this.#pty?.close();
    await this.#plc.stop();
  }
}
