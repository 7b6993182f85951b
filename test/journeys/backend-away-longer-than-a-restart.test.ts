/**
 * A backend that is away costs time and nothing else: what was acknowledged waits on disk, outlives restarts of
 * the gateway, decent and not, and drains in the order of each device when the backend is back.
 */
import { expect, test } from "vitest";
import type { Backend } from "../../simulators/backends/backend.ts";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { MqttBackend } from "../../simulators/backends/mqtt-backend.ts";
import { capability } from "../support/capabilities.ts";
import { effects, FLOW, Journey, reading, startBackend, WAIT_MS } from "../support/journey.ts";

const DEVICES = ["press", "oven"];
const EACH = 40;
/** A flow to each backend; the last one keeps no order, to see that this would show. */
const WAYS = {
  http: { backend: new HttpBackend(), target: { type: "http" }, flow: {} },
  mqtt: { backend: new MqttBackend(), target: { type: "mqtt", protocol: 5 }, flow: {} },
  careless: { backend: new HttpBackend(), target: { type: "http" }, flow: { orderBy: "none" } },
};
const DELIVERIES = DEVICES.length * EACH * Object.keys(WAYS).length;

const idsOf = (device: string) => Array.from({ length: 2 * EACH }, (_, at) => `${device}-${at + 1}`);
const sentInOrder = Object.fromEntries(DEVICES.map((device) => [device, idsOf(device)]));

/** Ids of each device as they took effect. */
function orderAt(backend: Backend): Record<string, string[]> {
  const ids = effects(backend);
  return Object.fromEntries(
    DEVICES.map((device) => [device, ids.filter((id) => id.startsWith(`${device}-`))]),
  );
}

async function publishHalf(journey: Journey, from: number): Promise<void> {
  await Promise.all(
    DEVICES.map(async (device) => {
      const client = await journey.client(device);
      const sending = Array.from({ length: EACH }, (_, at) =>
        client.publish({ topic: `plant/${device}`, payload: reading(device, from + at), qos: 1 }, WAIT_MS),
      );
      await Promise.all(sending);
      await client.disconnect();
    }),
  );
}

test.skipIf(!capability("wide").present)(
  "backends that are away for longer than two restarts get everything, in order",
  async () => {
    const targets: Record<string, object> = {};
    const flows: Record<string, object> = {};
    for (const [name, { backend, target, flow }] of Object.entries(WAYS)) {
      const { url } = await startBackend(backend);
      await backend.goAway();
      targets[name] = { ...target, url };
      flows[name] = { ...FLOW, to: name, ...flow };
    }
    const journey = await Journey.start({ config: { targets, flows } });
    await publishHalf(journey, 1);
    await journey.process.kill();
    // Nobody runs, and still it can be asked.
    const status = JSON.parse((await journey.cli("status", "--json")).stdout);
    expect(status.running).toBe(false);
    for (const { waiting, sending } of status.flows) expect(waiting + sending).toBe(2 * EACH);
    await journey.process.start();
    expect(await journey.figures()).toMatchObject({ accepted: 2 * EACH, open: DELIVERIES, balanced: true });
    await publishHalf(journey, EACH + 1);
    await journey.process.stop();
    await journey.process.start();
    expect(await journey.figures()).toMatchObject({ accepted: 4 * EACH, open: 2 * DELIVERIES, dead: 0 });
    // That a backend is away is no reason to turn machines away.
    expect((await journey.status()).health.state).toBe("running");
    expect((await journey.ready()).code).toBe(200);

    const backends = Object.values(WAYS).map(({ backend }) => backend);
    expect(backends.flatMap((backend) => backend.arrivals())).toEqual([]);
    for (const backend of backends) await backend.comeBack();
    expect(await journey.drained()).toMatchObject({ delivered: 2 * DELIVERIES, dead: 0, balanced: true });
    expect(orderAt(WAYS.http.backend)).toEqual(sentInOrder);
    expect(orderAt(WAYS.mqtt.backend)).toEqual(sentInOrder);
    const careless = orderAt(WAYS.careless.backend);
    expect(careless).not.toEqual(sentInOrder);
    expect(careless.press!.toSorted()).toEqual(sentInOrder.press!.toSorted());
    expect(await journey.audited()).toMatchObject({ state: "balanced" });
  },
);
