/** A backend's list on disk: longer than memory, in whatever order, and nothing of it stays. */
import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { IdList, reconcile } from "../../src/queue/id-list.ts";
import type { LedgerPage } from "../../src/queue/queries-ledger.ts";
import { StoreBuilder } from "../support/store-builder.ts";
import { scratchFolder } from "../support/test-store.ts";

const ROOT = join(import.meta.dirname, "../..");
const ALL = { fromMs: 0, toMs: 10, madeAtMs: 10 };

/** Files of this process that have no name any more. */
function nameless(): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).endsWith(" (deleted)");
    } catch {
      return false;
    }
  }).length;
}

async function* batches(ids: readonly string[], size: number): AsyncGenerator<readonly string[]> {
  for (let at = 0; at < ids.length; at += size) yield ids.slice(at, at + size);
}

const delivered = (id: string) => ({ id, state: "delivered", acceptedAtMs: 1, updatedAtMs: 1 }) as const;

/** A ledger of two pages. */
const ledgerOf = (ids: readonly string[]) => {
  const half = Math.ceil(ids.length / 2);
  return async (after: number): Promise<LedgerPage> => ({
    rows: (after === 0 ? ids.slice(0, half) : ids.slice(half)).map(delivered),
    next: after === 0 ? 1 : null,
    prunedDelivered: 3,
  });
};

describe("a list", () => {
  it("is the same whatever its order and its batches", async () => {
    const here = Array.from({ length: 40 }, (_, n) => `m-${n}`);
    const there = [...here.slice(3), "m-5", "m-5", "m-9", "other"];
    const told = [];
    for (const [ids, size] of [
      [there, 1],
      [there.toReversed(), 7],
      [there.toSorted(), 100],
    ] as const) {
      const list = new IdList(ALL);
      const compared = await reconcile(list, batches(ids, size), ledgerOf(here));
      told.push({ ...compared, shown: list.shown(2) });
      list.close();
    }
    expect(told[0]).toEqual({
      listed: 38,
      agreed: 37,
      later: 0,
      outside: 0,
      pruned: 3,
      found: { missing: 3, doubled: 2, unexpected: 1, "not delivered here": 0 },
      shown: {
        missing: [
          { id: "m-0", detail: null },
          { id: "m-1", detail: null },
        ],
        doubled: [
          { id: "m-5", detail: "3" },
          { id: "m-9", detail: "2" },
        ],
        unexpected: [{ id: "other", detail: null }],
        "not delivered here": [],
      },
    });
    expect(told).toEqual([told[0], told[0], told[0]]);
  });

  it("that is longer than memory is in a file without a name, gone when it is closed", async () => {
    const before = nameless();
    const list = new IdList(ALL);
    for (let n = 0; n < 100; n++) list.add(Array.from({ length: 5000 }, () => randomUUID()));
    expect(nameless()).toBeGreaterThan(before);
    list.close();
    expect(nameless()).toBe(before);
  });

  it("that finds no room for its file is said to, and what to look at", () => {
    const store = new StoreBuilder(scratchFolder());
    store.message({ deliveries: [{ flow: "mes", state: "delivered" }] });
    store.close();
    const file = join(store.dataDir, "ids");
    writeFileSync(file, Array.from({ length: 500_000 }, () => randomUUID()).join("\n"));
    const command = `${process.execPath} src/main.ts reconcile --flow mes --ids ${file} --data ${store.dataDir}`;
    const run = (limit: string) =>
      spawnSync("sh", ["-c", `ulimit -f ${limit}; exec ${command}`], { cwd: ROOT });
    const { stderr } = run("4000");
    expect(String(stderr)).toContain("the folder for temporary files does not take a list of this length");
    // It is the room alone.
    expect(String(run("unlimited").stdout)).toContain("500,000 ids there");
  }, 60_000);
});
