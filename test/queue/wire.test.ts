/** What crosses between the threads arrives as it was sent. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DELIVERY_STATES } from "../../src/core/outcome.ts";
import type { SessionChange } from "../../src/core/session.ts";
import {
  type AppendRequest,
  readAppend,
  readAppendReply,
  readClaim,
  readClaimReply,
  writeAppend,
  writeAppendReply,
  writeClaim,
  writeClaimReply,
} from "../../src/queue/requests.ts";
import { readSettle, writeSettle } from "../../src/queue/settle-wire.ts";
import { Decoder, Encoder } from "../../src/queue/wire.ts";

const text = fc.string({ unit: "grapheme" });
const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const time = fc.integer({ min: -1e12, max: 2 ** 52 });
const small = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const orNull = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: null });
const state = fc.constantFrom(...DELIVERY_STATES);
const kind = fc.constantFrom("retained", "subscription", "outgoing", "incoming", "will");

const sessionChange: fc.Arbitrary<SessionChange> = fc.oneof(
  fc.record({ op: fc.constant("put"), kind, client: text, key: text, value: bytes }),
  fc.record({ op: fc.constant("delete"), kind, client: text, key: text }),
  fc.record({ op: fc.constant("clear"), kind, client: text }),
) as fc.Arbitrary<SessionChange>;

const appendRequest: fc.Arbitrary<AppendRequest> = fc.record({
  id: text,
  device: text,
  source: text,
  topic: text,
  payload: bytes,
  contentType: orNull(text),
  qos: fc.constantFrom(0, 1, 2),
  retain: fc.boolean(),
  producedAtMs: orNull(time),
  acceptedAtMs: time,
  steadyAtMs: time,
  traceparent: orNull(text),
  headers: orNull(text),
  identity: orNull(fc.record({ scope: text, key: text, expireAtMs: time })),
  mqtt: orNull(fc.record({ client: text, packetId: small, dup: fc.boolean(), expireAtMs: time })),
  routes: fc.array(
    fc.record({
      version: small,
      key: text,
      state,
      late: fc.boolean(),
      reason: orNull(text),
      expireAtMs: orNull(time),
    }),
    { maxLength: 4 },
  ),
  session: fc.array(sessionChange, { maxLength: 4 }),
  urgent: fc.boolean(),
  supersede: fc.boolean(),
});

/** What is read back after the kind's byte, which the writer of the batch reads. */
function through<T>(write: (out: Encoder) => void, read: (input: Decoder) => T, skip = 0): T {
  const out = new Encoder(8);
  write(out);
  const input = new Decoder(out.take());
  for (let at = 0; at < skip; at++) input.u8();
  const value = read(input);
  expect(input.done).toBe(true);
  return value;
}

describe("a request", () => {
  it("to append comes through whole", () => {
    fc.assert(
      fc.property(appendRequest, (request) => {
        expect(through((out) => writeAppend(out, request), readAppend, 1)).toEqual(request);
      }),
    );
  });

  it("to claim and to settle come through whole", () => {
    const lane = fc.record({
      lane: small,
      limit: small,
      expireBeforeMs: time,
      unordered: fc.boolean(),
      noted: fc.boolean(),
    });
    const claim = fc.record({ nowMs: time, limit: small, bytesMax: small, lanes: fc.array(lane) });
    const settlement = fc.record({
      lane: small,
      seq: time,
      state,
      attempts: small,
      resend: fc.boolean(),
      dueAtMs: orNull(time),
      reason: orNull(text),
      note: orNull(text),
      trail: fc.array(fc.record({ kind: text, atMs: time, detail: orNull(text) }), { maxLength: 3 }),
    });
    fc.assert(
      fc.property(claim, fc.array(settlement), (request, settlements) => {
        expect(through((out) => writeClaim(out, request), readClaim, 1)).toEqual(request);
        expect(through((out) => writeSettle(out, settlements), readSettle, 1)).toEqual(settlements);
      }),
    );
  });
});

describe("a reply", () => {
  it("to an append and to a claim come through whole", () => {
    const appendReply = fc.oneof(
      fc.record({ kind: fc.constant("stored" as const), seq: time, lanes: fc.array(small) }),
      fc.record({ kind: fc.constant("duplicate" as const), seq: time, id: text }),
    );
    const message = fc.record({
      seq: time,
      id: text,
      device: text,
      source: text,
      topic: text,
      payload: bytes,
      contentType: orNull(text),
      qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
      retain: fc.boolean(),
      clockTrusted: fc.boolean(),
      producedAtMs: orNull(time),
      acceptedAtMs: time,
      bootId: text,
      traceparent: orNull(text),
      headers: fc.dictionary(text, text, { noNullPrototype: true }),
    });
    const delivery = fc.record({
      lane: small,
      attempts: small,
      late: fc.boolean(),
      resend: fc.boolean(),
      replay: fc.boolean(),
      wasUnknown: fc.boolean(),
      edited: fc.boolean(),
      steadyAtMs: time,
      expireAtMs: orNull(time),
      message,
    });
    const lane = fc.record({
      lane: small,
      open: small,
      expired: small,
      blockedUntilMs: orNull(time),
      held: fc.boolean(),
    });
    const claimReply = fc.record({
      lanes: fc.array(lane, { maxLength: 3 }),
      deliveries: fc.array(delivery, { maxLength: 3 }),
    });
    fc.assert(
      fc.property(appendReply, claimReply, (append, claim) => {
        expect(through((out) => writeAppendReply(out, append), readAppendReply)).toEqual(append);
        expect(through((out) => writeClaimReply(out, claim), readClaimReply)).toEqual(claim);
      }),
    );
  });
});

describe("the encoder", () => {
  it("grows as it must, and hands over a buffer of its own each time", () => {
    const out = new Encoder(4);
    out.bytes(Buffer.alloc(100_000, 7));
    const first = out.take();
    out.text("ü".repeat(50_000));
    const second = out.take();
    expect(new Decoder(first).bytes()).toEqual(Buffer.alloc(100_000, 7));
    expect(new Decoder(second).text()).toBe("ü".repeat(50_000));
    expect(first.buffer).not.toBe(second.buffer);
  });

  it("forgets what it is rewound over", () => {
    const out = new Encoder();
    out.u32(1);
    const mark = out.length;
    out.text("not this");
    out.rewind(mark);
    out.u32(2);
    const input = new Decoder(out.take());
    expect([input.u32(), input.u32(), input.done]).toEqual([1, 2, true]);
  });
});
