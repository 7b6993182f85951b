import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CaptureWriter, openCapture } from "../../simulators/capture.ts";
import { capturedFrom } from "../../simulators/captured-from.ts";
import { Fleet, machineGroupSchema } from "../../simulators/machines/fleet.ts";
import { type ReplayFileOptions, replayFile } from "../../simulators/replay-run.ts";
import { scenarioSchema } from "../../simulators/scenario.ts";
import { systemClock } from "../../src/core/clock.ts";
import { type RecordingBroker, recordingBroker } from "./recording-broker.ts";
import { freePort } from "./stand-in-gateway.ts";

let folder: string;
let file: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-exact-"));
  file = await withBroker(capture);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const { backend, gateway } = scenarioSchema.parse({});
const SETTLE_MS = 10_000;

/** Machines with every mishap at a broker that notes each packet; returns the file of what they did. */
async function capture(broker: RecordingBroker): Promise<string> {
  const file = join(folder, "capture.jsonl");
  const writer = new CaptureWriter(file, { backend, gateway });
  const groups = [
    { name: "press", count: 2, qos: { 1: 1, 2: 1 }, loseAck: 0.1, dup: 0.1, withholdPubrel: 0.1 },
    { name: "oven", qos: { 0: 1, 1: 2 }, session: "clean", republish: 0.2, loseAck: 0.1 },
  ];
  const fleet = new Fleet({
    groups: groups.map((group) =>
      machineGroupSchema.parse({ rate: 0, burst: { every: "20ms", size: 5 }, messages: 25, ...group }),
    ),
    seed: 7,
    run: "r",
    clock: systemClock,
    address: () => ({ host: "127.0.0.1", port: broker.port }),
    onTrace: (device, event) => writer.write(capturedFrom(device, event, systemClock.wallMs())),
  });
  fleet.start();
  await broker.until(() => fleet.ledger.sent >= 75);
  fleet.silence();
  expect(await fleet.settle(SETTLE_MS)).toBe(true);
  await fleet.stop();
  await writer.close();
  return file;
}

function play(file: string, port: number, change: Partial<ReplayFileOptions> = {}) {
  return replayFile({
    file,
    to: { host: "127.0.0.1", port },
    speed: Number.POSITIVE_INFINITY,
    settleMs: SETTLE_MS,
    clock: systemClock,
    ...change,
  });
}

/** A capture's lines without their times. */
function timeless(file: string): unknown[] {
  return readFileSync(file, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => ({ ...(JSON.parse(line) as object), at: undefined }));
}

async function withBroker<T>(use: (broker: RecordingBroker) => Promise<T>): Promise<T> {
  const other = await recordingBroker();
  try {
    return await use(other);
  } finally {
    await other.stop();
  }
}

describe("an exact replay", () => {
  test("puts the same packets on the wire in the same order, and its record is the capture but for the times", async () => {
    const record = join(folder, "record.jsonl");
    await withBroker(async (other) => {
      const result = await play(file, other.port, { record });
      expect(result).toMatchObject({
        complete: true,
        deviations: [],
        devices: 3,
        cutOff: false,
        withoutId: 0,
      });
      // What a broken connection swallowed at the first broker arrives at the second.
      const packets = (noted: RecordingBroker["noted"], client: string) =>
        noted.filter((each) => each.client === client);
      const sent = timeless(file).filter((line) => "topic" in (line as object)) as Record<string, unknown>[];
      for (const client of ["press-01", "press-02", "oven-01"]) {
        expect(
          packets(other.noted, client).map(({ payload, qos, dup, messageId }) => [
            payload,
            qos,
            dup,
            messageId,
          ]),
        ).toEqual(
          sent
            .filter(({ device }) => device === client)
            .map(({ payload, qos, dup, packetId }) => [payload, qos, dup, packetId]),
        );
      }
      // It would prove nothing without mishaps.
      expect(sent.some(({ dup }) => dup)).toBe(true);
      expect(result.connections).toBeGreaterThan(5);
    });
    expect(timeless(record)).toEqual(timeless(file));
  });

  test("gives the same figures twice, also at another speed", async () => {
    const figures = async (speed: number) =>
      withBroker(async (other) => {
        const { sent, acked, repeats, devices, connections, complete } = await play(file, other.port, {
          speed,
        });
        return { sent, acked, repeats, devices, connections, complete, noted: other.noted.length };
      });
    const first = await figures(Number.POSITIVE_INFINITY);
    expect(first).toMatchObject({ complete: true, sent: 75 });
    expect(await figures(Number.POSITIVE_INFINITY)).toEqual(first);
    expect(await figures(2)).toEqual(first);
  });

  test("keeps the capture's timing, scaled", async () => {
    const captured: number[] = [];
    const opened = await openCapture(file);
    for await (const { atMs } of opened.events) captured.push(atMs);
    await opened.close();
    const lengthMs = captured.at(-1)! - captured[0]!;
    const startedMs = systemClock.monoMs();
    await withBroker((other) => play(file, other.port, { speed: 0.5 }));
    expect(systemClock.monoMs() - startedMs).toBeGreaterThanOrEqual(2 * lengthMs - 50);
  });

  test("says what was not answered as it had been, and where nobody listens", async () => {
    const lines = readFileSync(file, "utf8").trimEnd().split("\n");
    // An answer that no broker gives.
    const at = lines.findIndex((line) => line.includes('"puback"'));
    lines.splice(at, 0, lines[at]!.replace(/"packetId":\d+/, '"packetId":999'));
    const changed = join(folder, "changed.jsonl");
    writeFileSync(changed, `${lines.join("\n")}\n`);
    const result = await withBroker((other) => play(changed, other.port, { settleMs: 200 }));
    expect(result.complete).toBe(false);
    expect(result.deviations[0]).toMatch(/got no PUBACK for packet id 999/);

    const nobody = await play(file, await freePort(), { settleMs: 100 });
    expect(nobody.complete).toBe(false);
    expect(nobody.deviations[0]).toMatch(/cannot connect/);
  });

  test("of a capture that was cut off in the middle of a line plays what is whole, and says so", async () => {
    const whole = readFileSync(file);
    const lines = whole.toString("utf8").trimEnd().split("\n");
    const expected = (result: Awaited<ReturnType<typeof play>>) => ({
      cutOff: result.cutOff,
      sent: result.sent > 0,
    });
    for (const torn of [whole.subarray(0, whole.length - 7), Buffer.concat([whole, Buffer.alloc(64)])]) {
      writeFileSync(join(folder, "torn.jsonl"), torn);
      const result = await withBroker((other) => play(join(folder, "torn.jsonl"), other.port));
      expect(expected(result)).toEqual({ cutOff: true, sent: true });
    }
    // A mistake in the middle is a mistake.
    writeFileSync(
      join(folder, "bad.jsonl"),
      [...lines.slice(0, 5), lines[5]!.slice(0, 20), ...lines.slice(6)].join("\n"),
    );
    const bad = withBroker((other) => play(join(folder, "bad.jsonl"), other.port));
    await expect(bad).rejects.toMatchObject({ code: "HF_CAPTURE" });
    await expect(bad).rejects.toThrow(/bad\.jsonl:6: not JSON/);
  });
});
