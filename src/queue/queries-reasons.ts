/** Failures put together by flow and reason, so that ten thousand of a kind read as one line. */
import type { Db } from "./database.ts";

const GROUPS_LISTED_MAX = 20;
/** What a failure is grouped under that says nothing of itself. */
export const NO_REASON = "no reason recorded";

export interface ReasonGroup {
  readonly flow: string;
  /** The reason as told; where several differ only in their numbers and ids, those are shown as `…`. */
  readonly reason: string;
  readonly count: number;
  /** One of them, to look at: the newest. */
  readonly exampleSeq: number;
  readonly exampleId: string | null;
  /** Wall clock, epoch ms, of the latest that joined the group. */
  readonly lastAtMs: number;
  /** Most tries that one of them has had. */
  readonly attemptsMax: number;
  /** Steady clock: when the first of them may be tried again; null for at once or never. */
  readonly nextDueMs: number | null;
}

export interface Failures {
  readonly count: number;
  /** Largest first. */
  readonly groups: readonly ReasonGroup[];
  /** How many are in groups too small to be listed. */
  readonly others: number;
}

export interface ReasonRow {
  readonly flow: string;
  readonly reason: string | null;
  readonly count: number;
  readonly exampleSeq: number;
  readonly lastAtMs: number;
  readonly attemptsMax: number;
  readonly nextDueMs: number | null;
}

interface Group extends ReasonRow {
  readonly reason: string;
  /** True where its members gave the reason in different words. */
  readonly folded: boolean;
}

export class ReasonGroups {
  readonly #groups = new Map<string, Group>();
  #count = 0;

  add(row: ReasonRow): void {
    const reason = row.reason ?? NO_REASON;
    const key = JSON.stringify([row.flow, reasonPattern(reason)]);
    const group = this.#groups.get(key);
    this.#count += row.count;
    this.#groups.set(
      key,
      group
        ? {
            flow: group.flow,
            reason: group.reason,
            folded: group.folded || group.reason !== reason,
            count: group.count + row.count,
            exampleSeq: Math.max(group.exampleSeq, row.exampleSeq),
            lastAtMs: Math.max(group.lastAtMs, row.lastAtMs),
            attemptsMax: Math.max(group.attemptsMax, row.attemptsMax),
            nextDueMs: earlier(group.nextDueMs, row.nextDueMs),
          }
        : { ...row, reason, folded: false },
    );
  }

  /** `count`: how many there are in all, where not every reason was added. */
  list(db: Db, count = this.#count): Failures {
    const idOf = db.prepare("SELECT id FROM messages WHERE seq = ?").pluck();
    const listed = [...this.#groups.values()]
      .sort((a, b) => b.count - a.count || a.exampleSeq - b.exampleSeq)
      .slice(0, GROUPS_LISTED_MAX);
    return {
      count,
      groups: listed.map(({ folded, ...group }) => ({
        ...group,
        reason: folded ? reasonPattern(group.reason) : group.reason,
        exampleId: (idOf.get(group.exampleSeq) as string | undefined) ?? null,
      })),
      others: count - listed.reduce((sum, group) => sum + group.count, 0),
    };
  }
}

/** null is "at once", and so the earliest. */
function earlier(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : Math.min(a, b);
}

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/gi;
/** Codes, which are the reason itself (HTTP 422, SQLSTATE 23505), and numbers, which are measured or counted. */
const CODE_OR_NUMBER =
  /^\d+|\b(?:HTTP(?:\/[\d.]+)?|status|code|error|errno|SQLSTATE)[ :=]{0,2}\d*|(?<![\w.-])-?\d+(?:\.\d+)?\b(?!\.?\d)/gi;

export function reasonPattern(reason: string): string {
  return reason
    .replace(UUID, "…")
    .replace(CODE_OR_NUMBER, (found, at: number) => (at > 0 && /^-?\d/.test(found) ? "…" : found));
}
