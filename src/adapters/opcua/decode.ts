/** From a DataValue to a reading's value, quality and time. Pure. */
import { shortestFloat32 } from "../numbers.ts";
import type { Reading, Value } from "../readings.ts";
import type { DataValue, StatusCode, Variant } from "./library.ts";

/** Longer lists are no reading any more. */
const ELEMENTS_MAX = 1000;
/** [OPC 10000-4, 7.39.1]: the two highest bits. */
const SEVERITY_SHIFT = 30;
/** [as above]: the status belongs to a data value, and the server's queue has thrown values away. */
const OVERFLOW_BITS = 0x0480;

const [INT64, UINT64, FLOAT, DATE_TIME, BYTE_STRING, QUALIFIED_NAME, LOCALIZED_TEXT] = [
  8, 9, 10, 13, 15, 20, 21,
];
/** Boolean to Double, String, Guid. */
const PLAIN_TYPES = new Set([1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 14, 16]);

type Plain = number | string | boolean;

export type Decoded =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly reason: string };

export function decodeVariant({ dataType, arrayType, value }: Variant): Decoded {
  if (value === null || value === undefined) return { ok: true, value: null };
  if (arrayType === 0) return decodeScalar(dataType, value);
  if (arrayType !== 1) return { ok: false, reason: "unreadable: it is a matrix" };
  const elements = [...(value as Iterable<unknown>)];
  if (elements.length > ELEMENTS_MAX) {
    return { ok: false, reason: `unreadable: it is a list of ${elements.length}, more than ${ELEMENTS_MAX}` };
  }
  const values: (Plain | null)[] = [];
  for (const element of elements) {
    const decoded = decodeScalar(dataType, element);
    if (!decoded.ok) return decoded;
    values.push(decoded.value as Plain | null);
  }
  return { ok: true, value: values };
}

function decodeScalar(dataType: number, value: unknown): Decoded {
  if (value === null || value === undefined) return { ok: true, value: null };
  if (dataType === INT64 || dataType === UINT64) return { ok: true, value: decodeLong(dataType, value) };
  if (dataType === DATE_TIME) return { ok: true, value: (value as Date).toISOString() };
  if (dataType === BYTE_STRING) return { ok: true, value: (value as Buffer).toString("base64") };
  if (dataType === LOCALIZED_TEXT) return { ok: true, value: (value as { text?: string }).text ?? null };
  if (dataType === QUALIFIED_NAME) return { ok: true, value: (value as { name?: string }).name ?? null };
  if (!PLAIN_TYPES.has(dataType)) return { ok: false, reason: "unreadable: it is a structure, not a value" };
  if (typeof value === "number" && !Number.isFinite(value)) {
    return { ok: false, reason: `not-a-number: it is ${value}` };
  }
  return { ok: true, value: dataType === FLOAT ? shortestFloat32(value as number) : (value as Plain) };
}

/** The library has the high word first, and both unsigned. */
function decodeLong(dataType: number, value: unknown): number | string {
  const [high, low] = value as [number, number];
  const whole = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
  const exact = dataType === INT64 ? BigInt.asIntN(64, whole) : whole;
  const number = Number(exact);
  return Number.isSafeInteger(number) ? number : exact.toString();
}

/** The reverse of decodeLong, for whole numbers that are exact. */
export function encodeLong(value: number): [number, number] {
  const whole = BigInt.asUintN(64, BigInt(value));
  return [Number(whole >> 32n), Number(whole & 0xffff_ffffn)];
}

export function statusText({ name, description }: StatusCode): string {
  return `${nameOf(name)}: ${description}`;
}

export const isGood = ({ value }: StatusCode) => value >>> SEVERITY_SHIFT === 0;
const isUncertain = ({ value }: StatusCode) => value >>> SEVERITY_SHIFT === 1;

/** The server's queue had no room for all, so that some values are missing. */
export function hasOverflowed({ statusCode: { value } }: DataValue): boolean {
  return (value & OVERFLOW_BITS) === OVERFLOW_BITS;
}

/** Without the bits that say more than the code does. */
function nameOf(name: string): string {
  return name.split("#")[0]!;
}

/**
 * Good is `good`; Uncertain keeps its value, `stale`, with the server's reason; Bad has none. The time is the
 * source's, else the server's, else ours.
 */
export function readingOf(signal: string, unit: string | null, data: DataValue, wallMs: number): Reading {
  const { statusCode, sourceTimestamp, serverTimestamp } = data;
  const producedAtMs = (sourceTimestamp ?? serverTimestamp)?.getTime() ?? wallMs;
  const base = { signal, unit, producedAtMs };
  const isUsable = isGood(statusCode) || isUncertain(statusCode);
  if (!isUsable) return { ...base, value: null, quality: "bad", reason: statusText(statusCode) };
  const decoded: Decoded = data.value ? decodeVariant(data.value) : { ok: true, value: null };
  if (!decoded.ok) return { ...base, value: null, quality: "bad", reason: decoded.reason };
  return isGood(statusCode)
    ? { ...base, value: decoded.value, quality: "good", reason: null }
    : { ...base, value: decoded.value, quality: "stale", reason: statusText(statusCode) };
}
