/**
 * A machine that had no answer sends again after it has reconnected: DUP=1, same packet id. The repetition is
 * acknowledged and not taken, counted, and noted on the original; also by the next gateway on the same store. A
 * message that is new is never taken for one.
 */
import { describe, expect, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import type { RawMqttClient, RawPublish } from "../../simulators/machines/raw-mqtt-client.ts";
import { capability } from "../support/capabilities.ts";
import { effects, eventually, Journey, reading, shared, startBackend } from "../support/journey.ts";

interface SetUp {
  readonly journey: Journey;
  readonly backend: HttpBackend;
}

/** Machines whose topics begin with plant/own declare ids of their own. */
async function setUp(fault?: string): Promise<SetUp> {
  const { backend, url } = await startBackend(new HttpBackend());
  const journey = await Journey.start({
    fault,
    config: {
      targets: { backend: { type: "http", url } },
      intake: { identities: [{ topics: "plant/own/#", id: { pointer: "/id" } }] },
    },
  });
  return { journey, backend };
}

const first = (device: string): RawPublish => ({
  topic: `plant/${device}`,
  payload: reading(device, 1),
  qos: 1,
  messageId: 7,
});

/** The connection breaks, the machine comes back, and its session with it. */
async function reconnect(journey: Journey, client: RawMqttClient, device: string): Promise<RawMqttClient> {
  client.destroy("reset");
  return journey.client(device);
}

async function sendTwice({ journey }: SetUp, device: string): Promise<void> {
  const client = await journey.client(device);
  await client.publish(first(device));
  const again = await reconnect(journey, client, device);
  await again.publish({ ...first(device), dup: true });
  await journey.drained();
}

const effectsOf = (backend: HttpBackend, device: string) =>
  effects(backend).filter((id) => id.startsWith(device));

/** How many the gateway has accepted and suppressed meanwhile. */
async function counted(journey: Journey, act: () => Promise<void>) {
  const before = await journey.figures();
  await act();
  const after = await journey.figures();
  return {
    accepted: after.accepted - before.accepted,
    duplicates: after.duplicates - before.duplicates,
  };
}

describe("a message that is sent again after a reconnect", () => {
  const made = shared(() => setUp());

  test("is acknowledged, suppressed, counted, and noted on the original's history", async () => {
    const { journey, backend } = made();
    expect(await counted(journey, () => sendTwice(made(), "press"))).toEqual({ accepted: 1, duplicates: 1 });
    expect(effectsOf(backend, "press")).toEqual(["press-1"]);
    const { message, history } = await journey.message(backend.arrivals()[0]!.id);
    expect(message.duplicates).toBe(1);
    expect(history).toMatchObject([
      { kind: "duplicate", detail: expect.stringMatching(/again.*press.*packet id 7, DUP/) },
    ]);
    const shown = await journey.cli("messages", "show", message.id);
    expect(shown).toMatchObject({ code: 0, stdout: expect.stringMatching(/came again from press/) });
  });

  test("is told from new ones: without DUP, with another payload, from another machine", async () => {
    const { journey, backend } = made();
    const figures = await counted(journey, async () => {
      const client = await journey.client("oven");
      await client.publish(first("oven"));
      const again = await reconnect(journey, client, "oven");
      // The same reading once more, and meant so.
      await again.publish(first("oven"));
      await again.publish({ ...first("oven"), payload: reading("oven", 2), dup: true });
      await (await journey.client("oven-b")).publish({ ...first("oven"), dup: true });
      await journey.drained();
    });
    expect(figures).toEqual({ accepted: 4, duplicates: 0 });
    expect(effectsOf(backend, "oven").toSorted()).toEqual(["oven-1", "oven-1", "oven-1", "oven-2"]);
  });

  test.skipIf(!capability("wide").present)(
    "is suppressed by the next gateway too, after kill -9 and after a decent stop",
    async () => {
      const { journey, backend } = made();
      // A machine with ids of its own beside it: known without DUP, under another packet id, from another session.
      const own = { topic: "plant/own/saw", payload: reading("saw", 1) };
      const figures = await counted(journey, async () => {
        await (await journey.client("drill")).publish(first("drill"));
        await (await journey.client("saw")).publish({ ...own, qos: 1 });
        await journey.killAndStart();
        await (await journey.client("drill")).publish({ ...first("drill"), dup: true });
        await (await journey.client("saw", { clean: true })).publish({ ...own, qos: 2, messageId: 900 });
        await journey.process.stop();
        await journey.process.start();
        await (await journey.client("drill")).publish({ ...first("drill"), dup: true });
        const before = (await journey.figures()).duplicates;
        (await journey.client("saw")).sendPublish({ ...own, qos: 0 });
        await eventually("it is suppressed", async () => (await journey.figures()).duplicates > before);
        await journey.drained();
      });
      expect(figures).toEqual({ accepted: 2, duplicates: 4 });
      expect(effectsOf(backend, "drill")).toEqual(["drill-1"]);
      expect(effectsOf(backend, "saw")).toEqual(["saw-1"]);
      expect(backend.arrivals().map(({ id }) => id)).toContain("saw:saw-1");
      expect(await journey.audited()).toMatchObject({ state: "balanced" });
    },
  );
});

describe("a gateway that knows no duplicates", () => {
  test.skipIf(!capability("wide").present)("is found out", async () => {
    const made = await setUp("no-dedupe");
    await sendTwice(made, "press");
    expect(effects(made.backend)).toEqual(["press-1", "press-1"]);
    expect(await made.journey.figures()).toMatchObject({ accepted: 2, duplicates: 0 });
  });
});
