/**
 * Exports: undelivered messages that are carried to another box in a file (core/export-file.ts).
 *
 * Promise: what is in an export's file is not sent from here until somebody has said what became of it: each delivery
 * is held, beginning with the first of its lane, before the file is written. A held one is not claimed, does not
 * expire, and is nobody's to put back, edit or discard. It ends as `discarded` when the other box's receipt says that
 * it has it (`moved`), or goes on here when the export is cancelled. So no message is in two boxes without either
 * knowing, and each step is one commit, with the figures and what the history says of it.
 *
 * What it trades: what stands behind a held delivery in its lane waits for it, however long the way to the other box
 * is. To let it overtake would break the order.
 *
 * States: holding → held → moved | cancelled; a copy, which holds nothing, is `copied` from the beginning.
 */
import type { Statement } from "better-sqlite3";
import { isCommandFlow } from "../core/command-message.ts";
import type { ExportSelection, ImportReceipt } from "../core/export-file.ts";
import type { DeliveryState } from "../core/outcome.ts";
import { type Act, ActTable } from "./acts.ts";
import { type Content, isIntact } from "./content-sum.ts";
import type { EditTable } from "./edits.ts";
import type { Ending } from "./ending.ts";
import type { Lane } from "./lanes.ts";
import { MESSAGE_COLUMNS } from "./message-row.ts";
import { PutBack, type PutBackContext } from "./put-back.ts";
import {
  EXPORT_COLUMNS,
  type ExportRow,
  type ExportState,
  exportOf,
  type StoredExport,
} from "./queries-exports.ts";
import { type OpenLane, openLane } from "./repair.ts";

/** `due_at` of what waits and is held: a time that never comes, so that no claim and no lane takes it for due. */
export const NEVER_DUE_MS = Number.MAX_SAFE_INTEGER;

/** Leads the id of an export in the history of what it holds. */
export const HELD_FOR = "held for export ";

export interface ExportBegin {
  readonly id: string;
  readonly selection: ExportSelection;
  readonly copy: boolean;
  readonly act: Act;
}

export interface ExportHold {
  readonly id: string;
  readonly rows: readonly (readonly [lane: number, seq: number])[];
}

export interface ExportHeld {
  readonly held: number;
  /** Left where they are: what is on the disk of them is not what was accepted. */
  readonly damaged: number;
}

/** Once all is held: how many messages that is; once its file was written: the sum of its end. */
export interface ExportSeal {
  readonly id: string;
  readonly messages: number;
  readonly sum?: string;
}

/** What became of it: the receipt of the box that has them, or whoever calls it off. */
export type ExportFate =
  | { readonly to: "moved"; readonly receipt: ImportReceipt }
  | { readonly to: "cancelled"; readonly why: string };

export interface ExportEnding {
  readonly id: string;
  readonly fate: ExportFate;
  /** Deliveries in one step. */
  readonly limit: number;
  readonly act: Act;
}

export type ExportEnded =
  | {
      readonly kind: "step";
      readonly ended: number;
      /** Still held: ask again. */
      readonly left: number;
      readonly lanes: readonly OpenLane[];
    }
  | { readonly kind: "not now"; readonly state: ExportState }
  | { readonly kind: "not found" };

export interface ExportsContext extends PutBackContext {
  readonly ending: Ending;
  readonly edits: EditTable;
}

interface HeldRow {
  readonly lane: number;
  readonly seq: number;
  readonly state: DeliveryState;
}

export class ExportTable {
  readonly #context: ExportsContext;
  readonly #putBack: PutBack;
  readonly #acts: ActTable;
  readonly #get: Statement;
  readonly #insert: Statement;
  readonly #delivery: Statement;
  readonly #message: Statement;
  readonly #hold: Statement;
  readonly #seal: Statement;
  readonly #setState: Statement;
  readonly #page: Statement;
  readonly #release: Statement;
  readonly #count: Statement;
  readonly #idOf: Statement;

