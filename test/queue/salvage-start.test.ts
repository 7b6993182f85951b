/** What a salvage does beside reading: cut off at any moment, refused, seen by a person, and what may come again. */
import fs, {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { salvageFolder, verifyFolder } from "../../src/queue/by-hand.ts";
import { readMark } from "../../src/queue/mark.ts";
import type { SalvageReport } from "../../src/queue/salvage-report.ts";
import type { BareWriter } from "../support/bare-writer.ts";
import { capability } from "../support/capabilities.ts";
import { type Image, knownStore, layDown, openMarked, readRows, someFolder } from "../support/known-store.ts";
import { readRows as ask, auditFolder } from "../support/test-store.ts";

const LONG = capability("long").present;
const PAGE = 4096;
let root: string;
let killed: Image;
let stopped: Image;
/** A page of the table of messages with several rows on it. */
let page: number;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "holdfast-salvage-"));
  ({ killed, stopped } = knownStore(someFolder(root), 60));
  const dataDir = someFolder(root);
  layDown(dataDir, stopped.files);
  const db = new Database(join(dataDir, "store.db"));
  page = db
    .prepare(
      "SELECT pageno FROM dbstat WHERE name = 'messages' AND pagetype = 'leaf' ORDER BY ncell DESC LIMIT 1",
    )
    .pluck()
    .get() as number;
  db.close();
}, 60_000);

afterAll(() => rmSync(root, { recursive: true, force: true }));

/** A folder with a page of messages overwritten, which the start is to look for. */
function withoutPage(): string {
  const dataDir = someFolder(root);
  layDown(dataDir, stopped.files);
  const bytes = readFileSync(join(dataDir, "store.db"));
  bytes.fill(0xa5, (page - 1) * PAGE, page * PAGE);
  writeFileSync(join(dataDir, "store.db"), bytes);
  writeFileSync(join(dataDir, "store.suspect"), "{}");
  return dataDir;
}

function started<T>(dataDir: string, look: (writer: BareWriter, report: SalvageReport | null) => T): T {
  const writer = openMarked(dataDir);
  try {
    return look(writer, writer.opened.salvaged);
  } finally {
    writer.close();
  }
}

class PowerCut extends Error {}

const STEPS = ["renameSync", "mkdirSync", "fsyncSync", "rmSync", "openSync", "writeSync"] as const;

/** Runs `work` in which the power goes at the N-th step that changes the disk: that one and all after it fail. */
function cutAt(step: number, work: () => void): boolean {
  const real = Object.fromEntries(STEPS.map((name) => [name, fs[name]]));
  let steps = 0;
  for (const name of STEPS) {
    Object.assign(fs, {
      [name]: (...args: never[]) => {
        steps += 1;
        if (steps >= step) throw new PowerCut();
        return (real[name] as (...args: never[]) => unknown)(...args);
      },
    });
  }
  syncBuiltinESMExports();
  try {
    work();
    return false;
  } catch (error) {
    if (!(error instanceof PowerCut) && !((error as Error).cause instanceof PowerCut)) throw error;
    return true;
  } finally {
    Object.assign(fs, real);
    syncBuiltinESMExports();
  }
}

describe("a salvage that is cut off", () => {
  it("at any step leaves what the next start goes on from: once salvaged, nothing lost, the damaged files kept", () => {
    let step = 1;
    for (; step < 200; step += LONG ? 1 : 3) {
      const dataDir = withoutPage();
      const before = readFileSync(join(dataDir, "store.db"));
      let first: BareWriter | undefined;
      const cut = cutAt(step, () => {
        first = openMarked(dataDir);
      });
      first?.close();
      if (!cut) break;
      const reported = started(dataDir, (_, report) => report);
      const folders = readdirSync(dataDir).filter((name) => name.startsWith("damaged-"));
      expect(folders, `cut at step ${step}`).toHaveLength(1);
      expect(readFileSync(join(dataDir, folders[0]!, "store.db")).equals(before), `cut at step ${step}`).toBe(
        true,
      );
      expect(existsSync(join(dataDir, folders[0]!, "report.json"))).toBe(true);
      // Said by the start that finished it, or by the one before, whose store was in place already.
      const known = readRows(dataDir).messages.length;
      expect(known).toBe(stopped.rows.messages.length - (reported?.messagesLost ?? lostOf(dataDir)));
      expect(auditFolder(dataDir).mismatches).toEqual([]);
      expect(started(dataDir, (_, report) => report)).toBeNull();
      rmSync(dataDir, { recursive: true });
    }
    expect(step).toBeGreaterThan(15);
    expect(step).toBeLessThan(200);
  }, 60_000);
});

function lostOf(dataDir: string): number {
  return ask<{ n: number }>(dataDir, "SELECT count(*) AS n FROM lost")[0]!.n;
}

