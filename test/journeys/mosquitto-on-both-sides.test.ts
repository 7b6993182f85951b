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

/** Over either protocol, each with a flow of its own. */
const WAYS = {
  old: { protocol: "3.1.1", qos: 1 },
  new: { protocol: 5, qos: 2 },
};

describe.skipIf(!broker.present || !clients.present)("a mosquitto upstream", () => {
  test.skipIf(!capability("wide").present)(
    "gets everything once and in order by MQTT 3.1.1 and 5, restarted in between",
    async () => {
      const upstream = await startUpstream();
      const watcher = { filter: "site/#", client: "watcher", qos: 2, persistent: true } as const;
      const watching = await MosquittoSub.start({ ...watcher, port: upstream.port });
      // Of QoS 2 messages that wait for a client mosquitto keeps the order only where one at a time is in flight
      // (max_inflight_messages of mosquitto.conf). At QoS 0 it hands on at once what has come, as it came.
      const asTheyCome = () =>
        MosquittoSub.start({ filter: "site/#", client: "as-they-come", qos: 0, port: upstream.port });
      const before = await asTheyCome();
      const url = `mqtt://127.0.0.1:${upstream.port}`;
      const targets: Record<string, object> = {};
      const flows: Record<string, object> = {};
      for (const [name, how] of Object.entries(WAYS)) {
        targets[name] = { type: "mqtt", url, topic: "site/{topic}", ...how };
        flows[name] = { ...FLOW, from: `plant/${name}`, to: name };
      }
      const journey = await Journey.start({ config: { targets, flows } });
      const publish = async (from: number) => {
        for (const name of Object.keys(WAYS)) {
          const machine = { port: journey.port, topic: `plant/${name}`, client: name, qos: 1 } as const;
          await mosquittoPub(machine, lines(from));
        }
      };
      await publish(1);
      await journey.drained();
      await eventually("they came", () => before.received.length >= 2 * EACH);
      await before.stop();
      await upstream.kill("SIGTERM");
      await publish(EACH + 1);
      await journey.killAndStart();
      await publish(2 * EACH + 1);
      expect(await journey.figures()).toMatchObject({ open: 4 * EACH, delivered: 2 * EACH });
      // Until it is looked at who comes: nothing waits at mosquitto then.
      for (const name of Object.keys(WAYS)) {
        const paused = await journey.cli("pause", "flow", name, "--reason", "who looks comes first");
        expect(paused.code).toBe(0);
        await eventually("nothing is on its way", async () => (await journey.flow(name)).sending === 0);
      }
      await upstream.start();
      const after = await asTheyCome();
      for (const name of Object.keys(WAYS)) expect((await journey.cli("resume", "flow", name)).code).toBe(0);
      await journey.drained();
      await eventually("the watcher has all of them", () => watching.received.length >= 6 * EACH);
      await eventually("so has the other", () => after.received.length >= 4 * EACH);
      const wanted = [1, EACH + 1, 2 * EACH + 1].flatMap(lines);
      for (const name of Object.keys(WAYS)) {
        const those = wanted.map((line) => `site/plant/${name} ${line}`);
        const isThere = (line: string) => line.startsWith(`site/plant/${name} `);
        expect([...before.received, ...after.received].filter(isThere)).toEqual(those);
        expect(watching.received.filter(isThere).toSorted()).toEqual(those.toSorted());
      }
      expect(await journey.figures()).toMatchObject({ delivered: 6 * EACH, dead: 0, balanced: true });
    },
  );
});
