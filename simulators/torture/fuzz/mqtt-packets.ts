/** Well-formed MQTT packets of all fifteen types, in 3.1, 3.1.1 and 5: what mutations begin with. */
import { generate, type IConnectPacket, type Packet } from "mqtt-packet";
import type { Random } from "../../../src/core/random.ts";

export type Version = 3 | 4 | 5;

/** Fewer than connections at a time, so that clients take each other over. */
export const CLIENT_IDS = Array.from({ length: 48 }, (_, n) => `fuzz-${n}`);
const TOPICS = [
  "a",
  "a/b",
  "plant/press-7/temp",
  "",
  "/",
  "a//b",
  "ü/温度",
  "x".repeat(300),
  "a/".repeat(60),
];
const FILTERS = ["a", "a/+", "plant/#", "+/+", "a/b", "ü/+"];

export const pick = <T>(random: Random, values: readonly T[]): T => values[random.below(values.length)]!;
const oneIn = (random: Random, n: number) => random.below(n) === 0;

/** Never valid JSON, so that it arrives at a file as the bytes it was. */
function payload(random: Random): Buffer {
  const bytes = Buffer.alloc(oneIn(random, 50) ? random.below(60_000) : random.below(40));
  random.fill(bytes);
  return Buffer.concat([Buffer.from("~"), bytes]);
}

export function connect(random: Random, version: Version): Buffer {
  const hasUser = oneIn(random, 4);
  const will = {
    topic: pick(random, TOPICS) || "w",
    payload: payload(random).subarray(0, 9000),
    qos: random.below(3) as 0 | 1 | 2,
    retain: oneIn(random, 8),
  };
  const clean = !oneIn(random, 3);
  const packet: IConnectPacket = {
    cmd: "connect",
    protocolId: version === 3 ? "MQIsdp" : "MQTT",
    protocolVersion: version,
    clientId: clean && version === 4 && oneIn(random, 8) ? "" : pick(random, CLIENT_IDS),
    clean,
    keepalive: pick(random, [0, 1, 60, 65_535]),
    ...(oneIn(random, 3) ? { will } : {}),
    ...(hasUser ? { username: "u", password: Buffer.from("p") } : {}),
  };
  return generate(packet as Packet, { protocolVersion: version });
}

/** Types 2 to 15 as either side may send them. */
export function packetOf(type: number, random: Random, version: Version): Buffer {
  const messageId = 1 + random.below(oneIn(random, 4) ? 65_535 : 20);
  const make = (packet: object) => generate(packet as Packet, { protocolVersion: version });
  const reasonCode = 0;
  switch (type) {
    case 1:
      return connect(random, version);
    case 2:
      return make({ cmd: "connack", returnCode: 0, reasonCode, sessionPresent: oneIn(random, 2) });
    case 3: {
      const qos = random.below(3) as 0 | 1 | 2;
      const topic = pick(random, TOPICS) || "a";
      const dup = qos > 0 && oneIn(random, 4);
      return make({
        cmd: "publish",
        topic,
        payload: payload(random),
        qos,
        messageId,
        dup,
        retain: oneIn(random, 6),
      });
    }
    case 4:
      return make({ cmd: "puback", messageId, reasonCode });
    case 5:
      return make({ cmd: "pubrec", messageId, reasonCode });
    case 6:
      return make({ cmd: "pubrel", messageId, reasonCode });
    case 7:
      return make({ cmd: "pubcomp", messageId, reasonCode });
    case 8: {
      const subscriptions = Array.from({ length: 1 + random.below(4) }, () => ({
        topic: pick(random, FILTERS),
        qos: random.below(3),
      }));
      return make({ cmd: "subscribe", messageId, subscriptions });
    }
    case 9:
      return make({ cmd: "suback", messageId, granted: [0, 1] });
    case 10:
      return make({
        cmd: "unsubscribe",
        messageId,
        unsubscriptions: [pick(random, FILTERS), pick(random, FILTERS)],
      });
    case 11:
      return make({ cmd: "unsuback", messageId, granted: [0] });
    case 12:
      return make({ cmd: "pingreq" });
    case 13:
      return make({ cmd: "pingresp" });
    case 14:
      return make({ cmd: "disconnect", reasonCode });
    default:
      // Of MQTT 5 alone.
      return generate({ cmd: "auth", reasonCode: 0x18 } as Packet, { protocolVersion: 5 });
  }
}

/** What a client sends in everyday life more often than the rest. */
const EVERYDAY = [3, 3, 3, 3, 8, 12, 4, 5, 6, 7, 10];

export function anyPacket(random: Random, version: Version): Buffer {
  return packetOf(oneIn(random, 20) ? 1 + random.below(15) : pick(random, EVERYDAY), random, version);
}
