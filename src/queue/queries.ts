/**
 * What people may ask of the store, and where each answer comes from.
 *
 * Every query is a function of a read-only connection and plain parameters to a plain object, so that the
 * reader thread, the API and the CLI with the gateway down give the same figures. One query sees one
 * commit: run them through `runQuery`, which holds a read transaction around each.
 *
 * The six questions of an operator:
 *
 *   1 How many messages are waiting?        overview (by flow, oldest, age), devices (by device)
 *   2 How many are failing, and why?        failing (dead and unknown by reason), retrying (by reason)
 *   3 Which workflow produced this one?     messageHistory: device → source → flow, version → target
 *   4 Has it been retried?                  messageHistory: every try and its answer; retrying: who is now
 *   5 What state did the system reach?      overview (states), audit (do they add up?)
 *   6 How is it replayed or repaired?       deadLetters: what `dead retry` would take up again
 *
 * ledger: what a flow has of each message, for holding it against what its backend has.
 * Of moving to another box: exports, imports, and what stands in an export's file (queries-exports.ts).
 * Of jobs: job and jobs (what they are), jobPage (what is next for one), jobScope.
 *
 * And of commands to devices: command (one), commands (a page), auditTrail (who commanded what).
 *
 * `status` answers all of them for one screen. What no store can know (circuits, who is connected) is
 * watch/'s to say.
 *
 * Costs, in rows: overview reads the tally and the open lanes; failing and deadLetters read dead and
 * unknown rows only; retrying and devices read the heads of open lanes, within a budget, and say where it
 * ran out (`complete: false`); searches look through candidates within a budget of rows, bytes and time, and go on
 * from a cursor. Only audit reads everything: it goes in steps (see queries-audit.ts).
 */
import type { Db } from "./database.ts";
import { acts } from "./queries-acts.ts";
import { audit } from "./queries-audit.ts";
import { auditTrail, command, commands, commandsOpen } from "./queries-commands.ts";
import { exportPage } from "./queries-export-page.ts";
import { exportById, exportCandidates, exportMessages, exportScope, exports } from "./queries-exports.ts";
import { deadLetters, failing, retrying } from "./queries-failures.ts";
import { devices, overview } from "./queries-flows.ts";
import { messageHistory } from "./queries-history.ts";
import { importByExport, imports, knownIds } from "./queries-imports.ts";
import { job, jobPage, jobScope, jobs } from "./queries-jobs.ts";
import { ledger } from "./queries-ledger.ts";
import { letters } from "./queries-letters.ts";
import { messageStates, openMessages } from "./queries-receipts.ts";
import { device, messagePayload, searchDeliveries, searchMessages } from "./queries-search.ts";

export interface StatusParams {
  /** The steady clock now, for ages (core/clock.ts). */
  readonly steadyNowMs: number;
}

/** All that one screen needs, as of one commit. */
export function status(db: Db, params: StatusParams) {
  return {
    ...overview(db, params),
    devices: devices(db, { ...params, limit: 10 }),
    failing: failing(db, {}),
    retrying: retrying(db, params),
  };
}

export interface RetainedTopicsParams {
  readonly prefix: string;
  readonly limit: number;
}

/** Topics of retained messages that begin with `prefix`, in order. */
export function retainedTopics(db: Db, { prefix, limit }: RetainedTopicsParams): string[] {
  return db
    .prepare(
      "SELECT key FROM sessions WHERE kind = 'retained' AND client = '' AND key >= ? AND key < ? ORDER BY key LIMIT ?",
    )
    .pluck()
    .all(prefix, `${prefix}\u{10ffff}`, limit) as string[];
}

export type StoreStatus = ReturnType<typeof status>;

export const QUERIES = {
  overview,
  status,
  devices,
  failing,
  deadLetters,
  retrying,
  letters,
  messageHistory,
  messageStates,
  openMessages,
  device,
  messagePayload,
  searchMessages,
  searchDeliveries,
  acts,
  audit,
  retainedTopics,
  command,
  commands,
  commandsOpen,
  auditTrail,
  job,
  jobs,
  jobPage,
  jobScope,
  ledger,
  exports,
  exportById,
  exportScope,
  exportCandidates,
  exportMessages,
  exportPage,
  imports,
  importByExport,
  knownIds,
};

export type QueryName = keyof typeof QUERIES;
export type QueryParams<N extends QueryName> = Parameters<(typeof QUERIES)[N]>[1];
export type QueryResult<N extends QueryName> = ReturnType<(typeof QUERIES)[N]>;

/** Runs one query as of one commit. `db` must not be in a transaction. */
export function runQuery<N extends QueryName>(db: Db, name: N, params: QueryParams<N>): QueryResult<N> {
  const query = QUERIES[name] as (db: Db, params: QueryParams<N>) => QueryResult<N>;
  return db.transaction(() => query(db, params)).deferred() as QueryResult<N>;
}
