/** The schema itself refuses states that must not be, whoever writes them; and migrations run once each. */
import type Database from "better-sqlite3";
import { describe, expect, it, onTestFinished } from "vitest";
import { DELIVERY_STATES } from "../../src/core/outcome.ts";
import { formatKnown, openForReading, openStore } from "../../src/queue/database.ts";
import { scratchFolder } from "../support/test-store.ts";

function open(dataDir = scratchFolder()): Database.Database {
  const db = openStore(dataDir, { walBytesMax: 2 ** 20, cacheBytes: 2 ** 20 });
  onTestFinished(() => void db.close());
  return db;
}

const DELIVERY = {
  lane: 1,
  seq: 1,
  state: "waiting",
  attempts: 0,
  late: 0,
  resend: 0,
  due_at: null as number | null,
  updated_at: 1,
};

function insert(db: Database.Database, table: string, row: Record<string, unknown>) {
  const names = Object.keys(row);
  return () =>
    db.prepare(`INSERT INTO ${table} (${names}) VALUES (${names.map((name) => `@${name}`)})`).run(row);
}

describe("deliveries", () => {
  it("take every state there is, and no other", () => {
    const db = open();
    for (const [at, state] of DELIVERY_STATES.entries())
      insert(db, "deliveries", { ...DELIVERY, seq: at, state })();
    for (const state of ["", "WAITING", "lost", "retry"]) {
      expect(insert(db, "deliveries", { ...DELIVERY, seq: 99, state }), state).toThrow(/CHECK/);
    }
  });

  it("have a time to wait for only where something waits", () => {
    const db = open();
    for (const [at, state] of DELIVERY_STATES.entries()) {
      const attempt = insert(db, "deliveries", { ...DELIVERY, seq: at, state, due_at: 5 });
      if (state === "waiting" || state === "unknown") attempt();
      else expect(attempt, state).toThrow(/CHECK/);
    }
  });

  it.each([
    ["late", 2],
    ["resend", -1],
    ["due_at", 1.5],
    ["attempts", "many"],
    ["state", null],
  ])("refuse %s = %s", (name, value) => {
    const attempt = insert(open(), "deliveries", { ...DELIVERY, [name]: value });
    expect(attempt).toThrow(expect.objectContaining({ code: expect.stringMatching(/^SQLITE_CONSTRAINT/) }));
  });

  it("are one per message and lane", () => {
    const db = open();
    insert(db, "deliveries", DELIVERY)();
    expect(insert(db, "deliveries", DELIVERY)).toThrow(/UNIQUE/);
  });
});

it("a lane never has fewer than no open deliveries", () => {
  const lane = { id: 1, flow: "outbox", key: "a", head: 1 };
  expect(insert(open(), "lanes", { ...lane, open: -1 })).toThrow(/CHECK/);
  insert(open(), "lanes", { ...lane, open: 0 })();
});

it("a packet id is one", () => {
  const packet = { client: "c", digest: Buffer.alloc(8), seq: 1, id: "m", expire_at: 1 };
  const db = open();
  for (const packet_id of [0, 65_536]) {
    expect(insert(db, "packet_ids", { ...packet, packet_id })).toThrow(/CHECK/);
  }
  for (const packet_id of [1, 65_535]) insert(db, "packet_ids", { ...packet, packet_id })();
});

it("a session row is of a kind that there is", () => {
  const row = { client: "c", key: "k", value: Buffer.alloc(0) };
  expect(insert(open(), "sessions", { ...row, kind: "wishes" })).toThrow(/CHECK/);
  insert(open(), "sessions", { ...row, kind: "will" })();
});

it("a store that is open already is not migrated again, and says its format", () => {
  const dataDir = scratchFolder();
  insert(open(dataDir), "lanes", { id: 1, flow: "outbox", key: "a", head: 1, open: 0 })();
  const again = open(dataDir);
  expect(again.prepare("SELECT count(*) FROM lanes").pluck().get()).toBe(1);
  expect(again.pragma("user_version", { simple: true })).toBe(formatKnown());
});

it("a store that held something before that was counted counts it from then on", () => {
  const dataDir = scratchFolder();
  const db = open(dataDir);
  insert(db, "lanes", { id: 1, flow: "mes", key: "a", head: 1, open: 2 })();
  for (const seq of [1, 2]) insert(db, "deliveries", { ...DELIVERY, seq, export: 1 })();
  insert(db, "deliveries", { ...DELIVERY, seq: 3 })();
  db.pragma("user_version = 9");
  db.close();
  const held = "SELECT flow, n FROM tally WHERE what = 'held'";
  expect(open(dataDir).prepare(held).all()).toEqual([{ flow: "mes", n: 2 }]);
});

it("opens for reading without a right to write", () => {
  const dataDir = scratchFolder();
  open(dataDir);
  const db = openForReading(dataDir);
  onTestFinished(() => void db.close());
  expect(() => db.exec("DELETE FROM lanes")).toThrow(/readonly|read-only|query_only/i);
});

it("a folder without a store is said to have none", () => {
  expect(() => openForReading(scratchFolder())).toThrow(expect.objectContaining({ code: "HF_NOT_FOUND" }));
});
