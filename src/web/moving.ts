/** Moving what was not delivered to another box: exports, and imports of what another one has exported. */
import { Readable } from "node:stream";
import { z } from "zod";
import { HoldfastError } from "../core/errors.ts";
import {
  EXPORT_STATES,
  type ExportSelection,
  exportEnd,
  exportHead,
  exportMessage,
  importReceipt,
} from "../core/export-file.ts";
import type { StoredExport } from "../queue/queries-exports.ts";
import type { StoredImport } from "../queue/queries-imports.ts";
import { reason } from "./acts.ts";
import type { ApiContext } from "./context.ts";
import { exportSelection } from "./flow-shapes.ts";
import { type Operation, operation, otherOperation } from "./operation.ts";
import { count, deviceName, epochMs, epochMsOrNull, flowName } from "./shapes.ts";

/** Payloads of 16 MiB, in base64, with an edit each. */
const LINES_BYTES_MAX = 48 * 2 ** 20;
const LINES_MAX = 1000;
const FLOWS_MAX = 1000;
const IDS_MAX = 1000;

const exportId = z.strictObject({ id: z.uuid().describe("Id of the export.") });

const which = {
  flow: flowName.optional(),
  device: deviceName.optional(),
  target: z.string().min(1).max(80).optional().describe("On flows to this target."),
  states: z
    .enum(EXPORT_STATES)
    .default("all")
    .describe("`open`: what waits or is unknown; `dead`: dead letters; `all`: both."),
};

function selectionOf({ flow, device, target, states }: ExportSelection): ExportSelection {
  return { flow, device, target, states };
}

const cursor = z
  .strictObject({ part: z.enum(["open", "dead"]), lane: count(), seq: count() })
  .describe("`next` of the step before.");

const exported = () =>
  z.object({
    id: z.string(),
    state: z
      .enum(["holding", "held", "copied", "moved", "cancelled"])
      .describe(
        "`holding`: it is being said what is held; `held`: its file can be written; `moved`: another gateway has them; `copied`: nothing is held.",
      ),
    selection: exportSelection(),
    who: z.string(),
    reason: z.string().nullable(),
    atMs: epochMs(),
    endedAtMs: epochMsOrNull(),
    messages: count().nullable().describe("In its file; null while that is not known."),
    holds: count().describe("Deliveries that are held for it now."),
    movedTo: z.string().nullable().describe("The gateway that has them."),
  });

function exportView({ number: _, untilSeq: __, steadyAtMs: ___, sum: ____, receipt, ...rest }: StoredExport) {
  return { ...rest, movedTo: receipt?.gateway ?? null };
}

const imported = () =>
  z.object({
    import: count().describe("Its number here."),
    export: z.string(),
    gateway: z.string().describe("Name of the gateway that it comes from."),
    state: z.enum(["running", "finished"]),
    into: z.string().nullable(),
    who: z.string(),
    reason: z.string().nullable(),
    atMs: epochMs(),
    endedAtMs: epochMsOrNull(),
    total: count().describe("Messages in the file."),
    taken: count().describe("Of these: looked at so far. It goes on after them."),
    stored: count().describe("Messages that are new here."),
    added: count().describe("Deliveries that are new here."),
    known: count().describe("Messages of which nothing was missing here."),
    left: z
      .array(z.object({ id: z.string(), why: z.string() }))
      .describe("Messages that were not taken: they stay where they come from."),
    receipt: importReceipt
      .nullable()
      .describe(
        "For the gateway that it comes from (`finishExport`); null while not all is here, and of a copy.",
      ),
  });

function importView(found: StoredImport, { moving }: Pick<ApiContext, "moving">) {
  const { number, head, sum: _, chain: __, ...rest } = found;
  const receipt = moving.in.receipt(found);
  return { import: number, gateway: head.gateway, ...rest, left: [...rest.left], receipt };
}

const ended = () =>
  z.object({
    ended: count().describe("By this request."),
    left: count().describe("Ask again until it is 0."),
  });

const importAsk = {
  head: exportHead.describe("The file's first line."),
  end: exportEnd.describe("The file's last line."),
  flows: z.array(z.string()).max(FLOWS_MAX).describe("All flows in its lines."),
  into: flowName.optional().describe("The flow that is to have all of them, instead of each its own."),
  copy: z
    .boolean()
    .optional()
    .describe("Also where the gateway that it comes from holds nothing back, and may deliver it as well."),
};

