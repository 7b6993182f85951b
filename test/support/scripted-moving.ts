/** Exports and imports for a door without a relay behind it: each is answered by one of its kind. */
import type { Database } from "better-sqlite3";
import { messageSum } from "../../src/core/export-content.ts";
import type { ExportMessage } from "../../src/core/export-file.ts";
import type { StoredExport } from "../../src/queue/queries-exports.ts";
import type { StoredImport } from "../../src/queue/queries-imports.ts";
import type { WebParts } from "../../src/web/context.ts";

export const EXPORT_ID = "7a013536-d4b2-46fb-92fe-38e6e7138cce";
const AT = "2026-06-01T12:00:00.000Z";
const SUM = "0".repeat(32);

const message: Omit<ExportMessage, "sum"> = {
  id: "press-7:1",
  device: "press-7",
  source: "mqtt",
  topic: "plant/press-7",
  payload: "{}",
  contentType: null,
  qos: 1,
  retain: false,
  producedAt: null,
  acceptedAt: AT,
  ageMs: 1,
  traceparent: null,
  headers: {},
  deliveries: [
    {
      flow: "mes",
      key: "press-7",
      state: "waiting",
      attempts: 0,
      late: false,
      resend: false,
      replay: false,
      reason: null,
      since: AT,
      edit: null,
    },
  ],
  history: [],
};
export const LINE: ExportMessage = { ...message, sum: messageSum(message) };

const head = {
  format: "holdfast-export",
  version: 1,
  export: EXPORT_ID,
  gateway: "box-a",
  holdfast: "0.1.0",
  exportedAt: AT,
  by: "anna",
  reason: null,
  held: true,
  selection: { states: "all" },
  count: 1,
} as const;
export const FILE = { head, end: { end: true, count: 1, sum: SUM }, flows: ["mes"] } as const;
export const RECEIPT = {
  format: "holdfast-import-receipt",
  version: 1,
  export: EXPORT_ID,
  gateway: "box-b",
  import: 1,
  importedAt: AT,
  by: "anna",
  count: 1,
  sum: SUM,
  left: [],
} as const;

const exported: StoredExport = {
  number: 1,
  id: EXPORT_ID,
  state: "held",
  selection: { states: "all" },
  untilSeq: 1,
  who: "anna",
  reason: "x",
  atMs: 1,
  steadyAtMs: 1,
  endedAtMs: null,
  messages: 1,
  sum: SUM,
  receipt: null,
  holds: 1,
};

const imported: StoredImport = {
  number: 1,
  export: EXPORT_ID,
  state: "finished",
  head,
  total: 1,
  sum: SUM,
  into: null,
  who: "anna",
  reason: null,
  atMs: 1,
  endedAtMs: 1,
  taken: 1,
  chain: SUM,
  stored: 1,
  added: 1,
  known: 0,
  left: [{ id: "x", why: "another message has its id" }],
};

async function* lines() {
  yield `${JSON.stringify(head)}\n`;
}

export const SCRIPTED_MOVING: WebParts["moving"] = {
  out: {
    estimate: async () => ({ deliveries: 1, bytes: 2, oldestMs: 1, sending: 0, complete: true }),
    begin: async () => exported,
    hold: async () => ({ held: 1, damaged: 0, sending: 0, next: { part: "open", lane: 1, seq: 1 } }),
    seal: async () => exported,
    file: async () => lines(),
    finish: async () => ({ ended: 1, left: 0 }),
    cancel: async () => ({ ended: 1, left: 0 }),
  },
  in: {
    check: async () => "own",
    begin: async () => imported,
    take: async () => imported,
    own: async () => ({ edited: 1, untouched: 0, left: [] }),
    finish: async () => imported,
    receipt: () => ({ ...RECEIPT, left: [] }),
  },
};

/** One of each in a store that is looked into. */
export function rowsOfMoving(db: Database): void {
  db.prepare(
    `INSERT INTO exports (id, state, selection, until_seq, who, at, steady_at)
     VALUES (?, 'held', '{"states":"all"}', 1, 'anna', 1, 1)`,
  ).run(EXPORT_ID);
  db.prepare(
    `INSERT INTO imports (export, state, head, total, sum, who, at, chain) VALUES (?, 'running', ?, 1, ?, 'anna', 1, ?)`,
  ).run(EXPORT_ID, JSON.stringify(head), SUM, SUM);
}
