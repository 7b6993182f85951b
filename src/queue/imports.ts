/**
 * Imports: messages of another box's export (core/export-file.ts) are taken in here, under their ids, with their times,
 * edits and history, in the order of the file.
 *
 * Promise: each step stores its messages and how far the import is in one commit. So a crash repeats nothing and leaves
 * nothing out, the same file taken twice changes nothing, and the accounts balance after each step: what came is
 * counted as accepted. A message that is here already stays as it is; flows on which it is missing get it.
 * What waited there waits here; what was unknown there is unknown here, and its flow's `onUnknown` decides; a dead letter
 * stays one, unless the file has an edit that somebody wrote into it: then it waits, edited.
 *
 * What it trades: within a lane, imported messages stand behind what this box had taken before them. The sequence is
 * the only order that there is.
 */
import type { Statement } from "better-sqlite3";
import { wallMsBetween } from "../core/clock.ts";
import { bytesOf, chained } from "../core/export-content.ts";
import type { ExportDelivery, ExportEnd, ExportHead, ExportMessage } from "../core/export-file.ts";
import { cutReason, UNORDERED_LANES } from "../core/limits.ts";
import { isOpen } from "../core/outcome.ts";
import { type Act, ActTable } from "./acts.ts";
import { type Content, contentSum, isIntact } from "./content-sum.ts";
import type { EditTable } from "./edits.ts";
import type { FlowVersions } from "./flow-versions.ts";
import type { Lane } from "./lanes.ts";
import { MESSAGE_COLUMNS } from "./message-row.ts";
import { PutBack, type PutBackContext } from "./put-back.ts";
import { IMPORT_COLUMNS, type ImportRow, importOf, type StoredImport } from "./queries-imports.ts";
import { type OpenLane, openLane } from "./repair.ts";
import { DOOR } from "./tally.ts";

/** Rows of a message in the store beside its payload and texts, for the estimate of room. */
const ROW_OVERHEAD_BYTES = 800;
/** Named of what was not taken; more than that, and the import stops: something is wrong with it as a whole. */
const LEFT_MAX = 1000;

export interface ImportBegin {
  readonly head: ExportHead;
  readonly end: ExportEnd;
  readonly into: string | null;
  readonly act: Act;
}

export type ImportBegun =
  | { readonly kind: "begun"; readonly import: StoredImport }
  /** It was begun before, with another content. */
  | { readonly kind: "another"; readonly import: StoredImport };

export interface ImportStep {
  readonly export: string;
  /** How many lines were taken before these. */
  readonly from: number;
  readonly lines: readonly ExportMessage[];
  /** How each flow that takes them keeps order. */
  readonly orders: Readonly<Record<string, "device" | "topic" | "none">>;
}

export type ImportStepped =
  | { readonly kind: "taken"; readonly import: StoredImport; readonly lanes: readonly OpenLane[] }
  /** Nothing was done: it is elsewhere, or over. */
  | { readonly kind: "elsewhere"; readonly import: StoredImport }
  | { readonly kind: "no room"; readonly import: StoredImport }
  | { readonly kind: "too many left"; readonly import: StoredImport }
  | { readonly kind: "not found" };

export interface ImportFinish {
  readonly export: string;
  readonly act: Act;
}

export interface ImportsContext extends PutBackContext {
  readonly edits: EditTable;
  readonly flowVersions: FlowVersions;
  readonly roomBytes: () => number;
  readonly bootNumber: number;
  readonly nextSeq: () => number;
  readonly retention: { added(messages: number): void };
}

interface Taking {
  readonly of: StoredImport;
  readonly orders: ImportStep["orders"];
  readonly touched: Map<number, Lane>;
  chain: string;
  stored: number;
  added: number;
  known: number;
  readonly left: { id: string; why: string }[];
}

export class ImportTable {
  readonly #context: ImportsContext;
  readonly #putBack: PutBack;
  readonly #acts: ActTable;
  readonly #get: Statement;
  readonly #insert: Statement;
  readonly #move: Statement;
  readonly #finish: Statement;
  readonly #byId: Statement;
  readonly #insertMessage: Statement;
  readonly #insertDelivery: Statement;
  readonly #setRoutes: Statement;
  readonly #history: Statement;

  constructor(context: ImportsContext) {
    this.#context = context;
    this.#putBack = new PutBack(context);
    const { db } = context;
    this.#acts = new ActTable(db);
    this.#get = db.prepare(`SELECT ${IMPORT_COLUMNS} FROM imports WHERE export = ?`);
    this.#insert = db.prepare(
      `INSERT INTO imports (export, state, head, total, sum, into_flow, who, reason, at, chain)
       VALUES (?, 'running', ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#move = db.prepare(
      `UPDATE imports SET taken = ?, chain = ?, stored = stored + ?, added = added + ?, known = known + ?, left = ?
       WHERE number = ?`,
    );
    this.#finish = db.prepare("UPDATE imports SET state = 'finished', ended_at = ? WHERE number = ?");
    this.#byId = db.prepare(`SELECT ${MESSAGE_COLUMNS}, m.crc FROM messages AS m WHERE m.id = ?`);
    this.#insertMessage = db.prepare(
      `INSERT INTO messages (seq, id, device, source, topic, payload, content_type, qos, retain, produced_at, accepted_at,
                             steady_at, boot, traceparent, headers, routes, crc, import)
       VALUES (@seq, @id, @device, @source, @topic, @payload, @content_type, @qos, @retain, @produced_at, @accepted_at,
               @steady_at, @boot, @traceparent, @headers, @routes, @crc, @import)`,
    );
    this.#insertDelivery = db.prepare(
      `INSERT INTO deliveries (lane, seq, state, attempts, late, resend, due_at, updated_at, reason, replay)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#setRoutes = db.prepare("UPDATE messages SET routes = ?, crc = ? WHERE seq = ?");
    this.#history = db.prepare("INSERT INTO history (seq, lane, at, kind, detail) VALUES (?, ?, ?, ?, ?)");
  }

