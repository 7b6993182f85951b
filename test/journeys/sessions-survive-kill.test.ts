/**
 * What MQTT promises to clients outlives the gateway: a persistent subscriber that was away gets what came
 * meanwhile, in order; retained messages are retained; the will of a client that was connected when the gateway
 * was killed goes out after the start. One gateway is killed for all of them.
 */
import { join } from "node:path";
import type { IPublishPacket } from "mqtt-packet";
import { describe, expect, test } from "vitest";
import type { RawMqttClient } from "../../simulators/machines/raw-mqtt-client.ts";
import { OutboxReader } from "../../simulators/outbox-reader.ts";
import { capability } from "../support/capabilities.ts";
import { effects, eventually, Journey, reading, shared, WAIT_MS } from "../support/journey.ts";
import { readRows } from "../support/test-store.ts";

const OUTBOX = { targets: { backend: { type: "file", folder: "outbox" } } };

interface Seen {
  readonly payload: string;
  readonly qos: number;
  readonly dup: boolean;
  readonly retain: boolean;
}

async function nextPublish(client: RawMqttClient): Promise<Seen> {
  const { payload, qos, dup, retain } = (await client.take("publish", WAIT_MS)) as IPublishPacket;
  return { payload: payload.toString(), qos, dup, retain };
}

/** Publishes on `topic`, which the client hears; what comes before that was owed to it. */
async function owed(client: RawMqttClient, topic: string): Promise<Seen[]> {
  client.sendPublish({ topic, payload: "mark", qos: 1 });
  const seen: Seen[] = [];
  for (;;) {
    const next = await nextPublish(client);
    if (next.payload === "mark") return seen;
    seen.push(next);
  }
}

/** Rows for what waits for a client: one for a message, another where it has been sent. */
function waitingRows(journey: Journey, client: string): number {
  const waiting = "SELECT 1 FROM sessions WHERE kind = 'outgoing' AND client = ?";
  return readRows(journey.process.dataDir, waiting, client).length;
}

const EACH = [1, 2, 3];

/** A subscriber that is away while messages come. */
async function subscribeAndLeave(journey: Journey): Promise<void> {
  const subscriber = await journey.client("away");
  await subscriber.subscribe("plant/+/state", 1);
  await subscriber.subscribe("plant/+/order", 2);
  await subscriber.disconnect();
  const publisher = await journey.client("press");
  for (const n of EACH) {
    await publisher.publish({ topic: "plant/press/state", payload: reading("press", n), qos: 1 });
    await publisher.publish({ topic: "plant/press/order", payload: reading("order", n), qos: 2 });
  }
}

/** A subscriber that has been sent a message and has not acknowledged it. */
async function receiveAndKeepSilent(journey: Journey): Promise<void> {
  const subscriber = await journey.client("silent");
  await subscriber.subscribe("plant/oven", 1);
  await (await journey.client("oven")).publish({ topic: "plant/oven", payload: "hot", qos: 1 });
  expect(await nextPublish(subscriber)).toMatchObject({ payload: "hot", dup: false });
  // That it was sent is written beside the message, a moment later.
  await eventually("it is on disk that it was sent", () => waitingRows(journey, "silent") === 2);
}

async function retain(journey: Journey): Promise<void> {
  const publisher = await journey.client("saw");
  for (const [name, payload] of [
    ["mode", "idle"],
    ["mode", "running"],
    ["alarm", "dull"],
    ["alarm", ""],
  ]) {
    await publisher.publish({ topic: `plant/saw/${name}`, payload: payload!, qos: 1, retain: true });
  }
}

/** Two clients with a will: one is connected at the end, one has said goodbye. */
async function leaveWills(journey: Journey): Promise<void> {
  await (await journey.client("heir")).subscribe("plant/+/lost", 1);
  const will = (n: number) => ({
    topic: "plant/press/lost",
    payload: Buffer.from(reading("lost", n)),
    qos: 1 as const,
    retain: false,
  });
  await journey.client("lost", { will: will(1) });
  await (await journey.client("polite", { will: will(2) })).disconnect();
  await eventually("its goodbye was heard", () => {
    const wills = "SELECT 1 FROM sessions WHERE kind = 'will'";
    return readRows(journey.process.dataDir, wills).length === 1;
  });
}

describe("after kill -9 and a start", () => {
  const gateway = shared(async () => {
    const journey = await Journey.start({ config: OUTBOX });
    await subscribeAndLeave(journey);
    await receiveAndKeepSilent(journey);
    await retain(journey);
    await leaveWills(journey);
    await journey.killAndStart();
    return journey;
  });

  test("a subscriber that was away gets what came meanwhile, in order, once, and hears what comes", async () => {
    const client = await gateway().client("away", { answer: "received" });
    expect(client.connack!.sessionPresent).toBe(true);
    const seen = await owed(client, "plant/away/state");
    expect(seen.map(({ payload }) => payload)).toEqual(
      EACH.flatMap((n) => [reading("press", n), reading("order", n)]),
    );
    expect(seen.map(({ qos }) => qos)).toEqual(EACH.flatMap(() => [1, 2]));
    expect(seen.every(({ dup }) => !dup)).toBe(true);
  });

  test("a subscriber that had not acknowledged is sent it again, marked as sent before", async () => {
    const client = await gateway().client("silent", { answer: "received" });
    expect(await owed(client, "plant/oven")).toMatchObject([{ payload: "hot", dup: true }]);
  });

  test("a retained message is there, the last one of its topic, and one that was taken away is not", async () => {
    const client = await gateway().client("new", { clean: true });
    await client.subscribe("plant/saw/#", 1);
    expect(await owed(client, "plant/saw/mark")).toMatchObject([{ payload: "running", retain: true }]);
  });

  test("the will of a client that was connected has gone out, once, and to its flow as well", async () => {
    const client = await gateway().client("heir", { answer: "received" });
    const seen = await owed(client, "plant/heir/lost");
    expect(seen.map(({ payload }) => payload)).toEqual([reading("lost", 1)]);
    await gateway().drained();
    const outbox = new OutboxReader(join(gateway().process.dataDir, "outbox"));
    expect(effects(outbox).filter((id) => id.startsWith("lost"))).toEqual(["lost-1"]);
  });

  test.skipIf(!capability("wide").present)("and another one, nobody gets anything again", async () => {
    const journey = gateway();
    const topics = { away: "plant/away/state", silent: "plant/oven", heir: "plant/heir/lost" };
    for (const [name, topic] of Object.entries(topics)) {
      const client = await journey.client(name, { answer: "received" });
      await owed(client, topic);
      // Its acknowledgements are on their way: until they are on disk, sending again would be right.
      await eventually("nothing waits for it any more", () => waitingRows(journey, name) === 0);
    }
    await journey.killAndStart();
    for (const [name, topic] of Object.entries(topics)) {
      const client = await journey.client(name, { answer: "received" });
      expect(await owed(client, topic), name).toEqual([]);
    }
  });
});

describe("a gateway that forgets its sessions", () => {
  test.skipIf(!capability("wide").present)("is found out", async () => {
    const journey = await Journey.start({ config: OUTBOX, fault: "forgets-sessions" });
    await subscribeAndLeave(journey);
    await journey.killAndStart();
    const client = await journey.client("away", { answer: "received" });
    expect(client.connack!.sessionPresent).toBe(false);
    await client.publish({ topic: "plant/press/state", payload: "mark", qos: 1 });
    expect(client.untaken()).toEqual([]);
  });
});
