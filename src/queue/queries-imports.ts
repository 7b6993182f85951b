/** Imports: how far each is, and what came of it. */
import type { ExportHead } from "../core/export-file.ts";
import type { Db } from "./database.ts";

const LISTED_MAX = 100;

export interface StoredImport {
  readonly number: number;
  readonly export: string;
  readonly state: "running" | "finished";
  readonly head: ExportHead;
  readonly total: number;
  readonly sum: string;
  readonly into: string | null;
  readonly who: string;
  readonly reason: string | null;
  readonly atMs: number;
  readonly endedAtMs: number | null;
  /** Lines taken, and the sum of theirs: where it goes on. */
  readonly taken: number;
  readonly chain: string;
  readonly stored: number;
  readonly added: number;
  readonly known: number;
  readonly left: readonly { readonly id: string; readonly why: string }[];
}

export type ImportRow = Omit<StoredImport, "head" | "left"> & {
  readonly head: string;
  readonly left: string;
};

export const IMPORT_COLUMNS = `number, export, state, head, total, sum, into_flow AS "into", who, reason, at AS atMs,
  ended_at AS endedAtMs, taken, chain, stored, added, known, left`;

export function importOf({ head, left, ...row }: ImportRow): StoredImport {
  return { ...row, head: JSON.parse(head), left: JSON.parse(left) };
}

/** Newest first. */
export function imports(db: Db, _params: object = {}): StoredImport[] {
  const rows = db.prepare(`SELECT ${IMPORT_COLUMNS} FROM imports ORDER BY number DESC LIMIT ${LISTED_MAX}`);
  return (rows.all() as ImportRow[]).map(importOf);
}

export function importByExport(db: Db, { id }: { readonly id: string }): StoredImport | null {
  const row = db.prepare(`SELECT ${IMPORT_COLUMNS} FROM imports WHERE export = ?`).get(id);
  return row ? importOf(row as ImportRow) : null;
}

export interface Arriving {
  /** Messages of these ids that are here already. */
  readonly known: number;
}

export function knownIds(db: Db, { ids }: { readonly ids: readonly string[] }): Arriving {
  const known = db
    .prepare("SELECT count(*) FROM messages WHERE id IN (SELECT value FROM json_each(?))")
    .pluck()
    .get(JSON.stringify(ids)) as number;
  return { known };
}