  begin({ head, end, into, act }: ImportBegin): ImportBegun {
    const found = this.#import(head.export);
    if (found) {
      const same = found.total === end.count && found.sum === end.sum && found.into === into;
      return { kind: same ? "begun" : "another", import: found };
    }
    const wallMs = this.#context.wallMs();
    const { who, reason } = act;
    const text = JSON.stringify(head);
    this.#insert.run(head.export, text, end.count, end.sum, into, who, reason, wallMs, head.export);
    this.#acts.write(act, {}, wallMs);
    return { kind: "begun", import: this.#import(head.export)! };
  }

  step({ export: id, from, lines, orders }: ImportStep): ImportStepped {
    const found = this.#import(id);
    if (!found) return { kind: "not found" };
    if (found.state !== "running" || found.taken !== from) return { kind: "elsewhere", import: found };
    if (lines.reduce((sum, line) => sum + bytesNeeded(line), 0) > this.#context.roomBytes()) {
      return { kind: "no room", import: found };
    }
    if (found.left.length >= LEFT_MAX) {
      return { kind: "too many left", import: found };
    }
    const taking: Taking = {
      of: found,
      orders,
      touched: new Map(),
      chain: found.chain,
      stored: 0,
      added: 0,
      known: 0,
      left: [...found.left],
    };
    for (const line of lines) this.#take(line, taking);
    const { chain, stored, added, known, left, touched } = taking;
    this.#move.run(from + lines.length, chain, stored, added, known, JSON.stringify(left), found.number);
    return {
      kind: "taken",
      import: this.#import(id)!,
      lanes: [...touched.values()].filter(({ open }) => open > 0).map(openLane),
    };
  }

  /** Only where all of it is here, and is what the file's end says. */
  finish({ export: id, act }: ImportFinish): StoredImport | null {
    const found = this.#import(id);
    if (found?.state === "running" && found.taken === found.total && found.chain === found.sum) {
      const wallMs = this.#context.wallMs();
      this.#finish.run(wallMs, found.number);
      const { stored, added, known, left } = found;
      this.#acts.write(act, { stored, added, known, left: left.length }, wallMs);
    }
    return this.#import(id);
  }

  #import(id: string): StoredImport | null {
    const row = this.#get.get(id) as ImportRow | undefined;
    return row ? importOf(row) : null;
  }

