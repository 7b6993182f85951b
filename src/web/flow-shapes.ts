/** What answers say of flows, targets and failures. */
import { z } from "zod";
import { EXPORT_STATES } from "../core/export-file.ts";
import { DELIVERY_STATES, type DeliveryState } from "../core/outcome.ts";
import { PAUSE_KINDS } from "../queue/pauses.ts";
import { count, epochMs, epochMsOrNull } from "./shapes.ts";

const stateCounts = () =>
  Object.fromEntries(DELIVERY_STATES.map((state) => [state, count()])) as Record<
    DeliveryState,
    ReturnType<typeof count>
  >;

const oldest = () =>
  z
    .object({
      seq: count(),
      id: z.string(),
      device: z.string(),
      acceptedAtMs: epochMs(),
      ageMs: z.number().describe("By a clock that nothing moves."),
    })
    .nullable();

const oldestFree = () =>
  oldest().describe(
    "The oldest of these that no export keeps here: neither it is held, nor what its lane would have to send first.",
  );

const held = () => count().describe("Held for exports now: among those that wait, are unknown or dead.");

/** A flow as the store knows it, configured now or not. */
export const flowFigures = () =>
  z.object({
    flow: z.string(),
    target: z.string().nullable(),
    from: z.array(z.string()),
    orderBy: z.string().nullable(),
    version: z.string().nullable(),
    ...stateCounts(),
    accepted: count().describe("Deliveries that it has ever taken: the sum of its states."),
    duplicates: count(),
    late: count(),
    replayed: count().describe(
      "Times that a delivered one was put back to be delivered again: with `delivered`, what was ever delivered.",
    ),
    replayedInto: count().describe("Among `accepted`: brought from another flow by a replay."),
    held: held(),
    openLanes: count(),
    oldest: oldest().describe("The oldest that waits or is being sent."),
    oldestFree: oldestFree(),
  });

/** What somebody has stopped for a while. */
export const pause = () =>
  z.object({
    kind: z.enum(PAUSE_KINDS),
    name: z.string(),
    sinceMs: epochMsOrNull().describe("Null for one that the config makes (`flows.<name>.paused`)."),
    who: z.string().describe("Name of the token, `local`, or `config`."),
    reason: z.string(),
  });

/** A configured flow, by evidence. */
export const flowReport = () =>
  z.object({
    flow: z.string(),
    target: z.string(),
    version: z.string(),
    state: z.enum(["idle", "waiting", "flowing", "held", "stalled", "paused", "exporting"]),
    figures: z
      .object({
        waiting: count(),
        sending: count(),
        unknown: count(),
        dead: count(),
        held: held(),
        delivered: count(),
        accepted: count(),
        oldest: oldest(),
        oldestFree: oldestFree(),
      })
      .nullable(),
  });

export const targetReport = () =>
  z.object({
    target: z.string(),
    state: z.enum(["healthy", "unproven", "stalled", "down"]),
    circuit: z.enum(["closed", "open", "half-open"]),
    downSinceMs: epochMsOrNull(),
    lastError: z.string().nullable(),
    nextTryInMs: z.number().nullable(),
    lastDeliveredAtMs: epochMsOrNull(),
    lastProbeOkAtMs: epochMsOrNull(),
    evidenceAgeMs: z.number().nullable(),
    canBeAsked: z
      .boolean()
      .describe("Whether it can say if it has a message whose answer was lost: `POST /v1/unknown/probe`."),
  });

/** What waits for somebody to say what became of it elsewhere. */
export const openExport = () =>
  z.object({
    id: z.string(),
    state: z
      .enum(["holding", "held", "moved", "cancelled"])
      .describe("`moved`, `cancelled`: ending it was broken off before all had ended."),
    selection: exportSelection(),
    who: z.string(),
    reason: z.string().nullable(),
    atMs: epochMs(),
    ageMs: z.number().describe("Since it began, by a clock that nothing moves."),
    messages: count().nullable().describe("In its file; null while that is not known."),
  });

export const exportSelection = () =>
  z.object({
    flow: z.string().optional(),
    device: z.string().optional(),
    target: z.string().optional(),
    states: z.enum(EXPORT_STATES),
  });

const failures = () => ({
  count: count(),
  groups: z
    .array(
      z.object({
        flow: z.string(),
        reason: z.string().describe("Where reasons differ only in numbers and ids, those are shown as `…`."),
        count: count(),
        exampleSeq: count(),
        exampleId: z.string().nullable(),
        lastAtMs: epochMs(),
        attemptsMax: count(),
        nextDueMs: z.number().nullable().describe("Steady clock: when the first may be tried again."),
      }),
    )
    .describe("Largest first."),
  others: count().describe("In groups too small to be listed."),
});

export const reasons = () => z.object(failures());

export const failing = () =>
  z.object({
    dead: reasons(),
    unknown: z.object({ ...failures(), held: count().describe("Those that wait for a person.") }),
  });

export const retrying = () =>
  z.object({
    ...failures(),
    heldBack: count().describe("Deliveries that wait behind them in their lanes."),
    complete: z.boolean().describe("False where there were too many lanes to look at."),
  });
