/** QoS 2 from a client: each message is stored once and none is swallowed, whatever breaks in between. */
import { describe, expect, it } from "vitest";
import { seededRandom } from "../../src/core/random.ts";
import { startBroker, type TestBroker, type TestBrokerOptions } from "../support/test-broker.ts";
import { WireClient } from "../support/wire-client.ts";

const KEPT = { clean: false };
const incomingRows = ({ store }: TestBroker) =>
  store.rows("incoming").map((row) => `${row.client} ${row.key}`);
const release = (client: WireClient, messageId: number) => client.send({ cmd: "pubrel", messageId });

describe("a QoS 2 message", () => {
  it("goes its four steps, and its packet id is kept from PUBLISH to PUBREL", async () => {
    const test = await startBroker();
    const client = await WireClient.connect(test.port, KEPT);
    client.publish("a", "one", { qos: 2, id: 7 });
    expect((await client.next("pubrec")).messageId).toBe(7);
    expect(incomingRows(test)).toEqual(["press-7 7"]);
    release(client, 7);
    expect((await client.next("pubcomp")).messageId).toBe(7);
    expect(incomingRows(test)).toEqual([]);
    expect(test.store.payloads()).toEqual(["one"]);
  });

  it("that is sent again before its commit is stored once", async () => {
    const { port, store } = await startBroker();
    const client = await WireClient.connect(port, KEPT);
    store.hold();
    client.publish("a", "one", { qos: 2, id: 7 });
    client.publish("a", "one", { qos: 2, id: 7, dup: true });
    await client.ping();
    store.release();
    await client.next("pubrec");
    await client.next("pubrec");
    expect(store.payloads()).toEqual(["one"]);
  });

  it("that is sent again after PUBREC is stored once and handed out once", async () => {
    const { port, store } = await startBroker();
    const listener = await WireClient.connect(port, { clientId: "listener" });
    await listener.subscribe("#", 0);
    const client = await WireClient.connect(port, KEPT);
    for (const dup of [false, true, true]) {
      client.publish("a", "one", { qos: 2, id: 7, dup });
      await client.next("pubrec");
    }
    release(client, 7);
    await client.next("pubcomp");
    client.publish("a", "two", { qos: 2, id: 7 });
    await listener.until(() => listener.payloads().includes("two"));
    expect(listener.payloads()).toEqual(["one", "two"]);
    expect(store.payloads()).toEqual(["one", "two"]);
  });

  it("that is sent again over a new connection is stored once, also when it was never acknowledged", async () => {
    const { port, store } = await startBroker();
    const listener = await WireClient.connect(port, { clientId: "listener" });
    await listener.subscribe("#", 1);
    const first = await WireClient.connect(port, KEPT);
    first.publish("a", "one", { qos: 2, id: 7 });
    await expect.poll(() => store.payloads()).toEqual(["one"]);
    first.cut();
    const second = await WireClient.connect(port, KEPT);
    second.publish("a", "one", { qos: 2, id: 7, dup: true });
    await second.next("pubrec");
    await listener.ping();
    expect(listener.payloads()).toEqual(["one"]);
    expect(store.payloads()).toEqual(["one"]);
  });

  it("that would not be noted with its packet id would be stored twice", async () => {
    // The saboteur: a store that does not see the packet id.
    const { port, store } = await startBroker({
      intake: (real) => ({ accept: (draft, signal) => real.accept({ ...draft, mqtt: undefined }, signal) }),
    });
    const client = await WireClient.connect(port, KEPT);
    for (const dup of [false, true]) {
      client.publish("a", "one", { qos: 2, id: 7, dup });
      await client.next("pubrec");
    }
    expect(store.payloads()).toEqual(["one", "one"]);
  });

  it("under a packet id that was used before is a new message, also with the same content", async () => {
    const { port, store } = await startBroker();
    const client = await WireClient.connect(port, KEPT);
    for (let i = 0; i < 3; i++) {
      client.publish("a", "same", { qos: 2, id: 7 });
      await client.next("pubrec");
      release(client, 7);
      await client.next("pubcomp");
    }
    expect(store.payloads()).toEqual(["same", "same", "same"]);
  });

  it("is one too many where more than qos2InboundMax wait for PUBREL, also over reconnects", async () => {
    const { port, store, broker } = await startBroker({ limits: { qos2InboundMax: 5 } });
    const first = await WireClient.connect(port, KEPT);
    for (let id = 1; id <= 4; id++) first.publish("a", `${id}`, { qos: 2, id });
    await first.until(() => first.of("pubrec").length === 4);
    first.cut();
    const second = await WireClient.connect(port, KEPT);
    for (let id = 11; id <= 13; id++) second.publish("a", `${id}`, { qos: 2, id });
    await second.untilClosed();
    expect(store.payloads()).toEqual(["1", "2", "3", "4", "11"]);
    expect(broker.stats().refused).toEqual({ "too many QoS 2 messages without PUBREL": 1 });
  });
});

