/** A log that was left behind is written again before a gateway goes on with it. */
import { copyFileSync, mkdirSync, readFileSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { connect } from "../../src/queue/database.ts";
import { renewLog } from "../../src/queue/log-renewal.ts";
import { BareWriter } from "../support/bare-writer.ts";
import { scratchFolder } from "../support/test-store.ts";

const LONG_AGO = new Date(2020, 0, 1);

/** The files of a store whose process is killed with more than a step's worth in its log. */
function killedStore(): string {
  const folder = scratchFolder();
  const writer = new BareWriter(join(folder, "alive"), {}, { synchronous: "OFF" });
  writer.registerFlows(["outbox"]);
  const payload = new Uint8Array(500_000);
  for (const id of ["a", "b", "c", "d"]) {
    writer.appendTo({ id, flows: ["outbox"], key: "press-7", identity: null, steadyAtMs: 0, payload });
  }
  mkdirSync(join(folder, "killed"));
  for (const name of ["store.db", "store.db-wal"]) {
    copyFileSync(join(folder, "alive", name), join(folder, "killed", name));
  }
  writer.close();
  return join(folder, "killed", "store.db");
}

it("writes every byte of the log again before SQLite opens it, and changes none", () => {
  const file = killedStore();
  const log = `${file}-wal`;
  const before = readFileSync(log);
  expect(before.length).toBeGreaterThan(2 ** 20);
  utimesSync(log, LONG_AGO, LONG_AGO);
  const db = connect(file);
  try {
    expect(statSync(log).mtimeMs).toBeGreaterThan(LONG_AGO.getTime());
    expect(readFileSync(log).equals(before)).toBe(true);
    expect(db.prepare("SELECT id FROM messages ORDER BY seq").pluck().all()).toEqual(["a", "b", "c", "d"]);
  } finally {
    db.close();
  }
});

it("makes no log where there is none", () => {
  const log = join(scratchFolder(), "store.db-wal");
  renewLog(log);
  expect(() => statSync(log)).toThrow(expect.objectContaining({ code: "ENOENT" }));
});