  #take(line: ExportMessage, taking: Taking): void {
    taking.chain = chained(taking.chain, line.sum);
    const here = this.#byId.get(line.id) as (Content & { crc: number | null }) | undefined;
    if (!here) {
      this.#store(line, taking);
      return;
    }
    const why = whyAnother(here, line);
    if (why === null) this.#addMissing(here, line, taking);
    else taking.left.push({ id: line.id, why });
  }

  #store(line: ExportMessage, taking: Taking): void {
    const { tally, nextSeq, bootNumber, retention } = this.#context;
    const seq = nextSeq();
    const routes: [number, number][] = [];
    for (const delivery of line.deliveries) {
      const route = this.#addDelivery(seq, line, delivery, routes, taking);
      if (route) routes.push(route);
    }
    const content: Content = {
      seq,
      id: line.id,
      device: line.device,
      source: line.source,
      topic: line.topic,
      payload: bytesOf(line)!,
      content_type: line.contentType,
      qos: line.qos,
      retain: line.retain ? 1 : 0,
      produced_at: line.producedAt === null ? null : Date.parse(line.producedAt),
      accepted_at: Date.parse(line.acceptedAt),
      steady_at: this.#steadyAtMs(line, taking.of.head),
      boot: bootNumber,
      traceparent: line.traceparent,
      headers: Object.keys(line.headers).length > 0 ? JSON.stringify(line.headers) : null,
      routes: JSON.stringify(routes),
    };
    this.#insertMessage.run({ ...content, crc: contentSum(content), import: taking.of.number });
    retention.added(1);
    tally.add(DOOR, "accepted");
    tally.add(DOOR, "imported");
    taking.stored += 1;
    this.#noteOrigin(seq, line, routes, taking.of);
  }

  /** A message of which nothing is missing is left as it is. */
  #addMissing(here: Content & { crc: number | null }, line: ExportMessage, taking: Taking): void {
    const routes = JSON.parse(here.routes) as [number, number][];
    const before = routes.length;
    // What is damaged gets no new checksum.
    if (isIntact(here)) {
      for (const delivery of line.deliveries) {
        const route = this.#addDelivery(here.seq, line, delivery, routes, taking);
        if (route) routes.push(route);
      }
    }
    if (routes.length === before) {
      taking.known += 1;
      return;
    }
    const changed = JSON.stringify(routes);
    this.#setRoutes.run(changed, contentSum({ ...here, routes: changed }), here.seq);
    this.#noteOrigin(here.seq, line, routes.slice(before), taking.of);
  }

  /** Null where its flow has it already. */
  #addDelivery(
    seq: number,
    line: ExportMessage,
    delivery: ExportDelivery,
    routes: readonly [number, number][],
    taking: Taking,
  ): [number, number] | null {
    const { lanes, tally, edits, flowVersions, wallMs } = this.#context;
    const flow = taking.of.into ?? delivery.flow;
    if (routes.some(([lane]) => lanes.get(lane)?.flow === flow)) return null;
    const { device, topic } = line;
    const lane = lanes.obtain(
      flow,
      { device, topic, none: String(seq % UNORDERED_LANES) }[taking.orders[flow]!],
      seq,
    );
    const { edit, attempts, late, replay, reason } = delivery;
    const byHand = edit !== null && edit.sum === undefined;
    const state = byHand ? "waiting" : delivery.state;
    const unknown = state === "unknown";
    this.#insertDelivery.run(
      lane.id,
      seq,
      state,
      byHand ? 0 : attempts,
      late ? 1 : 0,
      delivery.resend || unknown ? 1 : 0,
      unknown ? 0 : null,
      wallMs(),
      reason,
      // No job of this store; it is marked all the same.
      replay ? 0 : null,
    );
    if (edit) {
      const edited = {
        seq,
        lane: lane.id,
        at: edit.at === undefined ? wallMs() : Date.parse(edit.at),
        who: byHand ? taking.of.who : (edit.by ?? taking.of.who),
        reason: edit.reason ?? taking.of.reason ?? "",
        topic: edit.topic ?? topic,
        payload: bytesOf(edit) ?? bytesOf(line)!,
        content_type: edit.contentType === undefined ? line.contentType : edit.contentType,
      };
      const number = edits.add(edited, null);
      if (byHand) {
        const detail = `edited in the file by ${edited.who}: ${edited.reason} (edit ${number})`;
        this.#putBack.note(seq, lane.id, "edit", cutReason(detail));
      }
    }
    tally.add(flow, "accepted");
    tally.add(flow, state);
    tally.add(flow, "imported");
    if (late) tally.add(flow, "late");
    if (isOpen(state)) {
      this.#putBack.stands(lane, seq, 1);
      taking.touched.set(lane.id, lane);
    }
    taking.added += 1;
    return [lane.id, flowVersions.latestOf(flow)!];
  }

  /** Its past there, and that it came from there. */
  #noteOrigin(
    seq: number,
    { history, deliveries }: ExportMessage,
    routes: readonly (readonly [lane: number, version: number])[],
    { number, head, who }: StoredImport,
  ): void {
    const { lanes, wallMs } = this.#context;
    const laneOf = (flow: string | null) =>
      routes.find(([lane]) => lanes.get(lane)?.flow === flow)?.[0] ?? null;
    for (const { at, flow, kind, detail } of history) {
      const there = cutReason(`at gateway ${head.gateway}${detail === null ? "" : `: ${detail}`}`);
      this.#history.run(seq, laneOf(flow), Date.parse(at), kind, there);
    }
    for (const { flow, state, attempts } of deliveries) {
      const was = `${state} there on flow ${flow}, after ${attempts} ${attempts === 1 ? "try" : "tries"}`;
      const detail = `came from gateway ${head.gateway} by export ${head.export} (import ${number} of ${who}); it was ${was}`;
      this.#history.run(seq, laneOf(flow), wallMs(), "imported", cutReason(detail));
    }
  }

  /** As old as it was there, and older by the way here, where the clocks of both can be believed. */
  #steadyAtMs({ ageMs }: ExportMessage, { exportedAt }: ExportHead): number {
    const { steadyMs, wallMs } = this.#context;
    const wayMs = Math.max(0, wallMsBetween(Date.parse(exportedAt), wallMs()) ?? 0);
    return Math.max(0, Math.trunc(steadyMs() - ageMs - wayMs));
  }
}

function bytesNeeded({ payload, base64, topic, deliveries }: ExportMessage): number {
  const edits = deliveries.reduce((sum, { edit }) => sum + (edit?.payload ?? edit?.base64 ?? "").length, 0);
  return (payload ?? base64 ?? "").length + topic.length + edits + ROW_OVERHEAD_BYTES;
}

/** Ids are the backends' only way to tell messages apart: another content under the same id would be dropped there. */
function whyAnother(here: Content, line: ExportMessage): string | null {
  const same =
    here.device === line.device && here.topic === line.topic && here.payload.equals(bytesOf(line)!);
  return same ? null : "another message has its id here, with another device, topic or payload";
}
