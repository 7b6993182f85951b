/** What a client can make grow, and what becomes of one that does. */
import { once } from "node:events";
import { connect as connectSocket, createServer, type Socket } from "node:net";
import { Aedes } from "aedes";
import { generate, writeToStream } from "mqtt-packet";
import pino from "pino";
import { describe, expect, it, onTestFinished } from "vitest";
import { seededRandom } from "../../src/core/random.ts";
import type { Receipt } from "../../src/intake/draft.ts";
import { startBroker, type TestBroker } from "../support/test-broker.ts";
import { connectPacket, WireClient } from "../support/wire-client.ts";

const refused = ({ broker }: TestBroker) => broker.stats().refused;

describe("packet size", () => {
  it("is limited before CONNACK: a large CONNECT is refused by its header alone", async () => {
    const test = await startBroker({ limits: { connectPacketBytesMax: "1KiB" } });
    const client = await WireClient.open(test.port);
    const huge = generate(connectPacket({ username: "u", password: Buffer.alloc(60_000) }));
    client.send(huge.subarray(0, 20));
    await client.untilClosed();
    expect(client.received).toEqual([]);
    expect(refused(test)).toEqual({ "packet too large": 1 });
  });

  it("is limited after CONNACK, and what fits goes through in as many pieces as it comes", async () => {
    const test = await startBroker({ limits: { packetBytesMax: "100KiB" } });
    const client = await WireClient.connect(test.port);
    const whole = (bytes: number) =>
      generate({
        cmd: "publish",
        topic: "a",
        payload: Buffer.alloc(bytes, 97),
        qos: 1,
        messageId: 1,
        dup: false,
        retain: false,
      });
    const fits = whole(100 * 1024 - 9);
    for (let at = 0; at < fits.length; at += 7000) {
      client.send(fits.subarray(at, at + 7000));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await client.next("puback");
    expect(test.store.payloads()[0]!.length).toBe(100 * 1024 - 9);
    client.send(whole(100 * 1024).subarray(0, 10));
    await client.untilClosed();
    expect(refused(test)).toEqual({ "packet too large": 1 });
  });
});

describe("what the parser would take", () => {
  it.each([
    ["packet id 0", Buffer.from([0x32, 6, 0, 1, 97, 0, 0, 120])],
    ["NUL in a string", Buffer.from([0x32, 7, 0, 2, 97, 0, 0, 1, 120])],
    ["invalid UTF-8", Buffer.from([0x32, 7, 0, 2, 97, 0xff, 0, 1, 120])],
  ])("and should not is refused: %s", async (problem, bytes) => {
    const test = await startBroker();
    const client = await WireClient.connect(test.port);
    client.publish("a", "before", { qos: 1, id: 1 });
    await client.next("puback");
    client.send(bytes);
    await client.untilClosed();
    expect(refused(test)).toEqual({ [problem]: 1 });
    expect(test.store.payloads()).toEqual(["before"]);
  });
});

describe("MQTT 5", () => {
  it("is refused with its own CONNACK, and the log says what to do", async () => {
    const lines: string[] = [];
    const logger = pino({}, { write: (line: string) => lines.push(line) });
    const test = await startBroker({ logger });
    const client = new WireClient(connectSocket(test.port, "127.0.0.1"), 5);
    client.send(connectPacket({ protocolVersion: 5 }));
    expect(await client.next("connack")).toMatchObject({ reasonCode: 0x84 });
    await client.untilClosed();
    expect(lines.join("")).toContain("set it to 3.1.1");
  });

  it("or any other version that does not exist gets return code 1 [MQTT-3.1.2-2]", async () => {
    const { port } = await startBroker();
    const client = await WireClient.open(port);
    const bytes = generate(connectPacket());
    bytes[8] = 7;
    client.send(bytes);
    expect((await client.next("connack")).returnCode).toBe(1);
    await client.untilClosed();
  });

  it("is not needed: 3.1 is spoken too", async () => {
    const { port } = await startBroker();
    const client = await WireClient.open(port);
    const hello = connectPacket({ protocolVersion: 3, protocolId: "MQIsdp", clientId: "older" });
    client.send(hello);
    expect((await client.next("connack")).returnCode).toBe(0);
  });
});

describe("connections", () => {
  it("are limited in total and per address", async () => {
    for (const limits of [{ connectionsMax: 3 }, { connectionsPerAddressMax: 3 }]) {
      const test = await startBroker({ limits });
      const clients = await Promise.all(
        [1, 2, 3].map((n) => WireClient.connect(test.port, { clientId: `c${n}` })),
      );
      const fourth = new WireClient(connectSocket(test.port, "127.0.0.1"));
      await fourth.untilClosed();
      await clients[0]!.disconnect();
      await expect.poll(() => test.broker.stats().sockets).toBe(2);
      await WireClient.connect(test.port, { clientId: "c5" });
      expect(Object.values(refused(test))).toEqual([1]);
    }
  });

  it("that do not get through CONNECT in time are closed, wherever they stopped", async () => {
    const test = await startBroker({ limits: { connectTimeout: "200ms" } });
    const hello = generate(connectPacket());
    test.store.hold();
    const silent = await WireClient.open(test.port);
    const half = await WireClient.open(test.port);
    half.send(hello.subarray(0, 9));
    const waiting = await WireClient.open(test.port);
    const will = { topic: "w", payload: Buffer.from("x"), qos: 0 as const, retain: false };
    waiting.send(connectPacket({ will }));
    await Promise.all([silent, half, waiting].map((client) => client.untilClosed()));
    await expect.poll(() => test.broker.stats().sockets).toBe(0);
  });
});

describe("subscriptions", () => {
  it("in one packet are not more than a client may have", async () => {
    const test = await startBroker();
    const client = await WireClient.connect(test.port);
    const filters = Array.from({ length: 1000 }, (_, n) => `f/${n}`);
    expect((await client.subscribe(filters, 1)).granted).toEqual(Array(1000).fill(1));
    client.send({
      cmd: "subscribe",
      messageId: 2,
      subscriptions: [...filters, "f/1000"].map((topic) => ({ topic, qos: 0 as const })),
    });
    await client.untilClosed();
    expect(refused(test)).toEqual({ "too many filters in a packet": 1 });
  });

  it("are limited per client", async () => {
    const test = await startBroker({ limits: { subscriptionsMax: 3 } });
    const client = await WireClient.connect(test.port, { clean: false });
    expect((await client.subscribe(["a", "b", "c", "d", "e"], 1)).granted).toEqual([1, 1, 1, 128, 128]);
    expect((await client.subscribe("c", 0, 2)).granted).toEqual([0]);
    client.send({ cmd: "unsubscribe", messageId: 3, unsubscriptions: ["a"] });
    await client.next("unsuback");
    expect((await client.subscribe("d", 1, 4)).granted).toEqual([1]);
    expect(test.store.rows("subscription").map((row) => row.key)).toEqual(["", "b", "c", "d"]);
  });

  it("with a filter that is none are refused", async () => {
    const { port } = await startBroker();
    const client = await WireClient.connect(port);
    expect((await client.subscribe(["a#", "a/b"], 0)).granted).toEqual([128, 0]);
  });
});

describe("persistent sessions", () => {
  it("are limited in number; those that are there are still let in", async () => {
    const test = await startBroker({ sessions: { sessionsMax: 2 } });
    for (const clientId of ["a", "b"]) {
      const client = await WireClient.connect(test.port, { clientId, clean: false });
      await client.disconnect();
    }
    const third = await WireClient.open(test.port);
    expect((await third.connect({ clientId: "c", clean: false })).returnCode).toBe(3);
    const again = await WireClient.open(test.port);
    expect((await again.connect({ clientId: "a", clean: false })).returnCode).toBe(0);
  });
});

describe("a publisher that is too fast", () => {
  it("is read no faster than its rate, and loses nothing", async () => {
    const { port, store } = await startBroker({ limits: { publishRateMax: 100 } });
    const client = await WireClient.connect(port);
    const startMs = performance.now();
    for (let id = 1; id <= 150; id++) client.publish("a", `${id}`, { qos: 1, id });
    await client.until(() => client.of("puback").length === 150);
    // A second's worth goes at once, fifty more at a hundred a second.
    expect(performance.now() - startMs).toBeGreaterThan(450);
    expect(store.payloads().length).toBe(150);
  });
});

/** A client that subscribes and then reads nothing any more. */
async function frozen(port: number, qos: 0 | 1 = 0): Promise<Socket> {
  const socket = connectSocket(port, "127.0.0.1");
  socket.on("error", () => {});
  onTestFinished(() => void socket.destroy());
  writeToStream(connectPacket({ clientId: "frozen", keepalive: 0 }), socket);
  writeToStream({ cmd: "subscribe", messageId: 1, subscriptions: [{ topic: "#", qos }] }, socket);
  let bytes = 0;
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    bytes += (chunk as Buffer).length;
    if (bytes >= 9) break;
  }
  socket.pause();
  return socket;
}

