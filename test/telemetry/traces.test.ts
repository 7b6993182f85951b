/** Which messages are traced, what their spans say, and what it costs those that are not. */
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { silentLogger } from "../../src/core/logger.ts";
import { delivered, notSent, type Outcome, reject, retryTarget } from "../../src/core/outcome.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Target, TargetDelivery } from "../../src/targets/target.ts";
import { telemetrySchema } from "../../src/telemetry/schema.ts";
import { Traces } from "../../src/telemetry/traces.ts";
import { intakeRig } from "../support/intake-rig.ts";
import { OtlpReceiver } from "../support/otlp-receiver.ts";
import { makeDelivery, noAbort } from "../targets/deliveries.ts";

const { clock, makeIntake } = intakeRig();
const TRACE = "0af7651916cd43dd8448eb211c80319c";
const sampled = `00-${TRACE}-b7ad6b7169203331-01`;
const unsampled = `00-${TRACE}-b7ad6b7169203331-00`;
const carried = (traceparent: string, tracestate: string | null = null) => ({ traceparent, tracestate });

const collector = new OtlpReceiver();
beforeEach(async () => {
  collector.mode = "ok";
  collector.spans.length = 0;
  collector.requests.length = 0;
  await collector.start();
});
afterEach(async () => {
  await collector.stop();
  expect(collector.problems).toEqual([]);
});

function makeTraces(options: Record<string, unknown> = {}) {
  const counted: Record<string, number> = {};
  const config = { endpoint: collector.url, interval: "1h", batchBytesMax: "16MiB", ...options };
  const traces = new Traces({
    config: telemetrySchema.parse({ traces: config }).traces!,
    gateway: "line-3",
    version: "0.1.0",
    clock,
    random: seededRandom(7),
    logger: silentLogger,
    onOutcome: (outcome, spans) => {
      counted[outcome] = (counted[outcome] ?? 0) + spans;
    },
  });
  void traces.start();
  onTestFinished(() => traces.stop());
  /** All spans; there come no more of these traces. */
  const spans = async () => {
    await traces.stop();
    return collector.spans;
  };
  return { traces, counted, spans };
}

/** A target that answers as it is told, and tries what it does not answer with `retry`. */
function makeTarget(answer: (delivery: TargetDelivery, at: number) => Outcome, together = false) {
  const given: (readonly TargetDelivery[])[] = [];
  const target = {
    name: "mes",
    type: "http",
    together,
    async deliver(batch: readonly TargetDelivery[]) {
      given.push(batch);
      return batch.map((delivery, at) => {
        const outcome = answer(delivery, at);
        if (outcome.kind !== "retry" || outcome.fault !== "predecessor") delivery.trace?.begun();
        clock.advance(5);
        delivery.trace?.answered();
        return outcome;
      });
    },
  };
  return { target: target as unknown as Target, given };
}

const traced = (id: string, changes: Partial<TargetDelivery> = {}) =>
  makeDelivery(
    { id, traceparent: sampled, headers: { tracestate: "a=1" } },
    { waitedMs: 90_000, ...changes },
  );

