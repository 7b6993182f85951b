/** From the broker to clients: queues, retained messages, QoS, order, what a restart keeps. */
import { describe, expect, it } from "vitest";
import { startBroker, type TestBroker } from "../support/test-broker.ts";
import { type Received, WireClient } from "../support/wire-client.ts";

const SCREEN = { clientId: "screen", clean: false };

/** A persistent client that has subscribed and left. */
async function away(port: number, filter: string | string[], qos: 0 | 1 | 2 = 1): Promise<void> {
  const client = await WireClient.connect(port, SCREEN);
  await client.subscribe(filter, qos);
  await client.disconnect();
}

async function publishAll(port: number, payloads: string[], qos: 1 | 2 = 1, topic = "a/b"): Promise<void> {
  const client = await WireClient.connect(port);
  for (const [at, payload] of payloads.entries()) client.publish(topic, payload, { qos, id: at + 1 });
  await client.until(() => client.of(qos === 1 ? "puback" : "pubrec").length === payloads.length);
  await client.disconnect();
}

const acknowledge = (client: WireClient, packet: Received) =>
  client.send({ cmd: packet.qos === 1 ? "puback" : "pubrec", messageId: packet.messageId! });
const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, at) => `${from + at}`);
const outgoing = ({ store }: TestBroker) => store.rows("outgoing");

describe("a persistent client that is away", () => {
  it("finds what was published meanwhile, in order, and each until it is acknowledged", async () => {
    const test = await startBroker();
    await away(test.port, "a/#");
    await publishAll(test.port, numbers(20));
    const first = await WireClient.open(test.port);
    expect((await first.connect(SCREEN)).sessionPresent).toBe(true);
    for (const payload of numbers(8)) {
      const packet = await first.next("publish");
      expect([packet.payload!.toString(), packet.dup]).toEqual([payload, false]);
      acknowledge(first, packet);
    }
    await first.ping();
    first.cut();
    const second = await WireClient.connect(test.port, SCREEN);
    const again = await second.next("publish");
    expect([again.payload!.toString(), again.dup]).toEqual(["8", true]);
    await second.until(() => second.of("publish").length === 12);
    expect(second.payloads()).toEqual(numbers(12, 8));
    for (const packet of second.of("publish")) acknowledge(second, packet);
    await second.ping();
    await expect.poll(() => outgoing(test)).toEqual([]);
    expect(test.broker.stats()).toMatchObject({ delivered: 20, queuedMessages: 0, queuedBytes: 0 });
  });

  it("keeps packet ids over a reconnect and over a crash [MQTT-4.4.0-1]", async () => {
    const before = await startBroker();
    await away(before.port, "a/#", 2);
    await publishAll(before.port, numbers(3), 2);
    let client = await WireClient.connect(before.port, SCREEN);
    await client.until(() => client.of("publish").length === 3);
    const ids = client.of("publish").map((packet) => packet.messageId);
    client.cut();
    before.crash();
    const after = await startBroker({ file: before.file });
    client = await WireClient.connect(after.port, SCREEN);
    await client.until(() => client.of("publish").length === 3);
    expect(client.of("publish").map((packet) => packet.messageId)).toEqual(ids);
    expect(client.of("publish").map((packet) => packet.dup)).toEqual([true, true, true]);
  });

  it("gets a QoS 2 message through its four steps once, also over a crash in the middle", async () => {
    const before = await startBroker();
    await away(before.port, "a/#", 2);
    await publishAll(before.port, ["x"], 2);
    let client = await WireClient.connect(before.port, SCREEN);
    const { messageId } = await client.next("publish");
    client.send({ cmd: "pubrec", messageId: messageId! });
    await client.next("pubrel");
    before.crash();
    const after = await startBroker({ file: before.file });
    client = await WireClient.connect(after.port, SCREEN);
    expect((await client.next("pubrel")).messageId).toBe(messageId);
    client.send({ cmd: "pubcomp", messageId: messageId! });
    await client.ping();
    await expect.poll(() => outgoing(after)).toEqual([]);
    expect(client.of("publish")).toEqual([]);
  });

  it("is sent a PUBREL only when its PUBREC is on disk", async () => {
    const { port, store } = await startBroker();
    await away(port, "a/#", 2);
    await publishAll(port, ["x"], 2);
    const client = await WireClient.connect(port, SCREEN);
    const { messageId } = await client.next("publish");
    store.hold();
    client.send({ cmd: "pubrec", messageId: messageId! });
    await client.ping();
    expect(client.of("pubrel")).toEqual([]);
    store.release();
    await client.next("pubrel");
  });

  it("finds subscriptions and messages again after a crash", async () => {
    const before = await startBroker();
    await away(before.port, ["a/#", "b/+"]);
    await publishAll(before.port, ["1"]);
    before.crash();
    const after = await startBroker({ file: before.file });
    await publishAll(after.port, ["2"]);
    await publishAll(after.port, ["3"], 1, "b/x");
    await publishAll(after.port, ["nobody's"], 1, "c");
    const client = await WireClient.connect(after.port, SCREEN);
    await client.until(() => client.of("publish").length === 3);
    expect(client.payloads()).toEqual(["1", "2", "3"]);
  });

  it("is owed a message once, at the best QoS that it asked for, however many of its filters match", async () => {
    const test = await startBroker();
    const client = await WireClient.connect(test.port, SCREEN);
    await client.subscribe("a/#", 0, 1);
    await client.subscribe("a/b", 1, 2);
    await client.subscribe("+/b", 2, 3);
    await client.disconnect();
    await publishAll(test.port, ["x"], 1);
    expect(outgoing(test).length).toBe(1);
    const back = await WireClient.connect(test.port, SCREEN);
    expect(await back.next("publish")).toMatchObject({ qos: 1 });
    await back.ping();
    expect(back.payloads()).toEqual(["x"]);
  });

  it("that comes with clean session 1 finds nothing, and leaves nothing in the store", async () => {
    const test = await startBroker();
    await away(test.port, "a/#");
    await publishAll(test.port, ["1"]);
    const client = await WireClient.open(test.port);
    expect((await client.connect({ ...SCREEN, clean: true })).sessionPresent).toBe(false);
    await client.ping();
    expect(client.payloads()).toEqual([]);
    expect(test.store.rows()).toEqual([]);
    await client.disconnect();
    const kept = await WireClient.open(test.port);
    expect((await kept.connect(SCREEN)).sessionPresent).toBe(false);
  });
});

