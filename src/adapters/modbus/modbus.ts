/**
 * The Modbus adapter: TCP and RTU.
 *
 * Promise: machines are read gently (one question at a time on each line, as few as the register map allows,
 * less and less often while there is no answer), and what was read goes to intake in its order, or is accounted
 * for in a gap record. A register is written by a command alone, and only where its `write` lets it.
 *
 * Devices with the same connection share a line (line.ts); each has a poller (poller.ts) and a writer (writer.ts)
 * of its own.
 */
import type { Command, CommandableSignal, Commanded } from "../../core/command.ts";
import { BaseService } from "../../core/service.ts";
import type { Adapter, AdapterContext, DeviceReport } from "../adapter.ts";
import { Line } from "./line.ts";
import { Poller } from "./poller.ts";
import { lineKey, type ModbusDeviceConfig } from "./schema.ts";
import { Writer } from "./writer.ts";

export class ModbusAdapter extends BaseService implements Adapter {
  readonly #lines = new Map<string, Line>();
  readonly #pollers: Poller[] = [];
  readonly #writers = new Map<string, Writer>();
  readonly commanded: Commanded = {
    commandable: () => this.#commandable(),
    refusal: (command) => {
      const allowed = this.#writers.get(command.device)?.guard.allows(command) ?? noSuch(command);
      return "rule" in allowed ? allowed : null;
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

  constructor(devices: Readonly<Record<string, ModbusDeviceConfig>>, context: AdapterContext) {
    super();
    for (const [name, device] of Object.entries(devices)) {
      const key = lineKey(device.connection);
      let line = this.#lines.get(key);
      if (!line) {
        line = new Line(device.connection, context.clock);
        this.#lines.set(key, line);
      }
      const poller = new Poller(name, device, line, context);
      this.#pollers.push(poller);
      this.#writers.set(name, new Writer(name, device, line, poller, context.clock));
    }
  }

  devices(): DeviceReport[] {
    return this.#pollers.map((poller) => poller.report());
  }

  #commandable(): Map<string, readonly CommandableSignal[]> {
    const all = [...this.#writers].map(([name, { guard }]) => [name, guard.commandable()] as const);
    return new Map(all.filter(([, signals]) => signals.length > 0));
  }

  protected async onStart(): Promise<void> {
    for (const poller of this.#pollers) poller.start();
  }

  protected async onStop(): Promise<void> {
    const polling = this.#pollers.map((poller) => poller.stop());
    await Promise.all([...this.#lines.values()].map((line) => line.close()));
    await Promise.all(polling);
  }
}

function noSuch({ device }: Command) {
  return { rule: "devices", reason: `there is no device ${device}` };
}
