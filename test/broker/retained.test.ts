/** What a new subscription finds: the retained messages, and what becomes of who asks for them without end. */
import { describe, expect, it } from "vitest";
import { startBroker } from "../support/test-broker.ts";
import { WireClient } from "../support/wire-client.ts";

const COUNT = 600;

async function withRetained() {
  const test = await startBroker();
  const sender = await WireClient.connect(test.port, { clientId: "sender" });
  for (let n = 1; n <= COUNT; n++) sender.publish(`r/${n}`, `${n}`, { qos: 1, id: n, retain: true });
  await sender.until(() => sender.of("puback").length === COUNT, 15_000);
  return test;
}

describe("retained messages", () => {
  it.each([0, 1] as const)("are all sent to a new subscription, each once, in QoS %i", async (qos) => {
    const { port, broker } = await withRetained();
    const client = await WireClient.connect(port, { clientId: "late" });
    client.stream.on("data", () => {});
    let acked = 0;
    const acknowledge = () => {
      const publishes = client.of("publish");
      for (; acked < publishes.length; acked++) {
        if (publishes[acked]!.qos === 1)
          client.send({ cmd: "puback", messageId: publishes[acked]!.messageId! });
      }
      return publishes.length === COUNT;
    };
    client.send({ cmd: "subscribe", messageId: 1, subscriptions: [{ topic: "r/#", qos }] });
    await client.until(acknowledge, 15_000);
    expect(new Set(client.payloads()).size).toBe(COUNT);
    expect(client.of("publish").every(({ retain }) => retain)).toBe(true);
    await expect.poll(() => broker.stats().inHand.steps).toBe(0);
  });

  it("wait for whoever asks again and again without acknowledging, and cost no more than what is ahead", async () => {
    const { port, broker } = await withRetained();
    const client = await WireClient.connect(port, { clientId: "again" });
    for (let id = 1; id <= 2000; id++) {
      client.send({ cmd: "subscribe", messageId: id, subscriptions: [{ topic: "r/#", qos: 1 }] });
    }
    await expect.poll(() => broker.stats().held).toBe(1);
    expect(broker.stats().queuedMessages).toBeLessThan(300);
    const other = await WireClient.connect(port, { clientId: "other" });
    other.publish("a", "1", { qos: 1, id: 1 });
    await other.next("puback");
    client.cut();
    await expect.poll(() => broker.stats().inHand.steps).toBe(0);
  });

  it("of a topic whose subscriber has gone meanwhile go nowhere", async () => {
    const { port, broker } = await withRetained();
    const client = await WireClient.connect(port, { clientId: "gone", clean: false });
    client.send({ cmd: "subscribe", messageId: 1, subscriptions: [{ topic: "r/#", qos: 1 }] });
    await client.next("suback");
    client.cut();
    await expect.poll(() => broker.stats().sockets).toBe(1);
    expect(broker.stats().queuedMessages).toBeLessThan(300);
  });
});
