/**
 * A process that fills the disk under a store, then makes room on it; run in a mount namespace of its own with
 * a small tmpfs at the folder given. Prints one JSON object of what it saw.
 */
import { randomUUID } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sleep, systemClock } from "../../src/core/clock.ts";
import { silentLogger } from "../../src/core/logger.ts";
import { openForReading } from "../../src/queue/database.ts";
import { audit } from "../../src/queue/queries-audit.ts";
import { queueSchema } from "../../src/queue/schema.ts";
import { Store, type StoreState } from "../../src/queue/store.ts";

const MESSAGES = 400;
const PAYLOAD = Buffer.alloc(16 * 1024, "x");
const folder = process.argv[2]!;
const ballast = join(folder, "ballast");
writeFileSync(ballast, Buffer.alloc(8 * 2 ** 20));

function open(): Store {
  return new Store({
    dataDir: join(folder, "data"),
    queue: queueSchema.parse({ walBytesMax: "1MiB" }),
    boot: randomUUID(),
    version: "0.0.0-test",
    clock: systemClock,
    logger: silentLogger,
  });
}

const store = open();
const states: string[] = [];
const full = Promise.withResolvers<void>();
store.onState = (state: StoreState) => {
  states.push(state.kind);
  if (state.kind !== "ok") full.resolve();
};
await store.start();
const [version] = await store.registerFlows([{ flow: "outbox", hash: "hash-outbox", config: "{}" }]);

let acked = 0;
const answers = Array.from({ length: MESSAGES }, async (_, at) => {
  const { seq } = await store.append({
    id: `m${at}`,
    device: "press-7",
    source: "mqtt",
    topic: "plant/press-7",
    payload: PAYLOAD,
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
  acked += 1;
  return seq;
});

await full.promise;
const ackedWhenFull = acked;
// A few rounds of being offered again, each of which finds no room.
await sleep(systemClock, 1000);
const ackedStillFull = acked;
const stateStillFull = store.state.kind;

rmSync(ballast);
const seqs = await Promise.all(answers);
const stateAtEnd = store.state.kind;
await store.stop();

const db = openForReading(join(folder, "data"));
const stored = db.prepare("SELECT seq FROM messages ORDER BY seq").pluck().all() as number[];
const mismatches = audit(db).mismatches.length;
db.close();
process.stdout.write(
  JSON.stringify({
    states,
    ackedWhenFull,
    ackedStillFull,
    stateStillFull,
    stateAtEnd,
    inOrder: seqs.every((seq, at) => seq === at + 1),
    stored: stored.length,
    mismatches,
  }),
);