export const movingOperations: readonly Operation[] = [
  operation({
    method: "GET",
    path: "/v1/exports",
    name: "listExports",
    tag: "moving",
    summary: "The newest 100 exports: what is held here for another box, and what became of it",
    role: "view",
    answer: () => z.object({ exports: z.array(exported()) }),
    handle: async (_, { reader }) => ({ exports: (await reader.query("exports", {})).map(exportView) }),
  }),
  operation({
    method: "POST",
    path: "/v1/exports/estimate",
    name: "estimateExport",
    tag: "moving",
    summary: "What an export would hold, without doing it",
    role: "view",
    body: z.strictObject(which),
    answer: () =>
      z.object({
        deliveries: count(),
        bytes: count().describe("Of their payloads."),
        oldestMs: epochMsOrNull(),
        sending: count().describe("Being sent just now: what comes of them is not known yet."),
        complete: z.boolean().describe("False where counting took too long: there are at least so many."),
      }),
    handle: ({ body }, { moving }) => moving.out.estimate(selectionOf(body)),
  }),
  operation({
    method: "POST",
    path: "/v1/exports",
    name: "beginExport",
    tag: "moving",
    summary: "Begins an export of what is not delivered; `holdExport` and `sealExport` come next",
    notes:
      "What is in an export is not sent from here, does not expire and cannot be repaired until `finishExport` ends it as discarded, moved to the gateway of the receipt, or `cancelExport` lets it go on here. A copy holds nothing. Commands are never exported.",
    role: "operate",
    body: z.strictObject({ ...which, copy: z.boolean().default(false), reason }),
    status: 201,
    answer: exported,
    async handle({ body: { copy, reason: why, ...rest }, caller }, { moving }) {
      const selection = selectionOf(rest);
      const act = { who: caller.name, what: "beginExport", detail: { ...selection, copy }, reason: why };
      return exportView(await moving.out.begin(selection, copy, act));
    },
  }),
  operation({
    method: "GET",
    path: "/v1/exports/:id",
    name: "getExport",
    tag: "moving",
    summary: "One export",
    role: "view",
    params: exportId,
    answer: exported,
    async handle({ params: { id } }, { reader }) {
      const found = await reader.query("exportById", { id });
      if (!found) throw new HoldfastError("HF_NOT_FOUND", `there is no export ${id}`, { id });
      return exportView(found);
    },
  }),
  operation({
    method: "POST",
    path: "/v1/exports/:id/hold",
    name: "holdExport",
    tag: "moving",
    summary: "Holds what the export means, for a quarter of a second; to be asked again until `next` is null",
    notes:
      "Once more from the beginning where some were being sent: they come back to wait, or are delivered. What is damaged on the disk is not held.",
    role: "operate",
    params: exportId,
    body: z.strictObject({ after: cursor.optional() }),
    answer: () => z.object({ held: count(), damaged: count(), sending: count(), next: cursor.nullable() }),
    handle: ({ params: { id }, body: { after } }, { moving }) => moving.out.hold(id, after),
  }),
  operation({
    method: "POST",
    path: "/v1/exports/:id/seal",
    name: "sealExport",
    tag: "moving",
    summary: "All is held: from now on the export has a file, which is the same whenever it is asked for",
    role: "operate",
    params: exportId,
    answer: exported,
    handle: async ({ params: { id } }, { moving }) => exportView(await moving.out.seal(id)),
  }),
  otherOperation({
    method: "GET",
    path: "/v1/exports/:id/file",
    name: "getExportFile",
    tag: "moving",
    summary:
      "The export's file: JSON lines, as docs/export.schema.json says. It is whole where it ends with its end",
    role: "operate",
    params: exportId,
    answer: "application/jsonl",
    async handle({ params: { id }, reply }, { moving }) {
      const lines = await moving.out.file(id);
      return reply.type("application/jsonl").send(Readable.from(lines));
    },
  }),
  operation({
    method: "POST",
    path: "/v1/exports/finish",
    name: "finishExport",
    tag: "moving",
    summary:
      "Ends an export by the receipt of the gateway that took it in: its deliveries are discarded here, as moved there",
    notes: "What the other gateway did not take goes on here. To be asked again until `left` is 0.",
    role: "operate",
    body: z.strictObject({ receipt: importReceipt, reason: reason.optional() }),
    bodyBytesMax: 2 * 2 ** 20,
    answer: ended,
    handle({ body: { receipt, reason: why }, caller }, { moving }) {
      const { export: id, gateway, import: number } = receipt;
      const detail = { export: id, gateway, import: number };
      const act = {
        who: caller.name,
        what: "finishExport",
        detail,
        reason: why ?? `moved to gateway ${gateway}`,
      };
      return moving.out.finish(receipt, act);
    },
  }),
  operation({
    method: "POST",
    path: "/v1/exports/:id/cancel",
    name: "cancelExport",
    tag: "moving",
    summary: "Calls an export off: what it holds goes on here, and its file must not be taken in any more",
    notes: "To be asked again until `left` is 0.",
    role: "operate",
    params: exportId,
    body: z.strictObject({ reason }),
    answer: ended,
    handle({ params: { id }, body: { reason: why }, caller }, { moving }) {
      const act = { who: caller.name, what: "cancelExport", detail: { export: id }, reason: why };
      return moving.out.cancel(id, `${why} (${caller.name})`, act);
    },
  }),
  operation({
    method: "GET",
    path: "/v1/imports",
    name: "listImports",
    tag: "moving",
    summary: "The newest 100 imports: from which gateway, how far, what came of them",
    role: "view",
    answer: () => z.object({ imports: z.array(imported()) }),
    async handle(_, context) {
      const found = await context.reader.query("imports", {});
      return { imports: found.map((each) => importView(each, context)) };
    },
  }),
  operation({
    method: "POST",
    path: "/v1/imports/check",
    name: "checkImport",
    tag: "moving",
    summary:
      "Whether an export could be taken in as a whole, and which of its messages are here already; changes nothing",
    role: "view",
    body: z.strictObject({ ...importAsk, ids: z.array(z.string()).max(IDS_MAX).default([]) }),
    answer: () =>
      z.object({
        own: z.boolean().describe("It comes from this gateway: edits of its dead letters can be taken in."),
        known: count().describe("Of `ids`: messages that are here already."),
      }),
    async handle({ body: { ids, ...ask } }, { moving, reader }) {
      const whose = await moving.in.check(ask);
      const { known } = await reader.query("knownIds", { ids });
      return { own: whose === "own", known };
    },
  }),
  operation({
    method: "POST",
    path: "/v1/imports",
    name: "beginImport",
    tag: "moving",
    summary: "Begins to take in another gateway's export, or goes on with it; its lines come next",
    notes:
      "One that was taken in before is `finished` already, and nothing changes. `import` is null for an export of this gateway itself: then only edits of its dead letters are taken (`takeLines`). 422 (HF_IMPORT) where a flow is not known here, or where it is a copy.",
    role: "operate",
    body: z.strictObject({ ...importAsk, reason: reason.optional() }),
    answer: () => z.object({ import: imported().nullable() }),
    async handle({ body: { reason: why, ...ask }, caller }, context) {
      const { head, end, into } = ask;
      const detail = { export: head.export, gateway: head.gateway, messages: end.count, into };
      const act = { who: caller.name, what: "beginImport", detail, reason: why ?? null };
      const begun = await context.moving.in.begin(ask, act);
      return { import: begun && importView(begun, context) };
    },
  }),
  operation({
    method: "POST",
    path: "/v1/imports/:id/lines",
    name: "takeLines",
    tag: "moving",
    summary: "Takes in some messages of the file, in their order; one commit",
    notes:
      "`from` is how many came before them: where the import is elsewhere, nothing is done, and the answer's `taken` says where to go on. 503 (HF_STORE_FULL) while there is no room.",
    role: "operate",
    params: exportId,
    body: z.strictObject({
      from: count(),
      lines: z.array(exportMessage).min(1).max(LINES_MAX),
      reason: reason.optional().describe("Why what was edited in the file is another one."),
    }),
    bodyBytesMax: LINES_BYTES_MAX,
    answer: () => imported(),
    handle: async ({ params: { id }, body }, context) =>
      importView(await context.moving.in.take({ export: id, ...body }), context),
  }),
  operation({
    method: "POST",
    path: "/v1/imports/:id/edits",
    name: "takeEdits",
    tag: "moving",
    summary:
      "Takes edits that were written into an export of this gateway's own dead letters, and puts them back in line",
    role: "operate",
    params: exportId,
    body: z.strictObject({
      from: count(),
      lines: z.array(exportMessage).min(1).max(LINES_MAX),
      reason: reason.optional().describe("Why; where an edit does not say so itself."),
    }),
    bodyBytesMax: LINES_BYTES_MAX,
    answer: () =>
      z.object({
        edited: count(),
        untouched: count().describe("Messages without an edit that was written into the file."),
        left: z.array(z.object({ id: z.string(), why: z.string() })),
      }),
    async handle({ params: { id }, body, caller }, { moving }) {
      const done = await moving.in.own({ export: id, ...body }, caller.name);
      return { ...done, left: [...done.left] };
    },
  }),
  operation({
    method: "POST",
    path: "/v1/imports/:id/finish",
    name: "finishImport",
    tag: "moving",
    summary: "All lines are here: the answer has the receipt for the gateway that they come from",
    role: "operate",
    params: exportId,
    answer: () => imported(),
    async handle({ params: { id }, caller }, context) {
      const act = { who: caller.name, what: "finishImport", detail: { export: id }, reason: null };
      return importView(await context.moving.in.finish(id, act), context);
    },
  }),
];
