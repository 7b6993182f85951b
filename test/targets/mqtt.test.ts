import { connectAsync } from "mqtt";
import type { IPublishPacket } from "mqtt-packet";
import { afterEach, describe, expect, it } from "vitest";
import { MqttBackend, type MqttBackendOptions } from "../../simulators/backends/mqtt-backend.ts";
import { type Clock, systemClock } from "../../src/core/clock.ts";
import { MqttTarget } from "../../src/targets/mqtt.ts";
import { mqttTargetSchema } from "../../src/targets/mqtt-options.ts";
import { mqttOutcome } from "../../src/targets/mqtt-outcome.ts";
import { PacketIds } from "../../src/targets/mqtt-session.ts";
import type { TargetDelivery } from "../../src/targets/target.ts";
import { makeContext, makeDelivery, noAbort, nth } from "./deliveries.ts";
import { within } from "./witness.ts";

const backends: MqttBackend[] = [];
const targets: MqttTarget[] = [];

afterEach(async () => {
  await Promise.all(targets.splice(0).map((target) => target.stop()));
  await Promise.all(backends.splice(0).map((backend) => backend.stop()));
});

async function makeBackend(options: MqttBackendOptions = {}): Promise<MqttBackend> {
  const backend = new MqttBackend(options);
  backends.push(backend);
  await backend.start();
  return backend;
}

async function makeTarget(
  backend: MqttBackend,
  options: Record<string, unknown> = {},
  clock: Clock = systemClock,
) {
  const config = mqttTargetSchema.parse({
    type: "mqtt",
    url: backend.url,
    ackTimeout: 2000,
    connectTimeout: 2000,
    ...options,
  });
  const target = new MqttTarget(config, makeContext({ clock }));
  targets.push(target);
  await target.start();
  return target;
}

const published = (backend: MqttBackend) =>
  backend.packets.filter((packet): packet is IPublishPacket => packet.cmd === "publish");

async function packetFor(
  options: Record<string, unknown>,
  delivery: TargetDelivery,
): Promise<IPublishPacket> {
  const backend = await makeBackend();
  const target = await makeTarget(backend, options);
  expect((await target.deliver([delivery], noAbort))[0]!.kind).toBe("delivered");
  return published(backend)[0]!;
}

/** Resolves when `ready` holds; looked at on each turn of the event loop, bounded. */
async function until(ready: () => boolean, what: string): Promise<void> {
  let over = false;
  const loop = async () => {
    while (!ready() && !over) await new Promise((resolve) => setImmediate(resolve));
  };
  await within(3000, loop(), what).finally(() => {
    over = true;
  });
}

describe("a publication of the mqtt target", () => {
  it("carries id, device, times and trace as properties under MQTT 5, and what is left of its life", async () => {
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const delivery = makeDelivery(
      { contentType: "application/json", traceparent, headers: { batch: "4711" } },
      { late: true, expiresInMs: 1500 },
    );
    const { properties, payload, topic } = await packetFor({ protocol: 5 }, delivery);
    expect(topic).toBe(delivery.message.topic);
    expect(payload).toEqual(delivery.message.payload);
    expect(properties).toMatchObject({ contentType: "application/json", messageExpiryInterval: 2 });
    expect({ ...properties!.userProperties }).toEqual({
      "holdfast-id": delivery.message.id,
      "holdfast-device": "press-4",
      "holdfast-flow": "all",
      "holdfast-gateway": "edge-1",
      "holdfast-produced-at": "2026-07-01T08:00:00.000Z",
      "holdfast-accepted-at": "2026-07-01T08:00:01.000Z",
      "holdfast-late": "true",
      traceparent,
      batch: "4711",
    });
  });

  it("carries the same in an envelope under 3.1.1 where asked to", async () => {
    const { payload, properties } = await packetFor({ payload: "envelope" }, makeDelivery());
    expect(properties).toBeUndefined();
    expect(JSON.parse(payload.toString())).toMatchObject({
      id: makeDelivery().message.id,
      payload: { celsius: 21.5 },
    });
  });

  it("is retained as the machine said, always, or never", async () => {
    for (const [retain, flag] of [
      ["keep", true],
      ["never", false],
    ] as const) {
      expect((await packetFor({ retain }, makeDelivery({ retain: true }))).retain).toBe(flag);
    }
    expect((await packetFor({ retain: "always" }, makeDelivery({ retain: false }))).retain).toBe(true);
  });

  it("goes to the topic made from it, and is rejected alone where that is none", async () => {
    const backend = await makeBackend();
    const target = await makeTarget(backend, { topic: "up/{gateway}/{device}/{topic}", payload: "envelope" });
    const batch = [
      nth("a", 1),
      makeDelivery({ device: "line/1", id: "x" }),
      makeDelivery({ device: "+", id: "y" }),
      nth("a", 2),
    ];
    const outcomes = await target.deliver(batch, noAbort);
    expect(outcomes.map(({ kind }) => kind)).toEqual(["delivered", "reject", "reject", "delivered"]);
    expect(published(backend).map(({ topic }) => topic)).toEqual([
      "up/edge-1/a/plant/a/reading",
      "up/edge-1/a/plant/a/reading",
    ]);
  });
});

