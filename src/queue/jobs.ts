/**
 * Jobs: work on many deliveries, a step at a time, so that it can be paused, survives a restart and delays nobody.
 *
 *   redrive   dead letters and held unknowns go back in line
 *   replay    delivered ones are delivered again: on their flow, where they go back from `delivered` to `waiting`, or
 *             on another one, which takes them as it takes new messages (a delivery of its own, counted as accepted)
 *
 * Promise: a step moves its rows, the figures and the job's place in one commit. So a crash repeats nothing and leaves
 * nothing out, and the accounts balance after each step. A row is moved only from the state that the job is about:
 * what was found there has been looked up before, on another thread (queries-jobs.ts), and may have changed since.
 *
 * Ids stay, and so does the order: a lane goes by sequence, so what is put back stands before what came later. What
 * was dead or delivered once more after the job had passed it is not taken a second time: a job goes by sequence,
 * from the oldest to the newest there was when it began, and so it ends.
 *
 * States: running ⇄ paused; both → cancelled; running → finished | failed.
 */
import type { Statement } from "better-sqlite3";
import { isCommandFlow } from "../core/command-message.ts";
import type { Job, JobKind, JobSelection } from "../core/job.ts";
import { UNORDERED_LANES } from "../core/limits.ts";
import type { DeliveryState } from "../core/outcome.ts";
import { type Act, ActTable } from "./acts.ts";
import { type Content, contentSum, isIntact } from "./content-sum.ts";
import type { FlowVersions } from "./flow-versions.ts";
import type { Lane } from "./lanes.ts";
import { MESSAGE_COLUMNS } from "./message-row.ts";
import { PutBack, type PutBackContext } from "./put-back.ts";
import { JOB_COLUMNS, type JobRow, jobOf } from "./queries-jobs.ts";
import { type OpenLane, openLane } from "./repair.ts";

/** Jobs kept on record; older ones that are over are forgotten. */
const JOBS_KEPT_MAX = 1000;

export interface JobStart {
  readonly kind: JobKind;
  readonly selection: JobSelection;
  /** Messages named one by one; the selection applies to them as well. */
  readonly ids?: readonly string[];
  readonly rate: number;
  readonly total: number | null;
  /** No more than so many may be open at a time. */
  readonly openMax: number;
  readonly act: Act;
}

export type JobStartResult =
  | { readonly kind: "started"; readonly job: Job }
  | { readonly kind: "too many"; readonly open: number };

export interface JobStep {
  readonly id: number;
  /** Where the job was when these were looked up, and where it is then. */
  readonly fromSeq: number;
  readonly toSeq: number;
  readonly rows: readonly (readonly [lane: number, seq: number])[];
  readonly ended: boolean;
  /** How the flow that takes them keeps order, for a replay into another one. */
  readonly intoOrder?: "device" | "topic" | "none";
}

/** `job` is as it is then: where it is not running any more, or elsewhere, nothing was done. */
export interface JobStepResult {
  readonly job: Job;
  readonly moved: number;
  readonly lanes: readonly OpenLane[];
}

export interface JobChange {
  readonly id: number;
  readonly to: "running" | "paused" | "cancelled" | "failed";
  readonly error?: string;
  readonly act?: Act;
}

export type JobChangeResult =
  | { readonly kind: "changed"; readonly job: Job }
  | { readonly kind: "not now"; readonly job: Job }
  | { readonly kind: "not found" };

const CHANGES_FROM: Record<JobChange["to"], readonly Job["state"][]> = {
  running: ["paused"],
  paused: ["running"],
  cancelled: ["running", "paused"],
  failed: ["running"],
};

export interface JobsContext extends PutBackContext {
  readonly flowVersions: FlowVersions;
}

type MessageRow = Content & { readonly crc: number | null };

