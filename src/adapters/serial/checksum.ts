/**
 * Checksums as instruments make them. Pure.
 *
 * CRCs go by their names in the catalogue of parametrised CRC algorithms (reveng), since "CCITT" alone has
 * meant five different things; each is held against the catalogue's check value by a test. The sums have no
 * catalogue: `sum-8` and `sum-16` add the bytes up, `lrc-8` is the sum's two's complement, `xor-8` is what
 * NMEA 0183 and most manuals that say BCC mean.
 */
interface Crc {
  readonly width: 8 | 16 | 32;
  readonly poly: number;
  readonly init: number;
  /** Bits of input and output are mirrored. */
  readonly mirrored: boolean;
  readonly xorOut: number;
}

const crc = (width: Crc["width"], poly: number, init: number, mirrored: boolean, xorOut: number): Crc => {
  return { width, poly, init, mirrored, xorOut };
};

const CRCS = {
  "CRC-8/SMBUS": crc(8, 0x07, 0, false, 0),
  "CRC-8/MAXIM-DOW": crc(8, 0x31, 0, true, 0),
  "CRC-16/ARC": crc(16, 0x8005, 0, true, 0),
  "CRC-16/MODBUS": crc(16, 0x8005, 0xffff, true, 0),
  "CRC-16/USB": crc(16, 0x8005, 0xffff, true, 0xffff),
  "CRC-16/UMTS": crc(16, 0x8005, 0, false, 0),
  "CRC-16/IBM-3740": crc(16, 0x1021, 0xffff, false, 0),
  /** The catalogue's own other name for IBM-3740, and the one manuals use. */
  "CRC-16/CCITT-FALSE": crc(16, 0x1021, 0xffff, false, 0),
  "CRC-16/XMODEM": crc(16, 0x1021, 0, false, 0),
  "CRC-16/KERMIT": crc(16, 0x1021, 0, true, 0),
  "CRC-16/IBM-SDLC": crc(16, 0x1021, 0xffff, true, 0xffff),
  "CRC-16/MCRF4XX": crc(16, 0x1021, 0xffff, true, 0),
  "CRC-16/GENIBUS": crc(16, 0x1021, 0xffff, false, 0xffff),
  "CRC-16/SPI-FUJITSU": crc(16, 0x1021, 0x1d0f, false, 0),
  "CRC-16/DNP": crc(16, 0x3d65, 0, true, 0xffff),
  "CRC-16/EN-13757": crc(16, 0x3d65, 0, false, 0xffff),
  "CRC-32/ISO-HDLC": crc(32, 0x04c11db7, 0xffffffff, true, 0xffffffff),
} as const satisfies Record<string, Crc>;

const SUMS = {
  "sum-8": { bytes: 1, of: (data: Uint8Array) => sum(data) & 0xff },
  "sum-16": { bytes: 2, of: (data: Uint8Array) => sum(data) & 0xffff },
  "lrc-8": { bytes: 1, of: (data: Uint8Array) => -sum(data) & 0xff },
  "xor-8": { bytes: 1, of: (data: Uint8Array) => data.reduce((all, byte) => all ^ byte, 0) },
} as const;

export type ChecksumName = keyof typeof CRCS | keyof typeof SUMS;
export const CHECKSUM_NAMES = [...Object.keys(SUMS), ...Object.keys(CRCS)] as [
  ChecksumName,
  ...ChecksumName[],
];

export function checksumBytes(name: ChecksumName): number {
  return name in SUMS ? SUMS[name as keyof typeof SUMS].bytes : CRCS[name as keyof typeof CRCS].width / 8;
}

/** Unsigned. */
export function checksumOf(name: ChecksumName, data: Uint8Array): number {
  if (name in SUMS) return SUMS[name as keyof typeof SUMS].of(data);
  const { width, poly, init, mirrored, xorOut } = CRCS[name as keyof typeof CRCS];
  // Always in the upper bits of 32, so that one loop serves all widths.
  const shift = 32 - width;
  let register = init << shift;
  for (const byte of data) {
    register ^= (mirrored ? mirror(byte, 8) : byte) << 24;
    for (let bit = 0; bit < 8; bit++)
      register = register & 0x8000_0000 ? (register << 1) ^ (poly << shift) : register << 1;
  }
  const plain = register >>> shift;
  return ((mirrored ? mirror(plain, width) : plain) ^ xorOut) >>> 0;
}

function mirror(value: number, bits: number): number {
  let mirrored = 0;
  for (let bit = 0; bit < bits; bit++) {
    mirrored = (mirrored << 1) | ((value >>> bit) & 1);
  }
  return mirrored >>> 0;
}

function sum(data: Uint8Array): number {
  return data.reduce((all, byte) => all + byte, 0);
}
