/**
 * From a value to what is to stand in a machine, the reverse of decode.ts, and why there is nothing that could
 * stand there. Pure.
 */

import type { Orders } from "./decode.ts";
import { reverseWords } from "./decode.ts";
import { isBitTable, sizeOf, typeOf } from "./map-checks.ts";
import type { RegisterConfig, ValueType } from "./schema.ts";

export type Encoded =
  | { readonly ok: true; readonly kind: "coil" | "bit"; readonly on: boolean }
  | { readonly ok: true; readonly kind: "registers"; readonly data: Buffer }
  /** `key`: the one of the register's that forbids it. */
  | { readonly ok: false; readonly key: "type" | "length" | "scale"; readonly reason: string };

/** Of whole numbers, as far as a number of JavaScript's is exact. */
const RANGES: Readonly<Record<string, readonly [min: number, max: number]>> = {
  int16: [-(2 ** 15), 2 ** 15 - 1],
  uint16: [0, 2 ** 16 - 1],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint32: [0, 2 ** 32 - 1],
  int64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  uint64: [0, Number.MAX_SAFE_INTEGER],
};
/** 21.5 / 0.1 is not quite 215. */
const RELATIVE_ERROR = 1e-9;

export function encode(register: RegisterConfig, value: unknown, device: Orders): Encoded {
  const type = typeOf(register);
  if (type === "bool") {
    if (typeof value !== "boolean") return { ok: false, key: "type", reason: "it takes true or false" };
    return { ok: true, kind: isBitTable(register.table) ? "coil" : "bit", on: value };
  }
  const data = Buffer.alloc(2 * sizeOf(register));
  const problem = type === "string" ? putText(data, register, value) : putNumber(data, type, register, value);
  if (problem) return problem;
  if (type !== "string" && (register.wordOrder ?? device.wordOrder) === "little") reverseWords(data);
  if ((register.byteOrder ?? device.byteOrder) === "little") data.swap16();
  return { ok: true, kind: "registers", data };
}

function putText(
  data: Buffer,
  { length = 0 }: RegisterConfig,
  value: unknown,
): (Encoded & { ok: false }) | null {
  if (typeof value !== "string") return { ok: false, key: "type", reason: "it takes text" };
  if (value.length > length) {
    return {
      ok: false,
      key: "length",
      reason: `it takes ${length} characters, and these are ${value.length}`,
    };
  }
  if ([...value].some((each) => each > "\xff" || each === "\0")) {
    return { ok: false, key: "type", reason: "each of its characters is one byte: Latin-1, and no NUL" };
  }
  data.write(value, "latin1");
  return null;
}

function putNumber(
  data: Buffer,
  type: ValueType,
  register: RegisterConfig,
  value: unknown,
): (Encoded & { ok: false }) | null {
  if (typeof value !== "number" || !Number.isFinite(value)) {
    return { ok: false, key: "type", reason: "it takes a number" };
  }
  const { scale = 1, offset = 0, write } = register;
  const exact = (value - offset) / scale;
  if (type === "float32" || type === "float64") {
    if (type === "float64") data.writeDoubleBE(exact);
    else data.writeFloatBE(exact);
    if (type === "float64" || Number.isFinite(Math.fround(exact))) return null;
    return { ok: false, key: "type", reason: "it is larger than a float32 can be" };
  }
  const raw = Math.round(exact);
  const error = Math.abs(raw * scale + offset - value);
  if (error > (write?.tolerance ?? 0) + RELATIVE_ERROR * Math.max(1, Math.abs(value))) {
    const step = Math.abs(scale);
    const near = Number((raw * scale + offset).toPrecision(15));
    return { ok: false, key: "scale", reason: `it has steps of ${step}; the nearest is ${near}` };
  }
  const [min, max] = RANGES[type]!;
  if (raw < min || raw > max) {
    const ends = [min, max].map((end) => Number((end * scale + offset).toPrecision(15)));
    const [least, most] = ends.toSorted((a, b) => a - b);
    return { ok: false, key: "type", reason: `a ${type} holds ${least} to ${most} here` };
  }
  if (type === "int64") data.writeBigInt64BE(BigInt(raw));
  else if (type === "uint64") data.writeBigUInt64BE(BigInt(raw));
  else if (min < 0) data.writeIntBE(raw, 0, data.length);
  else data.writeUIntBE(raw, 0, data.length);
  return null;
}
