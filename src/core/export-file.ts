/**
 * An export: messages that were not delivered, in a file that is carried to another box. JSON lines: a head, a line
 * for each message in the order in which it was accepted, and an end. export-content.ts has its sums.
 *
 * Promise: a file that was cut off, or lost or got a line, is told apart from a whole one (count and sum of the end),
 * and so is one in which anything was changed that a target would be given (the sum of each line). What a person may
 * change is `edit` of a dead letter: the original stays beside it.
 *
 * The schemas are the documentation too: docs/export.schema.json is made of them.
 */
import { z } from "zod";

export const EXPORT_FORMAT = "holdfast-export";
export const EXPORT_FORMAT_VERSION = 1;

const time = z.iso.datetime({ precision: 3 });
const sum = z.string().regex(/^[0-9a-f]{32}$/);

export const EXPORT_STATES = ["all", "open", "dead"] as const;

export const exportSelection = z.strictObject({
  flow: z.string().optional().describe("On this flow alone."),
  device: z.string().optional().describe("Of this device alone."),
  target: z.string().optional().describe("On flows to this target alone."),
  states: z
    .enum(EXPORT_STATES)
    .describe("`open`: what waits or is unknown; `dead`: dead letters; `all`: both."),
});
export type ExportSelection = z.output<typeof exportSelection>;

export const exportHead = z
  .strictObject({
    format: z.literal(EXPORT_FORMAT),
    version: z.literal(EXPORT_FORMAT_VERSION),
    export: z.uuid().describe("Id of this export."),
    gateway: z.string().describe("Name of the gateway that it comes from (gateway.name)."),
    holdfast: z.string().describe("Version of Holdfast that wrote it."),
    exportedAt: time,
    by: z.string().describe("Whoever exported it."),
    reason: z.string().nullable(),
    held: z
      .boolean()
      .describe(
        "The gateway that it comes from holds these deliveries back until it is told what became of them. False for a copy.",
      ),
    selection: exportSelection,
    count: z.int().min(0).nullable().describe("How many messages follow; null where that was not known."),
  })
  .describe("The first line.");
export type ExportHead = z.output<typeof exportHead>;

const content = {
  payload: z.string().optional().describe("Payload as text, where it is UTF-8…"),
  base64: z.base64().optional().describe("…and else in base64."),
};

export const exportEdit = z.strictObject({
  topic: z.string().min(1).optional().describe("Left out: as it was accepted."),
  ...content,
  contentType: z.string().nullable().optional(),
  by: z.string().optional(),
  reason: z.string().optional(),
  at: time.optional(),
  sum: sum
    .optional()
    .describe("Of an edit that the gateway wrote. One that is written by hand into the file has none."),
});
export type ExportEdit = z.output<typeof exportEdit>;

export const exportDelivery = z.strictObject({
  flow: z.string().min(1),
  key: z.string().describe("Order key of its lane."),
  state: z.enum(["waiting", "unknown", "dead"]),
  attempts: z.int().min(0).describe("Tries that count."),
  late: z.boolean(),
  resend: z.boolean().describe("An earlier answer was lost: the backend may have it already."),
  replay: z.boolean().describe("Somebody has it delivered once more."),
  reason: z.string().nullable(),
  since: time.describe("Last change of its state."),
  edit: exportEdit
    .nullable()
    .describe("What its target is given instead. May be written by hand where it is dead."),
});
export type ExportDelivery = z.output<typeof exportDelivery>;

export const exportMessage = z
  .strictObject({
    id: z.string().min(1),
    device: z.string().min(1),
    source: z.string(),
    topic: z.string().min(1),
    ...content,
    contentType: z.string().nullable(),
    qos: z.union([z.literal(0), z.literal(1), z.literal(2)]),
    retain: z.boolean(),
    producedAt: time.nullable(),
    acceptedAt: time,
    ageMs: z.int().min(0).describe("How old it was when it was exported, whatever clocks say."),
    traceparent: z.string().nullable(),
    headers: z.record(z.string(), z.string()),
    deliveries: z.array(exportDelivery).min(1),
    history: z
      .array(
        z.strictObject({
          at: time,
          flow: z.string().nullable(),
          kind: z.string(),
          detail: z.string().nullable(),
        }),
      )
      .describe("What happened to it there, the newest entries, oldest first."),
    sum: sum.describe("Of all but `history`, `reason`, `since` and `edit`."),
  })
  .describe("A message, in the order in which it was accepted.");
export type ExportMessage = z.output<typeof exportMessage>;

export const exportEnd = z
  .strictObject({
    end: z.literal(true),
    count: z.int().min(0),
    sum: sum.describe("Of the sums of all lines in their order."),
  })
  .describe("The last line.");
export type ExportEnd = z.output<typeof exportEnd>;

export const exportLine = z.union([exportHead, exportMessage, exportEnd]);

/** What the box that took an export says of it, for the one that it comes from. */
export const importReceipt = z.strictObject({
  format: z.literal("holdfast-import-receipt"),
  version: z.literal(1),
  export: z.uuid(),
  gateway: z.string().describe("Name of the gateway that has them now."),
  import: z.int().min(1).describe("Its number there."),
  importedAt: time,
  by: z.string(),
  count: z.int().min(0),
  sum,
  left: z
    .array(z.strictObject({ id: z.string(), why: z.string() }))
    .describe("Messages that it did not take: they stay where they come from."),
});
export type ImportReceipt = z.output<typeof importReceipt>;