describe("what an MQTT 5 broker says when we connect", () => {
  it("bounds what is in flight by its Receive Maximum", async () => {
    const batch = Array.from({ length: 20 }, (_, n) => nth(`d${n}`, 1));
    const peakWith = async (receiveMaximum?: number) => {
      const backend = await makeBackend({ mode: "slow", slowMs: 5, receiveMaximum });
      const outcomes = await (await makeTarget(backend, { protocol: 5 })).deliver(batch, noAbort);
      expect(outcomes.every(({ kind }) => kind === "delivered")).toBe(true);
      return backend.inFlightPeak;
    };
    expect(await peakWith(3)).toBe(3);
    expect(await peakWith()).toBeGreaterThan(3);
  });

  it("rejects a message that is larger than it takes, and no other", async () => {
    const backend = await makeBackend({ maximumPacketSize: 1000 });
    const target = await makeTarget(backend, { protocol: 5 });
    const outcomes = await target.deliver(
      [makeDelivery({ payload: Buffer.alloc(1000), id: "big" }), nth("a", 1)],
      noAbort,
    );
    expect(outcomes.map(({ kind }) => kind)).toEqual(["reject", "delivered"]);
    expect(published(backend)).toHaveLength(1);
  });

  it("stops a flow whose QoS or retain flag it does not take, and loses nothing", async () => {
    const retained = makeDelivery({ retain: true });
    const low = await makeTarget(await makeBackend({ maximumQoS: 0 }), { protocol: 5 });
    expect(await low.deliver([retained], noAbort)).toMatchObject([{ kind: "retry", fault: "target" }]);
    const plain = await makeBackend({ retainAvailable: false });
    const always = await makeTarget(plain, { protocol: 5, retain: "always" });
    expect(await always.deliver([retained], noAbort)).toMatchObject([{ kind: "retry", fault: "target" }]);
    expect(await (await makeTarget(plain, { protocol: 5 })).deliver([retained], noAbort)).toMatchObject([
      { kind: "delivered" },
    ]);
    expect(published(plain).map(({ retain }) => retain)).toEqual([false]);
  });
});

