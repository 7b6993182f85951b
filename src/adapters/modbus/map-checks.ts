/**
 * What is wrong with a register map though each of its keys is right: types that cannot stand where they are
 * said to stand, values that overlap, topics that would be one. Pure.
 */
import { type MapProblem, signalProblems, topicProblems } from "../device-keys.ts";
import type { ModbusDeviceConfig, RegisterConfig, ValueType } from "./schema.ts";
import { writeProblems } from "./write-checks.ts";

type Checked = Pick<
  ModbusDeviceConfig,
  | "connection"
  | "unit"
  | "registersMax"
  | "byteOrder"
  | "wordOrder"
  | "place"
  | "topic"
  | "message"
  | "groups"
>;

const REGISTERS: Record<ValueType, number> = {
  bool: 1,
  bits: 1,
  int16: 1,
  uint16: 1,
  int32: 2,
  uint32: 2,
  float32: 2,
  int64: 4,
  uint64: 4,
  float64: 4,
  string: 0,
};
const ADDRESSES = 65_536;
/** [Modbus over serial line V1.02, 2.2]: 248 to 255 are reserved, 0 is the broadcast nobody answers. */
const SERIAL_UNIT_MAX = 247;

export function isBitTable(table: RegisterConfig["table"]): boolean {
  return table === "coil" || table === "discrete";
}

export function typeOf({ type, table }: Pick<RegisterConfig, "type" | "table">): ValueType {
  return type ?? (isBitTable(table) ? "bool" : "uint16");
}

/** How many addresses of its table a value takes. */
export function sizeOf(register: RegisterConfig): number {
  const type = typeOf(register);
  return type === "string" ? Math.ceil((register.length ?? 2) / 2) : REGISTERS[type];
}

export function mapProblems(device: Checked): MapProblem[] {
  const problems: MapProblem[] = [];
  const all = Object.entries(device.groups).flatMap(([group, { registers }]) => {
    return Object.entries(registers).map(([signal, register]) => {
      return { signal, register, path: ["groups", group, "registers", signal] };
    });
  });
  for (const each of all) problems.push(...registerProblems(each, device));
  problems.push(...signalProblems(all));
  problems.push(...overlaps(all), ...topicProblems(device));
  if (device.connection.type === "serial" && (device.unit < 1 || device.unit > SERIAL_UNIT_MAX)) {
    const message = `on a serial line a unit has a number from 1 to ${SERIAL_UNIT_MAX}; 0 is a call to all, which nobody answers`;
    problems.push({ path: ["unit"], message });
  }
  return problems;
}

interface Mapped {
  readonly signal: string;
  readonly register: RegisterConfig;
  readonly path: readonly string[];
}

function registerProblems({ register, path }: Mapped, device: Checked): MapProblem[] {
  const { registersMax } = device;
  const problems: MapProblem[] = [];
  const say = (key: string, message: string) => problems.push({ path: [...path, key], message });
  const { table, address, bit, bits, length, scale, offset } = register;
  const type = typeOf(register);
  const isNumber = !["bool", "bits", "string"].includes(type);
  if (isBitTable(table) && type !== "bool") {
    say("type", `the ${table} table has single bits, so that only \`bool\` can stand there`);
  } else if (!isBitTable(table) && type === "bool" && bit === undefined) {
    say("type", `a \`bool\` in the ${table} table needs \`bit\`, 0 to 15`);
  }
  if (bit !== undefined && (type !== "bool" || isBitTable(table))) {
    say("bit", "this is for a `bool` in the input or holding table");
  }
  if (type === "bits" && Object.keys(bits ?? {}).length === 0)
    say("type", "`bits` needs `bits`, the bits' names");
  if (type !== "bits" && bits !== undefined) say("bits", "this is for `type: bits`");
  if (type === "string" && length === undefined) say("type", "a `string` needs `length`, its characters");
  if (type !== "string" && length !== undefined) say("length", "this is for `type: string`");
  if (!isNumber && (scale !== undefined || offset !== undefined)) {
    say(scale === undefined ? "offset" : "scale", `a \`${type}\` is no number that could be scaled`);
  }
  if (scale === 0) say("scale", "every value would be the same");
  const rule = register.report;
  if (!isNumber && rule && (rule.deadband !== undefined || rule.deadbandPercent !== undefined)) {
    say("report", `a \`${type}\` has no deadband: every change is reported`);
  }
  const size = sizeOf(register);
  if (address + size > ADDRESSES) {
    say("address", `it takes ${size} registers, and the last address is ${ADDRESSES - 1}`);
  }
  if (!isBitTable(table) && size > registersMax) {
    say(
      "address",
      `it takes ${size} registers, more than registersMax (${registersMax}) lets one request have`,
    );
  }
  // What is wrong with the register itself makes everything that is to be written wrong.
  if (problems.length === 0) {
    writeProblems(register, device, (key, message) => {
      problems.push({ path: [...path, "write", ...(key === null ? [] : [key])], message });
    });
  }
  return problems;
}

/** Two values over one register are a slip in the map; bits of one register, named one by one, are not. */
function overlaps(all: readonly Mapped[]): MapProblem[] {
  const problems: MapProblem[] = [];
  for (const table of new Set(all.map(({ register }) => register.table))) {
    const sorted = all
      .filter(({ register }) => register.table === table)
      .toSorted((a, b) => a.register.address - b.register.address);
    let widest = sorted[0]!;
    for (const each of sorted.slice(1)) {
      const end = widest.register.address + sizeOf(widest.register);
      if (each.register.address < end && !areBitsApart(widest, each)) {
        const range = `${widest.register.address} to ${end - 1}`;
        const taken = end - widest.register.address === 1 ? `${widest.register.address}` : range;
        const message = `overlaps \`${widest.signal}\`, which takes ${table} ${taken}`;
        problems.push({ path: [...each.path, "address"], message });
      }
      if (each.register.address + sizeOf(each.register) >= end) widest = each;
    }
    problems.push(...sameBits(sorted));
  }
  return problems;
}

function areBitsApart(a: Mapped, b: Mapped): boolean {
  return typeOf(a.register) === "bool" && typeOf(b.register) === "bool" && a.register.bit !== undefined;
}

function sameBits(sorted: readonly Mapped[]): MapProblem[] {
  const taken = new Map<string, string>();
  return sorted.flatMap(({ register: { address, bit }, signal, path }) => {
    if (bit === undefined) return [];
    const key = `${address}.${bit}`;
    const other = taken.get(key);
    if (other === undefined) taken.set(key, signal);
    return other === undefined
      ? []
      : [{ path: [...path, "bit"], message: `overlaps \`${other}\`, which is the same bit` }];
  });
}
