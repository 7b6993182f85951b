/**
 * Streams of MQTT packets with something wrong in them, each made from its seed alone: which packets, what is
 * wrong with them, where the stream is cut into pieces, and how the connection ends.
 */
import { type Random, seededRandom } from "../../../src/core/random.ts";
import { anyPacket, connect, pick, type Version } from "./mqtt-packets.ts";

export interface FuzzStream {
  readonly seed: number;
  readonly version: Version;
  readonly packets: number;
  readonly pieces: readonly Buffer[];
  readonly ending: "destroy" | "reset" | "fin" | "linger";
}

/** What is done to a packet; each gives one, or several, or none. */
type Mutation = (packet: Buffer, random: Random) => Buffer;

const flipBits: Mutation = (packet, random) => {
  const copy = Buffer.from(packet);
  for (let n = 1 + random.below(4); n > 0; n--) copy[random.below(copy.length)]! ^= 1 << random.below(8);
  return copy;
};

/** Where the variable header begins. */
function bodyAt(packet: Buffer): number {
  let at = 1;
  while (at < 5 && at < packet.length && packet[at]! >= 0x80) at++;
  return at + 1;
}

export function lengthBytes(length: number, padTo = 1): Buffer {
  const bytes: number[] = [];
  let left = length;
  do {
    bytes.push(left & 0x7f);
    left >>>= 7;
  } while (left > 0);
  while (bytes.length < padTo) bytes.push(0);
  return Buffer.from(bytes.map((byte, at) => (at < bytes.length - 1 ? byte | 0x80 : byte)));
}

const withBody = (packet: Buffer, body: Buffer, padTo = 1) =>
  Buffer.concat([packet.subarray(0, 1), lengthBytes(body.length, padTo), body]);

const lieAboutLength: Mutation = (packet, random) => {
  const body = packet.subarray(bodyAt(packet));
  const lie = pick(random, [0, 1, 2, body.length - 1, body.length + 1, body.length + 200, 268_435_455]);
  return Buffer.concat([packet.subarray(0, 1), lengthBytes(Math.max(0, lie)), body]);
};
/** The same length in more bytes than it needs; five are too many. */
const padLength: Mutation = (packet, random) =>
  withBody(packet, packet.subarray(bodyAt(packet)), 2 + random.below(4));
const truncate: Mutation = (packet, random) => packet.subarray(0, random.below(packet.length));
/** Truncated, with a length that agrees. */
const shorten: Mutation = (packet, random) => {
  const body = packet.subarray(bodyAt(packet));
  return withBody(packet, body.subarray(0, random.below(body.length + 1)));
};
const lengthen: Mutation = (packet, random) => {
  const more = Buffer.alloc(1 + random.below(20));
  random.fill(more);
  return withBody(packet, Buffer.concat([packet.subarray(bodyAt(packet)), more]));
};
const duplicate: Mutation = (packet) => Buffer.concat([packet, packet]);
const reservedFlags: Mutation = (packet, random) => {
  const copy = Buffer.from(packet);
  copy[0] = (copy[0]! & 0xf0) | random.below(16);
  return copy;
};
const otherType: Mutation = (packet, random) => {
  const copy = Buffer.from(packet);
  copy[0] = (random.below(16) << 4) | (copy[0]! & 0x0f);
  return copy;
};
/** Something in the place of a few bytes of the body: what strings, ids and QoS must not be. */
const ODD_BYTES = [
  [0],
  [0, 0],
  [0xff, 0xff],
  [0xc0, 0xaf],
  [0xed, 0xa0, 0x80],
  [0xe2, 0x82],
  [3],
  [35],
  [43],
  [36],
];
const oddBytes: Mutation = (packet, random) => {
  const from = bodyAt(packet);
  const odd = Buffer.from(pick(random, ODD_BYTES));
  if (packet.length - from < odd.length) return flipBits(packet, random);
  const copy = Buffer.from(packet);
  odd.copy(copy, from + random.below(packet.length - from - odd.length + 1));
  return copy;
};
/** The first string of the body, in other forms: empty, the longest, with NUL, with wildcards. */
const oddString: Mutation = (packet, random) => {
  const body = packet.subarray(bodyAt(packet));
  const type = packet[0]! >> 4;
  const at = type === 8 || type === 10 ? 2 : 0;
  if (body.length < at + 2) return lengthen(packet, random);
  const end = at + 2 + body.readUInt16BE(at);
  const texts = [
    "",
    "#",
    "a/#/b",
    "+a",
    "a+",
    "a\0b",
    "\ufeffa",
    "$SYS/x",
    "$share/g/a",
    "holdfast/x/status",
  ];
  const text = random.below(6) === 0 ? "y".repeat(65_535) : pick(random, texts);
  const string = Buffer.concat([Buffer.alloc(2), Buffer.from(text)]);
  string.writeUInt16BE(string.length - 2);
  return withBody(
    packet,
    Buffer.concat([body.subarray(0, at), string, body.subarray(Math.min(end, body.length))]),
  );
};
const noise: Mutation = (_packet, random) => {
  const bytes = Buffer.alloc(1 + random.below(120));
  random.fill(bytes);
  return bytes;
};
const nothing: Mutation = () => Buffer.alloc(0);

