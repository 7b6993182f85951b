/**
 * The MQTT door takes whatever bytes come: nobody's state is left behind, nothing is stored that was not sent, and
 * nobody beside is harmed.
 */
import { duplexPair } from "node:stream";
import { fileURLToPath } from "node:url";
import { generate, parser } from "mqtt-packet";
import { describe, expect, it, onTestFinished } from "vitest";
import { packetOf } from "../../simulators/torture/fuzz/mqtt-packets.ts";
import { fuzzStream, MUTATIONS } from "../../simulators/torture/fuzz/mqtt-streams.ts";
import { possibleMessages } from "../../simulators/torture/fuzz/possible-messages.ts";
import { fuzzMqtt } from "../../simulators/torture/trials/fuzz-mqtt.ts";
import { type Random, seededRandom } from "../../src/core/random.ts";
import { capability } from "../support/capabilities.ts";
import { startBroker, type TestBroker } from "../support/test-broker.ts";
import { tryOut } from "../support/trials.ts";
import { connectPacket, WireClient } from "../support/wire-client.ts";

const long = capability("long");
const wide = capability("wide");
const SABOTEUR = fileURLToPath(new URL("../support/saboteur-broker.ts", import.meta.url));
const HOUR_MS = 3_600_000;
const ORIGIN = { listener: "pair", address: "127.0.0.1", certificate: null };

describe("a gateway that is sent broken packets", () => {
  it("goes on, forgets who is gone, and stores what was sent and nothing else", async () => {
    const { figures, findings } = await tryOut(fuzzMqtt, { cycles: 3, seed: 1, withinMs: 5000 });
    expect(findings).toEqual([]);
    // It would prove nothing if nothing had got through.
    expect(figures.packets).toBeGreaterThan(2000);
    expect(figures.messagesStored).toBeGreaterThan(50);
    expect(figures.clientIdsTried).toBeGreaterThan(40);
  });

  it.skipIf(!long.present)("a million times", { timeout: HOUR_MS }, async () => {
    let packets = 0;
    for (let round = 0; packets < 1_000_000; round++) {
      const { figures, findings } = await tryOut(fuzzMqtt, { cycles: 100, seed: 1000 + round * 100 });
      expect(findings, `round ${round}`).toEqual([]);
      packets += figures.packets!;
    }
  });

  const faults: [string, RegExp][] = [
    ["throws-at-odd-packets", /ended by itself/],
    ["alters-payloads", /nobody sent/],
  ];
  // A ghost is waited for before it is called one.
  if (long.present) faults.push(["keeps-ghosts", /cannot be used any more/]);
  it.skipIf(!wide.present).each(faults)("is found out where it has a fault: %s", async (fault, finding) => {
    const { findings } = await tryOut(fuzzMqtt, {
      cycles: 4,
      seed: 1,
      withinMs: 4000,
      fault,
      script: SABOTEUR,
    });
    expect(findings.join("\n")).toMatch(finding);
  });
});

describe("streams for fuzzing", () => {
  it("are the same for the same seed, of every type and with every kind of damage", () => {
    const types = new Set<number>();
    for (let seed = 1; seed <= 300; seed++) {
      const [one, other] = [fuzzStream(seed), fuzzStream(seed)];
      expect(Buffer.concat(one.pieces).equals(Buffer.concat(other.pieces))).toBe(true);
      types.add(Buffer.concat(one.pieces)[0]! >> 4);
    }
    const random = seededRandom(1);
    for (let type = 1; type <= 15; type++) expect(packetOf(type, random, 4)[0]! >> 4).toBe(type);
    expect(types.size).toBeGreaterThan(8);
  });
});

const PING = Buffer.from([0xc0, 0]);

/**
 * What became of a stream: whether its client was still welcome at the end of it, and if so which answers came
 * and what was accepted. What a client had under way when it was thrown out may be stored or not.
 */
