/** Numbers as machines hold them, made into those that people mean. Pure. */

export interface Scaling {
  readonly scale?: number;
  readonly offset?: number;
  /** All digits of the result count: it was a 64-bit float. */
  readonly exact?: boolean;
}

/** Fifteen digits hold every number of the narrower types exactly. */
const DIGITS = 15;

/** High byte first. */
export function numberOf(raw: Buffer, type: string): number | bigint {
  switch (type) {
    case "int8":
      return raw.readInt8(0);
    case "uint8":
      return raw.readUInt8(0);
    case "int16":
      return raw.readInt16BE(0);
    case "uint16":
      return raw.readUInt16BE(0);
    case "int32":
      return raw.readInt32BE(0);
    case "uint32":
      return raw.readUInt32BE(0);
    case "int64":
      return raw.readBigInt64BE(0);
    case "uint64":
      return raw.readBigUInt64BE(0);
    case "float32":
      return shortestFloat32(raw.readFloatBE(0));
    default:
      return raw.readDoubleBE(0);
  }
}

/** Not finite where there is no such number; text for an integer that a number cannot hold. */
export function scaled(number: number | bigint, { scale, offset, exact }: Scaling): number | string {
  if (scale === undefined && offset === undefined) {
    if (typeof number !== "bigint") return good(number);
    const safe = BigInt.asIntN(54, number) === number && Number.isSafeInteger(Number(number));
    return safe ? Number(number) : number.toString();
  }
  const value = Number(number) * (scale ?? 1) + (offset ?? 0);
  // 3 × 0.1 is 0.3 to whoever wrote the map.
  return good(exact || !Number.isFinite(value) ? value : Number(value.toPrecision(DIGITS)));
}

/** JSON has no negative zero. */
function good(number: number): number {
  return number === 0 ? 0 : number;
}

/** 0.1 for the float nearest to it, rather than 0.10000000149011612. */
export function shortestFloat32(value: number): number {
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}
