/** Spans on their way to a collector that is well, away, slow, or says no. */
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { type Clock, systemClock } from "../../src/core/clock.ts";
import type { Logger } from "../../src/core/logger.ts";
import { seededRandom } from "../../src/core/random.ts";
import { Exporter } from "../../src/telemetry/exporter.ts";
import { telemetrySchema } from "../../src/telemetry/schema.ts";
import { KIND, spanJson } from "../../src/telemetry/span.ts";
import { OtlpReceiver } from "../support/otlp-receiver.ts";

/** What takes seconds takes a fiftieth: the delays between tries, and the patience with an answer. */
const quick: Clock = {
  ...systemClock,
  after: (delayMs, fn) => systemClock.after(delayMs / 50, fn),
};

const collector = new OtlpReceiver();

beforeEach(async () => {
  Object.assign(collector, { mode: "ok", answerHeaders: {}, rejectedSpans: 0 });
  collector.spans.length = 0;
  collector.requests.length = 0;
  await collector.start();
});
afterEach(async () => {
  await collector.stop();
  expect(collector.problems).toEqual([]);
});

function makeExporter(options: Record<string, unknown> = {}) {
  const counted = { exported: 0, rejected: 0, dropped: 0 };
  const log: string[] = [];
  const note = (level: string) => (facts: object, words: string) =>
    log.push(`${level} ${words} ${JSON.stringify(facts)}`);
  const exporter = new Exporter({
    config: telemetrySchema.parse({ traces: { endpoint: collector.url, interval: "50ms", ...options } })
      .traces!,
    resource: { "service.name": "holdfast" },
    version: "0.1.0",
    clock: quick,
    random: seededRandom(1),
    logger: { info: note("info"), warn: note("warn") } as unknown as Logger,
    onOutcome: (outcome, spans) => {
      counted[outcome] += spans;
    },
  });
  void exporter.start();
  onTestFinished(() => exporter.stop());
  return { exporter, counted, log };
}

let made = 0;
function span(words = ""): string {
  made += 1;
  return spanJson({
    context: { traceId: "a".repeat(32), spanId: made.toString(16).padStart(16, "0"), sampled: true },
    name: `span ${made}`,
    kind: KIND.internal,
    startMs: 1_700_000_000_000.25,
    endMs: 1_700_000_000_001.5,
    attributes: { words, n: 1, x: 1.5, yes: true, none: null },
    error: null,
  });
}

const names = () => collector.spans.map(({ name }) => name);

