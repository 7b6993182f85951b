import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  decodeMessage,
  decodeStanding,
  decodeSubscription,
  decodeWill,
  encodeMessage,
  encodeStanding,
  encodeSubscription,
  encodeWill,
  isStandingKey,
  numberOfKey,
  outgoingKey,
  payloadOf,
  standingKey,
} from "../../src/broker/session-codec.ts";
import type { QoS } from "../../src/core/message.ts";

const qos = fc.constantFrom<QoS>(0, 1, 2);
const payload = fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes));
const message = fc.record({ topic: fc.string({ unit: "grapheme" }), payload, qos, retain: fc.boolean() });

describe("session state in the store", () => {
  it("comes back as it was", () => {
    fc.assert(
      fc.property(message, (each) => {
        const value = encodeMessage(each);
        expect(decodeMessage(value)).toEqual(each);
        expect(payloadOf(value)).toEqual(each.payload);
        const will = { ...each, user: null, device: "Press 7" };
        expect(decodeWill(encodeWill(will))).toEqual(will);
      }),
    );
    for (const standing of [
      { packetId: 1, stage: "sent" as const },
      { packetId: 65_535, stage: "released" as const },
    ]) {
      expect(decodeStanding(encodeStanding(standing))).toEqual(standing);
    }
    const sub = { topic: "a/#", qos: 2 as const, rh: 1, rap: true, nl: false };
    expect(decodeSubscription("a/#", encodeSubscription(sub))).toEqual(sub);
  });

  it("is refused where it is of a version that is not known", () => {
    expect(() => decodeMessage(Buffer.from([9, 0, 0, 0]))).toThrow("version 9");
  });

  it("has keys that sort in the order of the queue", () => {
    const numbers = [1, 2, 9, 10, 11, 99, 100, 123_456_789_012];
    const keys = numbers.flatMap((number) => [outgoingKey(number), standingKey(number)]);
    expect([...keys].sort()).toEqual(keys);
    expect(keys.map(numberOfKey)).toEqual(numbers.flatMap((number) => [number, number]));
    expect(keys.map(isStandingKey)).toEqual(numbers.flatMap(() => [false, true]));
  });
});
