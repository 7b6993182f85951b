/**
 * What a stream of bytes could have made a gateway store, at most: every PUBLISH and every will in it, whatever
 * comes before. Written from the specification alone and more generous than any broker, so that a message in
 * the store that is not among these was made up.
 */
import { createHash } from "node:crypto";

export interface Possible {
  /** digestOf() each message. */
  readonly messages: string[];
  readonly clientIds: string[];
}

export function digestOf(topic: string, payload: Buffer | string): string {
  return createHash("sha1").update(topic).update("\0").update(payload).digest("base64");
}

export function possibleMessages(bytes: Buffer): Possible {
  const found: Possible = { messages: [], clientIds: [] };
  let at = 0;
  while (at < bytes.length) {
    let length = 0;
    let i = 1;
    for (; i <= 4; i++) {
      const byte = bytes[at + i];
      if (byte === undefined) return found;
      length += (byte & 0x7f) * 128 ** (i - 1);
      if (byte < 0x80) break;
    }
    if (i > 4 || at + 1 + i + length > bytes.length) return found;
    const body = bytes.subarray(at + 1 + i, at + 1 + i + length);
    const type = bytes[at]! >> 4;
    if (type === 3) readPublish(body, (bytes[at]! >> 1) & 3, found);
    else if (type === 1) readConnect(body, found);
    at += 1 + i + length;
  }
  return found;
}

/** Where the field with a length of two bytes at `at` ends; beyond the body where it does not fit. */
function fieldEnd(body: Buffer, at: number): number {
  return at + 2 > body.length ? Number.POSITIVE_INFINITY : at + 2 + body.readUInt16BE(at);
}

const text = (body: Buffer, at: number) => body.toString("utf8", at + 2, fieldEnd(body, at));

function readPublish(body: Buffer, qos: number, found: Possible): void {
  const topicEnd = fieldEnd(body, 0);
  const payloadAt = topicEnd + (qos > 0 ? 2 : 0);
  if (payloadAt > body.length) return;
  found.messages.push(digestOf(text(body, 0), body.subarray(payloadAt)));
}

function readConnect(body: Buffer, found: Possible): void {
  const nameEnd = fieldEnd(body, 0);
  const flags = body[nameEnd + 1];
  const idAt = nameEnd + 4;
  const idEnd = fieldEnd(body, idAt);
  if (flags === undefined || idEnd > body.length) return;
  found.clientIds.push(text(body, idAt));
  if ((flags & 4) === 0) return;
  const topicEnd = fieldEnd(body, idEnd);
  const payloadEnd = fieldEnd(body, topicEnd);
  if (topicEnd > body.length || payloadEnd > body.length) return;
  found.messages.push(digestOf(text(body, idEnd), body.subarray(topicEnd + 2, payloadEnd)));
}
