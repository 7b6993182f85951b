/**
 * How a simulated machine behaves, as a scenario writes it. Every chance is drawn from the machine's own
 * seeded generator when a reading is made, so that one seed gives the same readings with the same mishaps,
 * however the network interleaves them.
 */
import { z } from "zod";
import type { QoS } from "../../src/core/message.ts";
import type { Random } from "../../src/core/random.ts";
import { duration, size } from "../../src/core/units.ts";

const chance = () => z.number().min(0).max(1);

export const behaviourSchema = z.strictObject({
  topic: z
    .string()
    .min(1)
    .default("plant/{device}/temperature")
    .describe("Where it publishes; {device} stands for the machine's name."),
  rate: z
    .number()
    .min(0)
    .max(10_000)
    .default(10)
    .describe("Readings a second, evenly with a little jitter. 0: bursts only."),
  burst: z
    .strictObject({ every: duration({ min: 10 }), size: z.int().min(1).max(100_000) })
    .optional()
    .describe("On top of the rate: this many readings at once, again and again."),
  messages: z.int().min(1).optional().describe("Falls silent after this many readings."),
  qos: z
    .union([
      z.literal([0, 1, 2]),
      z.strictObject({
        0: z.number().min(0).default(0),
        1: z.number().min(0).default(0),
        2: z.number().min(0).default(0),
      }),
    ])
    .default(1)
    .describe("One QoS, or weights of a mix such as {0: 1, 1: 8, 2: 1}."),
  session: z
    .enum(["persistent", "clean"])
    .default("persistent")
    .describe("A clean session forgets packet ids and QoS 2 states at each reconnect."),
  payloadBytes: z
    .union([
      size({ min: 0, max: 2 ** 24 }),
      z.strictObject({ min: size({ max: 2 ** 24 }), max: size({ max: 2 ** 24 }) }),
    ])
    .prefault(200)
    .describe("Size of a payload, or a range; never smaller than the reading itself (some 120 bytes)."),
  inFlightMax: z.int().min(1).max(1000).default(20).describe("Messages on the way without an answer."),
  ackTimeout: duration({ min: 100 })
    .prefault("20s")
    .describe("A machine that hears no answer for this long cuts the connection and tries again."),
  dup: chance()
    .default(0)
    .describe("Chance that a message is sent twice at once, the second time with DUP=1."),
  republish: chance()
    .default(0)
    .describe("Chance that the machine's program publishes an acknowledged reading again as a new message."),
  loseAck: chance()
    .default(0)
    .describe("Chance that the PUBACK or PUBREC gets lost: the machine reconnects and sends again."),
  withholdPubrel: chance()
    .default(0)
    .describe("QoS 2: chance that the connection breaks between PUBREC and PUBREL."),
  reconnect: z
    .strictObject({ every: duration({ min: 50 }) })
    .optional()
    .describe("Breaks the connection about this often, without DISCONNECT, and comes back."),
  late: z
    .strictObject({ chance: chance(), by: duration({ min: 1 }) })
    .optional()
    .describe(
      "Chance that a reading is up to this old when it is sent (a machine that kept it for a while).",
    ),
  clock: z
    .union([
      z.literal("right"),
      z.literal("1970"),
      z.literal("missing"),
      z.strictObject({ ahead: duration() }),
      z.strictObject({ behind: duration() }),
    ])
    .default("right")
    .describe(
      "The machine's clock: right, never set (1970), ahead or behind; missing: its readings carry no time.",
    ),
  poison: z
    .union([chance(), z.strictObject({ reading: z.int().min(1) })])
    .default(0)
    .describe(
      "Chance of a reading that the backend's mode `reject-one` refuses; or which one, such as {reading: 5}.",
    ),
  username: z.string().optional(),
  password: z.string().optional(),
});

export type Behaviour = z.infer<typeof behaviourSchema>;

/** One reading, with the mishaps that will befall it. */
export interface Reading {
  readonly id: string;
  /** 1, 2, 3, … per device. */
  readonly n: number;
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly producedAtMs: number;
  readonly poison: boolean;
  readonly mishaps: Mishaps;
}

export interface Mishaps {
  readonly dup: boolean;
  readonly republish: boolean;
  readonly loseAck: boolean;
  readonly withholdPubrel: boolean;
}

export const NO_MISHAPS: Mishaps = { dup: false, republish: false, loseAck: false, withholdPubrel: false };

export interface ReadingOptions {
  readonly behaviour: Behaviour;
  readonly device: string;
  /** Part of each id: a second run of one seed must not be taken for a repetition of the first. */
  readonly run: string;
  readonly random: Random;
  readonly wallMs: () => number;
}

/** Makes a machine's readings, one after the other, numbered from 1. */
export function readings(options: ReadingOptions): () => Reading {
  const { behaviour, device, run, random, wallMs } = options;
  const topic = behaviour.topic.replaceAll("{device}", device);
  let n = 0;
  let value = 20 + random.unit() * 60;
  return () => {
    n++;
    const qos = drawQos(behaviour.qos, random);
    const happens = (probability: number) => random.unit() < probability;
    const mishaps = {
      dup: happens(behaviour.dup) && qos > 0,
      republish: happens(behaviour.republish),
      loseAck: happens(behaviour.loseAck) && qos > 0,
      withholdPubrel: happens(behaviour.withholdPubrel) && qos === 2,
    };
    const poison =
      typeof behaviour.poison === "number" ? happens(behaviour.poison) : behaviour.poison.reading === n;
    const isLate = happens(behaviour.late?.chance ?? 0);
    const ageMs = Math.round(random.unit() * (behaviour.late?.by ?? 0));
    const wantedBytes = drawBytes(behaviour.payloadBytes, random);
    value += random.unit() - 0.5;
    const producedAtMs = Math.max(
      0,
      Math.round(deviceClock(behaviour.clock, wallMs())) - (isLate ? ageMs : 0),
    );
    const id = `${device}-${run}-${n}`;
    const body: Record<string, unknown> = {
      id,
      device,
      n,
      ...(behaviour.clock === "missing" ? {} : { producedAt: new Date(producedAtMs).toISOString() }),
      value: Math.round(value * 100) / 100,
      ...(poison ? { poison: true } : {}),
    };
    const missing = wantedBytes - Buffer.byteLength(JSON.stringify(body)) - ',"pad":""'.length;
    if (missing > 0) body.pad = "x".repeat(missing);
    const payload = Buffer.from(JSON.stringify(body));
    return { id, n, topic, payload, qos, retain: false, producedAtMs, poison, mishaps };
  };
}

function drawQos(qos: Behaviour["qos"], random: Random): QoS {
  if (typeof qos === "number") return qos;
  let rest = random.unit() * (qos[0] + qos[1] + qos[2]);
  for (const candidate of [0, 1] as const) {
    if (rest < qos[candidate]) return candidate;
    rest -= qos[candidate];
  }
  return 2;
}

function drawBytes(bytes: Behaviour["payloadBytes"], random: Random): number {
  if (typeof bytes === "number") return bytes;
  return bytes.min + random.below(Math.max(1, bytes.max - bytes.min + 1));
}

function deviceClock(clock: Behaviour["clock"], wallMs: number): number {
  if (clock === "right" || clock === "missing") return wallMs;
  // Counts from the epoch since it was switched on, some minutes ago.
  if (clock === "1970") return 300_000 + (wallMs % 3_600_000);
  return "ahead" in clock ? wallMs + clock.ahead : wallMs - clock.behind;
}
