/**
 * What the store keeps on a disk that loses power at any moment, fills up and fails; and that the simulated disk
 * is as cruel as it should be, so that a store which did not sync would be found out.
 *
 * HOLDFAST_TEST_SEED repeats one seed; a failing one is printed.
 */
import { describe, expect, it } from "vitest";
import { seededRandom } from "../../src/core/random.ts";
import type { Db } from "../../src/queue/database.ts";
import { audit } from "../../src/queue/queries-audit.ts";
import { BareWriter } from "../support/bare-writer.ts";
import { capability } from "../support/capabilities.ts";
import { type Access, CrashError, isCrash, SimDisk } from "./world/sim-disk.ts";
import { openOnDisk } from "./world/sim-sqlite.ts";
import { StoreHistory } from "./world/store-history.ts";
import { freshStore } from "./world/store-image.ts";

const LONG = capability("long").present;
const SEEDS = LONG ? 5000 : capability("wide").present ? 100 : 40;
const SEED = process.env.HOLDFAST_TEST_SEED;
const FILE = "/data/store.db";
/** So that the log is folded into the store every few commits. */
const LOG_PAGES_MAX = 40;

const seeds = SEED === undefined ? Array.from({ length: SEEDS }, (_, at) => at + 1) : [Number(SEED)];

interface Opening {
  readonly synchronous?: "NORMAL" | "OFF";
  readonly logPagesMax?: number;
}

function open(
  disk: SimDisk,
  boot: string,
  { synchronous, logPagesMax = LOG_PAGES_MAX }: Opening = {},
): BareWriter {
  let db!: Db;
  const connect = (file: string) => {
    db = openOnDisk(disk, file);
    return db;
  };
  const writer = new BareWriter("/data", {}, { connect, boot, synchronous });
  db.pragma(`wal_autocheckpoint = ${logPagesMax}`);
  return writer;
}

/** Throws at the n-th access from now on; says which one it was. */
function dieAt(disk: SimDisk, nth: number): { access: Access | null } {
  const death: { access: Access | null } = { access: null };
  let left = nth;
  disk.before = (access) => {
    if (--left > 0) return;
    death.access = access;
    throw new CrashError(`died at a ${access.kind} of ${access.file}`);
  };
  return death;
}

interface Life {
  readonly synchronous?: "NORMAL" | "OFF";
  readonly lying?: boolean;
}

/** Two lives of a store on one disk, each ended by a power cut at any access; what is missing afterwards. */
function liveThroughCuts(seed: number, { synchronous, lying = false }: Life = {}): Lived {
  const random = seededRandom(seed);
  const disk = freshStore({ random: seededRandom(seed), sectorBytes: random.below(2) === 0 ? 512 : 4096 });
  const history = new StoreHistory(random);
  const deaths: Access[] = [];
  const complaints: string[] = [];
  for (let life = 0; life < 2 && complaints.length === 0; life++) {
    disk.liesAboutSync = lying;
    const death = dieAt(disk, 1 + random.below(500));
    try {
      history.begin(open(disk, `boot-${life}`, { synchronous }));
      for (;;) history.step();
    } catch (error) {
      if (!isCrash(error)) throw error;
    }
    deaths.push(death.access!);
    disk.cut(random);
    disk.before = null;
    disk.liesAboutSync = false;
    complaints.push(...examine(disk, history));
  }
  return { complaints, deaths, digest: disk.digest() };
}

interface Lived {
  readonly complaints: readonly string[];
  readonly deaths: readonly Access[];
  readonly digest: string;
}

/** As the next start finds it. */
function examine(disk: SimDisk, history: StoreHistory): string[] {
  let db: Db | undefined;
  try {
    db = openOnDisk(disk, FILE);
    const pages = db.pragma("integrity_check", { simple: true }) as string;
    if (pages !== "ok") return [pages];
    return [...history.complaints(db), ...audit(db).mismatches.map(({ sentence }) => sentence)];
  } catch (error) {
    return [String(error)];
  } finally {
    db?.close();
  }
}

