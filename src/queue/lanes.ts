/**
 * The lanes as the writer knows them: all in memory, changed there during a commit, and written once each
 * at its end. After a failed commit the memory is wrong: `reload()`.
 */
import type { Statement } from "better-sqlite3";
import { isCommandFlow } from "../core/command-message.ts";
import type { Db } from "./database.ts";

export interface Lane {
  readonly id: number;
  readonly flow: string;
  readonly key: string;
  /** What happens to its messages is put on record (command-record.ts). */
  readonly commands: boolean;
  /** No delivery of this lane before this sequence is open. */
  head: number;
  /** Deliveries that are waiting, sending or unknown. */
  open: number;
  /** In memory only: no delivery before this sequence waits without a time of its own (due_at). */
  front: number;
}

export class LaneTable {
  readonly #byId = new Map<number, Lane>();
  readonly #byFlow = new Map<string, Map<string, Lane>>();
  readonly #changed = new Set<Lane>();
  readonly #all: Statement;
  readonly #write: Statement;
  readonly #delete: Statement;
  #lastId = 0;

  constructor(db: Db) {
    this.#all = db.prepare("SELECT id, flow, key, head, open FROM lanes");
    this.#write = db.prepare(
      `INSERT INTO lanes (id, flow, key, head, open) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET head = excluded.head, open = excluded.open`,
    );
    this.#delete = db.prepare("DELETE FROM lanes WHERE id = ?");
    this.reload();
  }

  reload(): void {
    this.#byId.clear();
    this.#byFlow.clear();
    this.#changed.clear();
    for (const lane of this.#all.all() as Omit<Lane, "front" | "commands">[]) {
      this.#add({ ...lane, commands: isCommandFlow(lane.flow), front: lane.head });
    }
  }

  get(id: number): Lane | undefined {
    return this.#byId.get(id);
  }

  /** The lane of a flow under a key; made, with its head at `seq`, where there is none. */
  obtain(flow: string, key: string, seq: number): Lane {
    const known = this.#byFlow.get(flow)?.get(key);
    if (known) return known;
    const commands = isCommandFlow(flow);
    const lane: Lane = { id: this.#lastId + 1, flow, key, commands, head: seq, open: 0, front: seq };
    this.#add(lane);
    this.#changed.add(lane);
    return lane;
  }

  change(lane: Lane, openDelta: number, head?: number): void {
    lane.open += openDelta;
    if (head !== undefined) lane.head = head;
    this.#changed.add(lane);
  }

  remove(lane: Lane): void {
    this.#byId.delete(lane.id);
    this.#byFlow.get(lane.flow)?.delete(lane.key);
    this.#changed.delete(lane);
    this.#delete.run(lane.id);
  }

  *withOpen(): IterableIterator<Lane> {
    for (const lane of this.#byId.values()) if (lane.open > 0) yield lane;
  }

  /** Writes what changed; part of the commit. */
  flush(): void {
    for (const lane of this.#changed) this.#write.run(lane.id, lane.flow, lane.key, lane.head, lane.open);
    this.#changed.clear();
  }

  #add(lane: Lane): void {
    this.#byId.set(lane.id, lane);
    let ofFlow = this.#byFlow.get(lane.flow);
    if (!ofFlow) {
      ofFlow = new Map();
      this.#byFlow.set(lane.flow, ofFlow);
    }
    ofFlow.set(lane.key, lane);
    this.#lastId = Math.max(this.#lastId, lane.id);
  }
}
