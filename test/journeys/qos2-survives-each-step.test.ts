/**
 * A QoS 2 handshake has four steps, and the gateway may die at each of them. Whatever the step: the message is
 * taken once, never swallowed, and its packet id is free again once the handshake is over.
 *
 * Every client stands at another step when the one kill comes; then each goes on as the protocol says, or as a
 * client does that has lost the last answer.
 */
import type { Packet } from "mqtt-packet";
import { describe, expect, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import type { RawMqttClient } from "../../simulators/machines/raw-mqtt-client.ts";
import { capability } from "../support/capabilities.ts";
import { effects, eventually, Journey, reading, startBackend, WAIT_MS } from "../support/journey.ts";
import { readRows } from "../support/test-store.ts";

const MESSAGE_ID = 11;

interface Step {
  readonly client: string;
  readonly when: string;
  /** Up to the kill. */
  readonly before: (client: RawMqttClient, journey: Journey) => Promise<void>;
  /** After it, on a new connection, up to PUBCOMP. */
  readonly after: (client: RawMqttClient) => Promise<void>;
}

const answer = (cmd: Packet["cmd"]) => (packet: Packet) =>
  packet.cmd === cmd && packet.messageId === MESSAGE_ID;

function publish(client: RawMqttClient, n: number, name: string, dup = false): void {
  const payload = reading(name, n);
  client.sendPublish({ topic: `plant/${name}`, payload, qos: 2, messageId: MESSAGE_ID, dup });
}

async function finish(client: RawMqttClient): Promise<void> {
  client.write({ cmd: "pubrel", messageId: MESSAGE_ID });
  await client.take(answer("pubcomp"), WAIT_MS);
}

async function sendAndFinish(client: RawMqttClient, n: number, name: string, dup = false): Promise<void> {
  publish(client, n, name, dup);
  await client.take(answer("pubrec"), WAIT_MS);
  await finish(client);
}

/** Looks into the store itself, since at these steps nobody else has been told. */
const stored = (journey: Journey, table: "messages" | "sessions", name: string) => {
  const mine = table === "messages" ? "device = ?" : "kind = 'incoming' AND client = ?";
  return readRows(journey.process.dataDir, `SELECT 1 FROM ${table} WHERE ${mine}`, name).length > 0;
};

const STEPS: readonly Step[] = [
  {
    client: "sent",
    when: "PUBLISH has just been sent",
    before: async (client) => publish(client, 1, "sent"),
    after: (client) => sendAndFinish(client, 1, "sent", true),
  },
  {
    client: "stored",
    when: "it is stored, and PUBREC has not been seen",
    before: async (client, journey) => {
      client.freeze();
      publish(client, 1, "stored");
      await eventually("it is stored", () => stored(journey, "messages", "stored"));
    },
    after: (client) => sendAndFinish(client, 1, "stored", true),
  },
  {
    client: "received",
    when: "PUBREC has been received",
    before: async (client) => {
      publish(client, 1, "received");
      await client.take(answer("pubrec"), WAIT_MS);
    },
    after: finish,
  },
  {
    client: "forgetful",
    when: "PUBREC has been received, by a client that sends PUBLISH again all the same",
    before: async (client) => {
      publish(client, 1, "forgetful");
      await client.take(answer("pubrec"), WAIT_MS);
    },
    after: (client) => sendAndFinish(client, 1, "forgetful", true),
  },
  {
    client: "released",
    when: "PUBREL has just been sent",
    before: async (client) => {
      publish(client, 1, "released");
      await client.take(answer("pubrec"), WAIT_MS);
      client.write({ cmd: "pubrel", messageId: MESSAGE_ID });
    },
    after: finish,
  },
  {
    client: "complete",
    when: "PUBREL is on disk, and PUBCOMP has not been seen",
    before: async (client, journey) => {
      publish(client, 1, "complete");
      await client.take(answer("pubrec"), WAIT_MS);
      client.freeze();
      client.write({ cmd: "pubrel", messageId: MESSAGE_ID });
      await eventually("its packet id is free", () => !stored(journey, "sessions", "complete"));
    },
    after: finish,
  },
];

/** What took effect of each client, in order, where `between` comes between the two halves of their handshakes. */
async function handshakes(
  between: (journey: Journey) => Promise<void>,
  fault?: string,
): Promise<{ found: Map<string, string[]>; journey: Journey }> {
  const { backend, url } = await startBackend(new HttpBackend());
  const journey = await Journey.start({ fault, config: { targets: { backend: { type: "http", url } } } });
  const clients = await Promise.all(STEPS.map(({ client }) => journey.client(client)));
  // "Just sent" comes last, so that the kill comes before its answer where it can.
  const order = [...STEPS.keys()].sort((a, b) => Number(isLast(a)) - Number(isLast(b)));
  for (const at of order) await STEPS[at]!.before(clients[at]!, journey);
  await between(journey);
  await Promise.all(
    STEPS.map(async ({ client: name, after }) => {
      const client = await journey.client(name);
      await after(client);
      // The packet id again, for a message that is new: with other bytes, and with the same ones.
      await sendAndFinish(client, 2, name);
      await sendAndFinish(client, 2, name);
    }),
  );
  await journey.drained();
  const ids = effects(backend);
  const found = new Map(STEPS.map(({ client }) => [client, ids.filter((id) => id.startsWith(`${client}-`))]));
  return { found, journey };
}

const isLast = (at: number) => ["sent", "released"].includes(STEPS[at]!.client);

describe("a QoS 2 message whose gateway is killed in the midst of its handshake", () => {
  test("is taken once at every step, and its packet id can be used again", async () => {
    const { found, journey } = await handshakes((gateway) => gateway.killAndStart());
    for (const { client, when } of STEPS) {
      expect(found.get(client), when).toEqual([`${client}-1`, `${client}-2`, `${client}-2`]);
    }
    expect(await journey.figures()).toMatchObject({ accepted: 3 * STEPS.length, balanced: true });
    expect((await journey.figures()).duplicates).toBeGreaterThanOrEqual(2);
    expect(await journey.audited()).toMatchObject({ state: "balanced" });
  });

  // Those two show it as soon as the connections break.
  test.skipIf(!capability("wide").present)(
    "and a gateway that forgets the handshake is found out",
    async () => {
      const { found } = await handshakes(async () => {}, "no-dedupe");
      expect(found.get("stored")).toEqual(["stored-1", "stored-1", "stored-2", "stored-2"]);
      expect(found.get("forgetful")).toEqual(["forgetful-1", "forgetful-1", "forgetful-2", "forgetful-2"]);
    },
  );

  test.skipIf(!capability("wide").present)(
    "and a gateway that never gives a packet id free is found out",
    async () => {
      const { backend, url } = await startBackend(new HttpBackend());
      const config = { targets: { backend: { type: "http", url } } };
      const journey = await Journey.start({ config, fault: "keeps-packet-ids" });
      const client = await journey.client("press");
      await sendAndFinish(client, 1, "press");
      await sendAndFinish(client, 2, "press");
      await journey.drained();
      // The new one was swallowed.
      expect(effects(backend)).toEqual(["press-1"]);
    },
  );
});