describe("a message whose content is lost", () => {
  it("is dead where it was not delivered, is never sent, and is taken when it comes again", () => {
    const dataDir = withoutPage();
    started(dataDir, (writer, report) => {
      expect(report!.messagesLost).toBeGreaterThan(1);
      const { id } = report!.lost[0]!;
      expect(stopped.rows.messages.map((message) => message.id)).toContain(id);
      const again = { flows: ["mes"], key: "press-1", steadyAtMs: 1, identity: id };
      writer.registerFlows(["mes", "archive"]);
      const undelivered = ask<{ id: string }>(
        dataDir,
        "SELECT l.id FROM lost l WHERE EXISTS (SELECT 1 FROM deliveries d WHERE d.seq = l.seq AND d.state = 'dead')",
      );
      expect(undelivered).toHaveLength(report!.undeliveredLost);
      for (const lost of undelivered) {
        expect(writer.appendTo({ ...again, id: lost.id, identity: lost.id }).kind).toBe("stored");
      }
      const kept = readRows(dataDir).messages[0]!.id;
      expect(writer.appendTo({ ...again, id: kept, identity: kept }).kind).toBe("duplicate");
      // Put back in line by somebody, it is set aside again instead of being sent empty.
      writer.call("redrive", { limit: 1000 });
      for (const { lane, flow } of writer.call("openLanes", null)) {
        const { deliveries } = writer.claim(lane, 1000, 1e9, flow === "archive");
        for (const { message } of deliveries) expect(message.id).not.toMatch(/^lost:/);
      }
    });
    expect(auditFolder(dataDir).mismatches).toEqual([]);
  });

  it("stays dead until the folder is moved away, which says that a person has seen it; then it is discarded", () => {
    const dataDir = withoutPage();
    const { folder, undeliveredLost } = started(dataDir, (_, report) => report!);
    const states = () =>
      ask<{ state: string; n: number }>(
        dataDir,
        `SELECT d.state, count(DISTINCT d.seq) AS n FROM deliveries d JOIN lost l ON l.seq = d.seq
         WHERE d.state IN ('dead', 'discarded') GROUP BY d.state`,
      );
    expect(undeliveredLost).toBeGreaterThan(0);
    started(dataDir, () => expect(states()).toEqual([{ state: "dead", n: undeliveredLost }]));
    renameSync(join(dataDir, folder), someFolder(root));
    started(dataDir, () => expect(states()).toEqual([{ state: "discarded", n: undeliveredLost }]));
    expect(auditFolder(dataDir).mismatches).toEqual([]);
    expect(verifyFolder(dataDir)).toMatchObject({ problems: [], salvages: [] });
  });
});

describe("a start that may not salvage", () => {
  it("says what it found and touches nothing", () => {
    const dataDir = withoutPage();
    const before = readdirSync(dataDir).map((name) => [name, readFileSync(join(dataDir, name), "hex")]);
    expect(() => openMarked(dataDir, { onDamage: "refuse" })).toThrow(
      expect.objectContaining({
        code: "HF_STORE_DAMAGED",
        message: expect.stringContaining("onDamage is refuse"),
      }),
    );
    const isIndex = ([name]: string[]) => name!.endsWith("-shm") || name!.endsWith("-wal");
    const after = readdirSync(dataDir).map((name) => [name, readFileSync(join(dataDir, name), "hex")]);
    expect(after.filter((file) => !isIndex(file))).toEqual(before);
  });

  it("because the new store has no room, or no right to be, is refused and leaves the files in place", () => {
    const dataDir = withoutPage();
    // A folder of that name cannot be written over.
    mkdirSync(join(dataDir, "store.db.salvaged", "x"), { recursive: true });
    expect(() => openMarked(dataDir)).toThrow(
      expect.objectContaining({ code: expect.stringMatching(/^HF_STORE_/) }),
    );
    expect(existsSync(join(dataDir, "store.db"))).toBe(true);
    expect(readdirSync(dataDir).filter((name) => name.startsWith("damaged-"))).toEqual([]);
  });
});

describe("a store of the format before", () => {
  it("is migrated with its messages, which have no checksum and are taken as they are", () => {
    const dataDir = formatOne();
    started(dataDir, (writer, report) => {
      expect(report).toBeNull();
      const [lane] = writer.call("openLanes", null);
      expect(writer.claim(lane!.lane, 10, 1e9, false).deliveries).toHaveLength(3);
    });
    expect(readMark(dataDir).kind).toBe("read");
  });

  it("is salvaged as well", () => {
    const dataDir = formatOne();
    const bytes = readFileSync(join(dataDir, "store.db"));
    bytes.fill(0, 0, 100);
    writeFileSync(join(dataDir, "store.db"), bytes);
    expect(started(dataDir, (_, report) => report)).toMatchObject({ messagesSalvaged: 3, messagesLost: 0 });
  });
});