describe("a store whose power is cut", { timeout: LONG ? 3_600_000 : 60_000 }, () => {
  it(`has all it has said yes to, and is whole, after cuts at any access (${seeds.length} seeds)`, () => {
    const deaths: Access[] = [];
    for (const seed of seeds) {
      const lived = liveThroughCuts(seed);
      expect(lived.complaints, `seed ${seed}`).toEqual([]);
      deaths.push(...lived.deaths);
    }
    if (SEED !== undefined) return;
    const at = (kind: string, file: string) =>
      deaths.filter((death) => death.kind === kind && death.file === file);
    // In the middle of a commit, before it is synced, and while the log is folded into the store.
    expect(at("write", `${FILE}-wal`).length).toBeGreaterThan(20);
    expect(at("sync", `${FILE}-wal`).length).toBeGreaterThan(2);
    expect(at("write", FILE).length).toBeGreaterThan(2);
  });

  it("is seen to forget where it does not sync each commit", () => {
    const found = seeds
      .slice(0, 20)
      .flatMap((seed) => liveThroughCuts(seed, { synchronous: "NORMAL" }).complaints);
    expect(found.join("\n")).toMatch(/is lost|is not \w+ any more/);
  });

  it("is seen to forget, or to be damaged, where the disk lies about syncs", () => {
    const found = seeds
      .slice(0, 20)
      .filter((seed) => liveThroughCuts(seed, { lying: true }).complaints.length > 0);
    expect(found.length).toBeGreaterThan(5);
  });

  it("comes out the same for the same seed, and otherwise for another", () => {
    const digests = [5, 5, 6].map((seed) => liveThroughCuts(seed).digest);
    expect(digests[1]).toBe(digests[0]);
    expect(digests[2]).not.toBe(digests[0]);
  });

  it("has all it has said yes to after a kill at each access of a short life", () => {
    const life = (nth: number) => {
      const disk = freshStore({ random: seededRandom(1) });
      const history = new StoreHistory(seededRandom(2));
      const death = dieAt(disk, nth);
      try {
        history.begin(open(disk, "boot"));
        history.steps(8);
      } catch (error) {
        if (!isCrash(error)) throw error;
      }
      disk.before = null;
      disk.crash();
      expect(examine(disk, history), `killed at access ${nth}`).toEqual([]);
      return death.access !== null;
    };
    let nth = 1;
    while (life(nth)) nth += 1;
    expect(nth).toBeGreaterThan(60);
  });

  it("has all it has said yes to where the power goes after a clean stop", () => {
    for (const seed of seeds.slice(0, 30)) {
      const disk = freshStore({ random: seededRandom(seed) });
      const history = new StoreHistory(seededRandom(seed));
      const writer = open(disk, "boot");
      history.begin(writer);
      history.steps(seed);
      writer.close();
      disk.cut(seededRandom(seed));
      expect(examine(disk, history), `seed ${seed}`).toEqual([]);
    }
  });
});

