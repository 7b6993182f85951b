/**
 * Damaged stores: whatever is done to the files, the start says what it found, salvages what can be read, keeps what
 * was damaged as it was, and never begins empty in silence. Hundreds of damages, seeded, on a store that is known.
 */
import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Random, seededRandom } from "../../src/core/random.ts";
import { SUSPECT_FILE } from "../../src/queue/damaged-folder.ts";
import { isLossy, type SalvageReport } from "../../src/queue/salvage-report.ts";
import { verify } from "../../src/queue/verify.ts";
import { capability } from "../support/capabilities.ts";
import {
  changedContent,
  type Image,
  type KnownRows,
  knownStore,
  layDown,
  openMarked,
  pagesOf,
  readRows,
  type StorePart,
} from "../support/known-store.ts";

const LONG = capability("long").present;
const PAGE = 4096;
/** A start that takes longer hangs, for a store of this size. */
const START_MS_MAX = 20_000;

let root: string;
let killed: Image;
let stopped: Image;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "holdfast-salvage-"));
  ({ killed, stopped } = knownStore(join(root, "known"), 240));
}, 60_000);

afterAll(() => rmSync(root, { recursive: true, force: true }));

type Files = Map<StorePart, Buffer>;
type Damage = (files: Files) => void;

interface Started {
  readonly dataDir: string;
  readonly report: SalvageReport | null;
  readonly rows: KnownRows;
}

/** Lays the image down with the damage done. */
function damaged(image: Image, damage: Damage): { dataDir: string; files: Files } {
  const dataDir = join(root, randomUUID());
  const files = new Map([...image.files].map(([part, bytes]) => [part, Buffer.from(bytes)]));
  damage(files);
  layDown(dataDir, files);
  return { dataDir, files };
}

/** Starts on a damaged image, and checks what must hold whatever the damage. `suspect`: as after a run that met it. */
function startOn(image: Image, damage: Damage, { suspect = false } = {}): Started {
  const { dataDir, files } = damaged(image, damage);
  if (suspect) writeFileSync(join(dataDir, SUSPECT_FILE), "{}");
  const started = startHere(dataDir, image, files);
  if (started.report) {
    const again = openMarked(dataDir);
    expect(again.opened.salvaged).toBeNull();
    again.close();
  }
  rmSync(dataDir, { recursive: true });
  return started;
}

function startHere(dataDir: string, image: Image, files: Files): Started {
  const beganMs = performance.now();
  let writer: ReturnType<typeof openMarked>;
  try {
    writer = openMarked(dataDir);
  } catch (error) {
    // A flipped bit can make it look newer: then it is left alone.
    if ((error as { code?: unknown }).code !== "HF_STORE_NEWER") throw error;
    expect(readFileSync(join(dataDir, "store.db")).equals(files.get("store.db")!)).toBe(true);
    return { dataDir, report: null, rows: image.rows };
  }
  expect(performance.now() - beganMs).toBeLessThan(START_MS_MAX);
  try {
    const report = writer.opened.salvaged;
    expect(changedContent(dataDir, image.rows)).toEqual([]);
    if (!report) return { dataDir, report, rows: image.rows };
    const rows = readRows(dataDir);
    expectKept(dataDir, report, files);
    expect(verify(dataDir).problems).toEqual([]);
    expectHonest(image.rows, rows, report);
    return { dataDir, report, rows };
  } finally {
    writer.close();
  }
}

/** Damaged files are evidence: all of them are in the folder, to the byte. */
function expectKept(dataDir: string, report: SalvageReport, files: Files): void {
  const folder = join(dataDir, report.folder);
  for (const [part, bytes] of files) {
    expect(readFileSync(join(folder, part)).equals(bytes), `${part} is kept as it was`).toBe(true);
  }
  expect(JSON.parse(readFileSync(join(folder, "report.json"), "utf8"))).toEqual(report);
  expect(readdirSync(dataDir).filter((name) => name.includes("salvage"))).toEqual([]);
}

/** What a delivery of each state may have become: never less than it was, and never as if it were new. */
const MAY_BECOME: Record<string, readonly string[]> = {
  waiting: ["waiting", "unknown", "dead"],
  sending: ["unknown", "dead"],
  unknown: ["unknown", "dead"],
  delivered: ["delivered", "unknown", "dead"],
  dead: ["dead", "unknown"],
};

