/** The store on the simulated disk does what it does on the product's own binding, so that what is seen there holds. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, it, onTestFinished } from "vitest";
import { seededRandom } from "../../src/core/random.ts";
import type { Db } from "../../src/queue/database.ts";
import { audit } from "../../src/queue/queries-audit.ts";
import { BareWriter } from "../support/bare-writer.ts";
import { SimDisk } from "./world/sim-disk.ts";
import { openOnDisk, SQLITE_VERSION } from "./world/sim-sqlite.ts";
import { engineBytes } from "./world/sqlite-engine.ts";
import { contentOf, StoreHistory } from "./world/store-history.ts";

const FILE = "/data/store.db";

function newDisk(): SimDisk {
  return new SimDisk({ random: seededRandom(1) });
}

/** What came of it, in a form that can be compared. */
function outcome(work: () => unknown): unknown {
  try {
    return { value: work() };
  } catch (error) {
    const { name, code, message } = error as Error & { code?: string };
    return { name, code, message };
  }
}

const TABLES = `
  CREATE TABLE t (
    id INTEGER PRIMARY KEY, name TEXT UNIQUE, n INTEGER CHECK (n < 1000), x REAL, b BLOB, at TEXT NOT NULL DEFAULT ''
  ) STRICT;
  CREATE TABLE pairs (a TEXT, b INTEGER, v ANY, PRIMARY KEY (a, b)) STRICT, WITHOUT ROWID;
  INSERT INTO t (id, name, n, x, b) VALUES (1, 'one', 1, 1.5, x'01'), (2, 'zwölf 🦔', 12, -0.25, x''), (9, NULL, NULL, NULL, NULL);
`;

const INSERT = "INSERT INTO t (name, n, x, b) VALUES (?, ?, ?, ?)";

