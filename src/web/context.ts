/** What the operations of the API work with. */
import type { Commands } from "../commands/commands.ts";
import type { Clock } from "../core/clock.ts";
import type { Accepting } from "../intake/draft.ts";
import type { Act } from "../queue/acts.ts";
import type { Querying } from "../queue/reader.ts";
import type { Reconciling } from "../queue/reconciling.ts";
import type { RedriveResult, RedriveSelection } from "../queue/repair.ts";
import type { Corrections } from "../relay/corrections.ts";
import type { Jobs } from "../relay/jobs.ts";
import type { MovingIn } from "../relay/moving-in.ts";
import type { MovingOut } from "../relay/moving-out.ts";
import type { Pauses } from "../relay/pauses.ts";
import type { Repairs } from "../relay/repairs.ts";
import type { Watch } from "../watch/watch.ts";
import type { Entrance } from "./entrance.ts";
import type { Handing } from "./intake.ts";
import type { Streams } from "./stream.ts";
import type { Uploads } from "./uploads.ts";

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
  readonly watch: Pick<
    Watch,
    "report" | "nudge" | "exposition" | "rates" | "audit" | "targets" | "events" | "history" | "notifier"
  > & {
    onLook: Watch["onLook"];
  };
  readonly reader: Querying;
  readonly steadyMs: () => number;
  /** Those that are configured first, then those that were seen in this run. */
  readonly devices?: () => readonly DeviceRow[];
  readonly intake: Accepting;
  /** Nothing can be taken just now. */
  readonly storeIsFull: () => boolean;
  /** Puts on record what somebody did and no other part writes down; resolves after the commit. */
  readonly act: (act: Act) => Promise<void>;
  /** Puts dead letters and held unknowns back to waiting; resolves after the commit. */
  readonly redrive: (selection: RedriveSelection) => Promise<Omit<RedriveResult, "lanes">>;
  /** What else a person does to deliveries that do not get through by themselves. */
  readonly repairs: Pick<Repairs, "discard" | "markDelivered" | "probe"> & {
    readonly corrections: Pick<Corrections, "edit" | "check">;
  };
  /** What is stopped for a while. */
  readonly pauses: Pick<Pauses, "all" | "pause" | "resume">;
  /** Work on many deliveries, in steps. */
  readonly jobs: Pick<Jobs, "open" | "estimate" | "begin" | "change">;
  /** From this box to another one, and from another one to this. */
  readonly moving: {
    readonly out: Pick<MovingOut, "estimate" | "begin" | "hold" | "seal" | "file" | "finish" | "cancel">;
    readonly in: Pick<MovingIn, "check" | "begin" | "take" | "own" | "finish" | "receipt">;
  };
  /** The front desk of commands; absent where there is none. */
  readonly commands?: Commands;
  readonly clock: Clock;
}

export interface ApiContext extends WebParts {
  readonly entrance: Entrance;
  readonly streams: Streams;
  readonly handing: Handing;
  readonly uploads: Uploads;
  readonly reconciling: Reconciling;
  /** The door speaks TLS. */
  readonly secure: boolean;
}
