import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DELIVERY_STATES } from "../../src/core/outcome.ts";
import { openForReading } from "../../src/queue/database.ts";
import { runQuery } from "../../src/queue/queries.ts";
import { auditSteps } from "../../src/queue/queries-audit.ts";
import { StoreBuilder } from "../support/store-builder.ts";

let built: StoreBuilder;

beforeEach(() => {
  built = new StoreBuilder();
  for (const state of DELIVERY_STATES) {
    built.message({
      device: "a",
      deliveries: [
        { flow: "mes", state },
        { flow: "lake", state: "delivered" },
      ],
    });
    built.message({ device: "b", deliveries: [{ flow: "mes", state }] });
  }
  built.message({ device: "c" });
});

afterEach(() => built.remove());

function audit() {
  const db = openForReading(built.dataDir);
  try {
    return runQuery(db, "audit", {});
  } finally {
    db.close();
  }
}

const sql = (text: string) => built.db.exec(text);

describe("the audit", () => {
  it("balances a store in which every message is accounted for, pruned ones included", () => {
    expect(audit()).toEqual({
      balanced: true,
      mismatches: [],
      mismatchesTotal: 0,
      deliveriesRead: 24,
      messagesCounted: 17,
    });
    for (const seq of [7, 8, 17]) built.prune(seq);
    expect(audit()).toMatchObject({ balanced: true, messagesCounted: 14 });
  });

  it("alarms when a delivery was deleted behind the tally's back", () => {
    sql("DELETE FROM deliveries WHERE state = 'delivered' AND seq = 7");
    const { balanced, mismatches } = audit();
    expect(balanced).toBe(false);
    expect(mismatches).toContainEqual(
      expect.objectContaining({ check: "rows", flow: "mes", what: "delivered", expected: 2, found: 1 }),
    );
  });

  it("alarms when something is held for an export, and not counted so", () => {
    built.message({ deliveries: [{ flow: "mes", heldFor: built.export("e-1") }] });
    expect(audit()).toMatchObject({ balanced: true });
    sql("UPDATE deliveries SET export = NULL WHERE export IS NOT NULL");
    expect(audit().mismatches).toEqual([
      expect.objectContaining({ check: "held", flow: "mes", expected: 1, found: 0 }),
    ]);
  });

  it("alarms when a delivery changed its state uncounted", () => {
    sql("UPDATE deliveries SET state = 'delivered' WHERE state = 'dead'");
    expect(
      audit().mismatches.map(({ check, what, expected, found }) => [check, what, expected, found]),
    ).toEqual([
      ["rows", "delivered", 2, 4],
      ["rows", "dead", 2, 0],
    ]);
  });

  it("alarms when the figures of a flow do not add up to what it accepted", () => {
    sql("UPDATE tally SET n = n + 1 WHERE flow = 'mes' AND what = 'accepted'");
    expect(audit().mismatches).toEqual([
      expect.objectContaining({ check: "balance", flow: "mes", expected: 17, found: 16 }),
    ]);
  });

  it("alarms when a message row is gone while its delivery stays", () => {
    sql("DELETE FROM messages WHERE seq = 3");
    expect(audit().mismatches).toEqual([
      expect.objectContaining({ check: "messages", flow: "", expected: 17, found: 16 }),
    ]);
  });

  it("alarms when a lane does not count a waiting delivery, which would never be looked for", () => {
    sql("UPDATE lanes SET open = 0 WHERE flow = 'mes' AND key = 'a'");
    const { mismatches } = audit();
    expect(mismatches[0]).toMatchObject({
      check: "lane",
      flow: "mes",
      what: "open of a",
      expected: 0,
      found: 3,
    });
  });

  it("alarms when a lane begins after one of its waiting deliveries", () => {
    sql("UPDATE lanes SET head = 3 WHERE flow = 'mes' AND key = 'a'");
    expect(audit().mismatches).toEqual([
      expect.objectContaining({ check: "lane", what: "head of a", expected: 3, found: 1 }),
    ]);
  });

  it("alarms for deliveries whose lane is gone, and for lanes that claim what they have not", () => {
    sql("DELETE FROM lanes WHERE flow = 'lake'");
    expect(audit().mismatches.map(({ check }) => check)).toContain("orphan");
    sql("INSERT INTO lanes (flow, key, head, open) VALUES ('ghost', 'x', 1, 5)");
    expect(audit().mismatches).toContainEqual(
      expect.objectContaining({
        check: "lane",
        flow: "ghost",
        what: "open of all lanes",
        expected: 5,
        found: 0,
      }),
    );
  });

  it("names at most fifty mismatches and counts all of them", () => {
    built.many(() => {
      for (let i = 0; i < 80; i++) built.message({ device: `d${i}`, deliveries: [{ flow: "mes" }] });
    });
    sql("UPDATE lanes SET open = 9 WHERE key LIKE 'd%'");
    const { mismatches, mismatchesTotal } = audit();
    expect(mismatches).toHaveLength(50);
    expect(mismatchesTotal).toBe(81);
  });

  it("goes in steps over a long lane and over many lanes, and sees one commit all along", () => {
    built.many(() => {
      for (let i = 0; i < 45_000; i++)
        built.message({ device: i % 3 ? "long" : `d${i}`, payload: "", deliveries: [{ flow: "mes" }] });
    });
    const db = openForReading(built.dataDir);
    db.exec("BEGIN");
    const steps = auditSteps(db);
    let count = 0;
    for (;;) {
      const step = steps.next();
      if (count++ === 0) sql("DELETE FROM deliveries WHERE state = 'waiting'");
      if (step.done) {
        expect(step.value).toMatchObject({ balanced: true, deliveriesRead: 45_024 });
        break;
      }
    }
    expect(count).toBeGreaterThan(3);
    db.exec("COMMIT");
    db.close();
    expect(audit().balanced).toBe(false);
  });
});
