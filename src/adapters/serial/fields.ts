/**
 * From a frame's content to readings: which group it belongs to, and what each of its fields says. Pure.
 */
import { numberOf, scaled } from "../numbers.ts";
import type { Value } from "../readings.ts";
import type { ReportRule } from "../report.ts";
import { bytesOf } from "./bytes-text.ts";
import { linearPattern } from "./pattern.ts";
import type { FieldConfig, GroupConfig, SerialDeviceConfig } from "./schema.ts";

export interface Field {
  readonly signal: string;
  readonly config: FieldConfig;
  readonly rule: ReportRule | undefined;
}

export interface Group {
  readonly name: string;
  readonly config: GroupConfig;
  readonly fields: readonly Field[];
  readonly match: RegExp | null;
  readonly error: RegExp | null;
}

export interface FieldValue {
  readonly signal: string;
  readonly unit: string | null;
  /** Null where there is none; then `reason` says why. */
  readonly value: Value;
  readonly reason: string | null;
}

export const BINARY_BYTES: Readonly<Record<string, number>> = {
  int8: 1,
  uint8: 1,
  int16: 2,
  uint16: 2,
  int32: 4,
  uint32: 4,
  int64: 8,
  uint64: 8,
  float32: 4,
  float64: 8,
};

/** `ddd` are the digits before the last two of the minutes. */
const DEGREES = /^(\d{1,3}?)(\d{2}(?:\.\d+)?),?([NSEWnsew])$/;
const DECIMAL = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;

export function groupsOf({ groups }: Pick<SerialDeviceConfig, "groups">): Group[] {
  return Object.entries(groups).map(([name, config]) => ({
    name,
    config,
    fields: Object.entries(config.fields).map(([signal, field]) => {
      return { signal, config: field, rule: field.report ?? config.report };
    }),
    match: config.match === undefined ? null : linearPattern(config.match),
    error: config.error === undefined ? null : linearPattern(config.error),
  }));
}

export function belongs({ match }: Group, content: Buffer, encoding: Encoding): boolean {
  return match === null || match.test(content.toString(encoding));
}

type Encoding = SerialDeviceConfig["encoding"];

/** What the fields of a frame say; the frame belongs to the group. */
export function readFields(group: Group, content: Buffer, encoding: Encoding): FieldValue[] {
  const text = content.toString(encoding);
  const groups = group.match?.exec(text)?.groups ?? {};
  const { separator } = group.config;
  const columns = separator === undefined ? [] : text.split(bytesOf(separator).toString(encoding));
  return group.fields.map(({ signal, config }) => {
    const unit = (config.unitFrom === undefined ? config.unit : groups[config.unitFrom]) ?? null;
    const raw = rawOf(signal, config, { content, groups, columns, encoding });
    if (raw === null) return { signal, unit, value: null, reason: "not-there: the frame has no such part" };
    return { signal, unit, ...saidValue(raw, config, encoding) };
  });
}

interface Parts {
  readonly content: Buffer;
  readonly groups: Readonly<Record<string, string | undefined>>;
  readonly columns: readonly string[];
  readonly encoding: Encoding;
}

/** Binary fields are bytes, the others text; null where the frame is too short for it. */
function rawOf(signal: string, config: FieldConfig, parts: Parts): Buffer | string | null {
  const { content, groups, columns, encoding } = parts;
  if (config.column !== undefined) return columns[config.column] ?? null;
  if (config.at === undefined) return groups[config.group ?? signal] ?? null;
  const length = BINARY_BYTES[config.type] ?? config.length!;
  if (config.at + length > content.length) return null;
  const bytes = content.subarray(config.at, config.at + length);
  return config.type in BINARY_BYTES ? bytes : bytes.toString(encoding);
}

type Said = Pick<FieldValue, "value" | "reason">;

function saidValue(raw: Buffer | string, config: FieldConfig, encoding: Encoding): Said {
  if (typeof raw !== "string") {
    const bytes = Buffer.from(raw);
    if (config.byteOrder === "little") bytes.reverse();
    return numbered(numberOf(bytes, config.type), config, raw.toString("hex"));
  }
  if (config.values) {
    const text = raw.trim();
    if (Object.hasOwn(config.values, text)) return { value: config.values[text]!, reason: null };
    return bad("unknown-text", `${JSON.stringify(text)} is not among its values`);
  }
  switch (config.type) {
    case "text":
      return {
        value: encoding === "latin1" ? raw.trim() : raw.replaceAll("\ufffd", "?").trim(),
        reason: null,
      };
    case "hex":
      return /^[0-9a-fA-F]{1,13}$/.test(raw.trim())
        ? numbered(Number.parseInt(raw.trim(), 16), config, raw)
        : bad("not-a-number", `it says ${JSON.stringify(raw)}`);
    case "degrees":
      return degreesOf(raw);
    default:
      return decimalOf(raw, config);
  }
}

function decimalOf(raw: string, config: FieldConfig): Said {
  // Scales right-align, and set the sign apart: "-   12.5".
  const packed = raw.replaceAll(/\s/g, "");
  if (packed === "") return bad("empty", "there is nothing where it should stand");
  const text = config.decimal === "," ? packed.replace(",", ".") : packed;
  if (!DECIMAL.test(text) || (config.decimal === "," && packed.includes("."))) {
    return bad("not-a-number", `it says ${JSON.stringify(raw)}`);
  }
  return numbered(Number(text), config, raw);
}

function degreesOf(raw: string): Said {
  const packed = raw.trim();
  if (packed === "" || packed === ",") return bad("empty", "there is nothing where it should stand");
  const [, degrees, minutes, side] = DEGREES.exec(packed) ?? [];
  if (!degrees || Number(minutes) >= 60) return bad("not-a-number", `it says ${JSON.stringify(raw)}`);
  const value = Number((Number(degrees) + Number(minutes) / 60).toFixed(8));
  return { value: /[SWsw]/.test(side!) && value !== 0 ? -value : value, reason: null };
}

function numbered(number: number | bigint, config: FieldConfig, shown: string): Said {
  const value = scaled(number, { ...config, exact: config.type === "float64" });
  if (typeof value === "string" || Number.isFinite(value)) return { value, reason: null };
  return bad("not-a-number", `it says ${JSON.stringify(shown)}`);
}

function bad(name: string, sentence: string): Said {
  return { value: null, reason: `${name}: ${sentence}` };
}