describe("a store on a disk that fails", { timeout: 60_000 }, () => {
  it("refuses what finds no room, loses nothing of what it took, and goes on when there is room", () => {
    const disk = freshStore({ random: seededRandom(1) });
    const history = new StoreHistory(seededRandom(1));
    history.begin(open(disk, "boot"));
    history.steps(20);
    disk.roomBytes = disk.usedBytes + 50_000;
    history.steps(60);
    const refused = history.replies.filter((reply) => reply === "no room").length;
    expect(refused).toBeGreaterThan(3);
    expect(disk.usedBytes).toBeLessThanOrEqual(disk.roomBytes);
    disk.roomBytes = Number.POSITIVE_INFINITY;
    history.steps(30);
    expect(history.replies.filter((reply) => reply === "no room")).toHaveLength(refused);
    disk.cut(seededRandom(1));
    expect(examine(disk, history)).toEqual([]);
  });

  it.each([
    ["write", "SQLITE_IOERR_WRITE"],
    ["sync", "SQLITE_IOERR_FSYNC"],
  ] as const)("ends at a %s that fails, with %s, and has all it has said yes to", (kind, code) => {
    const disk = freshStore({ random: seededRandom(1) });
    const history = new StoreHistory(seededRandom(1));
    history.begin(open(disk, "boot"));
    history.steps(5);
    disk.fail(kind, 2);
    expect(() => history.steps(20)).toThrow(expect.objectContaining({ code }));
    disk.crash();
    expect(examine(disk, history)).toEqual([]);
  });

  it.each([
    ["sync", "of its first start, a short life and its stop", () => new SimDisk({ random: seededRandom(1) })],
    ["write", "of a later start, a short life and its stop", () => freshStore({ random: seededRandom(1) })],
  ] as const)("ends at whichever %s %s fails", (kind, _, blank) => {
    const passedOver: number[] = [];
    let nth = 0;
    for (let came = true; came; ) {
      const disk = blank();
      const madeBefore = disk.counts[`${kind}s`];
      disk.fail(kind, ++nth);
      const history = new StoreHistory(seededRandom(2));
      try {
        const writer = open(disk, "boot", { logPagesMax: 0 });
        history.begin(writer);
        history.steps(8);
        writer.close();
        came = disk.counts[`${kind}s`] - madeBefore >= nth;
        if (came) passedOver.push(nth);
      } catch (error) {
        expect(String((error as Error).message)).toMatch(/disk I\/O error/);
      }
    }
    expect(passedOver).toEqual([]);
    expect(nth).toBeGreaterThan(20);
  });

  it("has all it has said yes to after a start behind a failed sync that is cut short at any access", () => {
    for (const seed of seeds.slice(0, 60)) {
      const random = seededRandom(seed);
      const disk = freshStore({ random: seededRandom(seed) });
      const history = new StoreHistory(random);
      history.begin(open(disk, "boot-1", { logPagesMax: 4096 }));
      history.steps(random.below(25));
      disk.fail("sync");
      expect(() => history.steps(60)).toThrow(expect.objectContaining({ code: "SQLITE_IOERR_FSYNC" }));
      disk.crash();
      dieAt(disk, 1 + random.below(120));
      try {
        disk.renew(`${FILE}-wal`);
        history.begin(open(disk, "boot-2", { logPagesMax: 4096 }));
        history.steps(10);
      } catch (error) {
        if (!isCrash(error)) throw error;
      }
      disk.before = null;
      disk.cut(random);
      expect(examine(disk, history), `seed ${seed}`).toEqual([]);
    }
  });

  it("would lose it with SQLite alone, which goes on behind what a failed sync has left in memory", () => {
    const left = seeds.slice(0, 20).map((seed) => {
      const disk = new SimDisk({ random: seededRandom(1) });
      const insert = (n: number) => {
        const db = openOnDisk(disk, FILE);
        db.exec(
          "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE IF NOT EXISTS t (n INTEGER)",
        );
        db.prepare("INSERT INTO t VALUES (?)").run(n);
        disk.crash();
      };
      insert(1);
      disk.fail("sync");
      expect(() => insert(2)).toThrow(expect.objectContaining({ code: "SQLITE_IOERR_FSYNC" }));
      disk.crash();
      insert(3);
      disk.cut(seededRandom(seed));
      return openOnDisk(disk, FILE).prepare("SELECT n FROM t").pluck().all().join();
    });
    expect(new Set(left)).toEqual(new Set(["1", "1,2,3"]));
  });

  it("says which access failed, and that there was no room, in SQLite's codes", () => {
    const disk = new SimDisk({ random: seededRandom(1) });
    const db = openOnDisk(disk, FILE);
    db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (b BLOB)");
    const insert = db.prepare("INSERT INTO t VALUES (zeroblob(?))");
    const codeOf = (work: () => unknown) => {
      try {
        return void work();
      } catch (error) {
        return (error as { code?: string }).code;
      }
    };
    disk.fail("write");
    expect(codeOf(() => insert.run(10_000))).toBe("SQLITE_IOERR_WRITE");
    disk.fail("sync");
    expect(codeOf(() => insert.run(10_000))).toBe("SQLITE_IOERR_FSYNC");
    disk.roomBytes = disk.usedBytes;
    expect(codeOf(() => insert.run(50_000))).toBe("SQLITE_FULL");
    disk.roomBytes = Number.POSITIVE_INFINITY;
    disk.fail("sync");
    disk.mend();
    expect(codeOf(() => insert.run(10_000))).toBeUndefined();
    disk.fail("truncate");
    expect(codeOf(() => db.pragma("wal_checkpoint(TRUNCATE)"))).toBe("SQLITE_IOERR_TRUNCATE");
    const other = openOnDisk(disk, FILE);
    disk.fail("read");
    expect(codeOf(() => other.prepare("SELECT * FROM t").all())).toBe("SQLITE_IOERR_READ");
    expect(db.prepare("SELECT count(*) FROM t").pluck().get()).toBe(1);
  });

  it("writes nothing any more once its process is dead", () => {
    const disk = freshStore({ random: seededRandom(1) });
    const writer = open(disk, "boot");
    const history = new StoreHistory(seededRandom(1));
    history.begin(writer);
    history.steps(10);
    disk.crash();
    const { digest, counts } = { digest: disk.digest(), counts: { ...disk.counts } };
    expect(() => history.steps(5)).toThrow(CrashError);
    expect(() => writer.close()).toThrow(CrashError);
    expect(disk.digest()).toBe(digest);
    expect(disk.counts).toEqual(counts);
  });
});