describe("the mqtt target", () => {
  it("keeps within what a 3.1.1 broker takes at QoS 2, which it has no way to tell us", async () => {
    const batch = Array.from({ length: 60 }, (_, n) => nth(`d${n}`, 1));
    const peakWith = async (options: Record<string, unknown>) => {
      const backend = await makeBackend({ mode: "slow", slowMs: 5 });
      await (await makeTarget(backend, options)).deliver(batch, noAbort);
      return backend.inFlightPeak;
    };
    expect(await peakWith({ qos: 2 })).toBe(20);
    expect(await peakWith({ qos: 1 })).toBe(60);
    expect(await peakWith({ qos: 2, inFlightMax: 30 })).toBe(30);
  });

  it("says why a broker will not let it in", async () => {
    const backend = await makeBackend({ users: { edge: "right" } });
    const wrong = await makeTarget(backend, { username: "edge", password: "wrong" });
    expect(await wrong.deliver([nth("a", 1)], noAbort)).toMatchObject([
      { kind: "retry", fault: "target", reason: expect.stringMatching(/Bad username or password/) },
    ]);
    const right = await makeTarget(backend, { username: "edge", password: "right" });
    expect(await right.deliver([nth("a", 1)], noAbort)).toMatchObject([{ kind: "delivered" }]);
  });

  it("sends nothing again by itself after a lost connection", async () => {
    for (const qos of [1, 2]) {
      const backend = await makeBackend({ mode: "drop", forgetsSessions: true });
      const target = await makeTarget(backend, { qos });
      const outcomes = await target.deliver([nth("a", 1), nth("a", 2)], noAbort);
      expect(outcomes[0]!.kind).toBe("unknown");
      backend.setMode("ok");
      const sent = published(backend).length;
      // Two round trips on a new connection: whatever it would send again has been sent.
      for (const _ of [1, 2]) expect((await target.probe(noAbort)).reachable).toBe(true);
      expect(published(backend)).toHaveLength(sent);
    }
  });

  it("has one message in flight after a loss, so that one that kills the connection is found out", async () => {
    const backend = await makeBackend({ mode: "drop" });
    const target = await makeTarget(backend);
    const batch = Array.from({ length: 10 }, (_, n) => nth(`d${n}`, 1));
    const first = await target.deliver(batch, noAbort);
    const second = await target.deliver(batch, noAbort);
    const unknowns = (outcomes: readonly { kind: string }[]) =>
      outcomes.filter(({ kind }) => kind === "unknown").length;
    expect(unknowns(first)).toBe(10);
    expect(unknowns(second)).toBe(1);
    backend.setMode("ok");
    expect((await target.deliver(batch, noAbort)).every(({ kind }) => kind === "delivered")).toBe(true);
  });

  it("is one message upstream over a broken connection at QoS 2, and may be two at QoS 1", async () => {
    const arrivalsAt = async (qos: number, protocol: unknown) => {
      const backend = await makeBackend({ mode: "commit-then-drop", dedupe: false });
      const target = await makeTarget(backend, { qos, protocol });
      const delivery = makeDelivery();
      expect(await target.deliver([delivery], noAbort)).toMatchObject([{ kind: "unknown" }]);
      backend.setMode("ok");
      const again = { ...delivery, attempt: 2, resend: true };
      expect(await target.deliver([again], noAbort)).toMatchObject([{ kind: "delivered" }]);
      return backend.arrivals().length;
    };
    expect(await arrivalsAt(2, "3.1.1")).toBe(1);
    expect(await arrivalsAt(2, 5)).toBe(1);
    expect(await arrivalsAt(1, "3.1.1")).toBe(2);
  });

  it("ends a QoS 2 handshake that broke off after PUBREC without sending the message again", async () => {
    const backend = await makeBackend({ dedupe: false });
    const target = await makeTarget(backend, { qos: 2 });
    await target.deliver([nth("a", 1)], noAbort);
    const arrived = new Promise<void>((resolve) => {
      backend.onArrival = () => {
        backend.onArrival = null;
        // The PUBREC of this one still goes out; the PUBREL that answers it finds the door closed.
        setImmediate(() => backend.setMode("commit-then-drop"));
        resolve();
      };
    });
    const answering = target.deliver([nth("a", 2)], noAbort);
    await within(2000, arrived, "the publication");
    expect(await answering).toMatchObject([{ kind: "unknown" }]);
    backend.setMode("ok");
    const sent = published(backend).length;
    expect(await target.deliver([{ ...nth("a", 2), resend: true }], noAbort)).toMatchObject([
      { kind: "delivered" },
    ]);
    expect(published(backend)).toHaveLength(sent);
    expect(backend.arrivals()).toHaveLength(2);
  });

  it("(control) would be swallowed under such a packet id, were the session not cleared first", async () => {
    const backend = await makeBackend({ mode: "commit-then-drop", dedupe: false });
    await (await makeTarget(backend, { qos: 2 })).deliver([nth("old", 1)], noAbort);
    backend.setMode("ok");
    const clientId = "holdfast-edge-1-upstream";
    const messageIdProvider = new PacketIds();
    const plain = await connectAsync(backend.url, {
      clientId,
      clean: false,
      messageIdProvider,
      reconnectPeriod: 0,
    });
    await plain.publishAsync("plant/new", '{"id":"new-1"}', { qos: 2 });
    await plain.endAsync();
    expect(backend.arrivals()).toHaveLength(1);
  });

  it("is not swallowed under a packet id that the broker remembers from an earlier run", async () => {
    for (const protocol of ["3.1.1", 5]) {
      const backend = await makeBackend({ mode: "commit-then-drop", dedupe: false });
      const before = await makeTarget(backend, { qos: 2, protocol });
      await before.deliver([nth("old", 1)], noAbort);
      backend.setMode("ok");
      // The earlier run is gone with its memory; the next one counts packet ids from the start again.
      const after = await makeTarget(backend, { qos: 2, protocol });
      expect(await after.deliver([nth("new", 1)], noAbort)).toMatchObject([{ kind: "delivered" }]);
      expect(backend.arrivals()).toHaveLength(2);
      expect(published(backend).map(({ messageId }) => messageId)).toEqual([1, 1]);
    }
  });

  it("says online and offline on its status topic, and the broker says offline when the link breaks", async () => {
    const backend = await makeBackend();
    // Time runs fast, so that the wait before reconnecting is short.
    const fast: Clock = { ...systemClock, after: (delayMs, fn) => systemClock.after(delayMs / 20, fn) };
    const target = await makeTarget(
      backend,
      { statusTopic: "holdfast/{gateway}/status", ackTimeout: 60_000, connectTimeout: 60_000 },
      fast,
    );
    const status = () => backend.retained.get("holdfast/edge-1/status")?.toString();
    await until(() => status() === "online", "online");
    await backend.goAway();
    await until(() => status() === "offline", "the will");
    await backend.comeBack();
    await until(() => status() === "online", "online again, with nothing to send");
    await target.stop();
    expect(status()).toBe("offline");
  });

  it("keeps the gateway's health on its health topic, the newest of it also after a reconnect", async () => {
    const backend = await makeBackend();
    const fast: Clock = { ...systemClock, after: (delayMs, fn) => systemClock.after(delayMs / 20, fn) };
    const options = { healthTopic: "holdfast/{gateway}/health", ackTimeout: 60_000, connectTimeout: 60_000 };
    const target = await makeTarget(backend, options, fast);
    const health = () => backend.retained.get("holdfast/edge-1/health")?.toString();
    target.announce('{"verdict":"ok"}');
    await until(() => health() === '{"verdict":"ok"}', "the first report");
    await backend.goAway();
    target.announce('{"verdict":"degraded"}');
    await backend.comeBack();
    await until(() => health() === '{"verdict":"degraded"}', "the report made while it was away");
  });

  it("answers a batch that waits for a connection as soon as the gateway stops", async () => {
    const backend = await makeBackend({ mode: "silent" });
    const target = await makeTarget(backend, { connectTimeout: 60_000 });
    const stop = new AbortController();
    const answering = target.deliver([nth("a", 1)], stop.signal);
    stop.abort();
    expect(await within(1000, answering, "an answer")).toMatchObject([{ kind: "retry" }]);
    await within(1000, target.stop(), "the end of an attempt to connect that nobody answers");
  });
});