const programs: [name: string, program: (db: Db) => unknown][] = [
  ["rows as objects", (db) => db.prepare("SELECT * FROM t ORDER BY id").all()],
  ["rows as arrays", (db) => db.prepare("SELECT * FROM t ORDER BY id").raw().all()],
  ["first columns", (db) => db.prepare("SELECT name, id FROM t ORDER BY id").pluck().all()],
  ["one row", (db) => db.prepare("SELECT * FROM t WHERE id = ?").get(2)],
  ["no row", (db) => db.prepare("SELECT * FROM t WHERE id = ?").get(77)],
  ["no value", (db) => db.prepare("SELECT id FROM t WHERE id = ?").pluck().get(77)],
  ["rows one by one", (db) => [...db.prepare("SELECT id FROM t ORDER BY id").iterate()]],
  [
    "values of all kinds",
    (db) => db.prepare("SELECT ?, ?, ?, ?, ?").raw().get(1, 1.5, "x", Buffer.from("y"), null),
  ],
  [
    "kinds that values have",
    (db) => db.prepare("SELECT typeof(?), typeof(?), typeof(?)").raw().get(1, 10n, undefined),
  ],
  [
    "large numbers",
    (db) =>
      db
        .prepare("SELECT 9007199254740993, -9223372036854775808, ?")
        .raw()
        .get(2 ** 53),
  ],
  [
    "long texts and blobs",
    (db) => db.prepare("SELECT length(?), length(?)").raw().get("é".repeat(99_999), Buffer.alloc(300_000)),
  ],
  ["a text with a zero in it", (db) => db.prepare("SELECT ? AS v, length(?) AS n").get("a\0b", "a\0b")],
  ["half a pair of surrogates", (db) => db.prepare("SELECT ?").pluck().get("a\ud800b")],
  ["an empty blob and an empty text", (db) => db.prepare("SELECT ?, ?").raw().get(Buffer.alloc(0), "")],
  ["names in an object", (db) => db.prepare("SELECT @a, $b, :c").raw().get({ a: 1, b: "2", c: null })],
  ["numbers in an object", (db) => db.prepare("SELECT ?2, ?1").raw().get({ 1: "a", 2: "b" })],
  ["values in an array", (db) => db.prepare("SELECT ?, ?").raw().get([1, 2])],
  ["names and values", (db) => db.prepare("SELECT ?, @a, ?").raw().get(1, { a: "x" }, 3)],
  ["a missing name", (db) => db.prepare("SELECT @a, @b").get({ a: 1 })],
  ["no names at all", (db) => db.prepare("SELECT @a").get()],
  ["too few values", (db) => db.prepare("SELECT ?, ?").get(1)],
  ["too many values", (db) => db.prepare("SELECT ?").get(1, 2)],
  ["a value that is none", (db) => db.prepare("SELECT ?").get(true)],
  ["an insert", (db) => db.prepare(INSERT).run("new", 5, 2.5, Buffer.from([1, 2]))],
  ["an update of several", (db) => db.prepare("UPDATE t SET n = 3 WHERE id < 5").run()],
  ["an update of none", (db) => db.prepare("UPDATE t SET n = 3 WHERE id = 55").run()],
  ["a statement that returns its rows", (db) => db.prepare("DELETE FROM t RETURNING id").pluck().all()],
  ["run where rows come", (db) => db.prepare("SELECT * FROM t").run()],
  ["get where none can come", (db) => db.prepare("DELETE FROM t").get()],
  ["pluck where none can come", (db) => db.prepare("DELETE FROM t").pluck()],
  ["a second of what is unique", (db) => db.prepare(INSERT).run("one", 1, 1, null)],
  ["a second of a primary key", (db) => db.prepare("INSERT INTO t (id) VALUES (1)").run()],
  ["a second of two columns", (db) => db.exec("INSERT INTO pairs VALUES ('a', 1, 2), ('a', 1, 3)")],
  ["a value that is checked", (db) => db.prepare(INSERT).run("x", 1000, 1, null)],
  ["a null where none may be", (db) => db.prepare("UPDATE t SET at = ?").run(null)],
  ["a text where a number belongs", (db) => db.prepare("UPDATE t SET n = ?").run("many")],
  ["a fraction where an integer belongs", (db) => db.prepare("UPDATE t SET n = ?").run(1.5)],
  [
    "numbers in a column of any kind",
    (db) => {
      db.prepare("INSERT INTO pairs VALUES ('n', 1, ?), ('n', 2, ?)").run(7, 7.5);
      return db.prepare("SELECT typeof(v), v FROM pairs").raw().all();
    },
  ],
  ["no SQL", (db) => db.prepare("SELEKT 1")],
  ["no table", (db) => db.prepare("SELECT * FROM nothing")],
  ["an empty statement", (db) => db.prepare(" -- nothing\n")],
  ["two statements at once", (db) => db.prepare("SELECT 1; SELECT 2")],
  [
    "a script that fails half-way",
    (db) => {
      const failed = outcome(() =>
        db.exec("INSERT INTO t (id) VALUES (50); INSERT INTO t (id) VALUES (50);"),
      );
      return [failed, db.prepare("SELECT count(*) FROM t").pluck().get()];
    },
  ],
  [
    "a text compiled before its table changed",
    (db) => {
      const all = db.prepare("SELECT * FROM pairs");
      all.all();
      db.exec(
        "ALTER TABLE pairs ADD COLUMN extra INTEGER DEFAULT 4; INSERT INTO pairs (a, b) VALUES ('z', 1)",
      );
      return all.all();
    },
  ],
  [
    "pragmas",
    (db) => [
      db.pragma("user_version"),
      db.pragma("user_version = 7"),
      db.pragma("user_version", { simple: true }),
    ],
  ],
  [
    "settings that differ by build",
    (db) =>
      ["foreign_keys", "recursive_triggers", "auto_vacuum", "synchronous"].map((name) =>
        db.pragma(name, { simple: true }),
      ),
  ],
  [
    "a transaction that is undone",
    (db) => {
      const failed = outcome(() =>
        db.transaction(() => {
          db.prepare("DELETE FROM t").run();
          throw new RangeError("changed my mind");
        })(),
      );
      return [failed, db.inTransaction, db.prepare("SELECT count(*) FROM t").pluck().get()];
    },
  ],
  [
    "a transaction in another",
    (db) =>
      db
        .transaction((id: number) => {
          db.prepare("INSERT INTO t (id) VALUES (?)").run(id);
          outcome(() =>
            db.transaction(() => {
              db.prepare("DELETE FROM t").run();
              throw new Error("no");
            })(),
          );
          return [db.inTransaction, db.prepare("SELECT id FROM t").pluck().all()];
        })
        .immediate(60),
  ],
  ["a commit outside of any", (db) => db.exec("COMMIT")],
  ["a begin in another", (db) => db.exec("BEGIN IMMEDIATE; BEGIN")],
  ["JSON", (db) => db.prepare("SELECT value, key FROM json_each(?)").all('[1,"b",null,[2]]')],
  [
    "what is left after it was closed",
    (db) => {
      const one = db.prepare("SELECT 1");
      db.close();
      return [
        db.open,
        outcome(() => one.get()),
        outcome(() => db.exec("BEGIN")),
        outcome(() => db.pragma("user_version")),
      ];
    },
  ],
];