describe("PUBREL", () => {
  it("is answered after the packet id is gone from the disk, and not before", async () => {
    const { port, store } = await startBroker();
    const client = await WireClient.connect(port, KEPT);
    client.publish("a", "one", { qos: 2, id: 7 });
    await client.next("pubrec");
    store.hold();
    release(client, 7);
    await client.ping();
    expect(client.of("pubcomp")).toEqual([]);
    store.release();
    await client.next("pubcomp");
  });

  it("is not answered where that fails: the client is closed", async () => {
    const { port, store, fatal } = await startBroker();
    const client = await WireClient.connect(port, KEPT);
    client.publish("a", "one", { qos: 2, id: 7 });
    await client.next("pubrec");
    store.fail(new Error("EIO"));
    release(client, 7);
    await client.untilClosed();
    expect(client.of("pubcomp")).toEqual([]);
    expect(fatal.length).toBe(1);
  });

  it("for a packet id that nobody knows is answered, so that the client can go on", async () => {
    const { port } = await startBroker();
    const client = await WireClient.connect(port, KEPT);
    release(client, 9);
    expect((await client.next("pubcomp")).messageId).toBe(9);
  });
});

describe("a clean session", () => {
  it("leaves no packet id behind that would swallow a message of the next one", async () => {
    // Its first message is on its way to the disk when the client goes, and cannot be called back.
    const test = await startBroker({
      intake: (real) => ({ accept: (draft) => real.accept(draft) }),
    });
    const { port, store } = test;
    const first = await WireClient.connect(port);
    store.hold();
    first.publish("a", "one", { qos: 2, id: 7 });
    await expect.poll(() => store.waiting).toBe(1);
    first.cut();
    const second = await WireClient.open(port);
    const connected = second.connect({ clean: true });
    await expect.poll(() => store.waiting).toBe(1);
    store.release();
    await connected;
    expect(incomingRows(test)).toEqual([]);
    second.publish("a", "two", { qos: 2, id: 7 });
    await second.next("pubrec");
    expect(store.payloads()).toEqual(["one", "two"]);
  });

  it("that becomes a kept one, or the other way round, begins without packet ids", async () => {
    const test = await startBroker();
    for (const [at, clean] of [true, false, true, false].entries()) {
      const client = await WireClient.connect(test.port, { clean });
      client.publish("a", `m${at}`, { qos: 2, id: 7 });
      await client.next("pubrec");
      client.cut();
      await expect.poll(() => test.broker.stats().clients).toBe(0);
    }
    expect(test.store.payloads()).toEqual(["m0", "m1", "m2", "m3"]);
  });
});

