/**
 * From what a machine answered to a value, and why there is none where there is none. Pure.
 *
 * Registers are 16 bits, high byte first [Modbus application protocol V1.1b3, 4.2]; how wider values lie in
 * them is no part of the standard. `wordOrder: big` has the high word first, `byteOrder: little` swaps the two
 * bytes of each register; together they give the four orders manuals call ABCD, CDAB, BADC and DCBA.
 */
import { numberOf, scaled } from "../numbers.ts";
import type { Value } from "../readings.ts";
import { sizeOf, typeOf } from "./map-checks.ts";
import type { RegisterConfig } from "./schema.ts";

export interface Orders {
  readonly byteOrder: "big" | "little";
  readonly wordOrder: "big" | "little";
}

export type Decoded =
  | { readonly ok: true; readonly value: Value }
  /** A name, a colon, a sentence. */
  | { readonly ok: false; readonly reason: string };

/** A coil or discrete input: `data` holds one bit each, the first in the lowest bit of the first byte. */
export function decodeBit(data: Buffer, at: number): boolean {
  return ((data[at >> 3]! >> (at & 7)) & 1) === 1;
}

/** The value whose registers begin `at` registers into `data`. */
export function decodeRegisters(data: Buffer, at: number, register: RegisterConfig, device: Orders): Decoded {
  const type = typeOf(register);
  const byteOrder = register.byteOrder ?? device.byteOrder;
  const wordOrder = register.wordOrder ?? device.wordOrder;
  const raw = Buffer.from(data.subarray(2 * at, 2 * (at + sizeOf(register))));
  if (byteOrder === "little") raw.swap16();
  if (type === "string") return { ok: true, value: textOf(raw, register.length!) };
  if (type === "bits") return { ok: true, value: bitsOf(raw.readUInt16BE(0), register.bits!) };
  if (type === "bool") return { ok: true, value: ((raw.readUInt16BE(0) >> register.bit!) & 1) === 1 };
  if (wordOrder === "little") reverseWords(raw);
  const scaling = { ...register, exact: type === "float64" };
  const value = scaled(numberOf(raw, type), scaling);
  if (typeof value !== "number" || Number.isFinite(value)) return { ok: true, value };
  return { ok: false, reason: `not-a-number: the registers hold ${value}` };
}

/** In place; the same again undoes it. */
export function reverseWords(raw: Buffer): void {
  for (let low = 0, high = raw.length - 2; low < high; low += 2, high -= 2) {
    const word = raw.readUInt16BE(low);
    raw.writeUInt16BE(raw.readUInt16BE(high), low);
    raw.writeUInt16BE(word, high);
  }
}

/** Machines fill up with NULs or spaces. One byte is one character: no standard says more. */
function textOf(raw: Buffer, length: number): string {
  const text = raw.toString("latin1", 0, length);
  const end = text.indexOf("\0");
  return (end < 0 ? text : text.slice(0, end)).trimEnd();
}

function bitsOf(word: number, bits: Readonly<Record<string, number>>): Record<string, boolean> {
  return Object.fromEntries(Object.entries(bits).map(([name, bit]) => [name, ((word >> bit) & 1) === 1]));
}
