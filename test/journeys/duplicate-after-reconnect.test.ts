/**
 * A machine that had no answer sends again after it has reconnected: DUP=1, same packet id. The repetition is
 * acknowledged and not taken, counted, and noted on the original; also by the next gateway on the same store. A
 * message that is new is never taken for one.
 */
import { describe, expect, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import type { RawMqttClient, RawPublish } from "../../simulators/machines/raw-mqtt-client.ts";
import { effects, eventually, Journey, reading, startBackend } from "../support/journey.ts";

const FIRST: RawPublish = { topic: "plant/press", payload: reading("press", 1), qos: 1, messageId: 7 };

async function setUp(fault?: string): Promise<{ journey: Journey; backend: HttpBackend }> {
  const { backend, url } = await startBackend(new HttpBackend());
  const journey = await Journey.start({ fault, config: { targets: { backend: { type: "http", url } } } });
  return { journey, backend };
}

/** The connection breaks, the machine comes back, and its session with it. */
async function reconnect(journey: Journey, client: RawMqttClient): Promise<RawMqttClient> {
  client.destroy("reset");
  return journey.client("press");
}

async function sendTwice(fault?: string): Promise<{ journey: Journey; backend: HttpBackend }> {
  const { journey, backend } = await setUp(fault);
  const client = await journey.client("press");
  await client.publish(FIRST);
  await (await reconnect(journey, client)).publish({ ...FIRST, dup: true });
  await journey.drained();
  return { journey, backend };
}

describe("a message that is sent again after a reconnect", () => {
  test("is acknowledged, suppressed, counted, and noted on the original's history", async () => {
    const { journey, backend } = await sendTwice();
    expect(effects(backend)).toEqual(["press-1"]);
    expect(await journey.figures()).toMatchObject({ accepted: 1, duplicates: 1, delivered: 1 });
    const { message, history } = await journey.message(backend.arrivals()[0]!.id);
    expect(message.duplicates).toBe(1);
    expect(history).toMatchObject([
      { kind: "duplicate", detail: expect.stringMatching(/again.*press.*packet id 7, DUP/) },
    ]);
    const shown = await journey.cli("messages", "show", message.id);
    expect(shown).toMatchObject({ code: 0, stdout: expect.stringMatching(/came again from press/) });
  });

  test("is suppressed by the next gateway too, after kill -9 and after a decent stop", async () => {
    const { journey, backend } = await setUp();
    await (await journey.client("press")).publish(FIRST);
    await journey.killAndStart();
    await (await journey.client("press")).publish({ ...FIRST, dup: true });
    await journey.process.stop();
    await journey.process.start();
    await (await journey.client("press")).publish({ ...FIRST, dup: true });
    await journey.drained();
    expect(effects(backend)).toEqual(["press-1"]);
    expect(await journey.figures()).toMatchObject({ accepted: 1, duplicates: 2, balanced: true });
    expect(await journey.audited()).toMatchObject({ state: "balanced" });
  });

  test("under an id of the machine's own is known without DUP, under another packet id, from another session", async () => {
    const { backend, url } = await startBackend(new HttpBackend());
    const journey = await Journey.start({
      config: {
        targets: { backend: { type: "http", url } },
        intake: { identities: [{ topics: "plant/#", id: { pointer: "/id" } }] },
      },
    });
    const { payload } = FIRST;
    await (await journey.client("press")).publish(FIRST);
    await journey.killAndStart();
    const client = await journey.client("press", { clean: true });
    await client.publish({ topic: "plant/press", payload, qos: 2, messageId: 900 });
    client.sendPublish({ topic: "plant/press", payload, qos: 0 });
    await eventually("both are suppressed", async () => (await journey.figures()).duplicates === 2);
    await journey.drained();
    expect(effects(backend)).toEqual(["press-1"]);
    expect(backend.arrivals()[0]!.id).toBe("press:press-1");
  });

  test("is told from new ones: without DUP, with another payload, from another machine", async () => {
    const { journey, backend } = await setUp();
    const client = await journey.client("press");
    await client.publish(FIRST);
    const again = await reconnect(journey, client);
    // The same reading once more, and meant so.
    await again.publish(FIRST);
    await again.publish({ ...FIRST, payload: reading("press", 2), dup: true });
    await (await journey.client("oven")).publish({ ...FIRST, dup: true });
    await journey.drained();
    expect(effects(backend).toSorted()).toEqual(["press-1", "press-1", "press-1", "press-2"]);
    expect(await journey.figures()).toMatchObject({ accepted: 4, duplicates: 0 });
  });

  test("and a gateway that knows no duplicates is found out", async () => {
    const { journey, backend } = await sendTwice("no-dedupe");
    expect(effects(backend)).toEqual(["press-1", "press-1"]);
    expect(await journey.figures()).toMatchObject({ accepted: 2, duplicates: 0 });
  });
});