describe("while the store has no room", () => {
  it("a persistent client that comes and goes piles nothing up", async () => {
    let steadyMs = 1;
    const { port, store } = await startBroker({ steadyMs: () => steadyMs });
    await away(port, "a/#");
    store.hold();
    for (let i = 0; i < 10; i++) {
      const client = await WireClient.connect(port, SCREEN);
      steadyMs++;
      await client.disconnect();
    }
    expect(store.waiting).toBe(1);
    store.release();
    const row = JSON.stringify({ owner: null, awaySinceMs: 11 });
    await expect.poll(() => store.rows("subscription").map(({ value }) => `${value}`)).toContain(row);
  });
});

describe("a message for persistent clients", () => {
  it("is in the commit of its own storing, so that no crash can come between", async () => {
    const test = await startBroker();
    await away(test.port, "a/#");
    const drafts: number[] = [];
    test.store.onDraft = (draft) => drafts.push(draft.session?.length ?? 0);
    const writes = test.store.rows().length;
    await publishAll(test.port, ["1"]);
    expect(drafts).toEqual([1]);
    expect(outgoing(test).length).toBe(1);
    expect(test.store.rows().length).toBe(writes + 1);
  });

  it("is withdrawn where its session ends while it is on its way to the disk", async () => {
    const test = await startBroker({ intake: (real) => ({ accept: (draft) => real.accept(draft) }) });
    await away(test.port, "a/#");
    const sender = await WireClient.connect(test.port);
    test.store.hold();
    sender.publish("a/b", "1", { qos: 1, id: 1 });
    await expect.poll(() => test.store.waiting).toBe(1);
    const cleaned = WireClient.connect(test.port, { ...SCREEN, clean: true });
    await expect.poll(() => test.store.waiting).toBe(2);
    test.store.release();
    await sender.next("puback");
    await cleaned;
    await expect.poll(() => outgoing(test)).toEqual([]);
  });
});