/** Made by the first migration alone, with three messages in one lane. */
function formatOne(): string {
  const dataDir = someFolder(root);
  mkdirSync(dataDir);
  const db = new Database(join(dataDir, "store.db"));
  db.pragma("auto_vacuum = INCREMENTAL");
  db.pragma("journal_mode = WAL");
  db.exec(readFileSync(new URL("../../src/queue/migrations/001-spine.sql", import.meta.url), "utf8"));
  db.exec(`
    PRAGMA user_version = 1;
    INSERT INTO boots VALUES (1, 'b', '0.1.0', 1, 1, 1, 1, 1);
    INSERT INTO flow_versions VALUES (1, 'mes', 'h', '{}', 1);
    INSERT INTO lanes VALUES (1, 'mes', 'press-1', 1, 3);
    INSERT INTO messages (seq, id, device, source, topic, payload, qos, retain, accepted_at, steady_at, boot, routes)
      SELECT value, 'm' || value, 'press-1', 'mqtt', 't', x'7b7d', 1, 0, 1, 1, 1, '[[1,1]]'
      FROM json_each('[1,2,3]');
    INSERT INTO deliveries (lane, seq, state, updated_at) SELECT 1, seq, 'waiting', 1 FROM messages;
    INSERT INTO tally VALUES ('', 'accepted', 3), ('mes', 'accepted', 3), ('mes', 'waiting', 3);`);
  db.close();
  return dataDir;
}

describe("files that do not belong together", () => {
  it("the log of another store is left out, and what ours had in its own is said to be missing", () => {
    const other = knownStore(someFolder(root), 40).killed;
    const dataDir = someFolder(root);
    layDown(dataDir, new Map([...killed.files, ["store.db-wal", other.files.get("store.db-wal")!]]));
    const report = started(dataDir, (_, found) => found)!;
    expect(report.problems.join()).toMatch(/store\.db-wal belongs to another store/);
    expect(report.messagesMissingMax).toBeGreaterThan(0);
    const ours = new Set(killed.rows.messages.map(({ id, payload }) => `${id} ${payload}`));
    const found = readRows(dataDir).messages;
    expect(found.length).toBeGreaterThan(30);
    expect(found.filter(({ id, payload }) => !ours.has(`${id} ${payload}`))).toEqual([]);
  });

  it("another store in the place of ours is said to be that, and what is open in it goes out as a repeat", () => {
    const other = knownStore(someFolder(root), 40).stopped;
    const dataDir = someFolder(root);
    layDown(dataDir, new Map([...stopped.files, ["store.db", other.files.get("store.db")!]]));
    const report = started(dataDir, (_, found) => found)!;
    expect(report).toMatchObject({ otherStore: true });
    expect(report.problems[0]).toMatch(/not the store that was open here last/);
    expect(readRows(dataDir).deliveries.filter(({ state }) => state === "waiting")).toEqual([]);
  });
});

describe("by hand", () => {
  it("verify tells a sound store from one with a bit flipped in a payload, which no page shows", () => {
    const dataDir = someFolder(root);
    layDown(dataDir, stopped.files);
    expect(verifyFolder(dataDir)).toMatchObject({ problems: [], messages: stopped.rows.messages.length });
    const bytes = readFileSync(join(dataDir, "store.db"));
    // Old copies of the row may lie about in free space.
    const sought = `${stopped.rows.messages[5]!.id}:pp`;
    for (let at = bytes.indexOf(sought); at >= 0; at = bytes.indexOf(sought, at + 1))
      bytes[at + sought.length]! ^= 1;
    writeFileSync(join(dataDir, "store.db"), bytes);
    expect(verifyFolder(dataDir).problems).toEqual([
      expect.stringMatching(/^the content of one message is not what was accepted: id-/),
    ]);
    // And such a message is not sent: it is set aside.
    started(dataDir, (writer) => {
      writer.call("redrive", { limit: 1000 });
      for (const { lane, flow } of writer.call("openLanes", null)) {
        for (const { message } of writer.claim(lane, 1000, 1e9, flow === "archive").deliveries) {
          expect(stopped.rows.messages.find(({ id }) => id === message.id)!.payload).toBe(
            message.payload.toString(),
          );
        }
      }
    });
    expect(auditFolder(dataDir).mismatches).toEqual([]);
  });

  it("salvage leaves the folder as it is and makes a store that starts", () => {
    const from = withoutPage();
    const before = readdirSync(from).map((name) => readFileSync(join(from, name), "hex"));
    const into = someFolder(root);
    const report = salvageFolder(from, into, Date.UTC(2026, 5, 2));
    expect(report.problems.length).toBeGreaterThan(0);
    expect(report.messagesLost).toBeGreaterThan(0);
    expect(readdirSync(from).filter((name) => !/-(shm|wal)$/.test(name))).toHaveLength(before.length);
    started(into, (writer) => expect(writer.opened.salvaged).toBeNull());
    expect(auditFolder(into).mismatches).toEqual([]);
    // Told by the store, for as long as what it was made of is where it was.
    expect(verifyFolder(into).salvages).toMatchObject([{ messagesLost: report.messagesLost }]);
    expect(() => salvageFolder(from, into, 0)).toThrow(expect.objectContaining({ code: "HF_USAGE" }));
  });
});
