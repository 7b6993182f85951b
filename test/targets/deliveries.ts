/** Messages and contexts for tests of targets. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/core/clock.ts";
import { silentLogger } from "../../src/core/logger.ts";
import type { Message } from "../../src/core/message.ts";
import type { TargetContext, TargetDelivery } from "../../src/targets/target.ts";

export function makeMessage(changes: Partial<Message> = {}): Message {
  return {
    seq: 1,
    id: "0190c0de-0000-7000-8000-000000000001",
    device: "press-4",
    source: "mqtt",
    topic: "plant/press-4/temperature",
    payload: Buffer.from('{"celsius":21.50}'),
    contentType: null,
    qos: 1,
    retain: false,
    producedAtMs: Date.UTC(2026, 6, 1, 8, 0, 0),
    acceptedAtMs: Date.UTC(2026, 6, 1, 8, 0, 1),
    clockTrusted: true,
    bootId: "boot-1",
    traceparent: null,
    headers: {},
    ...changes,
  };
}

export function makeDelivery(
  message: Partial<Message> = {},
  changes: Partial<Omit<TargetDelivery, "message">> = {},
): TargetDelivery {
  const whole = makeMessage(message);
  return {
    message: whole,
    flow: "all",
    lane: whole.device,
    attempt: 1,
    resend: false,
    late: false,
    replay: false,
    expiresInMs: null,
    waitedMs: 0,
    ...changes,
  };
}

/** The n-th message of a device; `n` stands in its payload, so that a backend can be asked about order. */
export function nth(device: string, n: number, word = "reading"): TargetDelivery {
  return makeDelivery({
    seq: n,
    id: `${device}-${n}`,
    device,
    topic: `plant/${device}/${word}`,
    payload: Buffer.from(JSON.stringify({ n, word })),
  });
}

export function tempFolder(): string {
  return mkdtempSync(join(tmpdir(), "holdfast-targets-"));
}

export function makeContext(changes: Partial<TargetContext> = {}): TargetContext {
  return {
    name: "upstream",
    gateway: "edge-1",
    dataDir: "/nonexistent",
    clock: systemClock,
    logger: silentLogger,
    ...changes,
  };
}

/** A signal that never aborts. */
export const noAbort = new AbortController().signal;
