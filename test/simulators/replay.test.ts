import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Captured, CaptureWriter, parseCaptured, readCapture } from "../../simulators/capture.ts";
import { type ReplayOptions, replay } from "../../simulators/replay.ts";
import { systemClock } from "../../src/core/clock.ts";
import { type RecordingBroker, recordingBroker } from "./recording-broker.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-capture-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const message = (n: number, change: Partial<Captured> = {}): Captured => ({
  atMs: 1_767_225_600_000 + n * 10,
  device: `m${n % 2}`,
  topic: "plant/x",
  payload: Buffer.from(`{"n":${n}}`),
  qos: 1,
  retain: false,
  ...change,
});

async function collect(file: string): Promise<Captured[]> {
  const all: Captured[] = [];
  for await (const captured of readCapture(file)) all.push(captured);
  return all;
}

describe("a capture", () => {
  test("reads back as it was written, bytes that are no text included", async () => {
    const file = join(folder, "c.jsonl");
    const messages = [
      message(1, { id: "a" }),
      message(2, { payload: Buffer.from([0xff, 0, 0x80]), qos: 2, retain: true }),
    ];
    const writer = new CaptureWriter(file);
    for (const each of messages) writer.write(each);
    await writer.close();
    expect(await collect(file)).toEqual(messages);
  });

  test("takes ISO times and leaves out what has a default", () => {
    const captured = parseCaptured(
      '{"at":"2026-01-01T00:00:01Z","device":"d","topic":"t","payload":"x"}',
      "c:1",
    );
    expect(captured).toMatchObject({ atMs: Date.UTC(2026, 0, 1, 0, 0, 1), qos: 0, retain: false });
  });

  test("names file and line of a mistake", async () => {
    const file = join(folder, "c.jsonl");
    writeFileSync(
      file,
      '{"at":1,"device":"d","topic":"t","payload":"x"}\n\n{"at":1,"device":"d","topic":"a/#","payload":"x"}\n',
    );
    await expect(collect(file)).rejects.toMatchObject({ code: "HF_CAPTURE" });
    await expect(collect(file)).rejects.toThrow(`${file}:3: topic: not a topic: it contains a wildcard`);
    await expect(collect(join(folder, "none.jsonl"))).rejects.toThrow("cannot read the capture: ENOENT");
    expect(() => parseCaptured('{"at":1,"device":"d","topic":"t"}', "c:1")).toThrow(
      "either payload or payloadBase64",
    );
  });
});

describe("replay", () => {
  let broker: RecordingBroker;
  beforeEach(async () => {
    broker = await recordingBroker();
  });
  afterEach(() => broker.stop());

  async function* stream(messages: readonly Captured[]) {
    yield* messages;
  }

  const play = (messages: readonly Captured[], change: Partial<ReplayOptions> = {}) =>
    replay({
      captured: stream(messages),
      host: "127.0.0.1",
      port: broker.port,
      speed: Number.POSITIVE_INFINITY,
      duplicates: 0,
      delayMsMax: 0,
      seed: 3,
      clock: systemClock,
      settleMs: 5_000,
      ...change,
    });

  const numbers = (device: string) =>
    broker.noted
      .filter((noted) => noted.client === device)
      .map((noted) => JSON.parse(noted.payload).n as number);

  test("publishes what was captured, each device in its order, and knows that all is acknowledged", async () => {
    const messages = Array.from({ length: 200 }, (_, n) => message(n, { qos: n % 3 === 0 ? 2 : 1 }));
    const result = await play(messages);
    expect(result).toMatchObject({ complete: true, sent: 200, acked: 200, repeats: 0, devices: 2 });
    expect(numbers("m0")).toEqual(Array.from({ length: 100 }, (_, i) => 2 * i));
    expect(numbers("m1")).toEqual(Array.from({ length: 100 }, (_, i) => 2 * i + 1));
  });

  test("keeps the capture's timing, scaled", async () => {
    const messages = [message(0), message(60)]; // 600 ms apart
    const startedMs = systemClock.monoMs();
    await play(messages, { speed: 2 });
    const tookMs = systemClock.monoMs() - startedMs;
    expect(tookMs).toBeGreaterThan(290);
    expect(tookMs).toBeLessThan(590);
  });

  test("adds duplicates of both kinds, and delays without breaking a device's order", async () => {
    const messages = Array.from({ length: 60 }, (_, n) => message(n, { device: "m" }));
    const result = await play(messages, { duplicates: 0.5, delayMsMax: 100 });
    expect(result.complete).toBe(true);
    expect(result.repeats).toBeGreaterThan(10);
    const dups = broker.noted.filter((noted) => noted.dup).length;
    expect(dups).toBeGreaterThan(0);
    expect(dups).toBeLessThan(result.repeats);
    const firsts = [...new Set(numbers("m"))];
    expect(firsts).toEqual(Array.from({ length: 60 }, (_, n) => n));
  });

  test("says which messages were not acknowledged where the broker is gone", async () => {
    await broker.stop();
    const result = await play([message(1, { id: "first" })], { settleMs: 200 });
    expect(result).toMatchObject({ complete: false, sent: 0 });
  });
});