describe("a frozen subscriber", () => {
  const LIMITS = { frozenAfter: "1s", sendBufferBytesMax: "256KiB", inflightMax: 5000 };
  const payload = Buffer.alloc(100_000, 97);

  it.each([0, 1] as const)("of QoS %i is closed, and others are not stalled meanwhile", async (qos) => {
    const { port, broker } = await startBroker({ limits: LIMITS });
    const socket = await frozen(port, qos);
    const closed = once(socket.resume().pause(), "close");
    const healthy = await WireClient.connect(port, { clientId: "healthy" });
    await healthy.subscribe("#", 0);
    const sender = await WireClient.connect(port, { clientId: "sender" });
    let count = 0;
    const startMs = performance.now();
    while (broker.stats().frozenClosed === 0) {
      sender.publish("a", payload, { qos: 1, id: (++count % 60_000) + 1 });
      await sender.next("puback");
      await healthy.next("publish");
      expect(performance.now() - startMs).toBeLessThan(10_000);
    }
    socket.resume();
    await closed;
    // What is kept for it stays within its buffer.
    expect(count).toBeGreaterThan(20);
    expect(broker.stats().clients).toBe(2);
    if (qos === 0) expect(broker.stats().droppedForSlow).toBeGreaterThan(0);
  });

  it("stalls others where the protocol engine is left to itself", async () => {
    // The control: aedes as it comes.
    const aedes = await Aedes.createBroker();
    const server = createServer(aedes.handle);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    onTestFinished(async () => {
      server.close();
      await new Promise<void>((resolve) => aedes.close(resolve));
    });
    const { port } = server.address() as { port: number };
    await frozen(port);
    const healthy = await WireClient.connect(port, { clientId: "healthy" });
    await healthy.subscribe("#", 0);
    const sender = await WireClient.connect(port, { clientId: "sender" });
    for (let id = 1; id <= 300; id++) sender.publish("a", payload, { qos: 0 });
    await expect(healthy.until(() => healthy.of("publish").length === 300, 2000)).rejects.toThrow();
  });

  it("that is slow is not frozen: it keeps its connection, and QoS 0 is dropped for it and counted", async () => {
    const { port, broker } = await startBroker({ limits: LIMITS });
    const socket = await frozen(port);
    const sender = await WireClient.connect(port, { clientId: "sender" });
    const reading = setInterval(() => socket.read(), 20);
    onTestFinished(() => clearInterval(reading));
    const behind = () => broker.stats().droppedForSlow > 0;
    let untilMs = Number.POSITIVE_INFINITY;
    for (let id = 1; performance.now() < untilMs; id = (id % 60_000) + 1) {
      sender.publish("a", payload, { qos: 1, id });
      await sender.next("puback");
      // From when it has fallen behind, longer than one that is frozen would be left alone.
      if (behind() && untilMs === Number.POSITIVE_INFINITY) untilMs = performance.now() + 1800;
    }
    expect(broker.stats().frozenClosed).toBe(0);
    expect(socket.destroyed).toBe(false);
  });
});

