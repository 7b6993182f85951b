/** Modbus framing as a machine does it, over TCP (MBAP) and as RTU. Pure; written from the standard, not from the product. */

export interface Frame {
  readonly unit: number;
  readonly pdu: Buffer;
  /** MBAP alone. */
  readonly transaction: number;
}

export interface Framing {
  /** The first whole request in `bytes` and what follows it; null where there is none yet. */
  take(bytes: Buffer): { readonly frame: Frame | null; readonly rest: Buffer } | null;
  wrap(frame: Frame): Buffer;
  /** The same with a fault in its framing. */
  spoil(frame: Frame): Buffer;
}

export const mbap: Framing = {
  take(bytes) {
    if (bytes.length < 8) return null;
    const end = 6 + bytes.readUInt16BE(4);
    if (bytes.length < end) return null;
    const frame = { transaction: bytes.readUInt16BE(0), unit: bytes[6]!, pdu: bytes.subarray(7, end) };
    return { frame, rest: bytes.subarray(end) };
  },
  wrap({ transaction, unit, pdu }) {
    const head = Buffer.alloc(7);
    head.writeUInt16BE(transaction, 0);
    head.writeUInt16BE(pdu.length + 1, 4);
    head[6] = unit;
    return Buffer.concat([head, pdu]);
  },
  // There is no checksum over TCP: an answer in another unit's name.
  spoil: (frame) => mbap.wrap({ ...frame, unit: frame.unit ^ 0x55 }),
};

export const rtu: Framing = {
  take(bytes) {
    if (bytes.length < 8) return null;
    const writesMany = bytes[1] === 15 || bytes[1] === 16;
    const end = writesMany ? 9 + bytes[6]! : bytes[1] === 22 ? 10 : 8;
    if (bytes.length < end) return null;
    const body = bytes.subarray(0, end - 2);
    const whole = crc16(body) === bytes.readUInt16LE(end - 2);
    // After a broken frame a machine waits for silence; what has come by now is thrown away.
    if (!whole) return { frame: null, rest: Buffer.alloc(0) };
    return { frame: { transaction: 0, unit: body[0]!, pdu: body.subarray(1) }, rest: bytes.subarray(end) };
  },
  wrap({ unit, pdu }) {
    const body = Buffer.concat([Buffer.from([unit]), pdu]);
    const crc = Buffer.alloc(2);
    crc.writeUInt16LE(crc16(body));
    return Buffer.concat([body, crc]);
  },
  spoil(frame) {
    const bytes = rtu.wrap(frame);
    bytes[bytes.length - 1]! ^= 0xff;
    return bytes;
  },
};

/** [Modbus over serial line V1.02, 6.2.2]: polynomial A001, begun with FFFF. */
function crc16(bytes: Buffer): number {
  let crc = 0xffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = crc & 1 ? (crc >> 1) ^ 0xa001 : crc >> 1;
  }
  return crc;
}
