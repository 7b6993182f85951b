/** What many clients, or one that does not stop, may take of what all share. */
import { once } from "node:events";
import { connect as connectSocket } from "node:net";
import { generate } from "mqtt-packet";
import { describe, expect, it } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { startBroker, type TestBroker } from "../support/test-broker.ts";
import { WireClient } from "../support/wire-client.ts";

const refused = ({ broker }: TestBroker) => broker.stats().refused;

describe("connections that do not say anything", () => {
  const silent = async (port: number, count: number) => {
    const clients: WireClient[] = [];
    for (let n = 0; n < count; n++) clients.push(await WireClient.open(port));
    return clients;
  };

  it.each([{ connectionsMax: 5 }, { connectionsPerAddressMax: 5 }, { greetingsMax: 5 }])(
    "give way to new ones, the oldest first, and shut nobody out: %o",
    async (limits) => {
      const test = await startBroker({ limits });
      const clients = await silent(test.port, 5);
      const newcomer = await WireClient.connect(test.port, { clientId: "newcomer" });
      await newcomer.ping();
      await clients[0]!.untilClosed();
      expect(clients.slice(1).map(({ closed }) => closed)).toEqual([false, false, false, false]);
      expect(refused(test)).toEqual({ "no CONNECT when room was needed": 1 });
      // One that has sent its CONNECT stays, however many come.
      await silent(test.port, 8);
      await newcomer.ping();
    },
  );

  it("give way where most of them come from, so that another machine's are left alone", async () => {
    const { port } = await startBroker({ limits: { greetingsMax: 4 } });
    const other = new WireClient(connectSocket({ port, host: "127.0.0.1", localAddress: "127.0.0.2" }));
    await once(other.stream, "connect");
    const many = await silent(port, 6);
    await Promise.all(many.slice(0, 3).map((client) => client.untilClosed()));
    expect((await other.connect({ clientId: "other" })).returnCode).toBe(0);
  });
});

describe("a client that sends without pause", () => {
  it("is held at what all may have in hand, and another is not held for it", async () => {
    const { port, broker, store } = await startBroker({
      limits: { unackedMessagesTotalMax: 20, unackedMessagesMax: 10_000 },
    });
    const greedy = await WireClient.connect(port, { clientId: "greedy" });
    const modest = await WireClient.connect(port, { clientId: "modest" });
    store.hold();
    for (let id = 1; id <= 500; id++) greedy.publish("greedy", `${id}`, { qos: 1, id });
    await expect.poll(() => broker.stats().held).toBe(1);
    const inHand = broker.stats().unacked;
    expect(inHand).toBeLessThan(200);
    modest.publish("modest", "1", { qos: 1, id: 1 });
    await expect.poll(() => broker.stats().unacked).toBe(inHand + 1);
    store.release();
    await modest.next("puback");
    await greedy.until(() => greedy.of("puback").length === 500);
    expect(store.payloads().filter((payload) => payload === "500")).toEqual(["500"]);
    await expect.poll(() => broker.stats().inHand).toEqual({ steps: 0, bytes: 0, partialBytes: 0 });
  });

  it("leaves nothing in hand when it is cut off in the middle", async () => {
    const { port, broker } = await startBroker();
    for (const qos of [0, 1, 2] as const) {
      const client = await WireClient.connect(port, { clientId: `cut-${qos}` });
      client.send({ cmd: "subscribe", messageId: 7, subscriptions: [{ topic: "a/#", qos }] });
      for (let id = 1; id <= 300; id++) client.publish("a", Buffer.alloc(2000), { qos, id });
      client.send(Buffer.from([0x30, 0xff, 0xff, 0x3f]));
      await client.next("suback");
      client.cut();
    }
    await expect.poll(() => broker.stats().sockets).toBe(0);
    await expect.poll(() => broker.stats().inHand).toEqual({ steps: 0, bytes: 0, partialBytes: 0 });
  });
});

describe("packets that have begun", () => {
  const half = (bytes: number) => {
    const packet = {
      cmd: "publish",
      topic: "a",
      payload: Buffer.alloc(bytes, 97),
      qos: 1,
      messageId: 1,
    } as const;
    const whole = generate({ ...packet, dup: false, retain: false });
    return [whole.subarray(0, whole.length - 10), whole.subarray(whole.length - 10)] as const;
  };

  it("are finished one after the other where there is no room for all, and all arrive", async () => {
    const { port, store } = await startBroker({ limits: { partialBytesTotalMax: "128KiB" } });
    const [front, back] = half(100_000);
    const clients = await Promise.all(
      [1, 2, 3, 4, 5, 6].map((n) => WireClient.connect(port, { clientId: `c${n}` })),
    );
    for (const client of clients) client.send(front);
    for (const client of clients) client.send(back);
    await Promise.all(clients.map((client) => client.next("puback")));
    expect(store.payloads().map((payload) => payload.length)).toEqual(Array(6).fill(100_000));
  });

  it("and are not finished end their connection where others wait for the room", async () => {
    const { monoMs } = systemClock;
    const fast = { ...systemClock, monoMs: () => monoMs() * 20 };
    const test = await startBroker({ clock: fast, limits: { partialBytesTotalMax: "128KiB" } });
    const [front] = half(100_000);
    const idle = await Promise.all(
      [1, 2, 3].map((n) => WireClient.connect(test.port, { clientId: `idle${n}` })),
    );
    for (const client of idle) client.send(front);
    const worker = await WireClient.connect(test.port, { clientId: "worker" });
    worker.send(Buffer.concat(half(100_000)));
    await worker.next("puback");
    expect(refused(test)["packet not finished"]).toBeGreaterThan(0);
    expect(test.broker.stats().inHand.partialBytes).toBeLessThan(4 * 128 * 1024);
  });
});

describe("a client that sends CONNECT, a message and its end in one go", () => {
  it("is answered for the message before its connection ends", async () => {
    const { port, store } = await startBroker();
    const client = await WireClient.open(port);
    const message = {
      cmd: "publish",
      topic: "a",
      payload: "1",
      qos: 1,
      messageId: 9,
      dup: false,
      retain: false,
    };
    const hello = { cmd: "connect", protocolId: "MQTT", protocolVersion: 4, clean: true, clientId: "brief" };
    client.send(Buffer.concat([hello, message].map((packet) => generate(packet as never))));
    client.send(Buffer.from([0x40, 2, 0, 2]));
    client.stream.end();
    expect((await client.next("puback")).messageId).toBe(9);
    await client.untilClosed();
    expect(store.payloads()).toEqual(["1"]);
  });
});
