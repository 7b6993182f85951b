/**
 * How session state looks in the store (core/session.ts). Binary, since a row is written for each message
 * that waits for a client:
 *
 * - a message: version 1, flags (bits 0-1 QoS, bit 2 retain), topic length (u16), topic, payload
 * - where an outgoing message stands: version 1, packet id (u16), stage (1 sent, 2 released by PUBREL)
 * - a subscription: version 1, QoS, flags (bit 0 retain as published, bit 1 no local), retain handling
 * - a session's own row, and a will's heading: JSON
 *
 * Keys: an outgoing message is a number of 16 digits, and the row that says where it stands has that number
 * with `s` behind it. A session's own row is a `subscription` under the empty filter, which no client can
 * subscribe to.
 */
import type { QoS } from "../core/message.ts";

const VERSION = 1;

export interface StoredMessage {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: QoS;
  readonly retain: boolean;
}

/** The payload is copied; the result's last bytes are the payload. */
export function encodeMessage(message: {
  topic: string;
  payload: Buffer | string;
  qos: QoS;
  retain: boolean;
}): Buffer {
  const { topic, payload } = message;
  const topicBytes = Buffer.byteLength(topic);
  const payloadBytes = typeof payload === "string" ? Buffer.byteLength(payload) : payload.length;
  const out = Buffer.allocUnsafeSlow(4 + topicBytes + payloadBytes);
  out[0] = VERSION;
  out[1] = message.qos | (message.retain ? 4 : 0);
  out.writeUInt16BE(topicBytes, 2);
  out.write(topic, 4, "utf8");
  if (typeof payload === "string") out.write(payload, 4 + topicBytes, "utf8");
  else out.set(payload, 4 + topicBytes);
  return out;
}

export function decodeMessage(value: Buffer): StoredMessage {
  expectVersion(value);
  const flags = value[1]!;
  const topicEnd = 4 + value.readUInt16BE(2);
  return {
    topic: value.toString("utf8", 4, topicEnd),
    payload: value.subarray(topicEnd),
    qos: (flags & 3) as QoS,
    retain: (flags & 4) !== 0,
  };
}

/** The payload's place in what encodeMessage() made. */
export function payloadOf(value: Buffer): Buffer {
  return value.subarray(4 + value.readUInt16BE(2));
}

export interface Standing {
  readonly packetId: number;
  readonly stage: "sent" | "released";
}

export function encodeStanding({ packetId, stage }: Standing): Buffer {
  return Buffer.from([VERSION, packetId >> 8, packetId & 0xff, stage === "sent" ? 1 : 2]);
}

export function decodeStanding(value: Buffer): Standing {
  expectVersion(value);
  return { packetId: value.readUInt16BE(1), stage: value[3] === 1 ? "sent" : "released" };
}

/** A subscription as aedes gives and takes it; rh, rap and nl are there for bridges and MQTT 5 alone. */
export interface Subscription {
  readonly topic: string;
  readonly qos: QoS;
  readonly rh?: number;
  readonly rap?: boolean;
  readonly nl?: boolean;
}

export function encodeSubscription(sub: Subscription): Buffer {
  return Buffer.from([VERSION, sub.qos, (sub.rap ? 1 : 0) | (sub.nl ? 2 : 0), sub.rh ?? 0]);
}

export function decodeSubscription(topic: string, value: Buffer): Subscription {
  expectVersion(value);
  return {
    topic,
    qos: value[1]! as QoS,
    rh: value[3]!,
    rap: (value[2]! & 1) !== 0,
    nl: (value[2]! & 2) !== 0,
  };
}

/** Key of a session's own row. */
export const SESSION_KEY = "";

export interface SessionHeading {
  /** The user it belongs to; null for nobody in particular. */
  readonly owner: string | null;
  /** When its client was last connected, on the steady clock; null while it is. */
  readonly awaySinceMs: number | null;
}

export function encodeHeading(heading: SessionHeading): Buffer {
  return Buffer.from(JSON.stringify(heading));
}

export function decodeHeading(value: Buffer): SessionHeading {
  return JSON.parse(value.toString()) as SessionHeading;
}

export interface StoredWill extends StoredMessage {
  readonly user: string | null;
  readonly device: string;
}

export function encodeWill(will: StoredWill): Buffer {
  const heading = Buffer.from(JSON.stringify({ user: will.user, device: will.device }));
  const length = Buffer.alloc(2);
  length.writeUInt16BE(heading.length);
  return Buffer.concat([length, heading, encodeMessage(will)]);
}

export function decodeWill(value: Buffer): StoredWill {
  const headingEnd = 2 + value.readUInt16BE(0);
  const heading = JSON.parse(value.toString("utf8", 2, headingEnd)) as {
    user: string | null;
    device: string;
  };
  return { ...decodeMessage(value.subarray(headingEnd)), user: heading.user, device: heading.device };
}

const NUMBER_DIGITS = 16;

export const outgoingKey = (number: number) => String(number).padStart(NUMBER_DIGITS, "0");
export const standingKey = (number: number) => `${outgoingKey(number)}s`;
export const isStandingKey = (key: string) => key.endsWith("s");
export const numberOfKey = (key: string) => Number.parseInt(key, 10);

function expectVersion(value: Buffer): void {
  if (value[0] !== VERSION) throw new Error(`session state of version ${value[0]} is not known here`);
}