/** What is there is what was there; what is not there was said to be missing. */
function expectHonest(known: KnownRows, found: KnownRows, report: SalvageReport): void {
  const before = new Map(known.messages.map((message) => [message.id, message]));
  for (const message of found.messages) expect(message).toEqual(before.get(message.id));
  const missing = known.messages.length - found.messages.length;
  const said =
    report.messagesLost + report.messagesMissingMax + (report.untraced ?? Number.POSITIVE_INFINITY);
  expect(missing).toBeLessThanOrEqual(said);
  expect(report.messagesSalvaged).toBe(found.messages.length);
  const states = new Map(known.deliveries.map(({ seq, flow, state }) => [`${seq} ${flow}`, state]));
  const present = new Set(found.messages.map(({ seq }) => seq));
  const deliveries = new Map(found.deliveries.map((row) => [`${row.seq} ${row.flow}`, row]));
  for (const [key, state] of states) {
    const now = deliveries.get(key);
    if (present.has(Number(key.split(" ")[0]))) expect(now, `delivery ${key} is there`).toBeDefined();
    if (now) expect(MAY_BECOME[state], `delivery ${key}, once ${state}`).toContain(now.state);
  }
  // Nothing that nobody accepted.
  expect(found.deliveries.filter(({ seq, flow }) => !states.has(`${seq} ${flow}`))).toEqual([]);
}

const lossOf = (known: KnownRows, found: KnownRows) => known.messages.length - found.messages.length;

/** The same lanes, and in each the same order. */
function expectLanesKept(known: KnownRows, found: KnownRows): void {
  const lanes = new Map(known.deliveries.map(({ seq, flow, key }) => [`${seq} ${flow}`, key]));
  for (const { seq, flow, key } of found.deliveries) expect(key).toBe(lanes.get(`${seq} ${flow}`));
}

const flip = (bytes: Buffer, random: Random, from = 0): void => {
  const at = from + random.below(bytes.length - from);
  bytes[at]! ^= 1 << random.below(8);
};

describe("one damaged page", () => {
  const DAMAGES: Record<string, (page: Buffer, random: Random) => void> = {
    "of zeros": (page) => page.fill(0),
    "of noise": (page, random) => random.fill(page),
    "with a flipped bit": (page, random) => flip(page, random),
  };

  const kinds = Object.values(DAMAGES);

  /** Every page in each way, or, of a short run, each of the first ones in one way and a few others. */
  function isTried(number: number, kind: number, random: Random): boolean {
    return LONG || (number % kinds.length === kind && (number <= 24 || random.below(12) === 0));
  }

  it.each(Object.keys(DAMAGES))(
    "%s costs at most the rows on it",
    (name) => {
      const random = seededRandom(11);
      const pages = pagesOf(stopped, join(root, randomUUID()));
      let salvaged = 0;
      for (const { number, table, cells } of pages) {
        if (!isTried(number, kinds.indexOf(DAMAGES[name]!), random)) continue;
        const { report, rows } = startOn(
          stopped,
          (files) =>
            DAMAGES[name]!(files.get("store.db")!.subarray((number - 1) * PAGE, number * PAGE), random),
          { suspect: true },
        );
        if (!report) continue;
        salvaged += 1;
        const where = `page ${number} of ${table} with ${cells} rows`;
        expect(lossOf(stopped.rows, rows), where).toBeLessThanOrEqual(table === "messages" ? cells : 0);
        expect(report.untraced ?? 0, where).toBe(0);
        const identitiesLost = stopped.rows.identities.length - rows.identities.length;
        const mayGo = table === "identities" ? cells : report.messagesLost;
        expect(identitiesLost, where).toBeLessThanOrEqual(mayGo);
        expectLanesKept(stopped.rows, rows);
        expect(report.deliveriesUnsure, where).toBeLessThanOrEqual(
          table === "deliveries" ? cells : table === "boots" ? Number.POSITIVE_INFINITY : 0,
        );
      }
      expect(salvaged).toBeGreaterThan(LONG ? 10 : 0);
    },
    LONG ? 600_000 : 60_000,
  );
});

describe("flipped bits and cut files", () => {
  const CASES: readonly [string, () => Image, StorePart, (bytes: Buffer, random: Random) => Buffer][] = [
    ["flips in the store after a crash", () => killed, "store.db", flips],
    ["flips in the log", () => killed, "store.db-wal", flips],
    ["flips in the store after a decent stop", () => stopped, "store.db", flips],
    ["flips in the mark", () => killed, "store.mark", flips],
    ["a store cut short after a crash", () => killed, "store.db", cut],
    ["a store cut short after a decent stop", () => stopped, "store.db", cut],
    ["a log cut short", () => killed, "store.db-wal", cut],
    ["noise over a part of the store", () => killed, "store.db", noise],
    ["noise over a part of the log", () => killed, "store.db-wal", noise],
  ];

  function flips(bytes: Buffer, random: Random): Buffer {
    for (let n = random.below(4); n >= 0; n--) flip(bytes, random);
    return bytes;
  }

  function cut(bytes: Buffer, random: Random): Buffer {
    const pages = random.below(2) === 0;
    const length = random.below(bytes.length);
    return bytes.subarray(0, pages ? length - (length % PAGE) : length);
  }

  function noise(bytes: Buffer, random: Random): Buffer {
    const from = random.below(bytes.length);
    random.fill(bytes.subarray(from, from + 1 + random.below(5 * PAGE)));
    return bytes;
  }

  it.each(CASES)(
    "%s: nothing is thrown, nothing is made up, nothing goes missing unsaid",
    (name, image, part, spoil) => {
      let found = 0;
      const seeds = LONG ? 150 : 2;
      for (let seed = 1; seed <= seeds; seed++) {
        const random = seededRandom(seed * 7919 + name.length);
        const suspect = part === "store.db" && random.below(2) === 0;
        try {
          const damage = (files: Files) => files.set(part, spoil(files.get(part)!, random));
          if (startOn(image(), damage, { suspect }).report) found += 1;
        } catch (error) {
          throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
        }
      }
      // Of a few bits, all may be in free space or in what nobody looks at.
      if (part !== "store.mark" && (LONG || spoil !== flips)) expect(found).toBeGreaterThan(0);
    },
    LONG ? 600_000 : 60_000,
  );
});

