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
  reading,
  shared,
  startBackend,
} from "../support/journey.ts";

/** Takes no reading with this in it for now: 423, which is about the message and not for good. */
function locks(backend: HttpBackend, text: string, isLocked: () => boolean = () => true): HttpBackend {
  backend.script = ({ body }, response) => {
    if (!isLocked() || !body.includes(text)) return false;
    response.writeHead(423).end();
    return true;
  };
  return backend;
}

let stuck = true;
const BACKENDS = {
  rejects: new HttpBackend({ mode: "reject-one" }),
  byDevice: locks(new HttpBackend(), '"press-1"', () => stuck),
  byTopic: locks(new HttpBackend(), '"press-1"', () => stuck),
  patient: locks(new HttpBackend(), '"press-1"'),
};
const FLOWS: Partial<Record<keyof typeof BACKENDS, object>> = {
  byTopic: { orderBy: "topic" },
  patient: { retry: { ...FLOW.retry, attemptsMax: 3 } },
};

/** A flow to each backend, from the topics under its name. */
const gateway = shared(async () => {
  const targets: Record<string, object> = {};
  const flows: Record<string, object> = {};
  for (const [name, backend] of Object.entries(BACKENDS)) {
    const { url } = await startBackend(backend);
    targets[name] = { type: "http", url };
    flows[name] = { ...FLOW, from: `plant/${name}`, to: name, ...FLOWS[name as keyof typeof BACKENDS] };
  }
  return Journey.start({ config: { targets, flows } });
});

async function publish(flow: string, device: string, readings: readonly string[]): Promise<void> {
  const client = await gateway().client(device);
  for (const payload of readings) await client.publish({ topic: `plant/${flow}`, payload, qos: 1 });
  await client.disconnect();
}

/** Press number 1 is not taken for now; says which others got by meanwhile, and what came in the end. */
async function stuckHead(flow: "byDevice" | "byTopic"): Promise<{ past: string[]; atLast: string[] }> {
  const backend = BACKENDS[flow];
  stuck = true;
  await publish(flow, "press", [reading("press", 1), reading("press", 2)]);
  await publish(flow, "oven", [reading("oven", 1), reading("oven", 2)]);
  await eventually("it has been tried several times", () => {
    return backend.requests.filter(({ body }) => body.includes('"press-1"')).length >= 5;
  });
  const past = effects(backend);
  stuck = false;
  await eventually("all have got by", () => effects(backend).length === 4);
  return { past, atLast: effects(backend) };
}

describe("poison in one device's lane", () => {
  test("is dead with its reason while everything else flows, and is mended by a person later", async () => {
    const [journey, backend] = [gateway(), BACKENDS.rejects];
    const poison = reading("press", 2, { poison: true });
    await publish("rejects", "press", [reading("press", 1), poison, reading("press", 3)]);
    await publish("rejects", "oven", [reading("oven", 1), reading("oven", 2)]);
    await journey.drained();
    const taken = effects(backend);
    expect(taken.filter((id) => id.startsWith("press"))).toEqual(["press-1", "press-3"]);
    expect(taken.filter((id) => id.startsWith("oven"))).toEqual(["oven-1", "oven-2"]);
    expect(await journey.flow("rejects")).toMatchObject({ accepted: 5, delivered: 4, dead: 1 });

    const listed = await journey.cli("dead", "list", "--flow", "rejects", "--json");
    expect(listed).toMatchObject({ code: 0, stderr: "" });
    const { total, letters } = JSON.parse(listed.stdout);
    expect({ total, letters }).toMatchObject({
      total: 1,
      letters: [{ device: "press", topic: "plant/rejects", reason: expect.stringContaining("poison") }],
    });
    const { id } = letters[0];

    // Put back while the backend still refuses it, it is dead again; it does not vanish.
    await journey.cli("dead", "retry", id);
    await eventually("it was refused again", () => arrivalsOf(backend, "press-2").length === 2);
    await journey.drained();
    expect(await journey.flow("rejects")).toMatchObject({ delivered: 4, dead: 1 });

    backend.setMode("ok");
    await journey.killAndStart();
    expect(await journey.cli("dead", "retry", id)).toMatchObject({ code: 0 });
    await journey.drained();
    expect(await journey.flow("rejects")).toMatchObject({ delivered: 5, dead: 0 });
    expect(effects(backend).at(-1)).toBe("press-2");
    expect(new Set(arrivalsOf(backend, "press-2").map((arrival) => arrival.id))).toEqual(new Set([id]));
    const { history, deliveries } = await journey.message(id);
    expect(history.map(({ kind }) => kind)).toEqual(["dead", "redrive", "dead", "redrive"]);
    expect(deliveries).toMatchObject([{ state: "delivered", resend: false }]);
    expect(await journey.audited()).toMatchObject({ state: "balanced" });
  });

  test("that is not taken for now holds back its own device and nobody else", async () => {
    const { past, atLast } = await stuckHead("byDevice");
    expect(past).toEqual(["oven-1", "oven-2"]);
    expect(atLast).toEqual(["oven-1", "oven-2", "press-1", "press-2"]);
  });

  test("holds back whoever shares its lane: two devices ordered by one topic", async () => {
    const { past, atLast } = await stuckHead("byTopic");
    expect(past).toEqual([]);
    expect(atLast).toEqual(["press-1", "press-2", "oven-1", "oven-2"]);
  });

  test("is given up after attemptsMax tries that the backend answered, with the last reason", async () => {
    await publish("patient", "press", [reading("press", 1), reading("press", 2)]);
    await gateway().drained();
    expect(effects(BACKENDS.patient)).toEqual(["press-2"]);
    const { stdout } = await gateway().cli("dead", "list", "--flow", "patient", "--json");
    expect(JSON.parse(stdout)).toMatchObject({
      letters: [{ attempts: 3, reason: expect.stringMatching(/gave up after 3 tries.*423/) }],
    });
  });
});
