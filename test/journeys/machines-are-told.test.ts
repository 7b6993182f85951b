/** A machine is told what became of its messages: stored, then delivered or dead; it alone, and over a kill. */
import type { IPublishPacket } from "mqtt-packet";
import { expect, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import type { RawMqttClient } from "../../simulators/machines/raw-mqtt-client.ts";
import { eventually, FLOW, Journey, reading, shared, startBackend } from "../support/journey.ts";

const TOPIC = "holdfast/journey/receipts/press";

interface Told {
  readonly id: string;
  readonly messageId: string;
  readonly state: string;
  readonly flows: Record<string, { state: string; reason?: string }>;
  readonly duplicate?: true;
}

const site = shared(async () => {
  const backend = new HttpBackend({ mode: "reject-one" });
  const { url } = await startBackend(backend);
  const journey = await Journey.start({
    config: {
      targets: { backend: { type: "http", url } },
      flows: {
        all: FLOW,
        poisonless: { ...FLOW, from: "plant/#", when: { pointer: "/twice", exists: true }, to: "backend" },
      },
      intake: { identities: [{ topics: "#", id: { pointer: "/id" } }] },
      receipts: { devices: ["press"], interval: "50ms" },
    },
  });
  const press = await journey.client("press");
  await press.subscribe(TOPIC, 1);
  return { journey, backend, press };
});

/** Receipts of one message, until one says this. */
async function until(client: RawMqttClient, id: string, state: string): Promise<Told> {
  for (;;) {
    const packet = (await client.take(
      (each) => each.cmd === "publish" && each.topic === TOPIC,
      30_000,
    )) as IPublishPacket;
    const { receipts } = JSON.parse(packet.payload.toString()) as { receipts: Told[] };
    const found = receipts.find((each) => each.id === id && each.state === state);
    if (found) return found;
  }
}

const send = (client: RawMqttClient, n: number, more: object = {}) =>
  client.publish({ topic: "plant/press", payload: reading("press", n, more), qos: 1 });

test("it is told that a message is stored while the backend is away, and delivered when it is back", async () => {
  const { backend, press } = site();
  await backend.goAway();
  await send(press, 1);
  const stored = await until(press, "press-1", "stored");
  expect(stored).toMatchObject({
    messageId: "press:press-1",
    flows: { all: { state: expect.stringMatching(/waiting|sending/) } },
  });
  await backend.comeBack();
  expect((await until(press, "press-1", "delivered")).flows).toMatchObject({ all: { state: "delivered" } });
});

test("of a message that is dead in one flow it is told so, with the reason, and told on when it was put back", async () => {
  const { journey, backend, press } = site();
  await send(press, 2, { poison: true, twice: 1 });
  const dead = await until(press, "press-2", "dead");
  expect(Object.keys(dead.flows).sort()).toEqual(["all", "poisonless"]);
  expect(dead.flows.all!.reason).toContain("422");
  backend.setMode("ok");
  expect((await journey.cli("dead", "retry", "--all")).code).toBe(0);
  await until(press, "press-2", "delivered");
});

test("a duplicate is told where the first one is", async () => {
  const { press } = site();
  await send(press, 1);
  expect(await until(press, "press-1", "delivered")).toMatchObject({ duplicate: true });
});

test("nobody else is told, whatever he subscribes to, and no other device gets receipts", async () => {
  const { press, journey } = site();
  const curious = await journey.client("curious");
  await curious.subscribe("holdfast/#", 1);
  await curious.subscribe(TOPIC, 1);
  await send(press, 3);
  await until(press, "press-3", "delivered");
  await curious.publish({ topic: "plant/curious", payload: reading("curious", 1), qos: 1 });
  // What is published to all does reach him, so he would have seen it.
  const seen: string[] = [];
  await curious.take((packet) => {
    if (packet.cmd !== "publish") return false;
    seen.push(packet.topic);
    return packet.topic.endsWith("/devices/curious/health");
  });
  expect(seen.filter((topic) => topic.includes("/receipts/"))).toEqual([]);
});

test("after a kill what is open is told anew, and a session that was away gets what came meanwhile", async () => {
  const { journey, backend, press } = site();
  await backend.goAway();
  await send(press, 4);
  await until(press, "press-4", "stored");
  await press.disconnect();
  await journey.killAndStart();
  await backend.comeBack();
  await eventually("it is delivered", async () => (await journey.figures()).open === 0);
  await eventually("it is told", async () => {
    const again = await journey.client("press");
    const told = await until(again, "press-4", "delivered").catch(() => null);
    await again.disconnect();
    return told;
  });
});
