/**
 * Retention: finished messages leave in small steps, oldest first, each step one short commit between
 * others. A message leaves when all its deliveries are finished and it is old enough, or when there are
 * more messages than `retention.count`, or when room is needed. Dead ones stay: they need a person. A command makes
 * no room until its sender has had time to look what came of it.
 *
 * A sweep walks the messages in order of sequence with a cursor, so that a backlog that cannot leave costs
 * a step once a sweep, not again and again.
 */
import type { Statement } from "better-sqlite3";
import { type DeliveryState, isOpen } from "../core/outcome.ts";
import type { Db } from "./database.ts";
import type { LaneTable } from "./lanes.ts";
import type { QueueConfig } from "./schema.ts";
import { DOOR, type Tally } from "./tally.ts";

/** Messages looked at in one step… */
const STEP_MESSAGES_MAX = 400;
/** …and in one that is to make room, since nothing is acknowledged until there is some… */
const ROOM_STEP_MESSAGES_MAX = 4000;
/** …identities looked at in it… */
const STEP_IDENTITIES_MAX = 1000;
/** …entries of the audit trail released… */
const STEP_TRAIL_MAX = 1000;
/** …and free pages given back to the disk at the end of a sweep. */
const STEP_PAGES_MAX = 256;
/** How long after it came a finished command does not leave for want of room; twice the longest `Prefer: wait`. */
const COMMAND_KEPT_MS = 600_000;
/** Free pages are given back only above this share of the file: below it they will be used again. */
const FREE_SHARE_MAX = 0.25;

export interface PruneRequest {
  readonly nowMs: number;
  /** Begin a new sweep where the last one has ended. */
  readonly sweep: boolean;
  /** Remove finished messages whatever their age, because the store is full. */
  readonly forRoom: boolean;
}

export interface PruneResult {
  readonly removed: number;
  /** True when the sweep has come to its end. */
  readonly finished: boolean;
}

/** How far the sweep has come; taken back where the commit fails. */
interface Progress {
  /** Messages up to this sequence have been looked at; null where the sweep has ended. */
  readonly cursor: number | null;
  /** The same for packet ids, which have no index by age. */
  readonly packetCursor: readonly [client: string, packetId: number] | null;
  readonly identitiesLeft: boolean;
}

const SWEEP_BEGINS: Progress = { cursor: 0, packetCursor: ["", 0], identitiesLeft: true };

function isEnded({ cursor, packetCursor, identitiesLeft }: Progress): boolean {
  return cursor === null && packetCursor === null && !identitiesLeft;
}

export class Retention {
  readonly #db: Db;
  readonly #lanes: LaneTable;
  readonly #pruned: Tally;
  readonly #limits: QueueConfig["retention"];
  readonly #page: Statement;
  readonly #state: Statement;
  readonly #deletes: readonly Statement[];
  readonly #deleteDelivery: Statement;
  readonly #laneEmpty: Statement;
  readonly #expireIdentities: Statement;
  readonly #packetPage: Statement;
  readonly #deletePacket: Statement;
  readonly #highest: Statement;
  readonly #trail: QueueConfig["trail"];
  readonly #trailEnd: Statement;
  readonly #trailReleased: Statement;
  readonly #deleteTrail: Statement;
  #progress = SWEEP_BEGINS;
  #progressCommitted = SWEEP_BEGINS;
  /** Messages in the store. */
  #messages: number;
  #messagesCommitted: number;

