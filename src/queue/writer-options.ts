/** What the writer is told, and what it tells, at the start. */
import type { Ballast } from "./ballast.ts";
import type { LastBoot } from "./boots.ts";
import type { OpenOptions } from "./database.ts";
import type { SalvageReport } from "./salvage-report.ts";
import type { QueueConfig } from "./schema.ts";

export interface WriterOptions {
  readonly dataDir: string;
  readonly queue: QueueConfig;
  readonly boot: string;
  readonly version: string;
  /** Wall clock at the start, epoch ms. */
  readonly openedAtMs: number;
  /** As OpenOptions.synchronous; set by tests alone. */
  readonly synchronous?: OpenOptions["synchronous"];
  /** As OpenOptions.connect; not for a thread, to which no function can be passed. */
  readonly connect?: OpenOptions["connect"];
  /** For how long COMMIT takes; without it nobody is told. */
  readonly monoMs?: () => number;
  /** Room kept for a full disk; a writer without it stops on one altogether. */
  readonly ballast?: Ballast;
}

/** What the start found out beforehand (damage.ts); a writer without it does without a mark, too. */
export interface Examined {
  /** What was salvaged at this start, if anything was. */
  readonly salvaged: SalvageReport | null;
}

export interface Opened {
  /** Where the last run of a gateway on this store left off; null for a new store. */
  readonly last: LastBoot | null;
  /** Deliveries that were being sent when the last run died, now unknown. */
  readonly recovered: number;
  /** What this start found damaged, and what became of it; null where it found nothing. */
  readonly salvaged: SalvageReport | null;
}
