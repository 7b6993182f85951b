/**
 * What is wrong with a `write` though each of its keys is right: what could never be written, and what two devices
 * of the config would write by turns. Pure.
 */
import { encode } from "./encode.ts";
import { isBitTable, sizeOf, typeOf } from "./map-checks.ts";
import { lineKey, type ModbusDeviceConfig, type RegisterConfig } from "./schema.ts";
import type { WriteConfig } from "./write-schema.ts";

/** [Modbus application protocol V1.1b3, 6.12]. */
const REGISTERS_PER_WRITE_MAX = 123;

type Say = (key: keyof WriteConfig | null, message: string) => void;

export function writeProblems(
  register: RegisterConfig,
  device: Pick<ModbusDeviceConfig, "byteOrder" | "wordOrder">,
  say: Say,
): void {
  const { table, write } = register;
  if (!write) return;
  const type = typeOf(register);
  if (table === "input" || table === "discrete") say(null, `the ${table} table can only be read`);
  else if (type === "bits") say(null, "bits are written one by one: map each as a `bool` with its `bit`");
  else if (sizeOf(register) > REGISTERS_PER_WRITE_MAX) {
    say(null, `it takes ${sizeOf(register)} registers, and one write has at most ${REGISTERS_PER_WRITE_MAX}`);
  } else {
    const isNumber = type !== "bool" && type !== "string";
    if (isNumber) rangeProblems(write, say);
    else if (write.tolerance > 0) say("tolerance", `a \`${type}\` is no number`);
    for (const key of ["min", "max", "values"] as const) {
      if (!isNumber && key !== "values") {
        if (write[key] !== undefined)
          say(key, `a \`${type}\` is no number that could have a range; use \`values\``);
        continue;
      }
      for (const value of [write[key] ?? []].flat()) {
        const encoded = encode(register, value, device);
        if (!encoded.ok) say(key, `${JSON.stringify(value)} cannot be written: ${encoded.reason}`);
      }
    }
    if (write.alone && (type !== "bool" || isBitTable(table))) {
      say("alone", "this is for a `bool` in a register");
    }
  }
  if (write.verify && write.readWithin < write.readAfter)
    say("readWithin", "it is over before `readAfter` is");
}

function rangeProblems({ min, max, values }: WriteConfig, say: Say): void {
  if (values && (min !== undefined || max !== undefined)) {
    say("values", "it says all that may be written; it excludes `min` and `max`");
  } else if (!values && (min === undefined || max === undefined)) {
    say(null, "a number needs its range, `min` and `max`, or its `values`");
  } else if (min !== undefined && max !== undefined && min > max) {
    say("min", `it is above max, ${max}`);
  }
}

/**
 * One unit may stand in the config under two names. One register of it written under both would have two ranges
 * and two pauses, and neither would hold.
 */
export function writtenTwice(devices: readonly (readonly [name: string, ModbusDeviceConfig])[]) {
  const taken = new Map<string, string>();
  return devices.flatMap(([device, { connection, unit, groups }]) =>
    Object.entries(groups).flatMap(([group, { registers }]) =>
      Object.entries(registers).flatMap(([signal, register]) => {
        if (!register.write) return [];
        const { table, address, bit } = register;
        const places = Array.from({ length: sizeOf(register) }, (_, at) => {
          return `${lineKey(connection)} ${unit} ${table} ${address + at} ${bit ?? ""}`;
        });
        const other = places.map((place) => taken.get(place)).find((each) => each !== undefined);
        for (const place of places) taken.set(place, device);
        if (other === undefined || other === device) return [];
        const path = ["devices", device, "groups", group, "registers", signal, "write"];
        return [{ path, message: `the device \`${other}\` is the same unit, and writes this register too` }];
      }),
    ),
  );
}
