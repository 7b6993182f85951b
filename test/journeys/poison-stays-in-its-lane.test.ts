/**
 * One bad message spoils nothing: rejected, it is set aside as dead with its reason, and its own device and all
 * others go on. When the backend has changed its mind, a person puts it back, under its id. One that is merely
 * not taken for now holds back its own lane and no other.
 */
import { describe, expect, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import {
  arrivalsOf,
  effects,
  eventually,
  FLOW,
  Journey,
  type JourneyOptions,
  reading,
  startBackend,
} from "../support/journey.ts";

async function setUp(backend: HttpBackend, more: Partial<JourneyOptions["config"]> = {}): Promise<Journey> {
  const { url } = await startBackend(backend);
  return Journey.start({ config: { targets: { backend: { type: "http", url } }, ...more } });
}

async function publish(journey: Journey, device: string, readings: readonly string[]): Promise<void> {
  const client = await journey.client(device);
  for (const payload of readings) await client.publish({ topic: "plant/line-1", payload, qos: 1 });
  await client.disconnect();
}

/** Press number 1 is not taken for now; says whether its neighbours got by meanwhile. */
async function stuckHead(flow: object): Promise<{ press: boolean; oven: boolean; ids: string[] }> {
  const backend = new HttpBackend();
  let stuck = true;
  backend.script = ({ body }, response) => {
    if (!stuck || !body.includes('"press-1"')) return false;
    response.writeHead(423).end();
    return true;
  };
  const journey = await setUp(backend, { flows: { all: { ...FLOW, ...flow } } });
  await publish(journey, "press", [reading("press", 1), reading("press", 2)]);
  await publish(journey, "oven", [reading("oven", 1), reading("oven", 2)]);
  await eventually("it has been tried several times", async () => {
    return backend.requests.filter(({ body }) => body.includes('"press-1"')).length >= 5;
  });
  const past = effects(backend);
  stuck = false;
  await journey.drained();
  return { press: past.includes("press-2"), oven: past.includes("oven-2"), ids: effects(backend) };
}

describe("poison in one device's lane", () => {
  test("is dead with its reason while everything else flows, and is mended by a person later", async () => {
    const backend = new HttpBackend({ mode: "reject-one" });
    const journey = await setUp(backend);
    const poison = reading("press", 2, { poison: true });
    await publish(journey, "press", [reading("press", 1), poison, reading("press", 3)]);
    await publish(journey, "oven", [reading("oven", 1), reading("oven", 2)]);
    await journey.drained();
    const taken = effects(backend);
    expect(taken.filter((id) => id.startsWith("press"))).toEqual(["press-1", "press-3"]);
    expect(taken.filter((id) => id.startsWith("oven"))).toEqual(["oven-1", "oven-2"]);
    expect(await journey.figures()).toMatchObject({ delivered: 4, dead: 1, balanced: true });

    const listed = await journey.cli("dead", "list", "--json");
    expect(listed).toMatchObject({ code: 0, stderr: "" });
    const { total, letters } = JSON.parse(listed.stdout);
    expect({ total, letters }).toMatchObject({
      total: 1,
      letters: [{ device: "press", topic: "plant/line-1", reason: expect.stringContaining("poison") }],
    });
    const { id } = letters[0];
    expect((await journey.cli("dead", "list")).stdout).toContain(id);

    // Put back while the backend still refuses it, it is dead again; it does not vanish.
    await journey.cli("dead", "retry", id);
    await eventually("it is dead again", () => arrivalsOf(backend, "press-2").length === 2);
    await journey.drained();
    expect(await journey.figures()).toMatchObject({ delivered: 4, dead: 1 });

    backend.setMode("ok");
    await journey.killAndStart();
    expect(await journey.cli("dead", "retry", id)).toMatchObject({ code: 0 });
    await journey.drained();
    expect(await journey.figures()).toMatchObject({ delivered: 5, dead: 0, balanced: true });
    expect(effects(backend).at(-1)).toBe("press-2");
    expect(new Set(arrivalsOf(backend, "press-2").map((arrival) => arrival.id))).toEqual(new Set([id]));
    const { history, deliveries } = await journey.message(id);
    expect(history.map(({ kind }) => kind)).toEqual(["dead", "redrive", "dead", "redrive"]);
    expect(deliveries).toMatchObject([{ state: "delivered", resend: false }]);
  });

  test("that is not taken for now holds back its own device and nobody else", async () => {
    const { press, oven, ids } = await stuckHead({});
    expect({ press, oven }).toEqual({ press: false, oven: true });
    expect(ids.filter((id) => id.startsWith("press"))).toEqual(["press-1", "press-2"]);
  });

  test("holds back whoever shares its lane: two devices ordered by one topic", async () => {
    expect(await stuckHead({ orderBy: "topic" })).toMatchObject({ press: false, oven: false });
  });

  test("is given up after attemptsMax tries that the backend answered, with the last reason", async () => {
    const backend = new HttpBackend();
    backend.script = ({ body }, response) => {
      if (!body.includes('"press-1"')) return false;
      response.writeHead(423).end();
      return true;
    };
    const retry = { ...FLOW.retry, attemptsMax: 3 };
    const journey = await setUp(backend, { flows: { all: { ...FLOW, retry } } });
    await publish(journey, "press", [reading("press", 1), reading("press", 2)]);
    await journey.drained();
    expect(effects(backend)).toEqual(["press-2"]);
    const { stdout } = await journey.cli("dead", "list", "--json");
    expect(JSON.parse(stdout)).toMatchObject({
      letters: [{ attempts: 3, reason: expect.stringMatching(/gave up after 3 tries.*423/) }],
    });
  });
});
