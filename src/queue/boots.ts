/** The starts of gateways on this store: where the steady clock stood, and whether the last one ended well. */
import type { Statement } from "better-sqlite3";
import { type SteadyMark, steadyMsAfter, wallClockTrusted } from "../core/clock.ts";
import type { Db } from "./database.ts";

export interface LastBoot extends SteadyMark {
  /** False where it died instead of stopping. */
  readonly clean: boolean;
}

export class Boots {
  readonly #db: Db;
  readonly #seen: Statement;
  readonly #names = new Map<number, string>();
  /** The one before this start; null for a new store. */
  readonly last: LastBoot | null;
  /** Number of this start, once begin() has recorded it. */
  number = 0;
  /** Commits of the store, ever; one that failed may be among them. */
  commits: number;

  constructor(db: Db) {
    this.#db = db;
    this.#seen = db.prepare(
      "UPDATE boots SET seen_at = ?, steady_at = max(steady_at, ?), commits = ? WHERE id = ?",
    );
    const rows = db.prepare("SELECT id, boot FROM boots").all() as { id: number; boot: string }[];
    for (const { id, boot } of rows) this.#names.set(id, boot);
    const last = db
      .prepare("SELECT steady_at, seen_at, stopped_clean, commits FROM boots ORDER BY id DESC LIMIT 1")
      .get() as { steady_at: number; seen_at: number; stopped_clean: number; commits: number } | undefined;
    this.commits = last?.commits ?? 0;
    this.last = last
      ? { steadyMs: last.steady_at, wallMs: last.seen_at, clean: last.stopped_clean === 1 }
      : null;
  }

  begin(boot: string, version: string, wallMs: number): void {
    // With the time since the last one in it, so that a start which dies at once does not lose that time.
    const steadyMs = steadyMsAfter(this.last, wallMs);
    // Known already where this start has met damage, and goes on with what it salvaged.
    const begin = this.#db.prepare(
      `INSERT INTO boots (boot, version, started_at, clock_trusted, seen_at, steady_at, commits)
       VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (boot) DO UPDATE SET commits = excluded.commits`,
    );
    const trusted = wallClockTrusted(wallMs) ? 1 : 0;
    begin.run(boot, version, wallMs, trusted, wallMs, steadyMs, ++this.commits);
    // Not by RETURNING: the library reads the row, and passes over a commit that fails behind it.
    this.number = this.#db.prepare("SELECT id FROM boots WHERE boot = ?").pluck().get(boot) as number;
    this.#names.set(this.number, boot);
  }

  /** Records that we live: part of every commit. */
  seen(wallMs: number, steadyMs: number): void {
    this.#seen.run(wallMs, steadyMs, ++this.commits, this.number);
  }

  endedClean(): void {
    this.#db.prepare("UPDATE boots SET stopped_clean = 1 WHERE id = ?").run(this.number);
  }

  nameOf(number: number): string {
    return this.#names.get(number)!;
  }
}
