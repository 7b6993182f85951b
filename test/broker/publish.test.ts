/** From PUBLISH to acknowledgement: after the commit, in order, and only for what was stored. */
import { generate } from "mqtt-packet";
import { describe, expect, it } from "vitest";
import type { Receipt } from "../../src/intake/draft.ts";
import { startBroker, type TestBroker } from "../support/test-broker.ts";
import { WireClient } from "../support/wire-client.ts";

const acks = (client: WireClient) => client.of("puback").map((packet) => packet.messageId);
/** Everything on its way to the broker has been read, and what it led to has been written. */
const settled = async (client: WireClient) => {
  await client.ping();
  await client.ping();
};

describe("an acknowledgement", () => {
  it("is not sent before the message is committed", async () => {
    const { port, store } = await startBroker();
    const client = await WireClient.connect(port);
    store.hold();
    client.publish("a", "1", { qos: 1, id: 1 });
    client.publish("a", "2", { qos: 2, id: 2 });
    await settled(client);
    expect([acks(client), client.of("pubrec"), store.messages()]).toEqual([[], [], []]);
    store.release();
    await client.next("puback");
    await client.next("pubrec");
    expect(store.payloads()).toEqual(["1", "2"]);
  });

  it("that came before the commit would be seen by the test above", async () => {
    // The saboteur: says stored, and stores later.
    const { port, store } = await startBroker({
      intake: (real) => ({
        accept: async (draft) => {
          void real.accept(draft);
          return { kind: "stored", id: "x", seq: 1, flows: 1, late: false };
        },
      }),
    });
    const client = await WireClient.connect(port);
    store.hold();
    client.publish("a", "1", { qos: 1, id: 1 });
    await settled(client);
    expect(acks(client)).toEqual([1]);
    expect(store.messages()).toEqual([]);
  });

  it("keeps the order of arrival, whatever the order of the commits", async () => {
    const { port, store } = await startBroker();
    const open: (() => void)[] = [];
    store.decide = (draft) =>
      new Promise<Receipt>((resolve) => {
        open.push(() => resolve({ kind: "stored", id: draft.topic, seq: 1, flows: 1, late: false }));
      });
    const client = await WireClient.connect(port);
    for (const id of [5, 3, 9, 1]) client.publish("a", "x", { qos: id === 9 ? 2 : 1, id });
    await client.until(() => true);
    await settled(client);
    for (const at of [3, 1, 2]) open[at]!();
    await settled(client);
    expect(acks(client)).toEqual([]);
    open[0]!();
    await client.until(() => client.received.filter(({ cmd }) => cmd.startsWith("pub")).length === 4);
    const order = client.received
      .filter(({ cmd }) => cmd.startsWith("pub"))
      .map(({ messageId }) => messageId);
    // PUBREC has one step more to go than PUBACK; each kind is in order [MQTT-4.6.0-2] [MQTT-4.6.0-3].
    expect(order.filter((id) => id !== 9)).toEqual([5, 3, 1]);
  });

  it("is sent for a duplicate, which local subscribers do not see again", async () => {
    const { port, store } = await startBroker();
    const listener = await WireClient.connect(port, { clientId: "listener" });
    await listener.subscribe("a", 1);
    const client = await WireClient.connect(port);
    client.publish("a", "once", { qos: 1, id: 4 });
    await client.next("puback");
    client.publish("a", "once", { qos: 1, id: 4, dup: true });
    await client.next("puback");
    client.publish("a", "next", { qos: 1, id: 5 });
    await listener.until(() => listener.payloads().includes("next"));
    expect(listener.payloads()).toEqual(["once", "next"]);
    expect(store.payloads()).toEqual(["once", "next"]);
  });

  it("is sent for a message that intake drops, which local subscribers see", async () => {
    const { port, store, broker } = await startBroker();
    store.decide = () => ({ kind: "dropped", id: "x" });
    const client = await WireClient.connect(port);
    await client.subscribe("a", 1);
    client.publish("a", "seen", { qos: 1, id: 4 });
    await client.next("puback");
    await client.until(() => client.payloads().includes("seen"));
    expect(broker.stats()).toMatchObject({ dropped: 1, stored: 0 });
  });

  it("is not sent for a message that intake refuses: the connection is closed", async () => {
    const { port, store, broker } = await startBroker();
    store.decide = ({ topic }) =>
      topic === "bad" ? { kind: "refused", code: "HF_MESSAGE_INVALID", reason: "it is" } : undefined;
    const client = await WireClient.connect(port);
    client.publish("good", "1", { qos: 1, id: 1 });
    client.publish("bad", "2", { qos: 1, id: 2 });
    client.publish("good", "3", { qos: 1, id: 3 });
    await client.untilClosed();
    expect(acks(client)).toEqual([1]);
    expect(broker.stats().refused).toEqual({ HF_MESSAGE_INVALID: 1 });
    expect(broker.devices()[0]).toMatchObject({ device: "press-7", refused: 1 });
  });

  it("is not sent when the store has failed: the broker says so and lets go of its clients", async () => {
    const { port, store, fatal } = await startBroker();
    const client = await WireClient.connect(port);
    store.fail(new Error("EIO"));
    client.publish("a", "1", { qos: 1, id: 1 });
    await client.untilClosed();
    expect(acks(client)).toEqual([]);
    expect(fatal.map((error) => error.message)).toEqual(["EIO"]);
  });
});