  constructor(db: Db, lanes: LaneTable, pruned: Tally, { retention, trail }: QueueConfig) {
    this.#db = db;
    this.#lanes = lanes;
    this.#pruned = pruned;
    this.#limits = retention;
    this.#trail = trail;
    // "? + 0" as in claim.ts.
    this.#page = db.prepare(
      "SELECT seq, steady_at, routes FROM messages WHERE seq > ? ORDER BY seq LIMIT ? + 0",
    );
    this.#state = db.prepare("SELECT state FROM deliveries WHERE lane = ? AND seq = ?").pluck();
    this.#deletes = [
      db.prepare("DELETE FROM messages WHERE seq = ?"),
      db.prepare("DELETE FROM history WHERE seq = ?"),
      db.prepare("DELETE FROM edits WHERE seq = ?"),
    ];
    this.#deleteDelivery = db.prepare("DELETE FROM deliveries WHERE lane = ? AND seq = ?");
    this.#laneEmpty = db.prepare("SELECT NOT EXISTS (SELECT 1 FROM deliveries WHERE lane = ?)").pluck();
    this.#expireIdentities = db.prepare(
      "DELETE FROM identities WHERE (scope, key) IN (SELECT scope, key FROM identities WHERE expire_at < ? LIMIT ? + 0)",
    );
    this.#packetPage = db.prepare(
      "SELECT client, packet_id, expire_at FROM packet_ids WHERE (client, packet_id) > (?, ?) ORDER BY client, packet_id LIMIT ? + 0",
    );
    this.#deletePacket = db.prepare("DELETE FROM packet_ids WHERE client = ? AND packet_id = ?");
    this.#highest = db.prepare(
      `INSERT INTO meta (key, value) SELECT 'seq_high', coalesce(max(seq), 0) FROM messages WHERE true
       ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)`,
    );
    // By numbers, which are given in order: those before the last `count`, and the oldest by age.
    this.#trailEnd = db
      .prepare(
        `SELECT max(id) FROM (SELECT id, steady_at FROM audit_trail
           WHERE id < (SELECT max(id) FROM audit_trail) ORDER BY id LIMIT @step)
         WHERE steady_at < @beforeMs OR id <= (SELECT max(id) FROM audit_trail) - @count`,
      )
      .pluck();
    this.#trailReleased = db.prepare(
      `INSERT INTO meta (key, value) VALUES ('audit_trail_released', ?)
       ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)`,
    );
    this.#deleteTrail = db.prepare("DELETE FROM audit_trail WHERE id <= ?");
    this.#messages = db.prepare("SELECT count(*) FROM messages").pluck().get() as number;
    this.#messagesCommitted = this.#messages;
  }

  added(messages: number): void {
    this.#messages += messages;
  }

  committed(): void {
    this.#progressCommitted = this.#progress;
    this.#messagesCommitted = this.#messages;
  }

  forget(): void {
    this.#progress = this.#progressCommitted;
    this.#messages = this.#messagesCommitted;
  }

  step(request: PruneRequest): PruneResult {
    if (isEnded(this.#progress)) {
      if (!request.sweep && !request.forRoom) return { removed: 0, finished: true };
      this.#progress = SWEEP_BEGINS;
    }
    const removed = this.#walk(request);
    this.#expireIds(request.nowMs);
    this.#releaseTrail(request.nowMs);
    const finished = isEnded(this.#progress);
    if (finished) this.#giveBackPages();
    return { removed, finished };
  }

  #expireIds(nowMs: number): void {
    let { identitiesLeft, packetCursor } = this.#progress;
    if (identitiesLeft) {
      identitiesLeft = this.#expireIdentities.run(nowMs, STEP_IDENTITIES_MAX).changes === STEP_IDENTITIES_MAX;
    }
    if (packetCursor) {
      const rows = this.#packetPage.all(...packetCursor, STEP_IDENTITIES_MAX) as {
        client: string;
        packet_id: number;
        expire_at: number;
      }[];
      for (const row of rows) if (row.expire_at < nowMs) this.#deletePacket.run(row.client, row.packet_id);
      const last = rows.length === STEP_IDENTITIES_MAX ? rows.at(-1)! : null;
      packetCursor = last && [last.client, last.packet_id];
    }
    this.#progress = { ...this.#progress, identitiesLeft, packetCursor };
  }

  #walk({ nowMs, forRoom }: PruneRequest): number {
    let { cursor } = this.#progress;
    if (cursor === null) return 0;
    const limit = forRoom ? ROOM_STEP_MESSAGES_MAX : STEP_MESSAGES_MAX;
    const rows = this.#page.all(cursor, limit) as { seq: number; steady_at: number; routes: string }[];
    if (rows.length > 0) this.#highest.run();
    let ended = rows.length < limit;
    let removed = 0;
    for (const row of rows) {
      const mayStay = !forRoom && this.#messages <= this.#limits.count;
      if (mayStay && row.steady_at > nowMs - this.#limits.age) {
        ended = true; // Younger ones follow: nothing more to do.
        break;
      }
      cursor = row.seq;
      const keptMs = forRoom ? Math.min(COMMAND_KEPT_MS, this.#limits.age) : 0;
      const commandsStay = row.steady_at > nowMs - keptMs;
      if (this.#remove(row.seq, JSON.parse(row.routes), commandsStay)) removed += 1;
      if (removed === STEP_MESSAGES_MAX) {
        ended = false;
        break;
      }
    }
    this.#progress = { ...this.#progress, cursor: ended ? null : cursor };
    return removed;
  }

  #remove(seq: number, routes: readonly [lane: number, version: number][], commandsStay: boolean): boolean {
    if (commandsStay && routes.some(([lane]) => this.#lanes.get(lane)?.commands)) return false;
    const states = routes.map(([lane]) => this.#state.get(lane, seq) as DeliveryState);
    if (routes.some(([lane], at) => this.#stays(states[at]!, lane))) return false;
    for (const [at, [laneId]] of routes.entries()) {
      const lane = this.#lanes.get(laneId)!;
      this.#deleteDelivery.run(laneId, seq);
      this.#pruned.add(lane.flow, states[at]!);
      if (lane.open === 0 && this.#laneEmpty.get(laneId) === 1) this.#lanes.remove(lane);
    }
    for (const statement of this.#deletes) statement.run(seq);
    this.#pruned.add(DOOR, routes.length === 0 ? "unrouted" : "routed");
    this.#messages -= 1;
    return true;
  }

  /** A dead letter needs a person; of a command that failed its sender has been told. */
  #stays(state: DeliveryState, lane: number): boolean {
    return isOpen(state) || (state === "dead" && !this.#lanes.get(lane)?.commands);
  }

  /** The oldest entries of the audit trail that need not be kept; never the newest of all, whose number counts on. */
  #releaseTrail(nowMs: number): void {
    const { age, count } = this.#trail;
    const upTo = this.#trailEnd.get({ beforeMs: nowMs - age, count, step: STEP_TRAIL_MAX }) as number | null;
    if (upTo === null) return;
    this.#trailReleased.run(upTo);
    this.#deleteTrail.run(upTo);
  }

  #giveBackPages(): void {
    const free = this.#db.pragma("freelist_count", { simple: true }) as number;
    const pages = this.#db.pragma("page_count", { simple: true }) as number;
    if (free > pages * FREE_SHARE_MAX) this.#db.pragma(`incremental_vacuum(${STEP_PAGES_MAX})`);
  }
}
