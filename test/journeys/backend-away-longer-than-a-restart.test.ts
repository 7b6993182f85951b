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

interface Outage {
  readonly backend: HttpBackend | MqttBackend;
  readonly target: Record<string, unknown>;
  readonly flow?: Record<string, unknown>;
  /** What happens to the gateway, with half of the messages taken and with all of them. */
  readonly half?: (journey: Journey) => Promise<void>;
  readonly whole?: (journey: Journey) => Promise<void>;
}

/** Ids of each device as they took effect, after the backend was away for all of them. */
async function outage({ backend, target, flow, half, whole }: Outage) {
  const { url } = await startBackend(backend);
  const journey = await Journey.start({
    config: { targets: { backend: { ...target, url } }, flows: { all: { ...FLOW, ...flow } } },
  });
  await backend.goAway();
  await publishEach(journey, 1);
  await half?.(journey);
  await publishEach(journey, EACH + 1);
  await whole?.(journey);
  expect(await journey.figures()).toMatchObject({ accepted: 4 * EACH, open: 4 * EACH, dead: 0 });
  expect(backend.arrivals()).toEqual([]);
  await backend.comeBack();
  await journey.drained();
  return { journey, order: orderOf(effects(backend)) };
}

/** Killed; nobody runs, and still it can be asked. */
async function killed(journey: Journey): Promise<void> {
  await journey.process.kill();
  const { running, flows } = JSON.parse((await journey.cli("status", "--json")).stdout);
  const [{ waiting, sending }] = flows;
  expect({ running, open: waiting + sending }).toEqual({ running: false, open: 2 * EACH });
  await journey.process.start();
}

async function stopped(journey: Journey): Promise<void> {
  await journey.process.stop();
  await journey.process.start();
  // That a backend is away is no reason to turn machines away.
  expect((await journey.status()).health.state).toBe("running");
  expect((await journey.ready()).code).toBe(200);
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
    const target = { type: "http" };
    const { journey, order } = await outage({
      backend: new HttpBackend(),
      target,
      half: killed,
      whole: stopped,
    });
    expect(order).toEqual(sentInOrder);
    expect(await journey.figures()).toMatchObject({ delivered: 4 * EACH, dead: 0, balanced: true });
    expect(await journey.audited()).toMatchObject({ state: "balanced" });
  });

  test("gets everything in order over MQTT", async () => {
    const target = { type: "mqtt", protocol: 5 };
    const { order } = await outage({ backend: new MqttBackend(), target, half: killed });
    expect(order).toEqual(sentInOrder);
  });

  test("and a flow that keeps no order is found out", async () => {
    const flow = { orderBy: "none" };
    const { order } = await outage({ backend: new HttpBackend(), target: { type: "http" }, flow });
    expect(order).not.toEqual(sentInOrder);
    expect(order.press!.toSorted()).toEqual(sentInOrder.press!.toSorted());
  });
});
