/**
 * The OPC UA adapter: a client that subscribes.
 *
 * Promise: what a server sends goes to intake in its order, and is acknowledged to the server when it is stored;
 * what may be missing is said in a gap record. Servers are trusted by a person's word alone. Nothing is written
 * to a node that the config does not say may be written.
 *
 * Each device has a session of its own (link.ts), its subscriptions (subscriptions.ts), and what is known of it
 * (monitor.ts). The library is an optional package, in memory only where there is such a device (library.ts).
 */
import type { Command, CommandableSignal, Commanded } from "../../core/command.ts";
import { BaseService } from "../../core/service.ts";
import type { Adapter, AdapterContext, DeviceReport } from "../adapter.ts";
import { loadLibrary } from "./library.ts";
import { Monitor } from "./monitor.ts";
import type { OpcuaDeviceConfig } from "./schema.ts";
import { Writer } from "./writer.ts";

export class OpcuaAdapter extends BaseService implements Adapter {
  readonly #monitors: readonly Monitor[];
  readonly #writers: ReadonlyMap<string, Writer>;
  readonly commanded: Commanded = {
    commandable: () => this.#commandable(),
    refusal: (command) => {
      const writer = this.#writers.get(command.device);
      return writer ? writer.refusal(command) : noSuch(command);
    },
    execute: async (command, onSent, signal) => {
      const writer = this.#writers.get(command.device);
      return writer ? writer.execute(command, onSent, signal) : { kind: "refused", ...noSuch(command) };
    },
    probe: async (command, signal) => {
      const writer = this.#writers.get(command.device);
      return writer?.probe(command, signal) ?? { kind: "cannot say", reason: noSuch(command).reason };
    },
  };

  constructor(devices: Readonly<Record<string, OpcuaDeviceConfig>>, context: AdapterContext) {
    super();
    const made = Object.entries(devices).map(([name, device]) => {
      const monitor = new Monitor(name, device, context);
      return { name, monitor, writer: new Writer(name, device, () => monitor.link, context.clock) };
    });
    this.#monitors = made.map(({ monitor }) => monitor);
    this.#writers = new Map(made.map(({ name, writer }) => [name, writer]));
  }

  /** The library: while it is read, nothing else is done. */
  prepare(): Promise<unknown> {
    return loadLibrary();
  }

  devices(): DeviceReport[] {
    return this.#monitors.map((monitor) => monitor.report());
  }

  #commandable(): Map<string, readonly CommandableSignal[]> {
    const all = [...this.#writers].map(([name, writer]) => [name, writer.commandable()] as const);
    return new Map(all.filter(([, signals]) => signals.length > 0));
  }

  protected async onStart(): Promise<void> {
    await this.prepare();
    for (const monitor of this.#monitors) monitor.start();
  }

  protected async onStop(): Promise<void> {
    await Promise.all(this.#monitors.map((monitor) => monitor.stop()));
  }
}

function noSuch({ device }: Command) {
  return { rule: "devices", reason: `there is no device ${device}` };
}
