/** What may be written, what of a `write` could never be, and what a value is on the wire. Pure. */
import type { WriteConfig, WrittenType } from "./write-schema.ts";

/** Of whole numbers, as far as a number of JavaScript's is exact. */
const RANGES: Readonly<Partial<Record<WrittenType, readonly [min: number, max: number]>>> = {
  int8: [-(2 ** 7), 2 ** 7 - 1],
  uint8: [0, 2 ** 8 - 1],
  int16: [-(2 ** 15), 2 ** 15 - 1],
  uint16: [0, 2 ** 16 - 1],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint32: [0, 2 ** 32 - 1],
  int64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  uint64: [0, Number.MAX_SAFE_INTEGER],
};
const TEXT_CHARACTERS_MAX = 65_536;

interface WriteProblem {
  readonly key: keyof WriteConfig | null;
  readonly message: string;
}

export function writeProblems(write: WriteConfig): WriteProblem[] {
  const { type, min, max, values, tolerance } = write;
  const problems: WriteProblem[] = [];
  const say = (key: keyof WriteConfig | null, message: string) => problems.push({ key, message });
  const isNumber = type !== "bool" && type !== "string";
  if (isNumber && values && (min !== undefined || max !== undefined)) {
    say("values", "it says all that may be written; it excludes `min` and `max`");
  } else if (isNumber && !values && (min === undefined || max === undefined)) {
    say(null, "a number needs its range, `min` and `max`, or its `values`");
  } else if (min !== undefined && max !== undefined && min > max) {
    say("min", `it is above max, ${max}`);
  }
  for (const key of ["min", "max"] as const) {
    if (!isNumber && write[key] !== undefined) {
      say(key, `a \`${type}\` is no number that could have a range; use \`values\``);
    }
  }
  if (!isNumber && tolerance > 0) say("tolerance", `a \`${type}\` is no number`);
  for (const key of ["min", "max", "values"] as const) {
    for (const value of isNumber || key === "values" ? [write[key] ?? []].flat() : []) {
      const problem = typeProblem(type, value);
      if (problem) say(key, `${JSON.stringify(value)} cannot be written: ${problem}`);
    }
  }
  if (write.verify && write.readWithin < write.readAfter)
    say("readWithin", "it is over before `readAfter` is");
  return problems;
}

/** Why a value cannot be written at all, whatever the limits; null where it can. */
function typeProblem(type: WrittenType, value: unknown): string | null {
  if (type === "bool") return typeof value === "boolean" ? null : "it takes true or false";
  if (type === "string") {
    if (typeof value !== "string") return "it takes text";
    return value.length <= TEXT_CHARACTERS_MAX ? null : `it takes ${TEXT_CHARACTERS_MAX} characters`;
  }
  if (typeof value !== "number" || !Number.isFinite(value)) return "it takes a number";
  const range = RANGES[type];
  if (range) {
    if (!Number.isInteger(value)) return `a ${type} holds whole numbers`;
    return value >= range[0] && value <= range[1] ? null : `a ${type} holds ${range[0]} to ${range[1]}`;
  }
  return type === "float64" || Number.isFinite(Math.fround(value))
    ? null
    : "it is larger than a float32 can be";
}

/** `key`: the one of the write's that forbids it. */
export type Ruled =
  | { readonly ok: true }
  | { readonly ok: false; readonly key: string; readonly reason: string };

export function ruleOf({ type, min, max, values }: WriteConfig, value: unknown): Ruled {
  const given = JSON.stringify(value);
  const forbid = (key: string, reason: string): Ruled => ({ ok: false, key, reason });
  // Before what the type says: a limit is what people know.
  if (typeof value === "number" && min !== undefined && value < min) {
    return forbid("min", `${given} is below ${min}`);
  }
  if (typeof value === "number" && max !== undefined && value > max) {
    return forbid("max", `${given} is above ${max}`);
  }
  if (values && !values.includes(value as never)) {
    return forbid("values", `${given} is none of ${values.map((each) => JSON.stringify(each)).join(", ")}`);
  }
  const problem = typeProblem(type, value);
  return problem === null ? { ok: true } : forbid("type", `${given}: ${problem}`);
}

/** Whether what was read back is what was written. */
export function isWritten(found: unknown, value: unknown, { type, tolerance }: WriteConfig): boolean {
  if (typeof found !== "number" || typeof value !== "number") return found === value;
  if (type === "float32" && Math.fround(found) === Math.fround(value)) return true;
  return Math.abs(found - value) <= tolerance;
}