describe("files that are missing, empty or something else", () => {
  const gone =
    (...parts: StorePart[]): Damage =>
    (files) => {
      for (const part of parts) files.delete(part);
    };
  const filled =
    (bytes: (length: number) => Buffer): Damage =>
    (files) =>
      files.set("store.db", bytes(files.get("store.db")!.length));

  it.each<[string, Damage, RegExp]>([
    [
      "the store",
      gone("store.db"),
      /store\.db is missing, though its mark and its write-ahead log are there/,
    ],
    [
      "the store and the log",
      gone("store.db", "store.db-wal"),
      /store\.db is missing, though its mark is there/,
    ],
    [
      "the store and the mark",
      gone("store.db", "store.mark"),
      /missing, though its write-ahead log is there/,
    ],
    ["the log", gone("store.db-wal"), /earlier state|commits, which were answered/],
    ["the store's bytes", filled(() => Buffer.alloc(0)), /store\.db is empty/],
    ["the store's content, all of it", filled((length) => Buffer.alloc(length)), /does not begin as one/],
    ["the store, for a text", filled(() => Buffer.from("this is no store")), /does not begin as one/],
  ])("%s: is said, and is not taken for a new store", (_, damage, sentence) => {
    const { report, rows } = startOn(killed, damage);
    expect(report?.problems[0]).toMatch(sentence);
    expect(isLossy(report!)).toBe(lossOf(killed.rows, rows) > 0);
  });

  it("the store alone: what the log holds of it is salvaged", () => {
    const { rows } = startOn(killed, gone("store.db"));
    expect(rows.messages.length).toBeGreaterThan(50);
  });

  it("the mark alone is no damage, and is made again", () => {
    const { dataDir } = damaged(killed, gone("store.mark"));
    const writer = openMarked(dataDir);
    expect(writer.opened.salvaged).toBeNull();
    writer.close();
    expect(existsSync(join(dataDir, "store.mark"))).toBe(true);
  });

  it("everything: that is a new store", () => {
    const { dataDir } = damaged(killed, (files) => files.clear());
    const writer = openMarked(dataDir);
    expect(writer.opened).toMatchObject({ salvaged: null, last: null });
    writer.close();
  });

  it("without a mark a log that was deleted goes unnoticed: it is the mark that tells", () => {
    const { dataDir } = damaged(killed, gone("store.db-wal", "store.mark"));
    const writer = openMarked(dataDir);
    expect(writer.opened.salvaged).toBeNull();
    writer.close();
    expect(lossOf(killed.rows, readRows(dataDir))).toBeGreaterThan(0);
  });
});

describe("the checks themselves", () => {
  const SOUND: SalvageReport = {
    atMs: 0,
    folder: "damaged",
    problems: [],
    pagesUnreadable: 0,
    rowsUnreadable: 0,
    messagesSalvaged: 0,
    messagesLost: 0,
    undeliveredLost: 0,
    lost: [],
    untraced: 0,
    otherStore: false,
    commitsMissing: 0,
    messagesMissingMax: 0,
    missingSeqs: null,
    deliveriesUnsure: 0,
  };

  it("notice a start that begins empty in silence, and one that delivers again as if it were new", () => {
    const { rows } = killed;
    const salvaged = { ...SOUND, messagesSalvaged: rows.messages.length };
    const settled = rows.deliveries.map((row) =>
      row.state === "sending" ? { ...row, state: "unknown" } : row,
    );
    expectHonest(rows, { ...rows, deliveries: settled }, salvaged);
    expect(() => expectHonest(rows, { messages: [], deliveries: [], identities: [] }, SOUND)).toThrow();
    const anew = settled.map((row) => (row.state === "delivered" ? { ...row, state: "waiting" } : row));
    expect(() => expectHonest(rows, { ...rows, deliveries: anew }, salvaged)).toThrow(/once delivered/);
    const short = { ...rows, messages: rows.messages.slice(1), deliveries: settled };
    expect(() =>
      expectHonest(rows, short, { ...salvaged, messagesSalvaged: short.messages.length }),
    ).toThrow();
  });
});
