/** What people did to the gateway, newest first. */
import type { Db } from "./database.ts";

export const ACTS_PAGE_MAX = 500;
const ACTS_PAGE_DEFAULT = 100;

export interface ActRow {
  readonly id: number;
  /** Wall clock, epoch ms. */
  readonly atMs: number;
  readonly who: string;
  readonly what: string;
  /** What it was asked to do, and what came of it. */
  readonly detail: Readonly<Record<string, unknown>>;
  readonly reason: string | null;
}

export interface ActsParams {
  readonly who?: string;
  readonly what?: string;
  /** `next` of the page before. */
  readonly before?: number;
  readonly limit?: number;
}

export interface ActsPage {
  readonly acts: readonly ActRow[];
  readonly next: number | null;
}

export function acts(db: Db, { who, what, before, limit }: ActsParams): ActsPage {
  const most = Math.min(limit ?? ACTS_PAGE_DEFAULT, ACTS_PAGE_MAX);
  // At most 100,000 rows are there to be looked at.
  const rows = db
    .prepare(
      `SELECT id, at AS atMs, who, what, detail, reason FROM acts
       WHERE id < @before AND (@who IS NULL OR who = @who) AND (@what IS NULL OR what = @what)
       ORDER BY id DESC LIMIT @limit`,
    )
    .all({
      before: before ?? Number.MAX_SAFE_INTEGER,
      who: who ?? null,
      what: what ?? null,
      limit: most + 1,
    }) as (Omit<ActRow, "detail"> & { detail: string })[];
  const page = rows.slice(0, most).map((row) => ({ ...row, detail: JSON.parse(row.detail) }));
  return { acts: page, next: rows.length > most ? (page.at(-1)?.id ?? null) : null };
}
