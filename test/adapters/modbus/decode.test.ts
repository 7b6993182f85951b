import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeBit, decodeRegisters, type Orders } from "../../../src/adapters/modbus/decode.ts";
import type { RegisterConfig } from "../../../src/adapters/modbus/schema.ts";

const BIG: Orders = { byteOrder: "big", wordOrder: "big" };
const register = (more: Partial<RegisterConfig>): RegisterConfig => ({
  table: "holding",
  address: 0,
  ...more,
});
const read = (hex: string, more: Partial<RegisterConfig>, orders = BIG) =>
  decodeRegisters(Buffer.from(hex, "hex"), 0, register(more), orders);
const good = (value: unknown) => ({ ok: true, value });

/** As a machine would put it there: written from the words of the manual, not from the decoder. */
function encode(bytes: Buffer, { byteOrder, wordOrder }: Orders): Buffer {
  const words = Array.from({ length: bytes.length / 2 }, (_, at) => bytes.subarray(2 * at, 2 * at + 2));
  const ordered = wordOrder === "big" ? words : words.toReversed();
  return Buffer.concat(ordered.map((word) => (byteOrder === "big" ? word : Buffer.from(word).reverse())));
}

const orders = fc.record({
  byteOrder: fc.constantFrom("big" as const, "little" as const),
  wordOrder: fc.constantFrom("big" as const, "little" as const),
});

describe("registers", () => {
  it("hold one float in the four orders that manuals name by letters", () => {
    const letters: [string, Orders][] = [
      ["47f12065", BIG],
      ["206547f1", { byteOrder: "big", wordOrder: "little" }],
      ["f1476520", { byteOrder: "little", wordOrder: "big" }],
      ["6520f147", { byteOrder: "little", wordOrder: "little" }],
    ];
    for (const [hex, each] of letters) {
      expect(read(hex, { type: "float32" }, each)).toEqual(good(123456.79));
    }
  });

  it("are read back as what was written, for every type and order", () => {
    const cases = [
      ["int16", 2, fc.integer({ min: -(2 ** 15), max: 2 ** 15 - 1 }), "writeInt16BE"],
      ["uint16", 2, fc.integer({ min: 0, max: 2 ** 16 - 1 }), "writeUInt16BE"],
      ["int32", 4, fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), "writeInt32BE"],
      ["uint32", 4, fc.integer({ min: 0, max: 2 ** 32 - 1 }), "writeUInt32BE"],
      ["float64", 8, fc.double({ noNaN: true, noDefaultInfinity: true }), "writeDoubleBE"],
    ] as const;
    for (const [type, size, values, write] of cases) {
      fc.assert(
        fc.property(values as fc.Arbitrary<number>, orders, (value, each) => {
          const bytes = Buffer.alloc(size);
          bytes[write](value, 0);
          const decoded = decodeRegisters(encode(bytes, each), 0, register({ type }), each);
          expect(decoded).toEqual(good(value === 0 ? 0 : value));
        }),
      );
    }
  });

  it("keep every digit of a 64-bit integer, as text beyond 2^53", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), orders, (value, each) => {
        const bytes = Buffer.alloc(8);
        bytes.writeBigInt64BE(value);
        const decoded = decodeRegisters(encode(bytes, each), 0, register({ type: "int64" }), each);
        expect(decoded.ok && BigInt(decoded.value as string)).toBe(value);
        const safe = value >= -(2n ** 53n) + 1n && value <= 2n ** 53n - 1n;
        expect(decoded.ok && typeof decoded.value).toBe(safe ? "number" : "string");
      }),
    );
    expect(read("ffffffffffffffff", { type: "uint64" })).toEqual(good("18446744073709551615"));
  });

  it("hold a 32-bit float that is shown as short as it can be, and is still the same float", () => {
    expect(read("3dcccccd", { type: "float32" })).toEqual(good(0.1));
    fc.assert(
      fc.property(fc.float({ noNaN: true, noDefaultInfinity: true }), (value) => {
        const bytes = Buffer.alloc(4);
        bytes.writeFloatBE(value);
        const decoded = decodeRegisters(bytes, 0, register({ type: "float32" }), BIG);
        expect(decoded.ok && Math.fround(decoded.value as number)).toBe(value === 0 ? 0 : value);
      }),
    );
  });

  it("are scaled and moved, without the crumbs of binary fractions", () => {
    expect(read("0003", { type: "uint16", scale: 0.1 })).toEqual(good(0.3));
    expect(read("fff6", { type: "int16", scale: 0.1, offset: 20 })).toEqual(good(19));
    expect(read("8000", { offset: -32_768 })).toEqual(good(0));
  });

  it("that hold no number make no value, and say so", () => {
    for (const hex of ["7fc00000", "7f800000", "ff800000"]) {
      expect(read(hex, { type: "float32" })).toMatchObject({ ok: false, reason: /^not-a-number: / });
    }
  });

  it("hold text up to the first NUL, without the blanks it was filled up with", () => {
    expect(read("504c432d31000000", { type: "string", length: 8 })).toEqual(good("PLC-1"));
    expect(read("4c502d432020", { type: "string", length: 6 }, { ...BIG, byteOrder: "little" })).toEqual(
      good("PLC-"),
    );
    // An odd length leaves the last byte out.
    expect(read("41424344", { type: "string", length: 3 })).toEqual(good("ABC"));
  });

  it("hold bits, counted from the least significant", () => {
    expect(read("0005", { type: "bits", bits: { run: 0, door: 1, hot: 2 } })).toEqual(
      good({ run: true, door: false, hot: true }),
    );
    expect(read("8000", { type: "bool", bit: 15 })).toEqual(good(true));
    expect(read("8000", { type: "bool", bit: 0 })).toEqual(good(false));
  });

  it("are taken from their place in the answer", () => {
    const answer = Buffer.from("000100020003", "hex");
    expect(decodeRegisters(answer, 2, register({}), BIG)).toEqual(good(3));
    expect([...answer]).toEqual([0, 1, 0, 2, 0, 3]);
  });
});

describe("coils", () => {
  it("lie in bytes, the first in the lowest bit", () => {
    const answer = Buffer.from([0b0000_0101, 0b1000_0000]);
    expect([0, 1, 2, 8, 15].map((at) => decodeBit(answer, at))).toEqual([true, false, true, false, true]);
  });
});
