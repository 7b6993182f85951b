/** Start and stop: idempotent, drained, and nothing left behind. */
import { connect as connectSocket } from "node:net";
import { describe, expect, it } from "vitest";
import { Broker } from "../../src/broker/broker.ts";
import { accessSchema, brokerSchema } from "../../src/broker/schema.ts";
import { systemClock } from "../../src/core/clock.ts";
import { silentLogger } from "../../src/core/logger.ts";
import { systemRandom } from "../../src/core/random.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { startBroker } from "../support/test-broker.ts";
import { WireClient } from "../support/wire-client.ts";

function newBroker(ports: number[] = [0]): Broker {
  return new Broker({
    config: brokerSchema.parse({ listeners: ports.map((port) => ({ type: "tcp", port })) }),
    access: accessSchema.parse({}),
    intake: { accept: async () => ({ kind: "stored", id: "x", seq: 1, flows: 0, late: false }) },
    sessions: { load: async () => [], write: async () => {} },
    clock: systemClock,
    random: systemRandom(),
    logger: silentLogger,
    steadyMs: () => 0,
  });
}

const answers = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connectSocket(port, "127.0.0.1");
    socket.on("connect", () => resolve(true)).on("error", () => resolve(false));
    socket.on("connect", () => socket.destroy());
  });

describe("the broker", () => {
  it("may be stopped before it starts, while it starts, and again", async () => {
    await newBroker().stop();
    const early = newBroker();
    const starting = early.start();
    await early.stop();
    await starting;
    const [{ port } = { port: 0 }] = early.addresses();
    expect(await answers(port)).toBe(false);
    const twice = newBroker();
    await twice.start();
    await Promise.all([twice.stop(), twice.stop()]);
    await expect(twice.start()).rejects.toThrow("cannot be started again");
  });

  it("that could not open all its ports keeps none", async () => {
    const first = newBroker();
    await first.start();
    const taken = first.addresses()[0]!.port;
    const second = newBroker([0, taken]);
    await expect(second.start()).rejects.toMatchObject({ code: "HF_PORT_IN_USE" });
    const open = second.addresses()[0]!.port;
    await second.stop();
    expect(await answers(open)).toBe(false);
    expect(await answers(taken)).toBe(true);
    await first.stop();
  });

  it("acknowledges what it has read before it closes a connection", async () => {
    const { port, store, broker } = await startBroker();
    const client = await WireClient.connect(port);
    store.hold();
    for (let id = 1; id <= 20; id++) client.publish("a", `${id}`, { qos: 1, id });
    await expect.poll(() => store.waiting).toBe(20);
    const stopped = broker.stop();
    expect(await answers(port)).toBe(false);
    store.release();
    await stopped;
    await client.untilClosed();
    expect(client.of("puback").length).toBe(20);
    expect(store.payloads().length).toBe(20);
  });

  it("does not wait for ever where the store takes nothing any more, and leaves no timer", async () => {
    const clock = new ManualClock();
    const { port, store, broker } = await startBroker({ clock });
    const client = await WireClient.connect(port, { clean: false });
    store.hold();
    client.publish("a", "1", { qos: 1, id: 1 });
    client.publish("a", "2", { qos: 0 });
    await expect.poll(() => store.waiting).toBe(2);
    let stopped = false;
    const stopping = broker.stop().then(() => {
      stopped = true;
    });
    await clock.advanceAsync(4900);
    expect(stopped).toBe(false);
    await clock.advanceAsync(1000);
    await stopping;
    expect(clock.timers).toBe(0);
    store.release();
  });

  it("tells who comes and goes, and why", async () => {
    const { port, broker } = await startBroker();
    const events: string[] = [];
    broker.onDevice = (event) => events.push(`${event.kind} ${event.device} ${event.reason}`);
    const first = await WireClient.connect(port, { clientId: "a" });
    await first.disconnect();
    await WireClient.connect(port, { clientId: "b" });
    expect(broker.kick("b")).toBe(true);
    expect(broker.kick("nobody")).toBe(false);
    await expect
      .poll(() => events)
      .toEqual([
        "connected a null",
        "disconnected a the connection ended",
        "connected b null",
        "disconnected b kicked",
      ]);
    expect(broker.devices().map(({ device, connections }) => [device, connections])).toEqual([
      ["a", 0],
      ["b", 0],
    ]);
  });
});
