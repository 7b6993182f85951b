/**
 * A backend that is away costs time and nothing else: what was acknowledged waits on disk, outlives restarts of
 * the gateway, decent and not, and drains in the order of each device when the backend is back.
 */
import { describe, expect, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { MqttBackend } from "../../simulators/backends/mqtt-backend.ts";
import { effects, FLOW, Journey, reading, startBackend } from "../support/journey.ts";

const DEVICES = ["press", "oven"];
const EACH = 40;

/** Ids by device, in the order in which they took effect. */
function orderOf(ids: readonly string[]): Record<string, string[]> {
  return Object.fromEntries(
    DEVICES.map((device) => [device, ids.filter((id) => id.startsWith(`${device}-`))]),
  );
}

const sentInOrder = orderOf(
  DEVICES.flatMap((device) => Array.from({ length: 2 * EACH }, (_, at) => `${device}-${at + 1}`)),
);

async function outage(
  backend: HttpBackend | MqttBackend,
  target: Record<string, unknown>,
  flow: Record<string, unknown> = {},
): Promise<{ journey: Journey; order: Record<string, string[]> }> {
  const { url } = await startBackend(backend);
  const journey = await Journey.start({
    config: { targets: { backend: { ...target, url } }, flows: { all: { ...FLOW, ...flow } } },
  });
  await backend.goAway();
  await publishEach(journey, 1);
  await journey.process.kill();
  // Nobody runs, and still it can be asked.
  const { running, flows } = JSON.parse((await journey.cli("status", "--json")).stdout);
  const [{ waiting, sending }] = flows;
  expect({ running, open: waiting + sending }).toEqual({ running: false, open: 2 * EACH });
  await journey.process.start();
  // The half that the first gateway took is there, and is not the only thing that can be.
  expect(await journey.figures()).toMatchObject({ accepted: 2 * EACH, open: 2 * EACH, balanced: true });
  await publishEach(journey, EACH + 1);
  await journey.process.stop();
  await journey.process.start();
  const { health } = await journey.status();
  expect(await journey.figures()).toMatchObject({ accepted: 4 * EACH, open: 4 * EACH, dead: 0 });
  // That a backend is away is no reason to turn machines away.
  expect(health.state).toBe("running");
  expect((await journey.ready()).code).toBe(200);
  expect(backend.arrivals()).toEqual([]);
  await backend.comeBack();
  await journey.drained();
  return { journey, order: orderOf(effects(backend)) };
}

async function publishEach(journey: Journey, from: number): Promise<void> {
  await Promise.all(
    DEVICES.map(async (device) => {
      const client = await journey.client(device);
      const sending = Array.from({ length: EACH }, (_, at) =>
        client.publish({ topic: `plant/${device}`, payload: reading(device, from + at), qos: 1 }),
      );
      await Promise.all(sending);
      await client.disconnect();
    }),
  );
}

describe("a backend that is away for longer than a restart of the gateway", () => {
  test("gets everything in order over HTTP, and no message is charged for the outage", async () => {
    const { journey, order } = await outage(new HttpBackend(), { type: "http" });
    expect(order).toEqual(sentInOrder);
    expect(await journey.figures()).toMatchObject({ delivered: 4 * EACH, dead: 0, balanced: true });
    expect(await journey.audited()).toMatchObject({ state: "balanced" });
  }, 60_000);

  test("gets everything in order over MQTT", async () => {
    const { order } = await outage(new MqttBackend(), { type: "mqtt", protocol: 5 });
    expect(order).toEqual(sentInOrder);
  }, 60_000);

  test("and a flow that keeps no order is found out", async () => {
    const { order } = await outage(new HttpBackend(), { type: "http" }, { orderBy: "none" });
    expect(order).not.toEqual(sentInOrder);
    expect(order.press!.toSorted()).toEqual(sentInOrder.press!.toSorted());
  }, 60_000);
});