describe("a connected client", () => {
  it("gets messages of one sender in order, those from before and those that come meanwhile", async () => {
    const { port } = await startBroker({ limits: { inflightMax: 5 } });
    await away(port, "a/#");
    await publishAll(port, numbers(100));
    const client = await WireClient.connect(port, SCREEN);
    const more = publishAll(port, numbers(100, 100));
    for (let i = 0; i < 200; i++) acknowledge(client, await client.next("publish"));
    await more;
    expect(client.payloads()).toEqual(numbers(200));
  });

  it("is sent no more than inflightMax at a time without acknowledging", async () => {
    const { port } = await startBroker({ limits: { inflightMax: 3 } });
    for (const clean of [true, false]) {
      const client = await WireClient.connect(port, { clientId: `c${clean}`, clean });
      await client.subscribe("a/#", 1);
      await publishAll(port, numbers(10));
      await client.ping();
      expect(client.payloads()).toEqual(numbers(3));
      acknowledge(client, client.of("publish")[0]!);
      await client.until(() => client.of("publish").length === 4);
      client.cut();
    }
  });

  it.each([
    [0, 0],
    [1, 1],
    [2, 2],
  ] as const)("that asked for QoS %i by a wildcard gets QoS %i of a QoS 2 message", async (asked, given) => {
    const { port } = await startBroker();
    const client = await WireClient.connect(port, { clientId: "listener" });
    await client.subscribe("a/+", asked);
    await publishAll(port, ["x"], 2);
    expect(await client.next("publish")).toMatchObject({ qos: given, retain: false });
  });

  it("gets no more where it has unsubscribed, and where the subscription changed what it changed to", async () => {
    const { port } = await startBroker();
    const client = await WireClient.connect(port, SCREEN);
    await client.subscribe("a/#", 1);
    await publishAll(port, ["1"]);
    expect(await client.next("publish")).toMatchObject({ qos: 1 });
    await client.subscribe("a/#", 0, 2);
    await publishAll(port, ["2"]);
    expect(await client.next("publish")).toMatchObject({ qos: 0 });
    client.send({ cmd: "unsubscribe", messageId: 3, unsubscriptions: ["a/#"] });
    await client.next("unsuback");
    await publishAll(port, ["3"]);
    await client.ping();
    expect(client.payloads()).toEqual(["1", "2"]);
  });
});

describe("a retained message", () => {
  it("is there for whoever subscribes later, also after a crash, until it is taken away", async () => {
    const before = await startBroker();
    const sender = await WireClient.connect(before.port);
    sender.publish("state/x", "on", { qos: 1, id: 1, retain: true });
    sender.publish("state/y", "off", { retain: true });
    sender.publish("state/z", "gone", { qos: 1, id: 2, retain: true });
    sender.publish("state/z", "", { qos: 1, id: 3, retain: true });
    await sender.until(() => sender.of("puback").length === 3);
    before.crash();
    const after = await startBroker({ file: before.file });
    const client = await WireClient.connect(after.port, SCREEN);
    await client.subscribe("state/+", 1);
    await client.until(() => client.of("publish").length === 2);
    const seen = client
      .of("publish")
      .map(({ topic, payload, qos, retain }) => [topic, `${payload}`, qos, retain]);
    expect(seen.toSorted()).toEqual([
      ["state/x", "on", 1, true],
      ["state/y", "off", 0, true],
    ]);
    await client.ping();
    expect(client.of("publish").length).toBe(2);
  });

  it("is not there where its message was refused", async () => {
    const { port, store, broker } = await startBroker();
    store.decide = () => ({ kind: "refused", code: "HF_UNROUTED", reason: "no flow" });
    const sender = await WireClient.connect(port);
    sender.publish("state/x", "on", { qos: 1, id: 1, retain: true });
    await sender.untilClosed();
    expect(broker.stats().retainedMessages).toBe(0);
  });

  it("above the bounds is delivered and not retained, and counted", async () => {
    const { port, broker } = await startBroker({ sessions: { retainedMessagesMax: 2 } });
    const sender = await WireClient.connect(port);
    await sender.subscribe("#", 0);
    for (let i = 0; i < 4; i++) sender.publish(`t${i}`, "x", { retain: true });
    await sender.until(() => sender.of("publish").length === 4);
    expect(broker.stats()).toMatchObject({ retainedMessages: 2, notRetained: 2 });
  });
});