describe("a client that does not read its acknowledgements", () => {
  it("is not read either, so that they do not pile up", async () => {
    const { port, broker } = await startBroker({
      limits: { sendBufferBytesMax: "16KiB", frozenAfter: "60s" },
    });
    const socket = connectSocket(port, "127.0.0.1");
    onTestFinished(() => void socket.destroy());
    socket.on("error", () => {});
    writeToStream(connectPacket(), socket);
    socket.pause();
    // A ping is answered with as many bytes as it has, so what is unread grows as fast as what is sent.
    const pings = Buffer.alloc(2 ** 20).map((_, at) => (at % 2 ? 0 : 0xc0));
    for (let i = 0; i < 64; i++) socket.write(pings);
    await expect.poll(() => broker.stats().held, { timeout: 5000 }).toBe(1);
    expect(socket.writableLength).toBeGreaterThan(2 ** 24);
  });
});

describe("no error that is emitted", () => {
  it("ends the process: neither from the engine, nor from streams, nor from noise on the wire", async () => {
    const crashes: unknown[] = [];
    const note = (error: unknown) => crashes.push(error);
    process.on("uncaughtException", note);
    process.on("unhandledRejection", note);
    onTestFinished(() => {
      process.off("uncaughtException", note);
      process.off("unhandledRejection", note);
    });
    const { port, broker } = await startBroker({ limits: { connectTimeout: "300ms" } });
    const random = seededRandom(7);
    const hello = generate(connectPacket({ clientId: "noise", clean: false }));
    for (let i = 0; i < 60; i++) {
      const client = await WireClient.open(port);
      const noise = Buffer.alloc(1 + random.below(200));
      random.fill(noise);
      if (i % 2) client.send(Buffer.concat([hello, noise]));
      else client.send(noise);
      if (i % 3 === 0) client.cut();
      else client.stream.end();
    }
    const deep = await WireClient.connect(port, { clientId: "deep" });
    deep.publish("a/".repeat(5000), "x", { qos: 1, id: 1 });
    await deep.untilClosed();
    const wide = await WireClient.connect(port, { clientId: "wide" });
    wide.send({ cmd: "subscribe", messageId: 1, subscriptions: [{ topic: "+/".repeat(5000), qos: 1 }] });
    await wide.untilClosed();
    await expect.poll(() => broker.stats().sockets).toBe(0);
    const client = await WireClient.connect(port);
    await client.ping();
    expect(crashes).toEqual([]);
  });

  it("ends the process where it is a defect of ours: the client is closed, the others go on", async () => {
    const broken: Receipt = {
      kind: "stored",
      id: "x",
      seq: 1,
      flows: 1,
      get late(): boolean {
        throw new Error("a defect");
      },
    };
    const test = await startBroker({
      intake: (real) => ({
        accept: (draft, signal) =>
          draft.topic === "broken" ? Promise.resolve(broken) : real.accept(draft, signal),
      }),
    });
    const client = await WireClient.connect(test.port, { clientId: "unlucky" });
    client.publish("broken", "1", { qos: 1, id: 1 });
    await client.untilClosed();
    expect(client.of("puback")).toEqual([]);
    test.broker.onDevice = () => {
      throw new Error("another");
    };
    const too = await WireClient.open(test.port);
    too.send(connectPacket({ clientId: "too" }));
    await too.untilClosed();
    test.broker.onDevice = () => {};
    const other = await WireClient.connect(test.port, { clientId: "other" });
    other.publish("a", "2", { qos: 1, id: 1 });
    await other.next("puback");
    expect(refused(test)["internal error"]).toBeGreaterThanOrEqual(2);
  });
});
