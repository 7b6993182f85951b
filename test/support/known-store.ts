/**
 * A store with a bit of everything in it, all of it known: what a test of damage compares with. Made once, kept as
 * bytes, and laid down in a folder as often as there is damage to do.
 */
import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { type Random, seededRandom } from "../../src/core/random.ts";
import { type Content, isIntact } from "../../src/queue/content-sum.ts";
import { startWriter } from "../../src/queue/damage.ts";
import { openForReading } from "../../src/queue/database.ts";
import { BareWriter } from "./bare-writer.ts";

export const STORE_PARTS = ["store.db", "store.db-wal", "store.mark"] as const;
export type StorePart = (typeof STORE_PARTS)[number];

export interface Image {
  /** As of a kill: the log has not been folded in. Without one: as of a decent stop. */
  readonly files: ReadonlyMap<StorePart, Buffer>;
  readonly rows: KnownRows;
}

export interface KnownMessage {
  readonly seq: number;
  readonly id: string;
  readonly device: string;
  readonly payload: string;
}

export interface KnownDelivery {
  readonly seq: number;
  readonly flow: string;
  readonly key: string;
  readonly state: string;
}

export interface KnownRows {
  readonly messages: readonly KnownMessage[];
  readonly deliveries: readonly KnownDelivery[];
  readonly identities: readonly { readonly scope: string; readonly key: string; readonly seq: number }[];
}

const DEVICES = 6;
const LONG_PAYLOAD_EVERY = 9;

/** `messages` of them, in two flows, some of each state; the last commits stand in the log alone. */
export function knownStore(dataDir: string, messages: number): { killed: Image; stopped: Image } {
  const random = seededRandom(7);
  const writer = openMarked(dataDir);
  fill(writer, messages, random);
  writer.close();
  const again = openMarked(dataDir);
  again.registerFlows(["mes", "archive"]);
  for (let n = 0; n < messages / 4; n++) append(again, messages + n, random);
  deliverSome(again, random);
  const killed = take(dataDir);
  again.close();
  const stopped = take(dataDir);
  if (readRows(dataDir).messages.length < messages) throw new Error("the store is not as meant");
  return { killed, stopped };
}

export function openMarked(dataDir: string, queue: Record<string, unknown> = {}): BareWriter {
  return new BareWriter(dataDir, queue, { synchronous: "OFF" }, startWriter);
}

function fill(writer: BareWriter, messages: number, random: Random): void {
  writer.registerFlows(["mes", "archive"]);
  for (let n = 0; n < messages; n++) {
    append(writer, n, random);
    if (n % 50 === 49) deliverSome(writer, random);
  }
}

function append(writer: BareWriter, n: number, random: Random): void {
  const id = `id-${n}-${"x".repeat(random.below(20))}`;
  const bytes = n % LONG_PAYLOAD_EVERY === 0 ? 3000 + random.below(9000) : 20 + random.below(300);
  writer.steadyMs = n + 1;
  writer.appendTo({
    id,
    flows: n % 3 === 0 ? ["mes", "archive"] : ["mes"],
    key: `press-${random.below(DEVICES)}`,
    identity: id,
    steadyAtMs: n + 1,
    payload: Buffer.from(`${id}:${"p".repeat(bytes)}`),
  });
}

const OUTCOMES = ["delivered", "delivered", "delivered", "dead", "waiting", "unknown"] as const;

function deliverSome(writer: BareWriter, random: Random): void {
  for (const { lane, flow } of writer.call("openLanes", null)) {
    const { deliveries } = writer.claim(lane, 3 + random.below(6), writer.steadyMs, flow === "archive");
    // The last one is left in the air.
    for (const { message } of deliveries.slice(0, -1)) {
      const state = OUTCOMES[random.below(OUTCOMES.length)]!;
      const open = state === "waiting" || state === "unknown";
      writer.settle([
        {
          lane,
          seq: message.seq,
          state,
          attempts: 1,
          resend: state === "unknown",
          dueAtMs: open ? writer.steadyMs + 1 : null,
          reason: state === "delivered" ? null : "as the test says",
          note: state === "delivered" ? null : state,
        },
      ]);
    }
  }
}

