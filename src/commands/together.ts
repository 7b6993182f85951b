/** Several executors as one: each device is asked of the one that has it. */
import type { CommandableSignal, Commanded, CommandOutcome, ProbeOutcome } from "../core/command.ts";

export class Together implements Commanded {
  readonly #parts: readonly Commanded[];

  constructor(parts: readonly Commanded[]) {
    this.#parts = parts;
  }

  commandable(): ReadonlyMap<string, readonly CommandableSignal[]> {
    return new Map(this.#parts.flatMap((part) => [...part.commandable()]));
  }

  refusal(command: Parameters<Commanded["refusal"]>[0]): ReturnType<Commanded["refusal"]> {
    const part = this.#partOf(command.device);
    return part ? part.refusal(command) : { rule: "devices", reason: nobodyFor(command.device) };
  }

  async execute(...[command, onSent, signal]: Parameters<Commanded["execute"]>): Promise<CommandOutcome> {
    const part = this.#partOf(command.device);
    if (part) return part.execute(command, onSent, signal);
    return { kind: "refused", rule: "devices", reason: nobodyFor(command.device) };
  }

  async probe(...[command, signal]: Parameters<Commanded["probe"]>): Promise<ProbeOutcome> {
    const part = this.#partOf(command.device);
    return part ? part.probe(command, signal) : { kind: "cannot say", reason: nobodyFor(command.device) };
  }

  #partOf(device: string): Commanded | undefined {
    return this.#parts.find((part) => part.commandable().has(device));
  }
}

function nobodyFor(device: string): string {
  return `${device} takes no commands`;
}