describe("QoS 0", () => {
  it("is stored too, also when its sender leaves at once", async () => {
    const { port, store } = await startBroker();
    const client = await WireClient.connect(port);
    for (let i = 0; i < 200; i++) client.publish("a", `${i}`);
    await client.disconnect();
    await expect.poll(() => store.payloads().length).toBe(200);
    expect(store.payloads()).toEqual(Array.from({ length: 200 }, (_, i) => `${i}`));
  });

  it("is not given up at once when the store is behind and its sender has left", async () => {
    const { port, store } = await startBroker();
    const client = await WireClient.connect(port);
    store.hold();
    client.publish("a", "1");
    await client.disconnect();
    await expect.poll(() => store.waiting).toBe(1);
    store.release();
    await expect.poll(() => store.payloads()).toEqual(["1"]);
  });
});

describe("a client that sends and closes its side", () => {
  it("still gets what it sent stored and acknowledged", async () => {
    const { port, store } = await startBroker();
    const client = await WireClient.connect(port);
    store.hold();
    for (let id = 1; id <= 50; id++) client.publish("a", `${id}`, { qos: 1, id });
    client.stream.end();
    await expect.poll(() => store.waiting).toBe(50);
    store.release();
    await client.until(() => acks(client).length === 50);
    expect(store.payloads().length).toBe(50);
  });
});

describe("while the store has no room", () => {
  const LIMITS = { unackedMessagesMax: 20 };

  async function flooded(limits: object): Promise<TestBroker & { client: WireClient; sent: number }> {
    const test = await startBroker({ limits });
    test.store.hold();
    const client = await WireClient.connect(test.port, { keepalive: 1 });
    let sent = 0;
    // Until the sockets' buffers are full on both sides.
    while (client.send(publishOf(++sent)) && sent < 5000);
    await expect.poll(() => test.broker.stats().held).toBe(1);
    return { ...test, client, sent };
  }
  const publishOf = (id: number) =>
    generate({
      cmd: "publish",
      topic: "a",
      payload: Buffer.alloc(16_000, 120),
      qos: 1,
      messageId: id,
      dup: false,
      retain: false,
    });

  it("a client is not read beyond its bounds, and goes on when there is room", async () => {
    const { broker, store, client, sent } = await flooded(LIMITS);
    expect(store.waiting).toBeLessThanOrEqual(21);
    expect(broker.stats().unacked).toBeLessThanOrEqual(21);
    store.release();
    await client.until(() => acks(client).length === sent);
    expect(acks(client)).toEqual(Array.from({ length: sent }, (_, i) => i + 1));
    expect(store.messages().length).toBe(sent);
  });

  it("its keepalive does not run out, since its silence is our doing", async () => {
    const { client, store, sent } = await flooded(LIMITS);
    // Bounded by bytes on their way, not by time: one and a half keepalives of a second.
    const impatient = await WireClient.connect((await startBroker()).port, { clientId: "x", keepalive: 1 });
    await impatient.untilClosed();
    expect(client.closed).toBe(false);
    store.release();
    await client.until(() => acks(client).length === sent);
  });

  it("what a client sent that has left is given up, unless it was already on its way to the disk", async () => {
    const { port, broker, store } = await startBroker();
    store.hold();
    const client = await WireClient.connect(port);
    for (let id = 1; id <= 10; id++) client.publish("a", `${id}`, { qos: 1, id });
    await expect.poll(() => store.waiting).toBe(10);
    client.cut();
    await expect.poll(() => broker.stats().clients).toBe(0);
    store.release();
    const next = await WireClient.connect(port);
    next.publish("a", "1", { qos: 1, id: 1, dup: true });
    await next.next("puback");
    expect(store.payloads()).toEqual(["1"]);
  });
});
