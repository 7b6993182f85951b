/**
 * What people have done to messages outlives damage elsewhere in the store: edits are in effect, pauses hold, jobs are
 * where they were, and what is held for an export stays held. An edit that is damaged itself is not sent as if it were none.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, expect, it } from "vitest";
import { salvageFolder } from "../../src/queue/by-hand.ts";
import { openForReading, PAGE_BYTES } from "../../src/queue/database.ts";
import { audit } from "../../src/queue/queries-audit.ts";
import type { BareWriter } from "../support/bare-writer.ts";
import { openMarked } from "../support/known-store.ts";

const act = { who: "anna", what: "test", detail: {}, reason: "test" };
const word = { by: "anna", why: "sensor off" };
const MESSAGES = 60;

let root: string;
let image: Buffer;
let folders = 0;

function fill(writer: BareWriter): void {
  writer.registerFlows(["mes"]);
  for (let n = 0; n < MESSAGES; n++) {
    const id = `m-${n}`;
    const payload = Buffer.from(`${id}:${"p".repeat(200)}`);
    writer.appendTo({ id, flows: ["mes"], key: `press-${n % 3}`, identity: id, steadyAtMs: n + 1, payload });
  }
  const left: [number, number][] = [];
  for (const { lane } of writer.call("openLanes", null)) {
    for (const { message } of writer.claim(lane, 8, 100, false).deliveries) {
      const settled = { attempts: 1, resend: false, dueAtMs: null, reason: "HTTP 422", note: "dead" };
      writer.settle([{ lane, seq: message.seq, state: "dead", ...settled }]);
      if (message.seq % 2 === 0) left.push([lane, message.seq]);
      if (message.seq % 2 === 0) continue;
      const payload = Buffer.from(`mended ${message.id}`).toString("base64");
      const edit = { lane, seq: message.seq, base: null, topic: "mended", payload, contentType: null };
      writer.call("edit", { ...edit, changed: ["payload"], word, act });
    }
  }
  writer.call("pause", { kind: "flow", name: "mes", word, act });
  writer.call("startJob", {
    kind: "redrive",
    selection: { flow: "mes" },
    rate: 5,
    total: 12,
    openMax: 5,
    act,
  });
  writer.call("beginExport", { id: "e-1", selection: { states: "dead" }, copy: false, act });
  writer.call("holdExport", { id: "e-1", rows: left });
}

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "holdfast-kept-"));
  const dataDir = join(root, "known");
  const writer = openMarked(dataDir);
  fill(writer);
  writer.close();
  image = readFileSync(join(dataDir, "store.db"));
}, 60_000);

afterAll(() => rmSync(root, { recursive: true, force: true }));

/** The pages of a table, of an index too. */
function pagesOf(table: string): number[] {
  const db = new Database(join(root, "known/store.db"), { readonly: true });
  const pages = db.prepare("SELECT pageno FROM dbstat WHERE name = ?").pluck().all(table) as number[];
  db.close();
  return pages;
}

/** The store with one page of noise, salvaged; what is in it then. */
function salvagedWithout(page: number) {
  const from = join(root, `damaged-${++folders}`);
  const into = join(root, `into-${folders}`);
  mkdirSync(from);
  const bytes = Buffer.from(image);
  bytes.fill(0x5a, (page - 1) * PAGE_BYTES, page * PAGE_BYTES);
  writeFileSync(join(from, "store.db"), bytes);
  salvageFolder(from, into, Date.UTC(2026, 5, 2));
  return kept(into);
}

function kept(dataDir: string) {
  const db = openForReading(dataDir);
  try {
    const all = (sql: string) => db.prepare(sql).all();
    return {
      edits: all("SELECT id, lane, seq, topic, hex(payload) AS payload, who, reason FROM edits ORDER BY id"),
      inEffect: all("SELECT lane, seq, edit FROM deliveries WHERE edit IS NOT NULL ORDER BY lane, seq"),
      held: all(
        "SELECT lane, seq, state, due_at, export FROM deliveries WHERE export IS NOT NULL ORDER BY lane, seq",
      ),
      pauses: all("SELECT kind, name, who FROM pauses"),
      jobs: all("SELECT id, kind, state, selection, at_seq, until_seq, total FROM jobs"),
      exports: all("SELECT number, id, state FROM exports"),
      mismatches: audit(db).mismatches,
    };
  } finally {
    db.close();
  }
}

it("is kept whatever else is damaged, and the books balance", () => {
  const before = kept(join(root, "known"));
  expect([before.edits.length, before.inEffect.length]).toEqual([12, 12]);
  expect([before.pauses.length, before.jobs.length, before.exports.length]).toEqual([1, 1, 1]);
  expect(before.held.length).toBeGreaterThan(0);
  for (const elsewhere of ["history", "acts", "boots", "identities", "deliveries_dead", "tally"]) {
    const pages = pagesOf(elsewhere);
    expect(pages.length, elsewhere).toBeGreaterThan(0);
    expect(salvagedWithout(pages.at(-1)!), elsewhere).toEqual(before);
  }
});

it("would be seen to be gone: an edit that is damaged itself leaves its delivery with an edit that is not there", () => {
  const before = kept(join(root, "known"));
  const after = salvagedWithout(pagesOf("edits").at(-1)!);
  expect(after.edits.length).toBeLessThan(before.edits.length);
  // So it is dead at the next claim, instead of going out as somebody has said is wrong.
  expect(after.inEffect).toEqual(before.inEffect);
  expect(after.mismatches).toEqual([]);
});

it("has something stand in for an export that is gone, under its id, so that it can be ended", () => {
  const before = kept(join(root, "known"));
  const after = salvagedWithout(pagesOf("exports")[0]!);
  expect(after.held).toEqual(before.held);
  expect(after.exports).toEqual([{ number: 1, id: "e-1", state: "held" }]);
  expect(after.mismatches).toEqual([]);
  const writer = openMarked(join(root, `into-${folders}`));
  writer.call("endExport", { id: "e-1", fate: { to: "cancelled", why: "lost" }, limit: 100, act });
  writer.close();
  expect(kept(join(root, `into-${folders}`)).held).toEqual([]);
});