export const MUTATIONS: Readonly<Record<string, Mutation>> = {
  flipBits,
  lieAboutLength,
  padLength,
  truncate,
  shorten,
  lengthen,
  duplicate,
  reservedFlags,
  otherType,
  oddBytes,
  oddString,
  noise,
  nothing,
};
/** After these a stream goes on as a rule, so they come more often. */
const MILD = [duplicate, padLength, oddString, reservedFlags, lengthen, nothing];

function mutated(packet: Buffer, random: Random): Buffer {
  const mutate = random.below(2) ? pick(random, MILD) : pick(random, Object.values(MUTATIONS));
  const result = mutate(packet, random);
  return random.below(8) === 0 && result.length > 0 ? flipBits(result, random) : result;
}

const ENDINGS = ["fin", "fin", "fin", "linger", "linger", "destroy", "reset"] as const;

export function fuzzStream(seed: number): FuzzStream {
  const random = seededRandom(seed);
  const version = pick(random, [4, 4, 4, 4, 4, 3, 3, 5] as const);
  const packets: Buffer[] = [];
  if (random.below(8) > 0) {
    const hello = connect(random, version);
    packets.push(random.below(6) === 0 ? mutated(hello, random) : hello);
  }
  // Most go wrong late, so that much has happened before.
  const count = 1 + random.below(random.below(3) === 0 ? 80 : 25);
  const wrongOneIn = pick(random, [3, 12, 40]);
  for (let n = 0; n < count; n++) {
    const packet = anyPacket(random, version);
    packets.push(random.below(wrongOneIn) === 0 ? mutated(packet, random) : packet);
  }
  if (random.below(6) === 0) {
    const [from, to] = [random.below(packets.length), random.below(packets.length)];
    packets.splice(to, 0, ...packets.splice(from, 1));
  }
  return {
    seed,
    version,
    packets: packets.length,
    pieces: cut(Buffer.concat(packets), random),
    ending: pick(random, ENDINGS),
  };
}

/** Whole, byte by byte where it is short, or anywhere. */
function cut(bytes: Buffer, random: Random): Buffer[] {
  if (bytes.length < 60 && random.below(3) === 0) return [...bytes].map((byte) => Buffer.from([byte]));
  const cuts = Array.from({ length: random.below(6) }, () => random.below(bytes.length + 1)).sort(
    (a, b) => a - b,
  );
  return [0, ...cuts]
    .map((from, at) => bytes.subarray(from, cuts[at] ?? bytes.length))
    .filter((piece) => piece.length > 0);
}