// Many small stores, on a machine that may be busy with other tests.
describe("SQLite on the simulated disk", { timeout: 60_000 }, () => {
  it("is the release that the product has", () => {
    const real = new Database(":memory:");
    onTestFinished(() => void real.close());
    expect(SQLITE_VERSION).toBe(real.prepare("SELECT sqlite_version()").pluck().get());
  });

  it.each(programs)("answers as the product's binding does: %s", (_, program) => {
    const real = new Database(":memory:");
    const simulated = openOnDisk(newDisk(), FILE);
    onTestFinished(() => {
      real.close();
      simulated.close();
    });
    const [expected, found] = [real, simulated].map((db) => {
      db.pragma("synchronous = FULL");
      db.exec(TABLES);
      return outcome(() => program(db));
    });
    expect(found).toEqual(expected);
  });

  it.each([1, 2, 3])("gives a store the same content after the same history (seed %i)", (seed) => {
    const folder = mkdtempSync(join(tmpdir(), "holdfast-model-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const disk = newDisk();
    const queue = { retention: { age: 500 } };
    const [real, simulated] = [
      { dataDir: folder, synchronous: "OFF" as const },
      { dataDir: "/data", connect: (file: string) => openOnDisk(disk, file) },
    ].map(({ dataDir, ...options }) => {
      const history = new StoreHistory(seededRandom(seed), { prunes: true });
      for (let life = 0; life < 3; life++) {
        const writer = new BareWriter(dataDir, queue, { ...options, boot: `boot-${life}` });
        history.begin(writer);
        history.steps(120);
        writer.close(life !== 1);
      }
      return history;
    });
    expect(simulated!.replies).toEqual(real!.replies);
    const onFolder = new Database(join(folder, "store.db"), { readonly: true });
    const onDisk = openOnDisk(disk, FILE, { readonly: true });
    onTestFinished(() => {
      onFolder.close();
      onDisk.close();
    });
    expect(contentOf(onDisk)).toEqual(contentOf(onFolder));
    expect(contentOf(onDisk).history!.length).toBeGreaterThan(20);
    expect(audit(onDisk).mismatches).toEqual([]);
    expect(onDisk.pragma("integrity_check", { simple: true })).toBe("ok");
    expect(onDisk.pragma("page_count")).toEqual(onFolder.pragma("page_count"));
  });

  it("lets a second connection read what has been committed while the first one writes", () => {
    const disk = newDisk();
    const writing = openOnDisk(disk, FILE);
    writing.pragma("journal_mode = WAL");
    writing.exec("CREATE TABLE t (n INTEGER) STRICT; INSERT INTO t VALUES (1)");
    const reading = openOnDisk(disk, FILE, { readonly: true });
    const seen = reading.prepare("SELECT count(*) FROM t").pluck();
    writing.exec("BEGIN IMMEDIATE");
    writing.exec("INSERT INTO t VALUES (2)");
    expect(seen.get()).toBe(1);
    expect(outcome(() => reading.exec("DELETE FROM t"))).toMatchObject({ code: "SQLITE_READONLY" });
    const other = openOnDisk(disk, FILE);
    expect(outcome(() => other.exec("BEGIN IMMEDIATE"))).toMatchObject({ code: "SQLITE_BUSY" });
    writing.exec("COMMIT");
    expect(seen.get()).toBe(2);
    other.close();
    writing.close();
    expect(disk.files()).toEqual([FILE, `${FILE}-wal`]);
    reading.close();
    expect(openOnDisk(disk, FILE, { readonly: true }).prepare("SELECT n FROM t").pluck().all()).toEqual([
      1, 2,
    ]);
  });

  it("takes NORMAL for a log by itself, as the product's binding does, so that a forgotten FULL is found", () => {
    const db = openOnDisk(newDisk(), FILE);
    db.pragma("journal_mode = WAL");
    db.exec("CREATE TABLE t (n INTEGER) STRICT");
    expect(db.pragma("synchronous", { simple: true })).toBe(1);
  });

  it("uses no more memory for the five-hundredth store than for the hundredth", () => {
    const memoryAfter = (count: number) => {
      for (let done = 0; done < count; done++) {
        const disk = newDisk();
        const db = openOnDisk(disk, FILE);
        db.pragma("journal_mode = WAL");
        db.exec("CREATE TABLE t (n INTEGER, b BLOB) STRICT");
        const insert = db.prepare("INSERT INTO t VALUES (?, ?)");
        for (let n = 0; n < 5; n++) insert.run(n, Buffer.alloc(6000));
        if (done % 2 === 0) db.close();
        else disk.crash();
      }
      return engineBytes();
    };
    const before = memoryAfter(100);
    expect(memoryAfter(400)).toBe(before);
  });
});
