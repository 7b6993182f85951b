/** What is held for exports (exports.ts): by which, since when, and what of a flow could go all the same. */
import type { ExportSelection } from "../core/export-file.ts";
import type { Db } from "./database.ts";
import type { ExportState } from "./queries-exports.ts";

const LISTED_MAX = 100;

/** An export for which something is held: it waits until somebody says what became of it. */
export interface OpenExport {
  readonly id: string;
  /** `moved` or `cancelled` where saying so was broken off before all had ended. */
  readonly state: Exclude<ExportState, "copied">;
  readonly selection: ExportSelection;
  readonly who: string;
  readonly reason: string | null;
  /** Wall clock, epoch ms, of its beginning. */
  readonly atMs: number;
  /** Since then, on the steady clock. */
  readonly ageMs: number;
  /** In its file; null while that is not known. */
  readonly messages: number | null;
}

/** With the gateway down the store may be one of an earlier version. */
export function knowsExports(db: Db): boolean {
  return db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'exports'").get() !== undefined;
}

/** Oldest first. */
export function openExports(db: Db, steadyNowMs: number): OpenExport[] {
  if (!knowsExports(db)) return [];
  const rows = db
    .prepare(
      `SELECT e.id, e.state, e.selection, e.who, e.reason, e.at AS atMs, e.messages, e.steady_at AS steadyAtMs
       FROM exports e WHERE EXISTS (SELECT 1 FROM deliveries d WHERE d.export IS NOT NULL AND d.export = e.number)
       ORDER BY e.number LIMIT ${LISTED_MAX}`,
    )
    .all() as (Omit<OpenExport, "selection" | "ageMs"> & { selection: string; steadyAtMs: number })[];
  return rows.map(({ selection, steadyAtMs, ...row }) => ({
    ...row,
    selection: JSON.parse(selection),
    ageMs: Math.max(0, steadyNowMs - steadyAtMs),
  }));
}

/**
 * The sequence of the oldest in these lanes, waiting or being sent, that no export keeps here: it is not held, and in
 * a lane in order nothing that is held stands before it. Null for none.
 */
export function oldestFree(
  db: Db,
  lanes: readonly (readonly [id: number, head: number])[],
  inOrder: boolean,
): number | null {
  const firstIsHeld = db
    .prepare(
      `SELECT export IS NOT NULL FROM deliveries
       WHERE lane = ? AND seq >= ? AND state IN ('waiting', 'sending', 'unknown') ORDER BY seq LIMIT 1`,
    )
    .pluck();
  const firstFree = db
    .prepare(
      `SELECT seq FROM deliveries
       WHERE lane = ? AND seq >= ? AND seq < ? AND state IN ('waiting', 'sending') AND export IS NULL ORDER BY seq LIMIT 1`,
    )
    .pluck();
  let best: number | null = null;
  for (const [lane, head] of lanes) {
    if (head >= (best ?? Number.MAX_SAFE_INTEGER)) continue;
    if (inOrder && firstIsHeld.get(lane, head) === 1) continue;
    best = (firstFree.get(lane, head, best ?? Number.MAX_SAFE_INTEGER) as number | undefined) ?? best;
  }
  return best;
}
