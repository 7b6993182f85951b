/**
 * The backend took it and its answer was lost: nobody can know, so the gateway says `unknown`, asks or sends again
 * under the same id, and the message is once in effect. Its history says what happened.
 */
import { describe, expect, test } from "vitest";
import type { Backend } from "../../simulators/backends/backend.ts";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { MqttBackend } from "../../simulators/backends/mqtt-backend.ts";
import { capability } from "../support/capabilities.ts";
import {
  arrivalsOf,
  effects,
  eventually,
  FLOW,
  Journey,
  reading,
  shared,
  startBackend,
} from "../support/journey.ts";

const BACKENDS: Record<string, Backend> = {
  http: new HttpBackend(),
  mqtt: new MqttBackend(),
  "knows-ids": new HttpBackend(),
  "can-be-asked": new HttpBackend({ dedupe: false }),
  forgetful: new HttpBackend({ dedupe: false }),
};

const TARGETS: Record<string, (url: string) => object> = {
  mqtt: (url) => ({ type: "mqtt", url, protocol: 5, idempotent: true }),
  "can-be-asked": (url) => ({ type: "http", url, idempotent: false, hasUrl: `${url}/has/{id}` }),
};

/** Long enough to look at an unknown before it is tried again. */
const RETRY = { delayMin: "1s", delayMax: "1s" };

/** A flow for each backend, from the topic of its name; the gateway knows them all to be well. */
const gateway = shared(async () => {
  const targets: Record<string, object> = {};
  const flows: Record<string, object> = {};
  for (const [name, backend] of Object.entries(BACKENDS)) {
    const { url } = await startBackend(backend);
    targets[name] = TARGETS[name]?.(url) ?? { type: "http", url };
    const onUnknown = name === "can-be-asked" ? "probe" : "retry";
    flows[name] = { ...FLOW, from: `plant/${name}`, to: name, retry: RETRY, onUnknown };
  }
  const journey = await Journey.start({ config: { targets, flows } });
  await eventually("all have shown that they are well", async () => {
    const { health } = await journey.status();
    return health.targets.every(({ lastProbeOkAtMs }) => lastProbeOkAtMs !== null);
  });
  return journey;
});

async function publish(name: string, ...ns: number[]): Promise<void> {
  const client = await gateway().client(name);
  for (const n of ns) await client.publish({ topic: `plant/${name}`, payload: reading(name, n), qos: 1 });
  await client.disconnect();
}

describe("an answer that is lost after the backend has committed", () => {
  test.each(["http", "mqtt"])(
    "leaves the message unknown, then delivered, once in effect: %s",
    async (name) => {
      const [journey, backend] = [gateway(), BACKENDS[name]!];
      backend.setMode("commit-then-drop");
      await publish(name, 1, 2);
      const first = await eventually("the first message has arrived", () => backend.arrivals()[0]);
      const unknown = await eventually("its answer is known to be lost", async () => {
        const { deliveries } = await journey.message(first.id);
        return deliveries[0]?.state === "unknown" && deliveries[0];
      });
      expect(unknown).toMatchObject({ resend: true, reason: expect.any(String) });
      // It holds its lane: the one behind it must not overtake what may have to be sent again.
      expect(arrivalsOf(backend, `${name}-2`)).toEqual([]);
      expect(await journey.flow(name)).toMatchObject({ accepted: 2, delivered: 0, dead: 0 });
      backend.setMode("ok");
      await journey.drained();
      expect(effects(backend)).toEqual([`${name}-1`, `${name}-2`]);
      const copies = arrivalsOf(backend, `${name}-1`);
      expect(copies.length).toBeGreaterThan(1);
      expect(new Set(copies.map(({ id }) => id)).size).toBe(1);
      const { history, deliveries } = await journey.message(first.id);
      expect(deliveries).toMatchObject([{ state: "delivered" }]);
      const kinds = history.map(({ kind }) => kind);
      expect(kinds[0]).toBe("unknown");
      expect(kinds.at(-1)).toBe("delivered");
    },
  );

  test.skipIf(!capability("wide").present)(
    "because the gateway died between the backend's yes and its own note of it, is once in effect",
    async () => {
      const journey = gateway();
      const names = ["knows-ids", "can-be-asked"];
      const backends = names.map((name) => BACKENDS[name]!);
      for (const backend of backends) backend.setMode("commit-then-silent");
      for (const name of names) await publish(name, 1);
      await eventually("both have it", () => backends.every((backend) => backend.arrivals().length === 1));
      await journey.process.kill();
      for (const backend of backends) backend.setMode("ok");
      await journey.process.start();
      await journey.drained();
      for (const [at, backend] of backends.entries()) {
        expect(effects(backend)).toEqual([`${names[at]}-1`]);
        const { history } = await journey.message(backend.arrivals()[0]!.id);
        expect(history[0]).toMatchObject({
          kind: "unknown",
          detail: expect.stringMatching(/gateway stopped/),
        });
        expect(history.at(-1)!.kind).toBe("delivered");
      }
      // One got it again under its id; the other knows no ids, and was asked instead.
      expect(backends.map((backend) => backend.arrivals().length)).toEqual([2, 1]);
      const { deliveries } = await journey.message(backends[1]!.arrivals()[0]!.id);
      expect(deliveries[0]!.reason).toMatch(/was asked and has it/);
      expect(await journey.audited()).toMatchObject({ state: "balanced" });
    },
  );

  test("and a backend that makes each copy take effect is found out", async () => {
    const backend = BACKENDS.forgetful!;
    backend.setMode("commit-then-drop");
    await publish("forgetful", 1);
    await eventually("it has arrived", () => backend.arrivals().length > 0);
    backend.setMode("ok");
    await gateway().drained();
    expect(effects(backend)).not.toEqual(["forgetful-1"]);
  });
});
