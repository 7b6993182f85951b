import { rmSync } from "node:fs";
import { connectAsync, type MqttClient } from "mqtt";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MqttTarget } from "../../src/targets/mqtt.ts";
import { mqttTargetSchema } from "../../src/targets/mqtt-options.ts";
import type { TargetDelivery } from "../../src/targets/target.ts";
import { capability } from "../support/capabilities.ts";
import { makeContext, noAbort, nth, tempFolder } from "./deliveries.ts";
import { freePort, Mosquitto } from "./mosquitto.ts";
import { makeTlsFiles } from "./tls-files.ts";
import { within } from "./witness.ts";

const program = capability("mosquitto");
const openssl = capability("openssl");

const LANES = ["a", "b", "c", "d"];
const batch = Array.from({ length: 50 }, (_, n) => LANES.map((lane) => nth(lane, n + 1))).flat();

function makeTarget(options: Record<string, unknown>): MqttTarget {
  const config = mqttTargetSchema.parse({ type: "mqtt", ackTimeout: "5s", connectTimeout: "3s", ...options });
  return new MqttTarget(config, makeContext());
}

/** Delivers until everything is through, as the relay would. */
async function deliverAll(target: MqttTarget, all: readonly TargetDelivery[]): Promise<number> {
  let open = [...all];
  let calls = 0;
  while (open.length > 0 && calls < 100) {
    calls++;
    const outcomes = await target.deliver(open, noAbort);
    open = open.filter((_, at) => outcomes[at]!.kind !== "delivered");
    if (open.length > 0) await new Promise((resolve) => setTimeout(resolve, 50));
  }
  expect(open).toEqual([]);
  return calls;
}

describe.skipIf(!program.present)("a real mosquitto upstream", () => {
  let folder: string;
  let mosquitto: Mosquitto;
  let reader: MqttClient | null = null;
  const open: MqttTarget[] = [];

  beforeEach(async () => {
    folder = tempFolder();
    mosquitto = new Mosquitto(folder, await freePort());
    await mosquitto.start();
  });

  afterEach(async () => {
    await Promise.all(open.splice(0).map((target) => target.stop()));
    await reader?.endAsync(true);
    reader = null;
    await mosquitto.kill();
    rmSync(folder, { recursive: true, force: true });
  });

  const url = () => `mqtt://127.0.0.1:${mosquitto.port}`;

  /** Subscribes, and resolves to what comes: each payload's n by device. */
  async function read(count: number): Promise<{ all: Promise<Map<string, number[]>> }> {
    reader = await connectAsync(url(), { protocolVersion: 5 });
    await reader.subscribeAsync("plant/#", { qos: 2 });
    const seen = new Map<string, number[]>();
    let left = count;
    const all = new Promise<Map<string, number[]>>((resolve) => {
      reader!.on("message", (topic, payload) => {
        const device = topic.split("/")[1]!;
        seen.set(device, [...(seen.get(device) ?? []), JSON.parse(payload.toString()).n]);
        if (--left === 0) resolve(seen);
      });
    });
    return { all };
  }

  it.each([
    ["3.1.1", 1],
    ["3.1.1", 2],
    [5, 1],
    [5, 2],
  ])("gets every message in each device's order, over MQTT %s at QoS %i", async (protocol, qos) => {
    const { all } = await read(batch.length);
    const target = makeTarget({ url: url(), protocol, qos });
    open.push(target);
    await target.start();
    const outcomes = await target.deliver(batch, noAbort);
    expect(outcomes.every(({ kind }) => kind === "delivered")).toBe(true);
    const seen = await within(5000, all, "all messages");
    for (const lane of LANES)
      expect(seen.get(lane)).toEqual(
        batch.filter((each) => each.lane === lane).map(({ message }) => message.seq),
      );
  });

  it("that is killed and started again is found again, and gets the rest", async () => {
    const target = makeTarget({ url: url() });
    open.push(target);
    await target.start();
    await deliverAll(target, batch.slice(0, 20));
    await mosquitto.kill();
    const outcomes = await target.deliver(batch.slice(20, 40), noAbort);
    expect(outcomes.some(({ kind }) => kind === "delivered")).toBe(false);
    expect(await target.probe(noAbort)).toMatchObject({ reachable: false });
    await mosquitto.start();
    const rest = batch.slice(40);
    const { all } = await read(rest.length);
    await deliverAll(target, rest);
    expect((await within(5000, all, "the rest")).get("a")!.length).toBe(rest.length / LANES.length);
  });

  it("has our status retained, and says offline for us when we die without a goodbye", async () => {
    const target = makeTarget({ url: url(), statusTopic: "plant/{gateway}/status" });
    open.push(target);
    reader = await connectAsync(url());
    const told: string[] = [];
    let next = () => {};
    reader.on("message", (_, payload) => {
      told.push(payload.toString());
      next();
    });
    const tells = (word: string) =>
      within(
        5000,
        new Promise<void>((resolve) => {
          next = () => told.at(-1) === word && resolve();
          next();
        }),
        word,
      );
    await reader.subscribeAsync("plant/edge-1/status", { qos: 1 });
    await target.start();
    await tells("online");
    await target.stop();
    await tells("offline");
  });

  it.skipIf(!openssl.present)("is believed over TLS only with a certificate that we trust", async () => {
    const ours = makeTlsFiles(folder, "ours");
    const strange = makeTlsFiles(folder, "strange");
    await mosquitto.kill();
    mosquitto = new Mosquitto(folder, mosquitto.port, [`certfile ${ours.cert}`, `keyfile ${ours.key}`]);
    await mosquitto.start();
    const outcomeWith = async (tls: object | undefined) => {
      const target = makeTarget({ url: `mqtts://127.0.0.1:${mosquitto.port}`, tls });
      open.push(target);
      await target.start();
      return (await target.deliver([nth("a", 1)], noAbort))[0]!;
    };
    expect(await outcomeWith({ ca: ours.ca })).toMatchObject({ kind: "delivered" });
    expect(await outcomeWith({ ca: strange.ca })).toMatchObject({ kind: "retry", fault: "target" });
    expect(await outcomeWith(undefined)).toMatchObject({ kind: "retry", fault: "target" });
    expect(await outcomeWith({ rejectUnauthorized: false })).toMatchObject({ kind: "delivered" });
    expect(await outcomeWith({ ca: "/nonexistent/ca.pem" })).toMatchObject({
      reason: expect.stringMatching(/ENOENT/),
    });
  });
});
