/** What a flow has of each message, page by page from the oldest: for holding it against what a backend has. */
import { systemClock } from "../core/clock.ts";
import type { DeliveryState } from "../core/outcome.ts";
import type { Db } from "./database.ts";
import { readPruned } from "./queries-flows.ts";

export const LEDGER_PAGE_MAX = 10_000;
/** A budget for one page: messages looked at, and time. */
const ROWS_MAX = 50_000;
const PAGE_MS_MAX = 25;
const CLOCK_EVERY_ROWS = 64;

export interface LedgerRow {
  readonly id: string;
  readonly state: DeliveryState;
  /** Wall clock, epoch ms. */
  readonly acceptedAtMs: number;
  readonly updatedAtMs: number;
}

export interface LedgerPage {
  readonly rows: readonly LedgerRow[];
  /** Where the next page goes on; null at the end. A page may end early. */
  readonly next: number | null;
  /** Delivered on this flow, and removed by retention since, ever. */
  readonly prunedDelivered: number;
}

export function ledger(
  db: Db,
  { flow, after = 0, limit = LEDGER_PAGE_MAX }: { flow: string; after?: number; limit?: number },
): LedgerPage {
  const untilMs = systemClock.monoMs() + PAGE_MS_MAX;
  const ofFlow = new Set(db.prepare("SELECT id FROM lanes WHERE flow = ?").pluck().all(flow) as number[]);
  const messages = db
    .prepare("SELECT seq, id, accepted_at AS acceptedAtMs, routes FROM messages WHERE seq > ? ORDER BY seq")
    .iterate(after) as Iterable<{ seq: number; id: string; acceptedAtMs: number; routes: string }>;
  const delivery = db.prepare(
    "SELECT state, updated_at AS updatedAtMs FROM deliveries WHERE lane = ? AND seq = ?",
  );
  const rows: LedgerRow[] = [];
  let next: number | null = null;
  let examined = 0;
  for (const { seq, id, acceptedAtMs, routes } of messages) {
    const lane = (JSON.parse(routes) as [number, number][]).find(([each]) => ofFlow.has(each))?.[0];
    const found = lane === undefined ? undefined : delivery.get(lane, seq);
    if (found) rows.push({ id, acceptedAtMs, ...(found as Pick<LedgerRow, "state" | "updatedAtMs">) });
    examined += 1;
    const late = examined % CLOCK_EVERY_ROWS === 0 && systemClock.monoMs() > untilMs;
    if (rows.length >= limit || examined >= ROWS_MAX || late) {
      next = seq;
      break;
    }
  }
  return { rows, next, prunedDelivered: readPruned(db).get(flow)?.get("delivered") ?? 0 };
}