  constructor(context: ExportsContext) {
    this.#context = context;
    this.#putBack = new PutBack(context);
    const { db } = context;
    this.#acts = new ActTable(db);
    this.#get = db.prepare(`SELECT ${EXPORT_COLUMNS} FROM exports AS e WHERE e.id = ?`);
    this.#insert = db.prepare(
      `INSERT INTO exports (id, state, selection, until_seq, who, reason, at, steady_at)
       VALUES (?, ?, ?, (SELECT coalesce(max(seq), 0) FROM messages), ?, ?, ?, ?)`,
    );
    this.#delivery = db.prepare("SELECT state, export, edit FROM deliveries WHERE lane = ? AND seq = ?");
    this.#message = db.prepare(`SELECT ${MESSAGE_COLUMNS}, m.crc FROM messages AS m WHERE m.seq = ?`);
    this.#hold = db.prepare("UPDATE deliveries SET export = ?, due_at = ? WHERE lane = ? AND seq = ?");
    this.#seal = db.prepare(
      `UPDATE exports SET state = iif(state = 'holding', 'held', state), messages = ?, sum = coalesce(?, sum)
       WHERE id = ? AND state IN ('holding', 'held', 'copied')`,
    );
    this.#setState = db.prepare(
      "UPDATE exports SET state = ?, ended_at = ?, receipt = coalesce(?, receipt) WHERE id = ?",
    );
    this.#page = db.prepare(
      `SELECT lane, seq, state FROM deliveries INDEXED BY deliveries_exported
       WHERE export IS NOT NULL AND export = ? ORDER BY seq, lane LIMIT ? + 0`,
    );
    this.#release = db.prepare("UPDATE deliveries SET export = NULL, due_at = ? WHERE lane = ? AND seq = ?");
    this.#count = db
      .prepare("SELECT count(*) FROM deliveries WHERE export IS NOT NULL AND export = ?")
      .pluck();
    this.#idOf = db.prepare("SELECT id FROM messages WHERE seq = ?").pluck();
  }

  begin({ id, selection, copy, act }: ExportBegin): StoredExport {
    const wallMs = this.#context.wallMs();
    const state: ExportState = copy ? "copied" : "holding";
    this.#insert.run(
      id,
      state,
      JSON.stringify(selection),
      act.who,
      act.reason,
      wallMs,
      Math.trunc(this.#context.steadyMs()),
    );
    this.#acts.write(act, { export: id }, wallMs);
    return this.#export(id)!;
  }

  /** Rows were looked up before, on another thread: those that have gone on since are left alone. */
  hold({ id, rows }: ExportHold): ExportHeld {
    const found = this.#export(id);
    if (found?.state !== "holding") return { held: 0, damaged: 0 };
    let held = 0;
    let damaged = 0;
    for (const [lane, seq] of rows) {
      const became = this.#holdOne(found, lane, seq);
      if (became === "held") held += 1;
      else if (became === "damaged") damaged += 1;
    }
    return { held, damaged };
  }

  /** Its file can be written: nothing of it changes from here on. Null where there is no such export. */
  seal({ id, sum, messages }: ExportSeal): StoredExport | null {
    this.#seal.run(messages, sum ?? null, id);
    return this.#export(id);
  }

  end({ id, fate, limit, act }: ExportEnding): ExportEnded {
    const found = this.#export(id);
    if (!found) return { kind: "not found" };
    const { state, number } = found;
    const { to } = fate;
    if (state !== to && !(to === "moved" ? state === "held" : state === "held" || state === "holding")) {
      return { kind: "not now", state };
    }
    const wallMs = this.#context.wallMs();
    const receipt = fate.to === "moved" ? JSON.stringify(fate.receipt) : null;
    if (state !== to) {
      this.#setState.run(to, wallMs, receipt, id);
      this.#acts.write(act, { held: this.#heldFor(number) }, wallMs);
    }
    const rows = this.#page.all(number, limit) as HeldRow[];
    const touched = new Map<number, Lane>();
    const stays = new Set(fate.to === "moved" ? fate.receipt.left.map((each) => each.id) : []);
    for (const row of rows) {
      const lane = this.#context.lanes.get(row.lane)!;
      const why = this.#whyReleased(fate, row.seq, stays);
      this.#letGo(lane, row);
      if (why !== null) this.#putBack.note(row.seq, row.lane, "released", why);
      else if (fate.to === "moved") this.#moved(lane, row, found, fate.receipt);
      touched.set(lane.id, lane);
    }
    const lanes = [...touched.values()].filter(({ open }) => open > 0).map(openLane);
    return { kind: "step", ended: rows.length, left: this.#heldFor(number), lanes };
  }

  #export(id: string): StoredExport | null {
    const row = this.#get.get(id) as ExportRow | undefined;
    return row ? exportOf(row) : null;
  }

  #heldFor(number: number): number {
    return this.#count.get(number) as number;
  }

  #holdOne({ number, id }: StoredExport, lane: number, seq: number): "held" | "damaged" | "left" {
    const flow = this.#context.lanes.get(lane)?.flow;
    const found = this.#delivery.get(lane, seq) as
      | { state: DeliveryState; export: number | null; edit: number | null }
      | undefined;
    if (!found || found.export !== null || flow === undefined || isCommandFlow(flow)) return "left";
    const { state, edit } = found;
    if (state !== "waiting" && state !== "unknown" && state !== "dead") return "left";
    const intact = isIntact(this.#message.get(seq) as Content & { crc: number | null });
    if (!intact || (edit !== null && !this.#context.edits.find(edit, lane, seq))) return "damaged";
    this.#hold.run(number, state === "waiting" ? NEVER_DUE_MS : null, lane, seq);
    this.#context.tally.add(flow, "held");
    this.#putBack.note(seq, lane, "export", `${HELD_FOR}${id}`);
    return "held";
  }

  /** As it was; an unknown that would have been tried again by itself is due at once. */
  #letGo(lane: Lane, { seq, state }: HeldRow): void {
    this.#release.run(state === "unknown" ? 0 : null, lane.id, seq);
    this.#context.tally.add(lane.flow, "held", -1);
    if (state !== "dead") this.#putBack.stands(lane, seq, 0);
  }

  #whyReleased(fate: ExportFate, seq: number, stays: ReadonlySet<string>): string | null {
    if (fate.to === "cancelled") return `its export was cancelled: ${fate.why}`;
    if (stays.size === 0) return null;
    const id = this.#idOf.get(seq) as string;
    if (!stays.has(id)) return null;
    return `gateway ${fate.receipt.gateway} did not take it: ${fate.receipt.left.find((each) => each.id === id)!.why}`;
  }

  #moved(lane: Lane, { seq, state }: HeldRow, { id }: StoredExport, receipt: ImportReceipt): void {
    const detail = `moved to gateway ${receipt.gateway} by export ${id} (import ${receipt.import} there, was ${state} here)`;
    this.#context.ending.end(lane, seq, state, { state: "discarded", kind: "moved", detail });
    this.#context.tally.add(lane.flow, "moved");
  }
}