describe("offline queues that would grow without bound", () => {
  it("drop their oldest above queuedMessagesMax, in memory and on disk, and say how many", async () => {
    const before = await startBroker({ sessions: { queuedMessagesMax: 10 } });
    await away(before.port, "a/#");
    await publishAll(before.port, numbers(25));
    expect(before.broker.stats()).toMatchObject({ queuedMessages: 10, droppedOffline: 15 });
    await expect.poll(() => outgoing(before).length).toBe(10);
    before.crash();
    const after = await startBroker({ file: before.file });
    const client = await WireClient.connect(after.port, SCREEN);
    await client.until(() => client.of("publish").length === 10);
    expect(client.payloads()).toEqual(numbers(10, 15));
  });

  it("are bounded in bytes, each and all together, and then the longest loses first", async () => {
    const { port, broker } = await startBroker({
      sessions: { queuedBytesMax: "30KiB", queuedBytesTotalMax: "40KiB" },
    });
    for (const clientId of ["long", "short"]) {
      const client = await WireClient.connect(port, { clientId, clean: false });
      await client.subscribe(`${clientId}/#`, 1);
      await client.disconnect();
    }
    await publishAll(port, Array(50).fill("x".repeat(1000)), 1, "long/a");
    expect(broker.stats().queuedBytes).toBeLessThanOrEqual(30 * 1024);
    await publishAll(port, Array(15).fill("x".repeat(1000)), 1, "short/a");
    expect(broker.stats().queuedBytes).toBeLessThanOrEqual(40 * 1024);
    const back = await WireClient.connect(port, { clientId: "short", clean: false });
    await back.until(() => back.of("publish").length === 15);
  });

  it("end with their session, when its client stays away longer than expireAfter", async () => {
    let steadyMs = 1000;
    const before = await startBroker({ sessions: { expireAfter: "1h" }, steadyMs: () => steadyMs });
    await away(before.port, "a/#");
    await publishAll(before.port, ["1"]);
    steadyMs += 3_500_000;
    before.crash();
    // Time away counts on over a restart.
    const { advanced, test } = await startWithClock(before.file, () => steadyMs);
    advanced(60_000);
    expect(test.broker.stats()).toMatchObject({ sessions: 1, queuedMessages: 1 });
    steadyMs += 200_000;
    advanced(60_000);
    expect(test.broker.stats()).toMatchObject({
      sessions: 0,
      queuedMessages: 0,
      queuedBytes: 0,
      sessionsExpired: 1,
    });
    await expect.poll(() => test.store.rows()).toEqual([]);
  });
});

async function startWithClock(file: string, steadyMs: () => number) {
  const { ManualClock } = await import("../support/manual-clock.ts");
  const clock = new ManualClock();
  const test = await startBroker({ file, clock, steadyMs, sessions: { expireAfter: "1h" } });
  return { test, advanced: (ms: number) => clock.advance(ms) };
}

describe("the gateway's own messages", () => {
  it("reach subscribers and are retained, without intake and without the disk", async () => {
    const { port, broker, store } = await startBroker();
    await broker.publish("holdfast/gw/status", "online", { qos: 1, retain: true });
    const client = await WireClient.connect(port);
    await client.subscribe("holdfast/#", 1);
    expect(await client.next("publish")).toMatchObject({ retain: true, qos: 1 });
    await broker.publish("holdfast/gw/health", "{}", { qos: 0, retain: true });
    expect((await client.next("publish")).payload!.toString()).toBe("{}");
    expect([store.messages(), store.rows()]).toEqual([[], []]);
  });

  it("wait for persistent clients that are away", async () => {
    const { port, broker } = await startBroker();
    await away(port, "command/#");
    await broker.publish("command/press-7", "stop", { qos: 1 });
    const client = await WireClient.connect(port, SCREEN);
    expect((await client.next("publish")).payload!.toString()).toBe("stop");
  });
});
