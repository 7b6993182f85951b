/** What is asked of the store's thread rarely enough to travel as JSON. */
import type { SessionRow } from "../core/session.ts";
import type { Act } from "./acts.ts";
import type { TrailEntry } from "./command-record.ts";
import type { Decision, DecisionResult } from "./decide.ts";
import type { ExpireResult } from "./expiry.ts";
import type { OpenLane, RedriveResult, RedriveSelection } from "./repair.ts";
import type { PruneRequest, PruneResult } from "./retention.ts";

/** The rare requests: argument and result of each, as JSON. */
export interface StoreCalls {
  registerFlows: [readonly { flow: string; hash: string; config: string }[], number[]];
  openLanes: [null, OpenLane[]];
  redrive: [RedriveSelection, RedriveResult];
  act: [Act, undefined];
  expire: [{ flow: string; beforeMs: number; limit: number }, ExpireResult];
  expireOutlived: [{ nowMs: number; limit: number }, ExpireResult];
  decide: [Decision, DecisionResult];
  refused: [TrailEntry, undefined];
  prune: [PruneRequest, PruneResult];
  count: [{ flow: string; what: string; n: number }, undefined];
  /** Values in base64. */
  sessions: [null, (Omit<SessionRow, "value"> & { value: string })[]];
}