describe("spans", () => {
  it("go together, compressed, to /v1/traces of the endpoint, with what proves who we are", async () => {
    const { exporter, counted } = makeExporter({
      endpoint: `${collector.url}/otlp/`,
      auth: { type: "bearer", token: "t0ken" },
    });
    for (let n = 0; n < 20; n++) exporter.add(span());
    await collector.until("all of them", () => collector.spans.length === 20);
    expect(collector.requests).toHaveLength(1);
    expect(collector.requests[0]).toMatchObject({
      path: "/otlp/v1/traces",
      headers: { authorization: "Bearer t0ken", "content-encoding": "gzip", "user-agent": "holdfast/0.1.0" },
    });
    expect(collector.spans[0]).toMatchObject({
      startTimeUnixNano: "1700000000000250000",
      endTimeUnixNano: "1700000000001500000",
      attributes: { words: "", n: 1, x: 1.5, yes: true },
    });
    await vi.waitFor(() => expect(counted).toEqual({ exported: 20, rejected: 0, dropped: 0 }));
  });

  it("carry no text that is half a character, and none without end", async () => {
    const { exporter } = makeExporter({ compression: "none", endpoint: `${collector.url}/v1/traces` });
    exporter.add(span(`${"x".repeat(499)}😀`));
    exporter.add(span("\ud800"));
    await collector.until("both", () => collector.spans.length === 2);
    const [cut, mended] = collector.spans.map(({ attributes }) => attributes.words);
    expect(cut).toBe(`${"x".repeat(499)}\ufffd`);
    expect(mended).toBe("\ufffd");
    expect(collector.requests[0]!.path).toBe("/v1/traces");
  });

  it("are sent at once where they are a batch", async () => {
    const { exporter } = makeExporter({ interval: "1h", batchBytesMax: "1KiB" });
    exporter.add(span());
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(collector.requests).toHaveLength(0);
    for (let n = 0; n < 5; n++) exporter.add(span("x".repeat(200)));
    await collector.until("the batch", () => collector.spans.length >= 3);
  });

  it("wait for a collector that is away, the oldest dropped beyond the bound, and are told of once", async () => {
    await collector.stop();
    const { exporter, counted, log } = makeExporter({ queueBytesMax: "4KiB" });
    const bytes = span("x".repeat(200)).length;
    const kept = Math.floor(4096 / bytes);
    for (let n = 0; n < 100; n++) exporter.add(span("x".repeat(200)));
    await vi.waitFor(() => expect(log).toHaveLength(1));
    expect(log[0]).toMatch(/^warn the collector takes no traces; .*ECONNREFUSED/);
    for (let n = 0; n < 100; n++) exporter.add(span("x".repeat(200)));
    const last = made;
    await collector.start();
    await collector.until("what is left", () => names().includes(`span ${last}`));
    await vi.waitFor(() => expect(log).toHaveLength(2));
    expect(log[1]).toMatch(/^info the collector takes traces again \{"lost":\d+\}/);
    // What waited, and before it what was being sent as the collector came back.
    expect(collector.spans.length).toBeLessThanOrEqual(collector.requests.length * kept);
    expect(collector.requests.length).toBeLessThanOrEqual(2);
    expect(counted).toEqual({
      exported: collector.spans.length,
      rejected: 0,
      dropped: 200 - collector.spans.length,
    });
    // With room for all, none is dropped: it is the bound that did it.
    await collector.stop();
    const roomy = makeExporter();
    for (let n = 0; n < 200; n++) roomy.exporter.add(span("x".repeat(200)));
    await vi.waitFor(() => expect(roomy.log).toHaveLength(1));
    await collector.start();
    await vi.waitFor(() => expect(roomy.counted.exported).toBe(200), { timeout: 10_000 });
  });

  it.each([429, 502, 503, 504])("are sent again after HTTP %i, which is for a while", async (status) => {
    const { exporter, counted, log } = makeExporter();
    Object.assign(collector, { mode: status, answerHeaders: { "retry-after": "2" } });
    exporter.add(span());
    await collector.until("two tries", () => collector.requests.length === 2);
    collector.mode = "ok";
    await collector.until("it", () => collector.spans.length === 1);
    await vi.waitFor(() => expect(counted).toEqual({ exported: 1, rejected: 0, dropped: 0 }));
    expect(log).toHaveLength(2);
  });

  it.each([400, 401, 404, 500])("are given up after HTTP %i, which is for good", async (status) => {
    const { exporter, counted, log } = makeExporter();
    collector.mode = status;
    exporter.add(span());
    await vi.waitFor(() => expect(counted.rejected).toBe(1));
    expect(log[0]).toContain(`HTTP ${status}`);
    collector.mode = "ok";
    exporter.add(span());
    await collector.until("the next one", () => collector.spans.length === 1);
    expect(counted.rejected).toBe(1);
    await vi.waitFor(() => expect(log).toHaveLength(2));
  });

  it("of which the collector takes a part count as what they are", async () => {
    const { exporter, counted } = makeExporter();
    collector.rejectedSpans = 2;
    for (let n = 0; n < 5; n++) exporter.add(span());
    await vi.waitFor(() => expect(counted).toEqual({ exported: 3, rejected: 2, dropped: 0 }));
    // It may say anything.
    collector.rejectedSpans = 1000;
    exporter.add(span());
    await vi.waitFor(() => expect(counted).toEqual({ exported: 3, rejected: 3, dropped: 0 }));
  });
});

describe("a stop", () => {
  it("sends what is left", async () => {
    const { exporter, counted } = makeExporter({ interval: "1h", batchBytesMax: "1KiB", stopTimeout: "60s" });
    for (let n = 0; n < 3; n++) exporter.add(span("x".repeat(100)));
    await exporter.stop();
    expect(collector.spans).toHaveLength(3);
    expect(counted).toEqual({ exported: 3, rejected: 0, dropped: 0 });
  });

  it("waits no longer for a collector that hangs than it may, and counts what is lost", async () => {
    collector.mode = "hang";
    const { exporter, counted } = makeExporter({ stopTimeout: "5s" });
    exporter.add(span());
    await collector.until("the request that hangs", () => collector.requests.length === 1);
    exporter.add(span());
    let stopped = false;
    const stopping = exporter.stop().then(() => {
      stopped = true;
    });
    // 5 s by the quick clock: it does wait, and not for the 10 s of the request.
    await new Promise((resolve) => setTimeout(resolve, 40));
    expect(stopped).toBe(false);
    await stopping;
    expect(counted).toEqual({ exported: 0, rejected: 0, dropped: 2 });
    exporter.add(span());
    expect(counted.dropped).toBe(3);
    expect(collector.requests).toHaveLength(1);
  });

  it("does not ask a collector that is away again and again", async () => {
    await collector.stop();
    const { exporter, counted } = makeExporter({ interval: "1h", batchBytesMax: "1KiB" });
    for (let n = 0; n < 3; n++) exporter.add(span("x".repeat(2000)));
    await exporter.stop();
    expect(counted).toEqual({ exported: 0, rejected: 0, dropped: 3 });
  });
});