describe("an intake", () => {
  it("is sampled by chance where its producer says nothing, and by its producer where that does", async () => {
    const { traces, spans } = makeTraces({ sampleRatio: 0.25, messagesPerSecondMax: 100_000 });
    const { accept, store } = await makeIntake({ tracing: traces });
    const receipts = await Promise.all(Array.from({ length: 400 }, () => accept()));
    const ids = receipts.map((receipt) => (receipt as { id: string }).id);
    await accept({ trace: carried(unsampled) });
    await accept({ trace: carried(sampled) });
    const receives = (await spans()).filter(({ name }) => name === "receive mqtt");
    const own = receives.filter(({ traceId }) => traceId !== TRACE);
    expect(own.length).toBeGreaterThan(60);
    expect(own.length).toBeLessThan(140);
    expect(receives.length).toBe(own.length + 1);
    // What is stored leads to the span, and of the others there is nothing.
    const rows = store.rows<{ id: string; traceparent: string | null }>(
      `SELECT id, traceparent FROM messages WHERE id IN (${ids.map(() => "?").join()})`,
      ...ids,
    );
    const said = rows.flatMap(({ id, traceparent }) =>
      traceparent === null ? [] : [`${id} ${traceparent}`],
    );
    const shown = own.map(
      ({ attributes, traceId, spanId }) => `${attributes["messaging.message.id"]} 00-${traceId}-${spanId}-01`,
    );
    expect(said.toSorted()).toEqual(shown.toSorted());
  });

  it("is traced up to a number in a second, and what is beyond is stored with what it came with", async () => {
    const { traces, spans, counted } = makeTraces({ messagesPerSecondMax: 3 });
    const { accept, store } = await makeIntake({ tracing: traces });
    for (let n = 0; n < 5; n++) await accept({ trace: carried(sampled), producerId: `burst-${n}` });
    expect(counted.skipped).toBe(2);
    const stored = store.rows<{ traceparent: string }>(
      "SELECT traceparent FROM messages WHERE id LIKE '%burst-%' ORDER BY seq",
    );
    expect(stored.map(({ traceparent }) => traceparent === sampled)).toEqual([
      false,
      false,
      false,
      true,
      true,
    ]);
    clock.advance(1000);
    await accept({ trace: carried(sampled) });
    expect(counted.skipped).toBe(2);
    expect((await spans()).filter(({ name }) => name === "receive mqtt")).toHaveLength(4);
  });

  it("says what came of it: stored, known, refused, given up", async () => {
    const { traces, spans } = makeTraces();
    const { accept } = await makeIntake({ tracing: traces });
    const trace = carried(sampled, "a=1");
    await accept({ trace, producerId: "twice" });
    await accept({ trace, producerId: "twice" });
    await accept({ trace, topic: "a/#" });
    const gone = new AbortController();
    gone.abort(new Error("its client left"));
    await accept({ trace }, gone.signal).catch(() => {});
    const all = await spans();
    const receives = all.filter(({ name }) => name === "receive mqtt");
    expect(
      receives.map(({ attributes, status }) => [attributes["holdfast.receipt"], status.message]),
    ).toEqual([
      ["stored", undefined],
      ["duplicate", undefined],
      ["refused", expect.stringContaining("topic")],
      [undefined, "its client left"],
    ]);
    for (const receive of receives) {
      expect(receive).toMatchObject({ traceId: TRACE, parentSpanId: "b7ad6b7169203331", traceState: "a=1" });
    }
    // What was refused never went to the store.
    const commits = all.filter(({ name }) => name === "commit").map(({ parentSpanId }) => parentSpanId);
    expect(commits).toEqual([receives[0], receives[1], receives[3]].map((receive) => receive!.spanId));
  });

  it("keeps the state of its trace, and none without a trace, also where nothing is traced", async () => {
    const { accept, store } = await makeIntake({
      identities: [{ topics: "#", traceparent: { pointer: "/traceparent" } }],
    });
    const rowOf = async (draft: Parameters<typeof accept>[0]) => {
      const { id } = (await accept(draft)) as { id: string };
      return store.rows("SELECT traceparent, headers FROM messages WHERE id = ?", id)[0];
    };
    expect(await rowOf({ trace: carried(sampled, "a=1"), headers: { line: "3" } })).toEqual({
      traceparent: sampled,
      headers: '{"line":"3","tracestate":"a=1"}',
    });
    const inPayload = (traceparent: unknown) => ({ payload: Buffer.from(JSON.stringify({ traceparent })) });
    expect(await rowOf(inPayload(unsampled))).toEqual({ traceparent: unsampled, headers: null });
    expect(await rowOf(inPayload("00-00-00-00"))).toEqual({ traceparent: null, headers: null });
    expect(await rowOf(inPayload({ a: 1 }))).toEqual({ traceparent: null, headers: null });
    // The door knows better.
    expect(await rowOf({ ...inPayload(unsampled), trace: carried(sampled) })).toMatchObject({
      traceparent: sampled,
    });
  });
});

