import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { acts } from "../../src/queue/queries-acts.ts";
import { BareWriter } from "../support/bare-writer.ts";
import { scratchFolder } from "../support/test-store.ts";

let writer: BareWriter;
let db: Database.Database;

beforeAll(() => {
  const dataDir = scratchFolder(afterAll);
  writer = new BareWriter(dataDir);
  writer.registerFlows(["mes"]);
  db = new Database(`${dataDir}/store.db`);
});

afterAll(() => {
  db.close();
  writer.close();
});

const act = { who: "anna", what: "retryDead", detail: { all: true }, reason: "mended" };

describe("an act", () => {
  it("is on record with what came of it, in the commit that it made", () => {
    const before = db.prepare("SELECT max(commits) FROM boots").pluck().get() as number;
    writer.call("redrive", { limit: 10, act });
    expect(db.prepare("SELECT max(commits) FROM boots").pluck().get()).toBe(before + 1);
    expect(acts(db, {}).acts).toMatchObject([{ ...act, detail: { all: true, redriven: 0 } }]);
  });

  it("is there for nobody to change or take out", () => {
    expect(() => db.exec("UPDATE acts SET who = 'nobody'")).toThrow("acts are never changed");
    expect(() => db.exec("DELETE FROM acts")).toThrow("acts are kept");
    expect(acts(db, {}).acts).toHaveLength(1);
  });

  it("keeps what came of it where what was asked for is too long to keep", () => {
    writer.call("redrive", { limit: 1, act: { ...act, detail: { ids: Array(2000).fill("an-id") } } });
    const { detail } = acts(db, { limit: 1 }).acts[0]!;
    expect(detail.redriven).toBe(0);
    expect(JSON.stringify(detail).length).toBeLessThan(10_000);
  });

  it("is found by who and what, a page at a time", () => {
    for (const who of ["bert", "anna", "bert"]) writer.call("act", { ...act, who, what: "login" });
    const whos = (params: Parameters<typeof acts>[1]) => acts(db, params).acts.map(({ who }) => who);
    expect(whos({ what: "login" })).toEqual(["bert", "anna", "bert"]);
    expect(whos({ who: "bert" })).toEqual(["bert", "bert"]);
    const first = acts(db, { limit: 2 });
    expect([first.acts.length, first.next]).toEqual([2, first.acts[1]!.id]);
    expect(acts(db, { before: first.next! }).acts).toHaveLength(3);
    expect(acts(db, { before: first.next! }).next).toBeNull();
  });

  it("gives way to newer ones above 100,000", () => {
    db.exec("INSERT INTO acts (id, at, who, what, detail) VALUES (100003, 0, 'x', 'y', '{}')");
    writer.call("act", act);
    expect(db.prepare("SELECT min(id) FROM acts").pluck().get()).toBe(5);
  });
});
