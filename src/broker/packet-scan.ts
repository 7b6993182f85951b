/**
 * Looks at the packets in a stream of bytes before anyone parses them: where each one ends, whether it is
 * small enough, and whether what the parser behind takes on trust holds (packet ids, NUL, UTF-8: it decodes
 * strings lossily, so afterwards nobody can tell). Pure; touches a PUBLISH's topic and never its payload.
 *
 * One scanner per connection, its findings in its fields: there is no allocation per packet.
 */
import { isUtf8 } from "node:buffer";

/** Control packet types, section 2.2.1. */
export const PACKET = {
  connect: 1,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  unsubscribe: 10,
  pingreq: 12,
  disconnect: 14,
} as const;

/** Why a packet is not let through; also the names under which refusals are counted. */
export type PacketProblem =
  | "malformed packet"
  | "packet too large"
  | "no CONNECT first"
  | "second CONNECT"
  | "packet id 0"
  | "NUL in a string"
  | "invalid UTF-8"
  | "too many filters in a packet"
  | "unsupported protocol version";

/** Filters in one packet, where a client may not have more subscriptions than this anyway. */
const FILTERS_MAX = 1000;

/** 3.1, 3.1.1, and both again with the bit that bridges set to say so. */
const PROTOCOL_LEVELS = [3, 4, 0x83, 0x84];

export class PacketScan {
  type = 0;
  qos = 0;
  /** Bytes of the whole packet with its header; 0 while more bytes are needed to know. */
  size = 0;
  headerBytes = 0;
  problem: PacketProblem | null = null;
  /** Of the CONNECT. */
  protocolLevel = 0;
  #connected = false;

  /**
   * Reads the fixed header at `at`. False where more bytes are needed or the packet is refused (`problem`).
   * `bytesMax` is for the whole packet.
   */
  header(buf: Buffer, at: number, bytesMax: number): boolean {
    this.size = 0;
    if (at >= buf.length) return false;
    const first = buf[at]!;
    this.type = first >> 4;
    this.qos = (first >> 1) & 3;
    if (!this.#connected && this.type !== PACKET.connect) return this.#refuse("no CONNECT first"); // [MQTT-3.1.0-1]
    if (this.#connected && this.type === PACKET.connect) return this.#refuse("second CONNECT"); // [MQTT-3.1.0-2]
    let length = 0;
    for (let i = 1; i <= 4; i++) {
      const byte = buf[at + i];
      if (byte === undefined) return false;
      length += (byte & 0x7f) * 128 ** (i - 1);
      if (byte < 0x80) {
        this.headerBytes = i + 1;
        this.size = length + i + 1;
        return this.size <= bytesMax || this.#refuse("packet too large");
      }
    }
    return this.#refuse("malformed packet");
  }

  /**
   * Checks the whole packet at `at`, after header() has been true. False where it is refused (`problem`).
   * `subscriptionsMax` is what a client may have: a packet with more filters makes work and nothing else.
   */
  body(buf: Buffer, at: number, subscriptionsMax = FILTERS_MAX): boolean {
    const start = at + this.headerBytes;
    const end = at + this.size;
    switch (this.type) {
      case PACKET.publish:
        return this.#publish(buf, start, end);
      case PACKET.puback:
      case PACKET.pubrec:
      case PACKET.pubrel:
      case PACKET.pubcomp:
        return end - start === 2 ? this.#id(buf, start) : this.#refuse("malformed packet");
      case PACKET.subscribe:
        return this.#filters(buf, start, end, 1, Math.max(subscriptionsMax, FILTERS_MAX));
      case PACKET.unsubscribe:
        return this.#filters(buf, start, end, 0, Math.max(subscriptionsMax, FILTERS_MAX));
      case PACKET.connect:
        return this.#connect(buf, start, end);
      default:
        return true;
    }
  }

  #publish(buf: Buffer, start: number, end: number): boolean {
    const topicEnd = this.#string(buf, start, end);
    if (topicEnd < 0) return false;
    if (this.qos === 0) return true;
    if (topicEnd + 2 > end || this.qos === 3) return this.#refuse("malformed packet"); // [MQTT-3.3.1-4]
    return this.#id(buf, topicEnd);
  }

  #filters(buf: Buffer, start: number, end: number, optionBytes: number, filtersMax: number): boolean {
    if (end - start < 2) return this.#refuse("malformed packet");
    if (!this.#id(buf, start)) return false;
    let at = start + 2;
    if (at === end) return this.#refuse("malformed packet"); // [MQTT-3.8.3-3] [MQTT-3.10.3-2]
    for (let filters = 1; at < end; filters++) {
      if (filters > filtersMax) return this.#refuse("too many filters in a packet");
      at = this.#string(buf, at, end);
      if (at < 0) return false;
      at += optionBytes;
      if (at > end) return this.#refuse("malformed packet");
    }
    return true;
  }

  #connect(buf: Buffer, start: number, end: number): boolean {
    const nameEnd = this.#string(buf, start, end);
    if (nameEnd < 0) return false;
    if (nameEnd + 4 > end) return this.#refuse("malformed packet");
    this.protocolLevel = buf[nameEnd]!;
    if (!PROTOCOL_LEVELS.includes(this.protocolLevel)) return this.#refuse("unsupported protocol version");
    const flags = buf[nameEnd + 1]!;
    const hasWill = (flags & 0x04) !== 0;
    const hasUser = (flags & 0x80) !== 0;
    const hasPassword = (flags & 0x40) !== 0;
    // [MQTT-3.1.2-3] [MQTT-3.1.2-14] [MQTT-3.1.2-22]
    if ((flags & 1) !== 0 || (flags & 0x18) === 0x18 || (hasPassword && !hasUser)) {
      return this.#refuse("malformed packet");
    }
    let at = this.#string(buf, nameEnd + 4, end);
    if (at >= 0 && hasWill) at = this.#string(buf, at, end);
    if (at >= 0 && hasWill) at = this.#bytes(buf, at, end);
    if (at >= 0 && hasUser) at = this.#string(buf, at, end);
    if (at >= 0 && hasPassword) at = this.#bytes(buf, at, end);
    if (at < 0) return false;
    this.#connected = true;
    return true;
  }

  #id(buf: Buffer, at: number): boolean {
    return (buf[at]! | buf[at + 1]!) !== 0 || this.#refuse("packet id 0"); // [MQTT-2.3.1-1]
  }

  /** Where the string at `at` ends, or -1. */
  #string(buf: Buffer, at: number, end: number): number {
    const stop = this.#bytes(buf, at, end);
    if (stop < 0) return stop;
    let ascii = true;
    for (let i = at + 2; i < stop; i++) {
      const byte = buf[i]!;
      if (byte === 0) return this.#refused("NUL in a string"); // [MQTT-1.5.3-2]
      if (byte >= 0x80) ascii = false;
    }
    // [MQTT-1.5.3-1], surrogates included.
    return ascii || isUtf8(buf.subarray(at + 2, stop)) ? stop : this.#refused("invalid UTF-8");
  }

  /** Where the length-prefixed bytes at `at` end, or -1. */
  #bytes(buf: Buffer, at: number, end: number): number {
    if (at + 2 > end) return this.#refused("malformed packet");
    const stop = at + 2 + ((buf[at]! << 8) | buf[at + 1]!);
    return stop <= end ? stop : this.#refused("malformed packet");
  }

  #refused(problem: PacketProblem): -1 {
    this.problem = problem;
    return -1;
  }

  #refuse(problem: PacketProblem): false {
    this.problem = problem;
    return false;
  }
}