function take(dataDir: string): Image {
  const files = new Map<StorePart, Buffer>();
  for (const part of STORE_PARTS) {
    try {
      files.set(part, readFileSync(join(dataDir, part)));
    } catch {
      // A decent stop leaves no log.
    }
  }
  return { files, rows: readRows(dataDir) };
}

export function layDown(dataDir: string, files: ReadonlyMap<StorePart, Buffer>): void {
  mkdirSync(dataDir, { recursive: true });
  for (const [part, bytes] of files) writeFileSync(join(dataDir, part), bytes);
}

export function readRows(dataDir: string): KnownRows {
  const db = openForReading(dataDir);
  try {
    return {
      messages: db
        .prepare(
          "SELECT seq, id, device, CAST(payload AS TEXT) AS payload FROM messages WHERE source <> 'lost' ORDER BY seq",
        )
        .all() as KnownMessage[],
      deliveries: db
        .prepare(
          `SELECT d.seq, l.flow, l.key, d.state FROM deliveries d LEFT JOIN lanes l ON l.id = d.lane
           ORDER BY d.seq, l.flow`,
        )
        .all() as KnownDelivery[],
      identities: db
        .prepare("SELECT scope, key, seq FROM identities ORDER BY key")
        .all() as KnownRows["identities"],
    };
  } finally {
    db.close();
  }
}

/** A folder's name that no other has. */
export function someFolder(root: string): string {
  return join(root, randomUUID());
}

export interface KnownPage {
  readonly number: number;
  /** The table or index that it belongs to. */
  readonly table: string;
  /** Rows that go with it: those on it, and for a page that a row runs over to, that row. */
  readonly cells: number;
}

/** By SQLite's own account of its pages. Interior pages of a table hold no rows, those of an index do. */
export function pagesOf({ files }: Image, dataDir: string): KnownPage[] {
  layDown(dataDir, files);
  const db = new Database(join(dataDir, "store.db"));
  try {
    const pages = db
      .prepare("SELECT pageno AS number, name AS 'table', pagetype AS type, ncell AS cells FROM dbstat")
      .all() as (KnownPage & { type: string })[];
    const isRowid = new Set([
      "messages",
      "boots",
      "history",
      "lanes",
      "flow_versions",
      "lost",
      "sqlite_schema",
    ]);
    const known = pages.map(({ number, table, type, cells }) => ({
      number,
      table,
      cells: type === "overflow" ? 1 : type === "internal" && isRowid.has(table) ? 0 : cells,
    }));
    const seen = new Set(known.map(({ number }) => number));
    const all = db.pragma("page_count", { simple: true }) as number;
    for (let number = 1; number <= all; number++) {
      if (!seen.has(number)) known.push({ number, table: "none", cells: 0 });
    }
    return known.sort((a, b) => a.number - b.number);
  } finally {
    db.close();
  }
}

/** Messages that would be sent, by their checksum, and are not what was accepted. */
export function changedContent(dataDir: string, known: KnownRows): string[] {
  const byId = new Map(known.messages.map((message) => [message.id, message.payload]));
  const db = openForReading(dataDir);
  try {
    const rows = db.prepare("SELECT * FROM messages").all() as (Content & { crc: number | null })[];
    return rows
      .filter((row) => isIntact(row) && byId.get(row.id) !== row.payload.toString())
      .map(({ id }) => id);
  } catch (error) {
    // Damage that is still to be met, while it runs.
    if (!String((error as { code?: unknown }).code).startsWith("SQLITE_CORRUPT")) throw error;
    return [];
  } finally {
    db.close();
  }
}
