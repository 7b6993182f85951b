/** Jobs in the store: rows, figures and the job's place move in one commit, whenever the store dies. */

import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, it } from "vitest";
import type { Job } from "../../src/core/job.ts";
import { openForReading } from "../../src/queue/database.ts";
import type { JobStart } from "../../src/queue/jobs.ts";
import { acts } from "../../src/queue/queries-acts.ts";
import { job, jobPage } from "../../src/queue/queries-jobs.ts";
import { TestStore } from "../support/test-store.ts";

const ACT = { who: "anna", what: "beginJob", detail: { kind: "replay" }, reason: "restored" };
const REPLAY: JobStart = { kind: "replay", selection: {}, rate: 100, total: 30, openMax: 5, act: ACT };
const MESSAGES = 30;

function read<T>(store: TestStore, question: (db: Database.Database) => T): T {
  const db = openForReading(store.dataDir);
  try {
    return question(db);
  } finally {
    db.close();
  }
}

async function deliveredOnes(store: TestStore): Promise<number> {
  const put = await Promise.all(Array.from({ length: MESSAGES }, () => store.put()));
  const { lane } = put[0]!;
  await store.deliver(lane);
  return lane;
}

async function step(store: TestStore, { id, atSeq, untilSeq }: Job): Promise<Job> {
  const page = read(store, (db) =>
    jobPage(db, { kind: "replay", selection: {}, afterSeq: atSeq, untilSeq, limit: 4 }),
  );
  return (await store.store.call("stepJob", { id, fromSeq: atSeq, ...page })).job;
}

/** Carries the job on, delivering what it puts in line, until it is over or the store dies. */
async function carryOn(store: TestStore, lane: number, id: number): Promise<void> {
  let now = read(store, (db) => job(db, { id }))!;
  while (now.state === "running") {
    now = await step(store, now);
    await store.deliver(lane);
  }
}

const replays = (store: TestStore) =>
  store
    .rows<{ n: number }>("SELECT count(*) AS n FROM history WHERE kind = 'replay' GROUP BY seq ORDER BY seq")
    .map(({ n }) => n);

const ONCE = Array.from({ length: MESSAGES }, () => 1);

it("delivers each again exactly once, at whichever of its commits the store dies", async () => {
  for (const commits of [4, 9, 14]) {
    const first = await TestStore.open();
    const lane = await deliveredOnes(first);
    const started = await first.store.call("startJob", REPLAY);
    if (started.kind !== "started") throw new Error(started.kind);
    const { id } = started.job;
    // Commits of a start come before those of the job: flows are registered in one.
    const dying = await first.reopen({ fault: `exit=${commits}` });
    await expect(carryOn(dying, lane, id)).rejects.toMatchObject({ code: "HF_INTERNAL" });
    const again = await dying.reopen({ fault: undefined });
    // What was in the air when it died is tried again by itself.
    await carryOn(again, lane, id);
    await again.deliver(lane);
    expect(replays(again)).toEqual(ONCE);
    expect(again.value("SELECT count(*) FROM deliveries WHERE state <> 'delivered'")).toBe(0);
    expect(read(again, (db) => job(db, { id }))).toMatchObject({
      state: "finished",
      done: MESSAGES,
      skipped: 0,
    });
    expect(again.audit().mismatches).toEqual([]);
  }
});

it("would be seen to repeat, if its place were in a commit of its own", async () => {
  const store = await TestStore.open();
  const lane = await deliveredOnes(store);
  const started = await store.store.call("startJob", REPLAY);
  if (started.kind !== "started") throw new Error(started.kind);
  await step(store, started.job);
  await store.deliver(lane);
  await store.store.stop();
  const db = new Database(join(store.dataDir, "store.db"));
  db.exec("UPDATE jobs SET at_seq = 0");
  db.close();
  const again = await store.reopen();
  await carryOn(again, lane, started.job.id);
  expect(replays(again)).not.toEqual(ONCE);
});

it("does nothing in a step that was looked up elsewhere, or for a job that is paused", async () => {
  const store = await TestStore.open();
  await deliveredOnes(store);
  const started = await store.store.call("startJob", REPLAY);
  if (started.kind !== "started") throw new Error(started.kind);
  const { id } = started.job;
  const rows = store
    .rows<{ lane: number; seq: number }>("SELECT lane, seq FROM deliveries")
    .map(({ lane, seq }) => [lane, seq] as const);
  const one = { id, fromSeq: 0, toSeq: 30, rows, ended: true };
  expect((await store.store.call("stepJob", { ...one, fromSeq: 7 })).moved).toBe(0);
  await store.store.call("changeJob", { id, to: "paused", act: { ...ACT, what: "pauseJob" } });
  expect(await store.store.call("stepJob", one)).toMatchObject({
    moved: 0,
    job: { state: "paused", done: 0 },
  });
  await store.store.call("changeJob", { id, to: "running" });
  expect(await store.store.call("stepJob", one)).toMatchObject({ moved: 30, job: { state: "finished" } });
  expect(read(store, (db) => acts(db, {}).acts)).toMatchObject([
    { what: "pauseJob", detail: { done: 0 } },
    { what: "beginJob", who: "anna", reason: "restored", detail: { kind: "replay", job: id } },
  ]);
});

it("leaves alone what is in another state by then, and counts it", async () => {
  const store = await TestStore.open();
  const lane = await deliveredOnes(store);
  const waiting = await store.put();
  const started = await store.store.call("startJob", REPLAY);
  if (started.kind !== "started") throw new Error(started.kind);
  const rows = [[lane, waiting.seq - 1] as const, [lane, waiting.seq] as const, [lane, 999] as const];
  const done = await store.store.call("stepJob", {
    id: started.job.id,
    fromSeq: 0,
    toSeq: 999,
    rows,
    ended: true,
  });
  expect(done).toMatchObject({ moved: 1, job: { done: 1, skipped: 2 } });
  expect(store.audit().mismatches).toEqual([]);
});

it("sends no message into another flow whose content is not what was accepted", async () => {
  const store = await TestStore.open({ flows: ["outbox", "archive"] });
  const { seq, lane } = await store.put({ payload: Buffer.from("as it came") });
  await store.deliver(lane);
  await store.store.stop();
  const db = new Database(join(store.dataDir, "store.db"));
  db.prepare("UPDATE messages SET payload = ?").run(Buffer.from("as it rots"));
  db.close();
  const again = await store.reopen();
  const started = await again.store.call("startJob", { ...REPLAY, selection: { into: "archive" } });
  if (started.kind !== "started") throw new Error(started.kind);
  const { id } = started.job;
  const rows = [[lane, seq] as const];
  const result = await again.store.call("stepJob", {
    id,
    fromSeq: 0,
    toSeq: seq,
    rows,
    ended: true,
    intoOrder: "device",
  });
  expect(result).toMatchObject({ moved: 0, job: { skipped: 1 } });
});
