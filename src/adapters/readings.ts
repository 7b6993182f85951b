/**
 * Readings, and the messages they travel in.
 *
 * A message's identity is (device, boot, sequence): the sequence counts a device's messages within one start
 * of the gateway, without a hole. So a message that is offered to intake twice is known the second time; what
 * a crash took with it before the commit was read by an earlier boot and is simply not there; and whoever
 * reads downstream sees by the sequence alone whether anything is missing: each number is a message's, or
 * lies within a gap record.
 *
 * The schemas are the documentation too: docs/readings.schema.json is made of them.
 */
import { z } from "zod";
import { wallClockTrusted } from "../core/clock.ts";
import type { Draft } from "../intake/draft.ts";

const value = z
  .union([
    z.number(),
    z.string(),
    z.boolean(),
    z.record(z.string(), z.boolean()),
    z.array(z.union([z.number(), z.string(), z.boolean(), z.null()])),
    z.null(),
  ])
  .describe(
    "A number, text, true or false, a map of named bits, a list (OPC UA), or null for none. A 64-bit integer beyond 2^53 is text, so that no digit is lost.",
  );
export type Value = z.output<typeof value>;

const quality = z
  .enum(["good", "stale", "bad"])
  .describe(
    "good: read just now. stale: the value read last, and it could not be read again, or the machine itself calls it uncertain. bad: no value.",
  );

const time = z.iso.datetime().describe("In UTC.");
const reason = z
  .string()
  .nullable()
  .describe("Why it is not good: a name, a colon, a sentence. Null where it is.");
const unit = z.string().nullable().describe("Unit of the value, as configured.");
const device = z.string().describe("Name of the device.");
const boot = z.string().describe("One for each start of the gateway.");
const sequence = z.int().min(1).describe("Counts the device's messages in this boot, without a hole.");

const readingSchema = z.strictObject({
  value,
  unit,
  quality,
  reason,
  producedAt: time
    .nullable()
    .describe("When the value was read; null where the gateway's clock was not set."),
});

export const pollMessage = z
  .strictObject({
    kind: z.literal("poll"),
    device,
    boot,
    sequence,
    group: z.string().describe("The polling group."),
    readings: z.record(z.string(), readingSchema).describe("By the name of the signal."),
  })
  .describe("Readings of one poll (`message: poll`).");

export const signalMessage = z
  .strictObject({
    kind: z.literal("signal"),
    device,
    boot,
    sequence,
    group: z.string().describe("The polling group."),
    signal: z.string(),
    ...readingSchema.shape,
  })
  .describe("One reading (`message: signal`).");

export const gapMessage = z
  .strictObject({
    kind: z.literal("gap"),
    device,
    boot,
    sequence: sequence.describe("The last of the numbers that are missing."),
    fromSequence: sequence.describe("The first of the numbers that are missing."),
    count: z
      .int()
      .min(1)
      .nullable()
      .describe("How many messages were made and never stored; null where nobody can count what is missing."),
    from: time
      .nullable()
      .describe("When the first of them was made, or since when something may be missing."),
    to: time.nullable().describe("When the last of them was made, or until when something may be missing."),
    reason: z.string(),
  })
  .describe(
    "Readings that nobody will see: messages that were made while the store did not take any, or what a machine threw away before it could be sent.",
  );

export const readingsMessage = z.discriminatedUnion("kind", [pollMessage, signalMessage, gapMessage]);

export interface Reading {
  readonly signal: string;
  readonly value: Value;
  readonly unit: string | null;
  readonly quality: z.output<typeof quality>;
  readonly reason: string | null;
  /** Wall clock, epoch ms. */
  readonly producedAtMs: number;
}

/** What a message will say, before it has its number. */
export type Content = {
  readonly group: string /** When it was made: wall clock, epoch ms. */;
  readonly atMs: number;
} & (
  | { readonly kind: "poll"; readonly readings: readonly Reading[] }
  | { readonly kind: "signal"; readonly reading: Reading }
);

export interface Gap {
  readonly fromSequence: number;
  readonly toSequence: number;
  /** Null where nobody can count what is missing. */
  readonly count: number | null;
  readonly fromMs: number;
  readonly toMs: number;
  readonly reason: string;
}

const GAP_REASON_CHARACTERS_MAX = 1000;

/** One gap for two that are side by side. */
export function mergedGap(a: Gap, b: Gap): Gap {
  const known = a.reason.includes(b.reason) || a.reason.length > GAP_REASON_CHARACTERS_MAX;
  return {
    fromSequence: a.fromSequence,
    toSequence: b.toSequence,
    count: a.count === null || b.count === null ? null : a.count + b.count,
    fromMs: Math.min(a.fromMs, b.fromMs),
    toMs: Math.max(a.toMs, b.toMs),
    reason: known ? a.reason : `${a.reason}; ${b.reason}`,
  };
}

export interface Source {
  readonly device: string;
  /** The door, as the message's history names it: `modbus`. */
  readonly source: string;
  readonly boot: string;
}

export function contentDraft(source: Source, sequence: number, topic: string, content: Content): Draft {
  const { device, boot } = source;
  const head = { kind: content.kind, device, boot, sequence, group: content.group };
  const body =
    content.kind === "poll"
      ? { ...head, readings: Object.fromEntries(content.readings.map((each) => [each.signal, shown(each)])) }
      : { ...head, signal: content.reading.signal, ...shown(content.reading) };
  return draft(source, sequence, topic, body, content.atMs);
}

export function gapDraft(source: Source, topic: string, gap: Gap): Draft {
  const { device, boot } = source;
  const { fromSequence, toSequence, count, fromMs, toMs, reason } = gap;
  const body = {
    kind: "gap",
    device,
    boot,
    sequence: toSequence,
    fromSequence,
    count,
    from: iso(fromMs),
    to: iso(toMs),
    reason,
  };
  return draft(source, toSequence, topic, body, toMs);
}

function draft(
  { device, source, boot }: Source,
  sequence: number,
  topic: string,
  body: object,
  atMs: number,
): Draft {
  return {
    device,
    source,
    topic,
    payload: Buffer.from(JSON.stringify(body)),
    qos: 1,
    contentType: "application/json",
    producerId: `${boot}.${sequence}`,
    producedAtMs: wallClockTrusted(atMs) ? atMs : null,
  };
}

function shown({ value, unit, quality, reason, producedAtMs }: Reading): z.output<typeof readingSchema> {
  return { value, unit, quality, reason, producedAt: iso(producedAtMs) };
}

function iso(wallMs: number): string | null {
  return wallClockTrusted(wallMs) ? new Date(wallMs).toISOString() : null;
}
