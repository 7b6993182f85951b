/** Simulated PLCs in groups of equal ones, each on a port of its own, and the gateway's config that reads them. */
import { z } from "zod";
import type { Clock } from "../../src/core/clock.ts";
import { duration } from "../../src/core/units.ts";
import { nthSeed } from "./fleet.ts";
import { Plc, type PlcFault } from "./plc.ts";

export const plcGroupSchema = z.strictObject({
  name: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,13}$/, "letters, digits, - and _ only, 13 at most")
    .default("plc")
    .describe("PLCs are called name-01, name-02, …; that is what the gateway calls them, too."),
  count: z.int().min(1).max(99).default(1),
  every: duration({ min: 10 }).prefault("200ms").describe("How often the gateway reads it."),
  message: z.enum(["poll", "signal"]).default("poll").describe("One message a poll, or one a signal."),
  device: z
    .record(z.string(), z.unknown())
    .default({})
    .describe("Laid over what the gateway's config says of each: `{ retries: 0 }`."),
});

export type PlcGroup = z.output<typeof plcGroupSchema> & { readonly seed?: number };

/** Signal whose value never changes: a good reading that says otherwise is somebody else's, or nobody's. */
export const NAME_SIGNAL = "name";

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

interface Member {
  readonly device: string;
  readonly group: PlcGroup;
  readonly plc: Plc;
}

export class PlcFleet {
  readonly members: readonly Member[];
  #silent = false;

  constructor(groups: readonly PlcGroup[], seed: number, clock: Clock) {
    let before = 0;
    this.members = groups.flatMap((group) => {
      const from = before;
      before += group.count;
      return Array.from({ length: group.count }, (_, at) => {
        const device = `${group.name}-${String(at + 1).padStart(2, "0")}`;
        const own = group.seed === undefined ? nthSeed(seed, from + at) : nthSeed(group.seed, at);
        return { device, group, plc: new Plc({ seed: own, clock, name: () => device }) };
      });
    });
  }

  async start(): Promise<void> {
    await Promise.all(this.members.map(({ plc }) => plc.start()));
  }

  /** The gateway's `devices`; after the start, since the ports are known then. */
  config(): Record<string, unknown> {
    return Object.fromEntries(
      this.members.map(({ device, group, plc }) => [
        device,
        {
          type: "modbus",
          connection: { type: "tcp", host: "127.0.0.1", port: plc.port },
          timeout: "250ms",
          backoffMax: "1s",
          topic: "plant/{device}/{signal}",
          message: group.message,
          groups: { process: { every: group.every, registers: REGISTERS } },
          ...group.device,
        },
      ]),
    );
  }

  get devices(): readonly string[] {
    return this.members.map(({ device }) => device);
  }

  get up(): number {
    return this.members.filter(({ plc }) => plc.up).length;
  }

  setFault(fault: PlcFault, group?: string | readonly string[]): void {
    for (const { plc } of this.#of(group)) plc.setFault(fault);
  }

  async off(group?: string | readonly string[]): Promise<void> {
    await Promise.all(this.#of(group).map(({ plc }) => plc.stop()));
  }

  /** With their counters begun anew. */
  async on(group?: string | readonly string[]): Promise<void> {
    if (this.#silent) return;
    await Promise.all(this.#of(group).map(({ plc }) => plc.restart()));
  }

  /** Off for good: a PLC makes readings for as long as it is asked. */
  async silence(): Promise<void> {
    this.#silent = true;
    await this.off();
  }

  #of(names?: string | readonly string[]): readonly Member[] {
    return this.members.filter(({ group }) => names === undefined || [names].flat().includes(group.name));
  }
}
