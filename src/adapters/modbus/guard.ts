/**
 * What may be written to one device now: the rules of its config, and the pause since the last write. A refusal
 * names its rule as the config does, so that whoever may change it finds it.
 */
import type { Clock } from "../../core/clock.ts";
import type { Command, CommandableSignal } from "../../core/command.ts";
import { pathText } from "../../core/config-text.ts";
import { formatDuration } from "../../core/units.ts";
import { typeOf } from "./map-checks.ts";
import { type Item, itemsOf } from "./poller.ts";
import type { ModbusDeviceConfig } from "./schema.ts";
import { type EncodedValue, rule } from "./write-rules.ts";
import type { WriteConfig } from "./write-schema.ts";

export interface Signal {
  readonly group: string;
  readonly item: Item;
}

export type Refusal = { readonly rule: string; readonly reason: string };
export type Allowed = {
  readonly found: Signal;
  readonly write: WriteConfig;
  readonly encoded: EncodedValue;
};

export class Guard {
  readonly #device: string;
  readonly #config: ModbusDeviceConfig;
  readonly #clock: Clock;
  readonly #signals: ReadonlyMap<string, Signal>;
  /** By signal: the write that was sent last. */
  readonly #last = new Map<string, { readonly id: string; readonly atMs: number }>();

  constructor(device: string, config: ModbusDeviceConfig, clock: Clock) {
    this.#device = device;
    this.#config = config;
    this.#clock = clock;
    const signals = Object.entries(config.groups).flatMap(([group, settings]) =>
      itemsOf(settings).map((item) => [item.signal, { group, item }] as const),
    );
    this.#signals = new Map(signals);
  }

  commandable(): CommandableSignal[] {
    return [...this.#signals.values()].flatMap(({ item: { signal, register } }) => {
      const { unit, write } = register;
      if (!write) return [];
      const { min, max, idempotent, verify } = write;
      const known = Object.entries({ unit, min, max }).filter(([, value]) => value !== undefined);
      const shown = { signal, type: typeOf(register), ...Object.fromEntries(known) };
      return [{ ...shown, idempotent, verifiable: verify }];
    });
  }

  allows(command: Command): Allowed | Refusal {
    const ruled = this.rules(command);
    if ("rule" in ruled) return ruled;
    const { id, signal, preconditions } = command;
    const { found, write } = ruled;
    const last = this.#last.get(signal);
    const passedMs = last ? this.#clock.monoMs() - last.atMs : Number.POSITIVE_INFINITY;
    // A further try of what was sent already is no new write: refused, it would be over though it may be done.
    if (passedMs < write.pauseMin && last?.id !== id) {
      const reason = `it was written ${Math.floor(passedMs)} ms ago, and ${formatDuration(write.pauseMin)} must pass`;
      return { rule: this.#path(found.group, "registers", signal, "write", "pauseMin"), reason };
    }
    const odd = preconditions.findIndex((each) => !this.find(each.signal));
    if (odd < 0) return ruled;
    const reason = `${this.#device} has no signal ${preconditions[odd]!.signal}`;
    return { rule: `preconditions[${odd}]`, reason };
  }

  /** What the config alone says of it. */
  rules({ signal, value }: Command): Allowed | Refusal {
    const found = this.#signals.get(signal);
    if (!found) return { rule: this.#path(), reason: `${this.#device} has no signal ${signal}` };
    const path = [found.group, "registers", signal];
    const { write } = found.item.register;
    if (!write) return { rule: this.#path(...path, "write"), reason: "writing is off for it" };
    const ruled = rule({ ...found.item.register, write }, value, this.#config);
    return ruled.ok
      ? { found, write, encoded: ruled }
      : { rule: this.#path(...path, ...ruled.key), reason: ruled.reason };
  }

  /** The pause begins. */
  sent({ id, signal }: Command): void {
    this.#last.set(signal, { id, atMs: this.#clock.monoMs() });
  }

  /** A signal, or one bit of a signal that has several: `alarms.doorOpen`. */
  find(name: string): { readonly found: Signal; readonly bit: string | null } | null {
    const whole = this.#signals.get(name);
    if (whole) return { found: whole, bit: null };
    const dot = name.lastIndexOf(".");
    const found = this.#signals.get(name.slice(0, dot));
    const bit = name.slice(dot + 1);
    return found?.item.register.bits && Object.hasOwn(found.item.register.bits, bit) ? { found, bit } : null;
  }

  #path(...rest: readonly string[]): string {
    return pathText(["devices", this.#device, "groups", ...rest]);
  }
}
