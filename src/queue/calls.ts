/** What is asked of the store's thread rarely enough to travel as JSON. */
import type { SessionRow } from "../core/session.ts";
import type { Act } from "./acts.ts";
import type { CommandRecord, TrailEntry } from "./command-record.ts";
import { type DecideContext, Decider, type Decision, type DecisionResult } from "./decide.ts";
import { Editor, type EditorContext, type EditRequest, type EditResult } from "./edits.ts";
import type { ExpireResult, Expiry } from "./expiry.ts";
import {
  type ExportBegin,
  type ExportEnded,
  type ExportEnding,
  type ExportHeld,
  type ExportHold,
  type ExportSeal,
  type ExportsContext,
  ExportTable,
} from "./exports.ts";
import type { FlowVersions } from "./flow-versions.ts";
import {
  type ImportBegin,
  type ImportBegun,
  type ImportFinish,
  type ImportStep,
  type ImportStepped,
  type ImportsContext,
  ImportTable,
} from "./imports.ts";
import {
  type JobChange,
  type JobChangeResult,
  type JobStart,
  type JobStartResult,
  type JobStep,
  type JobStepResult,
  JobTable,
} from "./jobs.ts";
import { type Pause, type PauseRequest, PauseTable, type ResumeRequest } from "./pauses.ts";
import type { StoredExport } from "./queries-exports.ts";
import type { StoredImport } from "./queries-imports.ts";
import {
  type FoundOut,
  type FoundOutResult,
  type OpenLane,
  openLane,
  type RedriveResult,
  type RedriveSelection,
  type Repaired,
  type Word,
} from "./repair.ts";
import type { PruneRequest, PruneResult, Retention } from "./retention.ts";
import type { Selection } from "./selection.ts";
import type { SessionTable } from "./sessions.ts";
import type { Tally } from "./tally.ts";

/** The rare requests: argument and result of each, as JSON. */
export interface StoreCalls {
  registerFlows: [readonly { flow: string; hash: string; config: string }[], number[]];
  openLanes: [null, OpenLane[]];
  redrive: [RedriveSelection, RedriveResult];
  discard: [Selection & { readonly word: Word }, Repaired];
  markDelivered: [Selection & { readonly word: Word }, Repaired];
  foundOut: [FoundOut, FoundOutResult];
  edit: [EditRequest, EditResult];
  pauses: [null, Pause[]];
  pause: [PauseRequest, boolean];
  resume: [ResumeRequest, boolean];
  act: [Act, undefined];
  startJob: [JobStart, JobStartResult];
  stepJob: [JobStep, JobStepResult];
  changeJob: [JobChange, JobChangeResult];
  beginExport: [ExportBegin, StoredExport];
  holdExport: [ExportHold, ExportHeld];
  sealExport: [ExportSeal, StoredExport | null];
  endExport: [ExportEnding, ExportEnded];
  beginImport: [ImportBegin, ImportBegun];
  stepImport: [ImportStep, ImportStepped];
  finishImport: [ImportFinish, StoredImport | null];
  expire: [{ flow: string; beforeMs: number; limit: number }, ExpireResult];
  expireOutlived: [{ nowMs: number; limit: number }, ExpireResult];
  decide: [Decision, DecisionResult];
  refused: [TrailEntry, undefined];
  prune: [PruneRequest, PruneResult];
  count: [{ flow: string; what: string; n: number }, undefined];
  /** Values in base64. */
  sessions: [null, (Omit<SessionRow, "value"> & { value: string })[]];
}

export type CallTable = {
  readonly [K in keyof StoreCalls]: (argument: StoreCalls[K][0]) => StoreCalls[K][1];
};

/** Who does them: parts of the writer, each called within a transaction of its. */
export interface CallContext extends EditorContext, DecideContext, ExportsContext, ImportsContext {
  readonly tally: Tally;
  readonly sessions: SessionTable;
  readonly flowVersions: FlowVersions;
  readonly record: CommandRecord;
  readonly expiry: Expiry;
  readonly retention: Retention;
}

export function callTable(of: CallContext): CallTable {
  const decider = new Decider(of);
  const editor = new Editor(of);
  const pauses = new PauseTable(of);
  const jobs = new JobTable(of);
  const exports = new ExportTable(of);
  const imports = new ImportTable(of);
  return {
    registerFlows: (flows) => flows.map((flow) => of.flowVersions.register(flow, of.wallMs())),
    openLanes: () => [...of.lanes.withOpen()].map(openLane),
    redrive: (selection) => of.repairer.redrive(selection),
    discard: (selection) => of.repairer.discard(selection),
    markDelivered: (selection) => of.repairer.markDelivered(selection),
    foundOut: (answer) => of.repairer.foundOut(answer),
    edit: (request) => editor.edit(request),
    pauses: () => pauses.all(),
    pause: (request) => pauses.pause(request),
    resume: (request) => pauses.resume(request),
    act: (act) => of.repairer.record(act),
    startJob: (start) => jobs.start(start),
    stepJob: (step) => jobs.step(step),
    changeJob: (change) => jobs.change(change),
    beginExport: (begin) => exports.begin(begin),
    holdExport: (hold) => exports.hold(hold),
    sealExport: (seal) => exports.seal(seal),
    endExport: (ending) => exports.end(ending),
    beginImport: (begin) => imports.begin(begin),
    stepImport: (step) => imports.step(step),
    finishImport: (finish) => imports.finish(finish),
    expire: ({ flow, beforeMs, limit }) => of.expiry.sweepFlow(flow, beforeMs, limit),
    expireOutlived: ({ nowMs, limit }) => of.expiry.sweepOutlived(nowMs, limit),
    decide: (decision) => decider.decide(decision),
    refused: (entry) => void of.record.refused(entry),
    prune: (request) => of.retention.step(request),
    count: ({ flow, what, n }) => {
      of.tally.add(flow, what, n);
      return undefined;
    },
    sessions: () => of.sessions.all().map((row) => ({ ...row, value: row.value.toString("base64") })),
  };
}
