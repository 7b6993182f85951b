/** Just enough MQTT 3.1.1 on the wire for load: packets are written and counted, never parsed further. */

export const PACKET = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  subscribe: 8,
  suback: 9,
  pingreq: 12,
} as const;

export type OnFrame = (type: number, flags: number, body: Buffer) => void;

/** Cuts a byte stream into packets; the returned function takes each chunk. */
export function frameReader(onFrame: OnFrame): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    for (;;) {
      const head = remainingLength(bytes, at + 1);
      if (!head || head.end + head.length > bytes.length) break;
      onFrame(bytes[at]! >> 4, bytes[at]! & 0x0f, bytes.subarray(head.end, head.end + head.length));
      at = head.end + head.length;
    }
    rest = at === bytes.length ? Buffer.alloc(0) : bytes.subarray(at);
  };
}

function remainingLength(bytes: Buffer, from: number): { length: number; end: number } | null {
  let length = 0;
  for (let at = from, shift = 0; at < bytes.length && shift < 28; at++, shift += 7) {
    length |= (bytes[at]! & 0x7f) << shift;
    if (bytes[at]! < 0x80) return { length, end: at + 1 };
  }
  return null;
}

function packet(firstByte: number, body: Buffer): Buffer {
  const length: number[] = [];
  let left = body.length;
  do {
    length.push((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
    left >>= 7;
  } while (left > 0);
  return Buffer.concat([Buffer.from([firstByte, ...length]), body]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

export function connectPacket(clientId: string): Buffer {
  const cleanSession = 0x02;
  return packet(0x10, Buffer.concat([text("MQTT"), Buffer.from([4, cleanSession, 0, 60]), text(clientId)]));
}

export function subscribePacket(filter: string): Buffer {
  return packet(0x82, Buffer.concat([Buffer.from([0, 1]), text(filter), Buffer.from([0])]));
}

/** A QoS 1 PUBLISH whose packet id is written into it at `idAt` before each send. */
export function publishTemplate(topic: string, payload: Buffer): { bytes: Buffer; idAt: number } {
  const bytes = packet(0x32, Buffer.concat([text(topic), Buffer.from([0, 0]), payload]));
  return { bytes, idAt: bytes.length - payload.length - 2 };
}

export const CONNACK = Buffer.from([0x20, 2, 0, 0]);
export const PINGRESP = Buffer.from([0xd0, 0]);
export const SUBACK_QOS0 = Buffer.from([0x90, 3, 0, 1, 0]);

export function pubackPacket(packetId: number): Buffer {
  return Buffer.from([0x40, 2, packetId >> 8, packetId & 0xff]);
}
