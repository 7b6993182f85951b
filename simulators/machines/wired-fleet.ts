/**
 * Machines on wires in groups of equal ones, each of a device of its own: PLCs, serial instruments, OPC UA servers.
 * The gateway's config that reads them comes from here, since only here their ports are known.
 */
import { type Clock, sleep } from "../../src/core/clock.ts";
import type { MeansName } from "../torture/means.ts";
import { nthSeed } from "./fleet.ts";
import { type InstrumentGroup, WiredInstrument } from "./wired-instrument.ts";
import { type OpcuaGroup, WiredOpcua } from "./wired-opcua.ts";
import { type PlcGroup, WiredPlc } from "./wired-plc.ts";

/** Such as a PLC in front of its port. It is off until it is started, and may be stopped at any time. */
export interface WiredMachine {
  /** For people, as in `three PLCs`. */
  readonly noun: string;
  readonly device: string;
  readonly group: string;
  readonly up: boolean;
  start(): Promise<unknown>;
  /** What the gateway's config says of it; known after the start. */
  config(): Record<string, unknown>;
  /** Whether a good reading may say this of it. */
  isTrue(signal: string, value: unknown): boolean;
  /** Off for good. */
  stop(): Promise<unknown>;
}

export interface WiredGroups {
  readonly plcs: readonly PlcGroup[];
  readonly instruments: readonly InstrumentGroup[];
  readonly opcua: readonly OpcuaGroup[];
}

export type GroupNames = string | readonly string[] | undefined;

/** What a computer must have for them. */
export function meansFor({ plcs, instruments, opcua }: WiredGroups): readonly MeansName[] {
  const serial = instruments.length > 0 || plcs.some(({ line }) => line === "rtu");
  return [...(serial ? (["pty"] as const) : []), ...(opcua.length > 0 ? (["opcua-server"] as const) : [])];
}

export class WiredFleet {
  readonly members: readonly WiredMachine[];
  readonly #plcs: readonly WiredPlc[];
  readonly #instruments: readonly WiredInstrument[];
  readonly #opcua: readonly WiredOpcua[];
  readonly #byDevice: ReadonlyMap<string, WiredMachine>;
  readonly #clock: Clock;
  #silent = false;

  constructor(groups: WiredGroups, seed: number, clock: Clock) {
    this.#clock = clock;
    this.#plcs = each(groups.plcs, seed, (group, device, own) => new WiredPlc(group, device, own, clock));
    this.#instruments = each(
      groups.instruments,
      seed,
      (group, device, own) => new WiredInstrument(group, device, own, clock),
    );
    this.#opcua = each(groups.opcua, seed, (group, device, own) => new WiredOpcua(group, device, own, clock));
    this.members = [...this.#plcs, ...this.#instruments, ...this.#opcua];
    this.#byDevice = new Map(this.members.map((member) => [member.device, member]));
  }

  async start(): Promise<void> {
    await Promise.all(this.members.map((member) => member.start()));
  }

  /** The gateway's `devices`; after the start, since the ports are known then. */
  config(): Record<string, unknown> {
    return Object.fromEntries(this.members.map((member) => [member.device, member.config()]));
  }

  get devices(): readonly string[] {
    return this.members.map(({ device }) => device);
  }

  get up(): number {
    return this.members.filter(({ up }) => up).length;
  }

  /** For people: `a PLC, 2 scales`. */
  get inWords(): string {
    const nouns = this.members.map(({ noun }) => noun);
    const counted = [...new Set(nouns)].map((noun) => {
      const count = nouns.filter((other) => other === noun).length;
      return count === 1 ? `${/^(OPC|NMEA)/.test(noun) ? "an" : "a"} ${noun}` : `${count} ${noun}s`;
    });
    return counted.join(", ");
  }

  /** Whether a good reading may say this. */
  isTrue(device: string, signal: string, value: unknown): boolean {
    return this.#byDevice.get(device)?.isTrue(signal, value) ?? true;
  }

  plcs(names?: GroupNames): readonly WiredPlc[] {
    return of(this.#plcs, names);
  }

  instruments(names?: GroupNames): readonly WiredInstrument[] {
    return of(this.#instruments, names);
  }

  opcua(names?: GroupNames): readonly WiredOpcua[] {
    return of(this.#opcua, names);
  }

  /** PLCs are off for a while; when they are on again, their counters have begun anew. */
  async restartPlcs(downMs: number, signal?: AbortSignal, names?: GroupNames): Promise<void> {
    const plcs = this.plcs(names);
    await this.#interrupt(plcs, downMs, signal, { out: (plc) => plc.off(), in: (plc) => plc.on() });
  }

  /** OPC UA servers are off for a while; when they are on again, they know nothing of sessions and subscriptions. */
  async restartOpcua(downMs: number, signal?: AbortSignal, names?: GroupNames): Promise<void> {
    const servers = this.opcua(names);
    await this.#interrupt(servers, downMs, signal, {
      out: (server) => server.off(),
      in: (server) => server.on(),
    });
  }

  /** What is on a serial line is pulled out, and after a while plugged in again. */
  async unplug(downMs: number, signal?: AbortSignal, names?: GroupNames): Promise<void> {
    const lines = [
      ...this.plcs(names).filter(({ onSerialLine }) => onSerialLine),
      ...this.instruments(names),
    ];
    await this.#interrupt(lines, downMs, signal, {
      out: (line) => line.unplug(),
      in: (line) => line.plugIn(),
    });
  }

  /** Off for good: a PLC makes readings for as long as it is asked. */
  async silence(): Promise<void> {
    this.#silent = true;
    await Promise.all(this.members.map((member) => member.stop()));
  }

  async #interrupt<Of>(
    members: readonly Of[],
    downMs: number,
    signal: AbortSignal | undefined,
    how: { readonly out: (member: Of) => Promise<unknown>; readonly in: (member: Of) => Promise<unknown> },
  ): Promise<void> {
    await Promise.all(members.map(how.out));
    await sleep(this.#clock, downMs, signal);
    if (!this.#silent) await Promise.all(members.map(how.in));
  }
}

function each<Group extends { readonly name: string; readonly count: number; readonly seed?: number }, Of>(
  groups: readonly Group[],
  seed: number,
  make: (group: Group, device: string, seed: number) => Of,
): Of[] {
  let before = 0;
  return groups.flatMap((group) => {
    const from = before;
    before += group.count;
    return Array.from({ length: group.count }, (_, at) => {
      const own = group.seed === undefined ? nthSeed(seed, from + at) : nthSeed(group.seed, at);
      return make(group, `${group.name}-${String(at + 1).padStart(2, "0")}`, own);
    });
  });
}

function of<Of extends { readonly group: string }>(members: readonly Of[], names: GroupNames): readonly Of[] {
  return members.filter(({ group }) => names === undefined || [names].flat().includes(group));
}
