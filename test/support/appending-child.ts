/**
 * A process that appends to the store in the folder given, without end, and delivers some. It says on standard
 * output what has been acknowledged, so that it can be killed at any moment and held to its word: a line
 * `stored ID SEQ` or `delivered SEQ` each.
 *
 * HOLDFAST_TEST_FAULT makes its store thread the saboteur (saboteur-thread.ts).
 */
import { randomUUID } from "node:crypto";
import { writeSync } from "node:fs";
import { systemClock } from "../../src/core/clock.ts";
import { silentLogger } from "../../src/core/logger.ts";
import { queueSchema } from "../../src/queue/schema.ts";
import { Store } from "../../src/queue/store.ts";
import { threadAt } from "../../src/queue/store-worker.ts";

const IN_FLIGHT = 20;
const dataDir = process.argv[2]!;

const store = new Store({
  dataDir,
  queue: queueSchema.parse({}),
  boot: randomUUID(),
  version: "0.0.0-test",
  clock: systemClock,
  logger: silentLogger,
  startThread: process.env.HOLDFAST_TEST_FAULT
    ? threadAt(new URL("./saboteur-thread.ts", import.meta.url))
    : undefined,
});
await store.start();
const [version] = await store.registerFlows([{ flow: "outbox", hash: "hash-outbox", config: "{}" }]);

const pause = new Int32Array(new SharedArrayBuffer(4));

/** Straight to the descriptor: what is said is in the pipe before the next line of code runs. */
function say(line: string): void {
  for (let left = Buffer.from(`${line}\n`); left.length > 0; ) {
    try {
      left = left.subarray(writeSync(1, left));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      // Whoever listens is behind, and the pipe is full.
      Atomics.wait(pause, 0, 0, 1);
    }
  }
}

async function append(): Promise<void> {
  const id = randomUUID();
  const { seq } = await store.append({
    id,
    device: "press-7",
    source: "mqtt",
    topic: "plant/press-7",
    payload: Buffer.from(id),
    contentType: null,
    qos: 1,
    retain: false,
    producedAtMs: null,
    acceptedAtMs: systemClock.wallMs(),
    steadyAtMs: store.steadyMs(),
    traceparent: null,
    headers: null,
    identity: null,
    mqtt: null,
    routes: [{ version: version!, key: "press-7", state: "waiting", late: false, reason: null }],
    session: [],
  });
  say(`stored ${id} ${seq}`);
}

async function deliverSome(): Promise<void> {
  const { deliveries } = await store.claim({
    nowMs: store.steadyMs(),
    limit: 10,
    bytesMax: 2 ** 20,
    lanes: [{ lane: 1, limit: 10, expireBeforeMs: 0, unordered: false }],
  });
  if (deliveries.length === 0) return;
  const settled = {
    state: "delivered",
    attempts: 1,
    resend: false,
    dueAtMs: null,
    reason: null,
    note: null,
  } as const;
  await store.settle(deliveries.map(({ lane, message }) => ({ lane, seq: message.seq, ...settled })));
  for (const { message } of deliveries) say(`delivered ${message.seq}`);
}

async function endlessly(work: () => Promise<void>): Promise<void> {
  for (;;) await work();
}

await Promise.all([...Array.from({ length: IN_FLIGHT }, () => endlessly(append)), endlessly(deliverSome)]);
