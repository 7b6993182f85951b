/** Many machines at once: groups of equal ones, each machine with a seed of its own out of the run's seed. */
import { z } from "zod";
import type { Clock } from "../../src/core/clock.ts";
import { behaviourSchema } from "./behaviour.ts";
import { HttpMachine } from "./http-machine.ts";
import { Ledger, type Sent } from "./ledger.ts";
import type { Machine } from "./machine.ts";
import type { WireEvent } from "./machine-options.ts";
import { MqttMachine } from "./mqtt-machine.ts";

const KINDS = { mqtt: MqttMachine, http: HttpMachine };

export const machineGroupSchema = behaviourSchema.extend({
  door: z
    .enum(["mqtt", "http"])
    .default("mqtt")
    .describe(
      "Where they hand their readings in. `http`: one request after the other, each reading's id as its Idempotency-Key; what is said of QoS, sessions and messages on the way concerns the others.",
    ),
  name: z
    .string()
    .regex(/^[A-Za-z0-9_-]+$/, "letters, digits, - and _ only")
    .default("machine")
    .describe("Machines are called name-01, name-02, …; that is their MQTT client id, too."),
  count: z.int().min(1).max(1000).default(1),
});

export type MachineGroup = z.infer<typeof machineGroupSchema> & {
  /** Instead of the run's seed: a group keeps its readings and mishaps whatever else runs beside it. */
  readonly seed?: number;
};

export interface FleetOptions {
  readonly groups: readonly MachineGroup[];
  readonly seed: number;
  readonly run: string;
  readonly clock: Clock;
  readonly address: () => { readonly host: string; readonly port: number };
  readonly http?: () => string | null;
  readonly onWire?: (sent: Sent, payload: Buffer) => void;
  readonly onTrace?: (device: string, event: WireEvent) => void;
  /** Each machine can send again this many of the readings that were answered last. */
  readonly keeps?: number;
  /** The machines' book; default: one that keeps everything. */
  readonly ledger?: Ledger;
}

export class Fleet {
  readonly ledger: Ledger;
  readonly machines: readonly Machine[];
  readonly #groups = new Map<string, Machine[]>();
  readonly #clock: Clock;
  #startedMs = 0;

  constructor(options: FleetOptions) {
    this.#clock = options.clock;
    this.ledger = options.ledger ?? new Ledger();
    const machines: Machine[] = [];
    for (const { name, count, seed, door, ...behaviour } of options.groups) {
      const group: Machine[] = [];
      for (let i = 1; i <= count; i++) {
        group.push(
          new KINDS[door]({
            ...options,
            device: `${name}-${String(i).padStart(2, "0")}`,
            behaviour,
            elapsedMs: () => this.#clock.monoMs() - this.#startedMs,
            ledger: this.ledger,
            seed: seed === undefined ? nthSeed(options.seed, machines.length + i) : nthSeed(seed, i),
          }),
        );
      }
      machines.push(...group);
      this.#groups.set(name, [...(this.#groups.get(name) ?? []), ...group]);
    }
    this.machines = machines;
  }

  start(): void {
    this.#startedMs = this.#clock.monoMs();
    for (const machine of this.machines) machine.start();
  }

  /** How many are connected. */
  get up(): number {
    return this.machines.filter((machine) => machine.up).length;
  }

  /** The machines of these groups; all where none is named. */
  group(names?: string | readonly string[]): readonly Machine[] {
    if (names === undefined) return this.machines;
    return [names].flat().flatMap((name) => this.#groups.get(name) ?? []);
  }

  /** The reconnect storm: all connections break at the same moment, and all machines come back at once. */
  storm(group?: string | readonly string[]): void {
    for (const machine of this.group(group)) machine.cut();
  }

  burst(size: number, group?: string | readonly string[]): void {
    for (const machine of this.group(group)) machine.burst(size);
  }

  silence(): void {
    for (const machine of this.machines) machine.silence();
  }

  /** Waits until each machine has an answer for everything it made, at most `timeoutMs`. True where all have. */
  async settle(timeoutMs: number): Promise<boolean> {
    let giveUp = () => {};
    const timer = this.#clock.after(timeoutMs, () => giveUp());
    const late = new Promise<boolean>((resolve) => {
      giveUp = () => resolve(false);
    });
    const idle = Promise.all(this.machines.map((machine) => machine.whenIdle())).then(() => true);
    const settled = await Promise.race([idle, late]);
    timer.cancel();
    return settled;
  }

  async stop(): Promise<void> {
    await Promise.all(this.machines.map((machine) => machine.stop()));
  }
}

/** Seeds of one run that lie far from each other. */
export function nthSeed(seed: number, n: number): number {
  return (seed + Math.imul(n, 0x9e3779b1)) >>> 0;
}