describe("after a crash", () => {
  async function crashed(test: TestBroker, options: TestBrokerOptions = {}): Promise<TestBroker> {
    test.crash();
    return startBroker({ ...options, file: test.file });
  }

  it("a message that was stored and not acknowledged gets PUBREC and is not stored again", async () => {
    const before = await startBroker();
    const first = await WireClient.connect(before.port, KEPT);
    first.publish("a", "one", { qos: 2, id: 7 });
    await expect.poll(() => before.store.payloads()).toEqual(["one"]);
    const after = await crashed(before);
    const second = await WireClient.open(after.port);
    expect((await second.connect(KEPT)).sessionPresent).toBe(true);
    second.publish("a", "one", { qos: 2, id: 7, dup: true });
    await second.next("pubrec");
    expect(after.store.payloads()).toEqual(["one"]);
    release(second, 7);
    await second.next("pubcomp");
    expect(incomingRows(after)).toEqual([]);
    second.publish("a", "two", { qos: 2, id: 7 });
    await second.next("pubrec");
    expect(after.store.payloads()).toEqual(["one", "two"]);
  });

  it("a message that was not stored is stored when it is sent again", async () => {
    const before = await startBroker();
    const first = await WireClient.connect(before.port, KEPT);
    before.store.hold();
    first.publish("a", "one", { qos: 2, id: 7 });
    await expect.poll(() => before.store.waiting).toBe(1);
    const after = await crashed(before);
    const second = await WireClient.connect(after.port, KEPT);
    second.publish("a", "one", { qos: 2, id: 7, dup: true });
    await second.next("pubrec");
    expect(after.store.payloads()).toEqual(["one"]);
  });

  it("PUBREL is answered, whether its packet id was gone already or not", async () => {
    const before = await startBroker();
    const first = await WireClient.connect(before.port, KEPT);
    for (const id of [7, 8]) {
      first.publish("a", `${id}`, { qos: 2, id });
      await first.next("pubrec");
    }
    release(first, 7);
    await first.next("pubcomp");
    const after = await crashed(before);
    const second = await WireClient.connect(after.port, KEPT);
    for (const id of [7, 8]) {
      release(second, id);
      expect((await second.next("pubcomp")).messageId).toBe(id);
    }
    expect(incomingRows(after)).toEqual([]);
  });

  it("a persistent subscriber has the message waiting, once", async () => {
    const before = await startBroker();
    const subscriber = await WireClient.connect(before.port, { clientId: "screen", clean: false });
    await subscriber.subscribe("a", 2);
    await subscriber.disconnect();
    const first = await WireClient.connect(before.port, KEPT);
    first.publish("a", "one", { qos: 2, id: 7 });
    await expect.poll(() => before.store.payloads()).toEqual(["one"]);
    const after = await crashed(before);
    const second = await WireClient.connect(after.port, KEPT);
    second.publish("a", "one", { qos: 2, id: 7, dup: true });
    await second.next("pubrec");
    const back = await WireClient.connect(after.port, { clientId: "screen", clean: false });
    await back.next("publish");
    await back.ping();
    expect(back.payloads()).toEqual(["one"]);
  });
});

describe("a sender that keeps to the protocol", () => {
  it.each([1, 2, 3])(
    "gets each message stored once through cuts, resends and crashes (seed %i)",
    async (seed) => {
      const random = seededRandom(seed);
      let test = await startBroker();
      let client = await WireClient.connect(test.port, KEPT);
      /** Packet ids in use, and how far each has come. */
      const open = new Map<number, { payload: string; recorded: boolean }>();
      const sent: string[] = [];
      const freeId = () => [1, 2, 3, 4].find((id) => !open.has(id));

      const reconnect = async () => {
        client = await WireClient.connect(test.port, KEPT);
        // [MQTT-4.4.0-1]: everything that is open, in order.
        for (const [id, { payload, recorded }] of open) {
          if (recorded) release(client, id);
          else client.publish("a", payload, { qos: 2, id, dup: true });
        }
      };
      const hear = () => {
        for (const packet of client.received) {
          const state = open.get(packet.messageId!);
          if (packet.cmd === "pubrec" && state && !state.recorded) {
            state.recorded = true;
            release(client, packet.messageId!);
          }
        }
        for (const packet of client.of("pubcomp")) {
          if (open.get(packet.messageId!)?.recorded) open.delete(packet.messageId!);
        }
        client.received.length = 0;
      };

      for (let step = 0; step < 120; step++) {
        const id = freeId();
        const chance = random.below(10);
        if (chance < 5 && id !== undefined) {
          const payload = `m${sent.length}`;
          sent.push(payload);
          open.set(id, { payload, recorded: false });
          client.publish("a", payload, { qos: 2, id });
        } else if (chance < 7) {
          for (const [each, { payload, recorded }] of open) {
            if (!recorded) client.publish("a", payload, { qos: 2, id: each, dup: true });
          }
        } else if (chance === 7) {
          client.cut();
          await reconnect();
        } else if (chance === 8 && random.below(3) === 0) {
          test.crash();
          test = await startBroker({ file: test.file });
          await reconnect();
        } else await new Promise((resolve) => setImmediate(resolve));
        hear();
      }
      await expect
        .poll(() => {
          hear();
          return open.size;
        })
        .toBe(0);
      expect(test.store.payloads().toSorted()).toEqual(sent.toSorted());
      expect(incomingRows(test)).toEqual([]);
    },
  );
});
