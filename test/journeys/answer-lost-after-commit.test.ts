/**
 * The backend took it and its answer was lost: nobody can know, so the gateway says `unknown`, asks or sends again
 * under the same id, and the message is once in effect. Its history says what happened.
 */
import { describe, expect, test } from "vitest";
import type { Backend, BackendMode } from "../../simulators/backends/backend.ts";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { MqttBackend } from "../../simulators/backends/mqtt-backend.ts";
import { arrivalsOf, effects, eventually, FLOW, Journey, reading, startBackend } from "../support/journey.ts";

/** Long enough to look at an unknown before it is tried again. */
const SLOWLY = { ...FLOW, retry: { delayMin: "2s", delayMax: "2s" } };

const http = (url: string) => ({ type: "http", url });
const mqtt = (url: string) => ({ type: "mqtt", url, protocol: 5, idempotent: true });

/** A gateway that knows its backend to be well; from then on answers get lost. */
async function startBefore(
  mode: BackendMode,
  backend: Backend,
  target: (url: string) => Record<string, unknown>,
  flow: Record<string, unknown> = FLOW,
): Promise<Journey> {
  const { url } = await startBackend(backend);
  const journey = await Journey.start({
    config: { targets: { backend: target(url) }, flows: { all: flow } },
  });
  await eventually("the backend has shown that it is well", async () => {
    const { health } = await journey.status();
    return health.targets[0]!.lastProbeOkAtMs !== null;
  });
  backend.setMode(mode);
  return journey;
}

async function publish(journey: Journey, ...ns: number[]): Promise<void> {
  const client = await journey.client("press");
  for (const n of ns) await client.publish({ topic: "plant/press", payload: reading("press", n), qos: 1 });
  await client.disconnect();
}

describe("an answer that is lost after the backend has committed", () => {
  test.each([
    { name: "HTTP", backend: new HttpBackend(), target: http },
    { name: "MQTT", backend: new MqttBackend(), target: mqtt },
  ])("leaves the message unknown, then delivered, once in effect: $name", async ({ backend, target }) => {
    const journey = await startBefore("commit-then-drop", backend, target, SLOWLY);
    await publish(journey, 1, 2);
    const first = await eventually("the first message has arrived", () => backend.arrivals()[0]);
    const unknown = await eventually("its answer is known to be lost", async () => {
      const { deliveries } = await journey.message(first.id);
      return deliveries[0]?.state === "unknown" && deliveries[0];
    });
    expect(unknown).toMatchObject({ resend: true, reason: expect.any(String) });
    // It holds its lane: the one behind it must not overtake what may have to be sent again.
    expect(arrivalsOf(backend, "press-2")).toEqual([]);
    expect(await journey.figures()).toMatchObject({ open: 2, delivered: 0, balanced: true });
    backend.setMode("ok");
    await journey.drained();
    expect(effects(backend)).toEqual(["press-1", "press-2"]);
    const copies = arrivalsOf(backend, "press-1");
    expect(copies.length).toBeGreaterThan(1);
    expect(new Set(copies.map(({ id }) => id)).size).toBe(1);
    const { history, deliveries } = await journey.message(first.id);
    expect(deliveries).toMatchObject([{ state: "delivered" }]);
    const kinds = history.map(({ kind }) => kind);
    expect(kinds[0]).toBe("unknown");
    expect(kinds.at(-1)).toBe("delivered");
  });

  test("because the gateway died between the backend's yes and its own note of it, is once in effect", async () => {
    const backend = new HttpBackend();
    const journey = await startBefore("commit-then-silent", backend, http);
    await publish(journey, 1);
    const { id } = await eventually("the message has arrived", () => backend.arrivals()[0]);
    await journey.process.kill();
    backend.setMode("ok");
    await journey.process.start();
    await journey.drained();
    expect(effects(backend)).toEqual(["press-1"]);
    expect(arrivalsOf(backend, "press-1")).toHaveLength(2);
    const { history } = await journey.message(id);
    expect(history[0]).toMatchObject({ kind: "unknown", detail: expect.stringContaining("gateway stopped") });
    expect(history.at(-1)).toMatchObject({ kind: "delivered" });
  });

  test("is asked for where the backend knows no ids but can be asked, and not sent twice", async () => {
    const backend = new HttpBackend({ dedupe: false });
    const target = (url: string) => ({ ...http(url), idempotent: false, hasUrl: `${url}/has/{id}` });
    const flow = { ...FLOW, onUnknown: "probe" };
    const journey = await startBefore("commit-then-silent", backend, target, flow);
    await publish(journey, 1);
    const { id } = await eventually("the message has arrived", () => backend.arrivals()[0]);
    await journey.process.kill();
    backend.setMode("ok");
    await journey.process.start();
    await journey.drained();
    expect(backend.arrivals()).toHaveLength(1);
    const { deliveries } = await journey.message(id);
    expect(deliveries).toMatchObject([
      { state: "delivered", reason: expect.stringContaining("was asked and has it") },
    ]);
  });

  test("and a backend that makes each copy take effect is found out", async () => {
    const backend = new HttpBackend({ dedupe: false });
    const journey = await startBefore("commit-then-drop", backend, http);
    await publish(journey, 1);
    await eventually("it has arrived", () => backend.arrivals().length > 0);
    backend.setMode("ok");
    await journey.drained();
    expect(effects(backend)).not.toEqual(["press-1"]);
  });
});