describe("a broker's reason code", () => {
  it("is delivered below 0x80 and never at or above it", () => {
    for (let code = 0; code < 256; code++) expect(mqttOutcome(code).kind === "delivered").toBe(code < 128);
  });

  it("says whose fault it is", () => {
    const fates = [0x80, 0x83, 0x87, 0x90, 0x91, 0x92, 0x97, 0x99].map((code) => {
      const outcome = mqttOutcome(code);
      return outcome.kind === "retry" ? outcome.fault : outcome.kind;
    });
    expect(fates).toEqual([
      "message",
      "message",
      "reject",
      "reject",
      "message",
      "unknown",
      "target",
      "reject",
    ]);
    expect(mqttOutcome(0x97, "too much")).toMatchObject({ reason: "MQTT 0x97 Quota exceeded: too much" });
  });
});

describe("packet ids", () => {
  it("pass over those in doubt, and come back when the doubt is over", () => {
    const ids = new PacketIds();
    const publication = {
      topic: "t",
      payload: Buffer.alloc(0),
      qos: 2,
      retain: false,
      properties: undefined,
    } as const;
    ids.addDoubt("m", 2, publication, false);
    expect([ids.allocate(), ids.allocate(), ids.allocate()]).toEqual([1, 3, 4]);
    ids.answered("pubcomp", 2, 0);
    expect([ids.takeEnded("m"), ids.takeEnded("m")]).toEqual([true, false]);
    for (let n = 5; n <= 65_535; n++) ids.allocate();
    ids.deallocate(1);
    ids.deallocate(3);
    expect([ids.allocate(), ids.allocate(), ids.allocate()]).toEqual([1, 2, 3]);
  });
});
