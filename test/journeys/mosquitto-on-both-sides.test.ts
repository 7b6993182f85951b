/**
 * With the clients and the broker that people have: mosquitto_pub publishes to the gateway, mosquitto_sub subscribes
 * at it, and a mosquitto upstream gets everything in order, though it is restarted in between and the gateway is
 * killed while it is away.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { OutboxReader } from "../../simulators/outbox-reader.ts";
import { capability } from "../support/capabilities.ts";
import { eventually, FLOW, Journey, scratchFolder } from "../support/journey.ts";
import { MosquittoSub, mosquittoPub } from "../support/mosquitto-clients.ts";
import { freePort, Mosquitto } from "../targets/mosquitto.ts";

const EACH = 25;

const lines = (from: number) => Array.from({ length: EACH }, (_, at) => `reading ${from + at}`);

const broker = capability("mosquitto");
const clients = capability("mosquitto-clients");

/** A broker that keeps its sessions over a decent restart. */
async function startUpstream(): Promise<Mosquitto> {
  const folder = scratchFolder();
  const kept = join(folder, "kept");
  mkdirSync(kept);
  const keeping = ["persistence true", `persistence_location ${kept}/`];
  const upstream = new Mosquitto(folder, await freePort(), keeping);
  await upstream.start();
  onTestFinished(() => upstream.kill());
  return upstream;
}

describe.skipIf(!clients.present)("the clients of mosquitto at the gateway", () => {
  test("mosquitto_pub is acknowledged, and mosquitto_sub gets it, also what came while both were away", async () => {
    const journey = await Journey.start({ config: { targets: { backend: { type: "file" } } } });
    const screen = { filter: "plant/#", client: "screen", qos: 2, persistent: true } as const;
    const press = { topic: "plant/press", client: "press" } as const;
    const live = await MosquittoSub.start({ ...screen, port: journey.port });
    await mosquittoPub({ ...press, port: journey.port, qos: 1 }, lines(1));
    await eventually("it has all of them", () => live.received.length >= EACH);
    await live.stop();
    await mosquittoPub({ ...press, port: journey.port, qos: 2 }, lines(EACH + 1));
    await mosquittoPub({ ...press, port: journey.port, qos: 1, retain: true, topic: "plant/state" }, ["on"]);
    await journey.killAndStart();
    const back = await MosquittoSub.start({ ...screen, port: journey.port });
    await eventually("it has the rest", () => back.received.length > EACH);
    const wanted = [...lines(1), ...lines(EACH + 1)].map((line) => `plant/press ${line}`);
    // Its subscription made anew, the retained message comes once more [MQTT-3.8.4-3].
    const found = [...live.received, ...back.received].filter((line) => !line.startsWith("plant/state"));
    expect(found).toEqual(wanted);
    expect(back.received).toContain("plant/state on");
    await journey.drained();
    const outbox = new OutboxReader(join(journey.process.dataDir, "outbox"));
    expect(outbox.arrivals().map(({ topic, payload }) => `${topic} ${payload}`)).toEqual([
      ...wanted,
      "plant/state on",
    ]);
  });
});

describe.skipIf(!broker.present || !clients.present)("a mosquitto upstream", () => {
  test.each([
    { protocol: "3.1.1", qos: 1 },
    { protocol: 5, qos: 2 },
  ])("gets everything once and in order, restarted in between: MQTT $protocol, QoS $qos", async (how) => {
    const upstream = await startUpstream();
    const watcher = { filter: "site/#", client: "watcher", qos: 2, persistent: true } as const;
    const watching = await MosquittoSub.start({ ...watcher, port: upstream.port });
    const target = {
      type: "mqtt",
      url: `mqtt://127.0.0.1:${upstream.port}`,
      topic: "site/{topic}",
      ...how,
    };
    const journey = await Journey.start({
      config: { targets: { backend: target }, flows: { all: { ...FLOW, from: "#" } } },
    });
    const publish = (from: number) =>
      mosquittoPub({ port: journey.port, topic: "plant/press", client: "press", qos: 1 }, lines(from));
    await publish(1);
    await journey.drained();
    await upstream.kill("SIGTERM");
    await publish(EACH + 1);
    await journey.killAndStart();
    await publish(2 * EACH + 1);
    expect(await journey.figures()).toMatchObject({ open: 2 * EACH, delivered: EACH });
    await upstream.start();
    await journey.drained();
    await eventually("the watcher has all of them", () => watching.received.length >= 3 * EACH);
    const wanted = [1, EACH + 1, 2 * EACH + 1].flatMap(lines);
    expect(watching.received).toEqual(wanted.map((line) => `site/plant/press ${line}`));
    expect(await journey.figures()).toMatchObject({ delivered: 3 * EACH, dead: 0, balanced: true });
  });
});