describe("a try to deliver", () => {
  it("is a trace of its own with a link, and lasts as long as it took", async () => {
    const { traces, spans } = makeTraces();
    const { target, given } = makeTarget(() => delivered());
    await traces.deliver(target, [traced("m-1", { attempt: 3, resend: true }), traced("m-2")], noAbort);
    const [first, second] = await spans();
    expect([first!.name, second!.name]).toEqual(["send all", "send all"]);
    expect(first!.traceId).not.toBe(TRACE);
    expect(first!.traceId).not.toBe(second!.traceId);
    expect(first!.parentSpanId).toBeUndefined();
    expect(first!.links).toEqual([
      { traceId: TRACE, spanId: "b7ad6b7169203331", traceState: "a=1", flags: 1, attributes: {} },
    ]);
    expect(first!.attributes).toMatchObject({
      "messaging.message.id": "m-1",
      "holdfast.attempt": 3,
      "holdfast.resend": true,
      "holdfast.wait_ms": 90_000,
    });
    const lasted = BigInt(second!.endTimeUnixNano) - BigInt(second!.startTimeUnixNano);
    expect(lasted).toBe(5_000_000n);
    const told = given[0]!.map(({ trace }) => [trace!.traceparent, trace!.tracestate]);
    expect(told).toEqual([first, second].map((span) => [`00-${span!.traceId}-${span!.spanId}-01`, null]));
  });

  it("joins the message's trace where it is to", async () => {
    const { traces, spans } = makeTraces({ acrossQueue: "join" });
    const { target, given } = makeTarget(() => delivered());
    await traces.deliver(target, [traced("m-1")], noAbort);
    const [span] = await spans();
    expect(span).toMatchObject({ traceId: TRACE, parentSpanId: "b7ad6b7169203331", traceState: "a=1" });
    expect(given[0]![0]!.trace).toMatchObject({
      traceparent: `00-${TRACE}-${span!.spanId}-01`,
      tracestate: "a=1",
    });
  });

  it("that was not made has no span, and one that failed says why", async () => {
    const { traces, spans } = makeTraces();
    const outcomes = [reject("HTTP 422: no such order"), retryTarget("ECONNREFUSED"), notSent];
    const { target } = makeTarget((_, at) => outcomes[at]!);
    await traces.deliver(target, [traced("bad"), traced("away"), traced("behind")], noAbort);
    const failing = makeTarget(() => {
      throw new Error("a defect");
    });
    await expect(traces.deliver(failing.target, [traced("defect")], noAbort)).rejects.toThrow("a defect");
    const all = await spans();
    expect(
      all.map(({ attributes, status }) => [
        attributes["messaging.message.id"],
        attributes["holdfast.outcome"],
        attributes["holdfast.fault"],
        status,
      ]),
    ).toEqual([
      ["bad", "reject", undefined, { code: 2, message: "HTTP 422: no such order" }],
      ["away", "retry", "target", { code: 2, message: "ECONNREFUSED" }],
      ["defect", "unknown", undefined, { code: 2, message: "the target failed instead of answering" }],
    ]);
  });

  it("of a batch is one span whose links say what became of each, the most that it may have", async () => {
    const { traces, spans } = makeTraces({ linksMax: 2 });
    const { target, given } = makeTarget(
      ({ message }) => (message.id === "m-2" ? reject("no") : delivered()),
      true,
    );
    const untraced = makeDelivery({ id: "m-0" });
    await traces.deliver(target, [untraced, traced("m-1"), traced("m-2"), traced("m-3")], noAbort);
    const all = await spans();
    expect(all).toHaveLength(1);
    const [span] = all;
    expect(
      span!.links.map(({ attributes }) => [
        attributes["messaging.message.id"],
        attributes["holdfast.outcome"],
      ]),
    ).toEqual([
      ["m-1", "delivered"],
      ["m-2", "reject"],
    ]);
    expect(span).toMatchObject({
      droppedLinksCount: 1,
      status: { code: 2, message: "1 of 4: no" },
      attributes: { "messaging.batch.message_count": 4, "holdfast.outcome": "mixed", "holdfast.failed": 1 },
    });
    expect(new Set(given[0]!.map(({ trace }) => trace!.traceparent)).size).toBe(1);
  });

  it("of what is not traced is handed over as it is", async () => {
    const { traces, spans, counted } = makeTraces({ messagesPerSecondMax: 1 });
    for (const together of [false, true]) {
      const { target, given } = makeTarget(() => delivered(), together);
      const plain = [makeDelivery(), makeDelivery({ traceparent: unsampled })];
      await traces.deliver(target, plain, noAbort);
      expect(given[0]).toBe(plain);
    }
    expect(counted).toEqual({});
    const { target, given } = makeTarget(() => delivered());
    await traces.deliver(target, [traced("m-1"), traced("m-2")], noAbort);
    expect(given[0]!.map(({ trace }) => trace !== undefined)).toEqual([true, false]);
    expect(counted).toEqual({ skipped: 1 });
    expect(await spans()).toHaveLength(1);
  });

  it("does not wait for a collector, as one that did would show", async () => {
    const { traces } = makeTraces({ interval: "50ms", stopTimeout: "0s" });
    collector.mode = "hang";
    const { target } = makeTarget(() => delivered());
    await traces.deliver(target, [traced("m-1")], noAbort);
    clock.advance(50);
    await collector.until("the request that hangs", () => collector.requests.length === 1);
    const isDone = async (deliver: Traces["deliver"]) => {
      let done = false;
      void deliver(target, [traced("m-2")], noAbort).then(() => {
        done = true;
      });
      await new Promise((resolve) => setTimeout(resolve, 50));
      return done;
    };
    expect(await isDone((...what) => traces.deliver(...what))).toBe(true);
    const waiting = async (...what: Parameters<Traces["deliver"]>) => {
      const outcomes = await traces.deliver(...what);
      await collector.until("it to be taken", () => collector.spans.length > 0, 1000).catch(() => {});
      return outcomes;
    };
    expect(await isDone(waiting)).toBe(false);
  });

  it("says where the box did not know the time", async () => {
    const { traces, spans } = makeTraces();
    const { target } = makeTarget(() => delivered());
    const wallMs = clock.wallMs();
    clock.setWallMs(86_400_000);
    onTestFinished(() => clock.setWallMs(wallMs));
    await traces.deliver(target, [traced("m-1")], noAbort);
    clock.setWallMs(wallMs);
    await traces.deliver(target, [traced("m-2")], noAbort);
    const [lost, found] = await spans();
    expect(lost!.attributes["holdfast.clock_trusted"]).toBe(false);
    expect(lost!.startTimeUnixNano).toMatch(/^86400\d{3}\d{6}$/);
    expect(found!.attributes["holdfast.clock_trusted"]).toBeUndefined();
  });
});
