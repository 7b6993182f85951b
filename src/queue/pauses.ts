/**
 * Pauses: which flows, targets and devices somebody has stopped, since when and why. They outlive restarts, and are on
 * record as acts in the commit that makes or ends them. What a pause keeps from being sent is the relay's business.
 */
import type { Statement } from "better-sqlite3";
import { type Act, ActTable } from "./acts.ts";
import type { Db } from "./database.ts";
import type { Word } from "./repair.ts";

export const PAUSE_KINDS = ["flow", "target", "device"] as const;
export type PauseKind = (typeof PAUSE_KINDS)[number];

export interface PauseName {
  readonly kind: PauseKind;
  readonly name: string;
}

export interface Pause extends PauseName {
  /** Wall clock, epoch ms; null for one that the config makes. */
  readonly sinceMs: number | null;
  readonly who: string;
  readonly reason: string;
}

export interface PauseRequest extends PauseName {
  readonly word: Word;
  readonly act: Act;
}

export interface ResumeRequest extends PauseName {
  readonly act: Act;
}

export class PauseTable {
  readonly #wallMs: () => number;
  readonly #acts: ActTable;
  readonly #all: Statement;
  readonly #insert: Statement;
  readonly #delete: Statement;

  constructor({ db, wallMs }: { readonly db: Db; readonly wallMs: () => number }) {
    this.#wallMs = wallMs;
    this.#acts = new ActTable(db);
    this.#all = db.prepare("SELECT kind, name, at AS sinceMs, who, reason FROM pauses ORDER BY kind, name");
    // One that is paused already stays paused since then, and by whoever did it.
    this.#insert = db.prepare(
      "INSERT OR IGNORE INTO pauses (kind, name, at, who, reason) VALUES (?, ?, ?, ?, ?)",
    );
    this.#delete = db.prepare("DELETE FROM pauses WHERE kind = ? AND name = ?");
  }

  all(): Pause[] {
    return this.#all.all() as Pause[];
  }

  /** False where it was paused already. */
  pause({ kind, name, word, act }: PauseRequest): boolean {
    const wallMs = this.#wallMs();
    const paused = this.#insert.run(kind, name, wallMs, word.by, word.why).changes === 1;
    this.#acts.write(act, { paused }, wallMs);
    return paused;
  }

  /** False where it was not paused. */
  resume({ kind, name, act }: ResumeRequest): boolean {
    const resumed = this.#delete.run(kind, name).changes === 1;
    this.#acts.write(act, { resumed }, this.#wallMs());
    return resumed;
  }
}