export class JobTable {
  readonly #context: JobsContext;
  readonly #putBack: PutBack;
  readonly #acts: ActTable;
  readonly #get: Statement;
  readonly #countOpen: Statement;
  readonly #insert: Statement;
  readonly #name: Statement;
  readonly #forgetNames: Statement;
  readonly #forget: Statement;
  readonly #move: Statement;
  readonly #setState: Statement;
  readonly #delivery: Statement;
  readonly #message: Statement;
  readonly #addDelivery: Statement;
  readonly #setRoutes: Statement;

  constructor(context: JobsContext) {
    this.#context = context;
    this.#putBack = new PutBack(context);
    const { db } = context;
    this.#acts = new ActTable(db);
    this.#get = db.prepare(`SELECT ${JOB_COLUMNS} FROM jobs WHERE id = ?`);
    this.#countOpen = db.prepare("SELECT count(*) FROM jobs WHERE state IN ('running', 'paused')").pluck();
    this.#insert = db.prepare(
      `INSERT INTO jobs (kind, state, selection, rate, who, reason, total, until_seq, started_at, updated_at)
       VALUES (?, 'running', ?, ?, ?, ?, ?, (SELECT coalesce(max(seq), 0) FROM messages), ?, ?)`,
    );
    this.#name = db.prepare(
      "INSERT OR IGNORE INTO job_messages (job, seq) SELECT ?, seq FROM messages WHERE id = ?",
    );
    this.#forgetNames = db.prepare("DELETE FROM job_messages WHERE job = ?");
    this.#forget = db.prepare("DELETE FROM jobs WHERE id <= ? AND state NOT IN ('running', 'paused')");
    this.#move = db.prepare(
      "UPDATE jobs SET at_seq = ?, done = done + ?, skipped = skipped + ?, updated_at = ? WHERE id = ?",
    );
    this.#setState = db.prepare(
      "UPDATE jobs SET state = ?, error = ?, updated_at = ?, ended_at = ? WHERE id = ?",
    );
    this.#delivery = db.prepare("SELECT state, due_at, export FROM deliveries WHERE lane = ? AND seq = ?");
    this.#message = db.prepare(`SELECT ${MESSAGE_COLUMNS}, m.crc FROM messages AS m WHERE m.seq = ?`);
    this.#addDelivery = db.prepare(
      "INSERT INTO deliveries (lane, seq, state, updated_at, replay) VALUES (?, ?, 'waiting', ?, ?)",
    );
    this.#setRoutes = db.prepare("UPDATE messages SET routes = ?, crc = ? WHERE seq = ?");
  }

  start({ kind, selection, ids, rate, total, openMax, act }: JobStart): JobStartResult {
    const open = this.#countOpen.get() as number;
    if (open >= openMax) return { kind: "too many", open };
    const wallMs = this.#context.wallMs();
    const chosen = JSON.stringify(ids ? { ...selection, named: ids.length } : selection);
    const { who, reason } = act;
    const added = this.#insert.run(kind, chosen, rate, who, reason, total, wallMs, wallMs);
    const id = Number(added.lastInsertRowid);
    for (const each of ids ?? []) this.#name.run(id, each);
    this.#forget.run(id - JOBS_KEPT_MAX);
    this.#acts.write(act, { job: id }, wallMs);
    return { kind: "started", job: this.#job(id)! };
  }

  step({ id, fromSeq, toSeq, rows, ended, intoOrder }: JobStep): JobStepResult {
    const job = this.#job(id)!;
    if (job.state !== "running" || job.atSeq !== fromSeq) return { job, moved: 0, lanes: [] };
    const touched = new Map<number, Lane>();
    let moved = 0;
    for (const [lane, seq] of rows) {
      const waitsIn = this.#moveOne(job, lane, seq, intoOrder);
      if (!waitsIn) continue;
      moved += 1;
      touched.set(waitsIn.id, waitsIn);
    }
    this.#move.run(toSeq, moved, rows.length - moved, this.#context.wallMs(), id);
    if (ended) this.#end(id, "finished", null);
    return { job: this.#job(id)!, moved, lanes: [...touched.values()].map(openLane) };
  }

  change({ id, to, error, act }: JobChange): JobChangeResult {
    const job = this.#job(id);
    if (!job) return { kind: "not found" };
    if (!CHANGES_FROM[to].includes(job.state)) return { kind: "not now", job };
    const wallMs = this.#context.wallMs();
    if (to === "running" || to === "paused") this.#setState.run(to, null, wallMs, null, id);
    else this.#end(id, to, error ?? null);
    const { done, skipped } = job;
    if (act) this.#acts.write(act, { done, skipped }, wallMs);
    return { kind: "changed", job: this.#job(id)! };
  }

  #job(id: number): Job | null {
    const row = this.#get.get(id) as JobRow | undefined;
    return row ? jobOf(row) : null;
  }

  #end(id: number, state: "finished" | "cancelled" | "failed", error: string | null): void {
    const wallMs = this.#context.wallMs();
    this.#setState.run(state, error, wallMs, wallMs, id);
    this.#forgetNames.run(id);
  }

  /** The lane it waits in then, or null where it is not there, or not in the state that this is about. */
  #moveOne(job: Job, lane: number, seq: number, intoOrder: JobStep["intoOrder"]): Lane | null {
    const flow = this.#context.lanes.get(lane)?.flow;
    const found = this.#delivery.get(lane, seq) as
      | { state: DeliveryState; due_at: number | null; export: number | null }
      | undefined;
    if (!found || found.export !== null || flow === undefined || isCommandFlow(flow)) return null;
    const { state } = found;
    if (job.kind === "redrive") {
      if (state !== "dead" && !(state === "unknown" && found.due_at === null)) return null;
      const detail = `put back from ${state} to waiting by job ${job.id}`;
      return this.#putBack.one({ lane, seq, state, kind: "redrive", detail });
    }
    if (state !== "delivered") return null;
    const { into } = job.selection;
    return into === undefined || into === flow
      ? this.#again(job, lane, seq)
      : this.#into(job, into, seq, intoOrder!);
  }

  #again({ id, who }: Job, lane: number, seq: number): Lane {
    const detail = `delivered once; to be delivered again (job ${id} of ${who})`;
    const waitsIn = this.#putBack.one({ lane, seq, state: "delivered", kind: "replay", detail, replay: id });
    // What has ever been delivered: those that are now, and those that were and are delivered again.
    this.#context.tally.add(waitsIn.flow, "replayed");
    return waitsIn;
  }

  /** A message whose content is not what was accepted gets no new checksum, and so does not go out. */
  #into(job: Job, flow: string, seq: number, order: NonNullable<JobStep["intoOrder"]>): Lane | null {
    const { lanes, tally, wallMs, flowVersions } = this.#context;
    const message = this.#message.get(seq) as MessageRow;
    const routes = JSON.parse(message.routes) as [number, number][];
    const known = routes.find(([lane]) => lanes.get(lane)?.flow === flow);
    if (known) {
      const { state } = this.#delivery.get(known[0], seq) as { state: DeliveryState };
      return state === "delivered" ? this.#again(job, known[0], seq) : null;
    }
    if (!isIntact(message)) return null;
    const keys = { device: message.device, topic: message.topic, none: String(seq % UNORDERED_LANES) };
    const lane = lanes.obtain(flow, keys[order], seq);
    this.#addDelivery.run(lane.id, seq, wallMs(), job.id);
    const changed = JSON.stringify([...routes, [lane.id, flowVersions.latestOf(flow)!]]);
    this.#setRoutes.run(changed, contentSum({ ...message, routes: changed }), seq);
    tally.add(flow, "accepted");
    tally.add(flow, "waiting");
    tally.add(flow, "replayedInto");
    this.#putBack.stands(lane, seq, 1);
    this.#putBack.note(
      seq,
      lane.id,
      "replay",
      `to be delivered on this flow as well (job ${job.id} of ${job.who})`,
    );
    return lane;
  }
}
