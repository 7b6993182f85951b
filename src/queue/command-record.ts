/**
 * What the store does for commands beside carrying them as messages. Each change of a command's state leaves, in
 * the commit that makes it,
 *
 *   an entry in the audit trail,
 *   the result for whoever asked for it upstream, as a message that waits in that upstream's flow,
 *   a line for the main thread, which may have somebody waiting for it.
 *
 * So there is no moment at which a command is done and its result could be forgotten. A state that is reached again
 * (an unknown that was asked about in vain) is no change.
 */
import type { Statement } from "better-sqlite3";
import {
  type CommandHeaders,
  type CommandResult,
  RESULT_SOURCE,
  type ResultHeaders,
  resultFlow,
  type TrailEvent,
} from "../core/command-message.ts";
import { parseJson } from "../core/json-pointer.ts";
import type { Arrival } from "./arrivals.ts";
import type { Db } from "./database.ts";
import type { Lane } from "./lanes.ts";
import type { AppendReply, AppendRequest } from "./requests.ts";

/** A command that has reached a state, as of a commit. */
export interface CommandChange {
  readonly id: string;
  readonly event: TrailEvent;
}

/** What a commit changed that nobody on the main thread has asked for. */
export interface StoreNews {
  readonly changes: readonly CommandChange[];
  /** Results that wait to be sent. */
  readonly arrivals: readonly Arrival[];
}

/** For a command that was not even taken: there is no message to tell from. */
export interface TrailEntry {
  readonly device: string | null;
  readonly signal: string | null;
  /** JSON. */
  readonly value: string | null;
  readonly door: string;
  readonly by: string;
  readonly detail: string;
}

type Entry = Omit<TrailEntry, "detail"> & { readonly detail: string | null };

interface Reached {
  /** Who brought it about, where it was not whoever sent the command. */
  readonly by?: string;
  /** When, where it was not just now; wall clock. */
  readonly atMs?: number;
}

export interface CommandRecordOptions {
  readonly db: Db;
  readonly wallMs: () => number;
  readonly steadyMs: () => number;
  /** The version under which a flow takes messages now; undefined where it never did. */
  readonly versionOf: (flow: string) => number | undefined;
  readonly append: (request: AppendRequest) => AppendReply;
}

interface MessageRow {
  readonly id: string;
  readonly device: string;
  readonly source: string;
  readonly payload: Buffer;
  readonly traceparent: string | null;
  readonly headers: string | null;
}

interface ReplyAddress extends ResultHeaders {
  readonly upstream: string;
  readonly replyTo: string;
  /** Of the command: its result is part of the same story. */
  readonly traceparent: string | null;
}

export class CommandRecord {
  readonly #options: CommandRecordOptions;
  readonly #message: Statement;
  readonly #last: Statement;
  readonly #insert: Statement;
  #changes: CommandChange[] = [];
  #arrivals: Arrival[] = [];

  constructor(options: CommandRecordOptions) {
    this.#options = options;
    const { db } = options;
    this.#message = db.prepare(
      "SELECT id, device, source, payload, traceparent, headers FROM messages WHERE seq = ?",
    );
    this.#last = db
      .prepare("SELECT event FROM audit_trail WHERE command = ? ORDER BY id DESC LIMIT 1")
      .pluck();
    this.#insert = db.prepare(
      `INSERT INTO audit_trail (at, steady_at, event, command, device, signal, value, door, by, detail)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
  }

  /** The message under this sequence has reached a state in this lane; of a lane without commands there is no record. */
  reached(lane: Lane, seq: number, event: TrailEvent, detail: string | null, more: Reached = {}): void {
    if (!lane.commands) return;
    const row = this.#message.get(seq) as MessageRow;
    if (this.#last.get(row.id) === event) return;
    const { signal, value } = orderOf(row.payload);
    const headers = (row.headers === null ? {} : JSON.parse(row.headers)) as Partial<CommandHeaders>;
    const entry = {
      device: row.device,
      signal,
      value: JSON.stringify(value),
      door: row.source,
      by: more.by ?? headers.by ?? "",
      detail: event === "queued" ? (headers.reason ?? null) : detail,
    };
    const number = this.#enter(event, row.id, entry, more.atMs);
    this.#changes.push({ id: row.id, event });
    const { upstream, replyTo } = headers;
    if (event === "queued" || event === "sent" || !upstream || !replyTo) return;
    const result: CommandResult = {
      id: headers.requestId ?? null,
      command: row.id,
      device: row.device,
      signal,
      value,
      state: event,
      final: event !== "unknown",
      detail,
      at: new Date(this.#options.wallMs()).toISOString(),
    };
    const { correlation } = headers;
    const { traceparent } = row;
    this.#tell({ upstream, replyTo, correlation, traceparent }, `${row.id}:${number}`, result);
  }

  refused(entry: TrailEntry): void {
    this.#enter("refused", null, entry);
  }

  /** Returns the entry's number. */
  #enter(event: TrailEvent, command: string | null, entry: Entry, atMs = this.#options.wallMs()): number {
    const { device, signal, value, door, by, detail } = entry;
    const steadyMs = this.#options.steadyMs();
    return Number(
      this.#insert.run(atMs, steadyMs, event, command, device, signal, value, door, by, detail)
        .lastInsertRowid,
    );
  }

  /** Puts a result in the line of its upstream. */
  #tell(to: ReplyAddress, id: string, result: CommandResult) {
    const { wallMs, steadyMs, versionOf, append } = this.#options;
    const flow = resultFlow(to.upstream);
    const key = result.device!;
    const version = versionOf(flow);
    if (version === undefined) return;
    const reply = append({
      id,
      device: key,
      source: RESULT_SOURCE,
      topic: flow,
      payload: Buffer.from(JSON.stringify(result)),
      contentType: "application/json",
      qos: 1,
      retain: false,
      producedAtMs: null,
      acceptedAtMs: wallMs(),
      steadyAtMs: steadyMs(),
      traceparent: to.traceparent,
      headers: JSON.stringify({ replyTo: to.replyTo, correlation: to.correlation } satisfies ResultHeaders),
      identity: null,
      mqtt: null,
      routes: [{ version, key, state: "waiting", late: false, reason: null }],
      session: [],
    });
    if (reply.kind === "stored") this.#arrivals.push({ lane: reply.lanes[0]!, flow, key, count: 1 });
  }

  /** All since the last time it was asked, or null where nothing happened; after the commit. */
  takeNews(): StoreNews | null {
    if (this.#changes.length === 0 && this.#arrivals.length === 0) return null;
    const news = { changes: this.#changes, arrivals: this.#arrivals };
    this.forget();
    return news;
  }

  /** The commit has failed. */
  forget(): void {
    this.#changes = [];
    this.#arrivals = [];
  }
}

/** What is left of it where its content was lost to damage is nothing. */
function orderOf(payload: Buffer): Pick<CommandResult, "signal" | "value"> {
  const order = parseJson(payload) as Partial<Pick<CommandResult, "signal" | "value">> | undefined;
  return { signal: order?.signal ?? null, value: order?.value ?? null };
}
