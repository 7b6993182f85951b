/** What the operations of the API work with. */
import type { Clock } from "../core/clock.ts";
import type { Querying } from "../queue/reader.ts";
import type { Watch } from "../watch/watch.ts";
import type { Entrance } from "./entrance.ts";

export interface RedriveSelection {
  readonly flow?: string;
  readonly ids?: readonly string[];
  readonly limit: number;
}

/** A device of any kind; those that adapters read have more to tell (adapters/adapter.ts). */
export interface DeviceRow {
  readonly device: string;
  readonly type: string;
  readonly state: string;
  /** Messages of it that were stored, and the epoch ms of the last; null for none in this run. */
  readonly stored: number;
  readonly lastStoredAtMs: number | null;
  readonly duplicates: number;
  readonly refused: number;
}

/** What the gateway gives the door. */
export interface WebParts {
  /** Of this start. */
  readonly boot: string;
  readonly watch: Pick<Watch, "report" | "exposition" | "rates" | "audit" | "targets" | "events" | "history">;
  readonly reader: Querying;
  readonly steadyMs: () => number;
  /** Those that are configured first, then those that were seen in this run. */
  readonly devices?: () => readonly DeviceRow[];
  /** Puts dead letters and held unknowns back to waiting; resolves after the commit. */
  readonly redrive: (selection: RedriveSelection) => Promise<{ readonly redriven: number }>;
  readonly clock: Clock;
}

export interface ApiContext extends WebParts {
  readonly entrance: Entrance;
  /** The door speaks TLS. */
  readonly secure: boolean;
}
