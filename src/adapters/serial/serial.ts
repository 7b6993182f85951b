/**
 * The adapter for serial instruments: scales, readers, meters, receivers, one on each port.
 *
 * Promise: what an instrument says goes to intake in its order, or is accounted for in a gap record; what it says
 * unintelligibly is counted; nothing it says, and nothing that happens to its port, harms anything else. It is
 * told to do what its `commands` name, and nothing else.
 */
import type { Command, CommandableSignal, Commanded } from "../../core/command.ts";
import { BaseService } from "../../core/service.ts";
import type { Adapter, AdapterContext, DeviceReport } from "../adapter.ts";
import { Commands } from "./commands.ts";
import { Instrument } from "./instrument.ts";
import type { SerialDeviceConfig } from "./schema.ts";

export class SerialAdapter extends BaseService implements Adapter {
  readonly #instruments: Instrument[] = [];
  readonly #commands = new Map<string, Commands>();
  readonly commanded: Commanded = {
    commandable: () => this.#commandable(),
    refusal: (command) => {
      const commands = this.#commands.get(command.device);
      return commands ? commands.refusal(command) : noSuch(command);
    },
    execute: async (command, onSent, signal) => {
      const commands = this.#commands.get(command.device);
      return commands?.execute(command, onSent, signal) ?? { kind: "refused", ...noSuch(command) };
    },
    probe: async (command, signal) => {
      const commands = this.#commands.get(command.device);
      return commands?.probe(command, signal) ?? { kind: "cannot say", reason: noSuch(command).reason };
    },
  };

  constructor(devices: Readonly<Record<string, SerialDeviceConfig>>, context: AdapterContext) {
    super();
    for (const [name, device] of Object.entries(devices)) {
      const instrument = new Instrument(name, device, context);
      this.#instruments.push(instrument);
      this.#commands.set(name, new Commands(name, device, instrument, context.clock));
    }
  }

  devices(): DeviceReport[] {
    return this.#instruments.map((instrument) => instrument.report());
  }

  #commandable(): Map<string, readonly CommandableSignal[]> {
    const all = [...this.#commands].map(([name, commands]) => [name, commands.commandable()] as const);
    return new Map(all.filter(([, signals]) => signals.length > 0));
  }

  protected async onStart(): Promise<void> {
    for (const instrument of this.#instruments) instrument.start();
  }

  protected async onStop(): Promise<void> {
    await Promise.all(this.#instruments.map((instrument) => instrument.stop()));
  }
}

function noSuch({ device }: Command) {
  return { rule: "devices", reason: `there is no device ${device}` };
}
