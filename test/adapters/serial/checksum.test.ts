import { describe, expect, it } from "vitest";
import {
  CHECKSUM_NAMES,
  type ChecksumName,
  checksumBytes,
  checksumOf,
} from "../../../src/adapters/serial/checksum.ts";

/** What the catalogue of parametrised CRC algorithms says each makes of the nine digits. */
const CHECKS: Record<ChecksumName, number> = {
  "sum-8": 0xdd,
  "sum-16": 0x01dd,
  "lrc-8": 0x23,
  "xor-8": 0x31,
  "CRC-8/SMBUS": 0xf4,
  "CRC-8/MAXIM-DOW": 0xa1,
  "CRC-16/ARC": 0xbb3d,
  "CRC-16/MODBUS": 0x4b37,
  "CRC-16/USB": 0xb4c8,
  "CRC-16/UMTS": 0xfee8,
  "CRC-16/IBM-3740": 0x29b1,
  "CRC-16/CCITT-FALSE": 0x29b1,
  "CRC-16/XMODEM": 0x31c3,
  "CRC-16/KERMIT": 0x2189,
  "CRC-16/IBM-SDLC": 0x906e,
  "CRC-16/MCRF4XX": 0x6f91,
  "CRC-16/GENIBUS": 0xd64e,
  "CRC-16/SPI-FUJITSU": 0xe5cc,
  "CRC-16/DNP": 0xea82,
  "CRC-16/EN-13757": 0xc2b7,
  "CRC-32/ISO-HDLC": 0xcbf43926,
};

describe("a checksum", () => {
  it.each(CHECKSUM_NAMES)("%s of 123456789 is what the catalogue says", (name) => {
    expect(checksumOf(name, Buffer.from("123456789")).toString(16)).toBe(CHECKS[name].toString(16));
  });

  it("finds every single bit that was turned over, and sums are known not to find swapped bytes", () => {
    const data = Buffer.from("S S      1.234 kg");
    for (const name of CHECKSUM_NAMES) {
      const whole = checksumOf(name, data);
      for (let bit = 0; bit < data.length * 8; bit++) {
        const turned = Buffer.from(data);
        turned[bit >> 3]! ^= 1 << (bit & 7);
        expect(checksumOf(name, turned), `${name}, bit ${bit}`).not.toBe(whole);
      }
      const swapped = Buffer.from(data);
      [swapped[9], swapped[10]] = [data[10]!, data[9]!];
      expect(checksumOf(name, swapped) === whole, name).toBe(!name.startsWith("CRC"));
      expect(whole).toBeLessThan(2 ** (8 * checksumBytes(name)));
    }
  });
});