async function outcomeOf(test: TestBroker, pieces: readonly Buffer[], waitMs: number) {
  const accepted: string[] = [];
  // What is handed to intake: one that came before is known there and not stored again.
  test.store.onDraft = ({ topic, payload }) => accepted.push(`${topic} ${payload.toString("hex")}`);
  const [client, server] = duplexPair();
  const over = new Promise((resolve) => server.once("close", resolve));
  test.broker.take(server, ORIGIN);
  const answers: string[] = [];
  let whenWelcome: () => void = () => {};
  const welcome = new Promise<boolean>((resolve) => {
    whenWelcome = () => resolve(true);
    // The gateway says goodbye first, and waits for ours.
    client.once("end", () => resolve(false));
    void over.then(() => resolve(false));
  });
  const parse = parser({ protocolVersion: 4 });
  parse.on("packet", ({ cmd, messageId }) => {
    // Messages to itself depend on when it subscribed, and are nobody's answer.
    if (cmd !== "publish") answers.push(`${cmd} ${messageId ?? ""}`);
    if (cmd === "pingresp") whenWelcome();
  });
  parse.on("error", () => answers.push("noise"));
  client.on("data", (bytes: Buffer) => parse.parse(bytes));
  client.on("error", () => {});
  for (const piece of pieces) {
    client.write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const isWelcome = await Promise.race([
    welcome,
    new Promise<boolean>((resolve) => setTimeout(resolve, waitMs, false)),
  ]);
  client.end();
  await over;
  client.destroy();
  if (!isWelcome) return { isWelcome };
  return { isWelcome, answers: answers.sort(), accepted };
}

/** Whether the last packet is whole; else the gateway waits for more of it, and nobody is answered. */
function endsWhole(stream: Buffer): boolean {
  let at = 0;
  while (at < stream.length) {
    let length = 0;
    let i = 1;
    for (; i <= 4; i++) {
      const byte = stream[at + i] ?? 0;
      length += (byte & 0x7f) * 128 ** (i - 1);
      if (byte < 0x80) break;
    }
    // A length of five bytes is refused as soon as it is seen.
    if (i > 4) return true;
    at += 1 + i + length;
  }
  return at === stream.length;
}

describe("a stream of packets", () => {
  it("means the same wherever it is cut in two", async () => {
    const test = await startBroker();
    const random = seededRandom(11);
    const damages = Object.values(MUTATIONS);
    let [runs, accepted] = [0, 0];
    for (let n = 0; runs < (wide.present ? 300 : 100); n++) {
      // A client of its own each time, or what it left behind would make a difference.
      const hello = generate(connectPacket({ clientId: `c${n}` }));
      const types = Array.from({ length: 2 }, () => [3, 3, 3, 8, 10, 6, 4, 5][random.below(8)]!);
      const packets = types.map((type) => packetOf(type, random, 4)).filter((packet) => packet.length < 60);
      const broken =
        n % 3 === 0
          ? packets
          : packets.map((packet) =>
              (damages[n % damages.length] as (packet: Buffer, random: Random) => Buffer)(packet, random),
            );
      const stream = Buffer.concat([hello, ...broken, PING]);
      if (stream.length > 150 || !endsWhole(stream)) continue;
      const whole = await outcomeOf(test, [stream], 10_000);
      accepted += whole.accepted?.length ?? 0;
      for (let at = 1; at < stream.length; at += 1 + random.below(long.present ? 1 : 5)) {
        runs++;
        const inTwo = await outcomeOf(test, [stream.subarray(0, at), stream.subarray(at)], 10_000);
        expect(inTwo, `${stream.toString("hex")} cut at ${at}`).toEqual(whole);
      }
    }
    expect(accepted).toBeGreaterThan(wide.present ? 3 : 0);
    await expect
      .poll(() => test.broker.stats())
      .toMatchObject({ clients: 0, inHand: { steps: 0, partialBytes: 0 } });
  });

  it("that is broken leaves nothing behind in the door itself, thousands of them at a time", async () => {
    const crashes: unknown[] = [];
    const note = (error: unknown) => crashes.push(error);
    process.on("uncaughtException", note);
    process.on("unhandledRejection", note);
    onTestFinished(() => {
      process.off("uncaughtException", note);
      process.off("unhandledRejection", note);
    });
    const test = await startBroker({ limits: { connectTimeout: "1s" } });
    const ids = new Set<string>();
    let seed = 500_000;
    const worker = async () => {
      for (let n = 0; n < (long.present ? 2000 : 40); n++) {
        const { pieces } = fuzzStream(seed++);
        for (const id of possibleMessages(Buffer.concat(pieces)).clientIds)
          if (/^fuzz-\d+$/.test(id)) ids.add(id);
        await outcomeOf(test, pieces, 10);
      }
    };
    await Promise.all(Array.from({ length: 8 }, worker));
    expect(crashes).toEqual([]);
    await expect
      .poll(() => test.broker.stats(), { timeout: 15_000 })
      .toMatchObject({
        clients: 0,
        unacked: 0,
        held: 0,
        inHand: { steps: 0, bytes: 0, partialBytes: 0 },
      });
    expect(test.broker.stats().refused["internal error"]).toBeUndefined();
    expect(ids.size).toBeGreaterThan(30);
    for (const clientId of ids) {
      const client = new WireClient(pairWith(test));
      expect((await client.connect({ clientId })).returnCode).toBe(0);
      client.publish("a", "1", { qos: 1, id: 1 });
      await client.next("puback");
      await client.disconnect();
    }
  });
});

function pairWith(test: TestBroker) {
  const [client, server] = duplexPair();
  test.broker.take(server, ORIGIN);
  return client;
}
