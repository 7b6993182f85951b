/** What requests and answers say of jobs. */
import { z } from "zod";
import { JOB_KINDS, JOB_STATES } from "../core/job.ts";
import { reason } from "./acts.ts";
import {
  count,
  deviceName,
  epochMs,
  epochMsOrNull,
  flowName,
  messageId,
  moment,
  topicFilter,
} from "./shapes.ts";

/** Named one by one in one request. */
const IDS_MAX = 20_000;
const GROUP_CHARS_MAX = 2000;
/** What they may need. */
export const JOB_BODY_BYTES_MAX = 8 * 2 ** 20;

/** Which deliveries, in a request. */
export const jobAsk = z
  .strictObject({
    kind: z
      .enum(JOB_KINDS)
      .describe(
        "`redrive`: dead letters and held unknowns; `replay`: delivered ones, to be delivered again.",
      ),
    flow: flowName.optional(),
    device: deviceName.optional(),
    topic: topicFilter.optional(),
    from: moment.optional().describe("Accepted at this time or later: `2026-06-01T12:00:00Z`, or epoch ms."),
    to: moment.optional().describe("Accepted before this time."),
    group: z
      .string()
      .min(1)
      .max(GROUP_CHARS_MAX)
      .optional()
      .describe("Redrive: dead for this reason, as `reasons` of /v1/dead calls it."),
    into: flowName.optional().describe("Replay: the flow that is to deliver them, instead of their own."),
    ids: z.array(messageId).min(1).max(IDS_MAX).optional().describe("Of these messages alone."),
    all: z.literal(true).optional().describe("Needed where nothing else narrows it down."),
    rate: z.number().positive().optional().describe("Deliveries a second; unless said, relay.jobs.rate."),
    reason: reason.optional(),
  })
  .refine(
    ({ kind: _, into: __, rate: ___, reason: ____, ...narrowing }) => Object.keys(narrowing).length > 0,
    {
      message:
        'expected something that narrows it down (flow, device, topic, from, to, group, ids), or "all": true',
    },
  )
  .refine(({ kind, group }) => kind === "redrive" || group === undefined, {
    message: "only dead letters have a reason",
    path: ["group"],
  })
  .refine(({ kind, into }) => kind === "replay" || into === undefined, {
    message: "dead letters go back on their own flow",
    path: ["into"],
  });

const selection = () =>
  z
    .object({
      flow: z.string().optional(),
      device: z.string().optional(),
      topic: z.string().optional(),
      fromMs: epochMs().optional(),
      toMs: epochMs().optional(),
      group: z.string().optional(),
      into: z.string().optional(),
      named: count().optional().describe("How many messages were named one by one."),
    })
    .describe("What it takes, as it was asked for; what is absent does not narrow it down.");

export const jobBrief = () =>
  z.object({
    id: count(),
    kind: z.enum(JOB_KINDS),
    state: z.enum(JOB_STATES),
    selection: selection(),
    rate: z.number().describe("Deliveries a second, at most."),
    total: count().nullable().describe("As estimated when it began; null where counting took too long."),
    done: count().describe("Put in line."),
    skipped: count().describe("Found, and left alone: in another state by then."),
    startedAtMs: epochMs(),
    waitsFor: z
      .string()
      .nullable()
      .describe("Why it does not go on just now although it runs, such as `target mes is away`."),
  });

export const job = () =>
  jobBrief().extend({
    who: z.string().describe("Name of the token, or `local`."),
    reason: z.string().nullable(),
    atSeq: count().describe("Messages up to this one, of those up to `untilSeq`, have been looked at."),
    untilSeq: count(),
    updatedAtMs: epochMs(),
    endedAtMs: epochMsOrNull(),
    error: z.string().nullable().describe("Why it failed."),
  });

export const estimate = () =>
  z.object({
    count: count().describe("Deliveries that would be put in line."),
    bytes: count().describe("Of their payloads."),
    oldestMs: epochMsOrNull(),
    newestMs: epochMsOrNull(),
    complete: z.boolean().describe("False where counting took too long: there are at least so many."),
    rate: z.number(),
    durationMs: count().describe("At that rate."),
    goneAtMost: count().describe(
      "Replay: delivered messages that retention has removed, and that may have been meant; 0 where none can be.",
    ),
    keptFromMs: epochMsOrNull().describe("When the oldest message that is kept was accepted."),
  });
