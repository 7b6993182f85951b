/**
 * What MQTT promises to clients outlives the gateway: a persistent subscriber that was away gets what came
 * meanwhile, in order; retained messages are retained; the will of a client that was connected when the gateway
 * was killed goes out after the start.
 */
import type { IPublishPacket } from "mqtt-packet";
import { describe, expect, test } from "vitest";
import type { RawMqttClient } from "../../simulators/machines/raw-mqtt-client.ts";
import { OutboxReader } from "../../simulators/outbox-reader.ts";
import { effects, eventually, Journey, reading, WAIT_MS } from "../support/journey.ts";
import { readRows } from "../support/test-store.ts";

const OUTBOX = { targets: { backend: { type: "file", folder: "outbox" } } };

interface Seen {
  readonly topic: string;
  readonly payload: string;
  readonly qos: number;
  readonly dup: boolean;
  readonly retain: boolean;
}

async function nextPublish(client: RawMqttClient): Promise<Seen> {
  const { topic, payload, qos, dup, retain } = (await client.take("publish", WAIT_MS)) as IPublishPacket;
  return { topic, payload: payload.toString(), qos, dup, retain };
}

const payloadsOf = (seen: readonly Seen[]) => seen.map(({ payload }) => payload);

async function takeAll(client: RawMqttClient, count: number): Promise<Seen[]> {
  const seen: Seen[] = [];
  while (seen.length < count) seen.push(await nextPublish(client));
  return seen;
}

/** Rows for what waits for the screen: one for a message, another where it has been sent. */
function outgoingOf(journey: Journey): number {
  const waiting = "SELECT 1 FROM sessions WHERE kind = 'outgoing' AND client = 'screen'";
  return readRows(journey.process.dataDir, waiting).length;
}

/** A subscriber, away while messages come, that finds another gateway when it comes back. */
async function awaySubscriber(fault?: string): Promise<{ present: boolean; client: RawMqttClient }> {
  const journey = await Journey.start({ config: OUTBOX, fault });
  const subscriber = await journey.client("screen");
  await subscriber.subscribe("plant/+/state", 1);
  await subscriber.subscribe("plant/+/order", 2);
  await subscriber.disconnect();
  const publisher = await journey.client("press");
  for (let n = 1; n <= 3; n++) {
    await publisher.publish({ topic: "plant/press/state", payload: reading("press", n), qos: 1 });
    await publisher.publish({ topic: "plant/press/order", payload: reading("order", n), qos: 2 });
  }
  await journey.killAndStart();
  const client = await journey.client("screen", { answer: "received" });
  return { present: client.connack!.sessionPresent, client };
}

describe("sessions, retained messages and wills", () => {
  test("a subscriber that was away gets what came, in order, from the next gateway, and only once", async () => {
    const { present, client } = await awaySubscriber();
    expect(present).toBe(true);
    const seen = await takeAll(client, 6);
    expect(payloadsOf(seen)).toEqual([1, 2, 3].flatMap((n) => [reading("press", n), reading("order", n)]));
    expect(seen.map(({ qos }) => qos)).toEqual([1, 2, 1, 2, 1, 2]);
    expect(seen.every(({ dup }) => !dup)).toBe(true);
    // The subscription still stands.
    client.sendPublish({ topic: "plant/screen/state", payload: "last", qos: 1 });
    expect(await nextPublish(client)).toMatchObject({ payload: "last" });
  });

  test("a subscriber that had not acknowledged is sent it again, marked as sent before, and then no more", async () => {
    const journey = await Journey.start({ config: OUTBOX });
    const subscriber = await journey.client("screen");
    await subscriber.subscribe("plant/#", 1);
    await (await journey.client("press")).publish({ topic: "plant/press", payload: "1", qos: 1 });
    expect(await nextPublish(subscriber)).toMatchObject({ payload: "1", dup: false });
    // That it was sent is written beside the message, a moment later.
    await eventually("it is on disk that it was sent", () => outgoingOf(journey) === 2);
    await journey.killAndStart();
    const again = await journey.client("screen", { answer: "received" });
    expect(await nextPublish(again)).toMatchObject({ payload: "1", dup: true });
    await again.publish({ topic: "plant/screen", payload: "2", qos: 1 });
    expect(await nextPublish(again)).toMatchObject({ payload: "2" });
    // Its acknowledgements are on their way: until they are on disk, sending again would be right.
    await eventually("nothing waits for it any more", () => outgoingOf(journey) === 0);
    await journey.killAndStart();
    const third = await journey.client("screen", { answer: "received" });
    await third.publish({ topic: "plant/screen", payload: "3", qos: 1 });
    expect(payloadsOf(await takeAll(third, 1))).toEqual(["3"]);
  });

  test("a retained message is there after kill -9, the last one, and gone where it was taken away", async () => {
    const journey = await Journey.start({ config: OUTBOX });
    const publisher = await journey.client("press");
    const retained = (topic: string, payload: string) =>
      publisher.publish({ topic, payload, qos: 1, retain: true });
    await retained("plant/press/state", "idle");
    await retained("plant/press/state", "running");
    await retained("plant/press/alarm", "hot");
    await retained("plant/press/alarm", "");
    await journey.killAndStart();
    const subscriber = await journey.client("screen", { clean: true });
    await subscriber.subscribe("plant/#", 1);
    expect(await nextPublish(subscriber)).toMatchObject({ payload: "running", retain: true });
    await subscriber.publish({ topic: "plant/screen", payload: "mark", qos: 1 });
    expect(await nextPublish(subscriber)).toMatchObject({ payload: "mark" });
  });

  test("the will of a client that was connected when the gateway was killed goes out, once", async () => {
    const journey = await Journey.start({ config: OUTBOX });
    const subscriber = await journey.client("screen");
    await subscriber.subscribe("plant/+/lost", 1);
    const will = {
      topic: "plant/press/lost",
      payload: Buffer.from(reading("lost", 1)),
      qos: 1,
      retain: false,
    };
    await journey.client("press", { will: will as never });
    const polite = { ...will, payload: Buffer.from(reading("lost", 2)) };
    await (await journey.client("oven", { will: polite as never })).disconnect();
    await eventually("the gateway has seen it go", async () => {
      return (await journey.status()).health.devices.clientsOnline === 2;
    });
    await journey.killAndStart();
    const again = await journey.client("screen", { answer: "received" });
    expect(await nextPublish(again)).toMatchObject({ payload: reading("lost", 1) });
    await journey.killAndStart();
    await journey.drained();
    // To the flow as well, like any message.
    const outbox = new OutboxReader(`${journey.process.dataDir}/outbox`);
    expect(effects(outbox)).toEqual(["lost-1"]);
  });

  test("and a gateway that forgets its sessions is found out", async () => {
    const { present, client } = await awaySubscriber("forgets-sessions");
    expect(present).toBe(false);
    await client.publish({ topic: "plant/press/state", payload: "mark", qos: 1 });
    expect(client.untaken()).toEqual([]);
  });
});
