/**
 * A flow: a named, versioned way from a topic filter to one target. Its schema and its matching; pure.
 * Intake asks which flows take a message, the relay asks how each is to be delivered.
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import { pointerValue } from "./json-pointer.ts";
import { topicFilterProblem, topicMatches } from "./topic.ts";
import { duration } from "./units.ts";

const topicFilter = z.string().superRefine((filter, context) => {
  const problem = topicFilterProblem(filter);
  if (problem) context.addIssue({ code: "custom", message: `not a topic filter: ${problem}` });
});

const condition = z
  .strictObject({
    pointer: z
      .string()
      .regex(/^(\/.*)?$/, "expected a JSON pointer such as /type")
      .describe("JSON pointer into the payload. A payload that is not JSON does not fulfil the condition."),
    exists: z.boolean().optional().describe("Whether the value must be there."),
    equals: z
      .union([z.string(), z.number(), z.boolean(), z.null()])
      .optional()
      .describe("The value it must have."),
    in: z
      .array(z.union([z.string(), z.number(), z.boolean(), z.null()]))
      .min(1)
      .optional()
      .describe("The values it may have."),
    above: z.number().optional().describe("A number it must be greater than."),
    below: z.number().optional().describe("A number it must be less than."),
  })
  .refine(({ pointer: _, ...tests }) => Object.values(tests).some((test) => test !== undefined), {
    message: "a condition needs at least one of exists, equals, in, above, below",
  });

export const flowSchema = z.strictObject({
  from: z
    .union([topicFilter, z.array(topicFilter).min(1)])
    .describe("Topic filter, or a list of them: which messages this flow takes."),
  when: condition.optional().describe("Takes only messages whose JSON payload fulfils this."),
  to: z.string().min(1).describe("Name of the target under `targets`."),
  orderBy: z
    .enum(["device", "topic", "none"])
    .default("device")
    .describe("What must stay in order: all of a device, all of a topic, or nothing (most parallel)."),
  retry: z
    .strictObject({
      delayMin: duration({ min: 10, max: 3_600_000 })
        .prefault("1s")
        .describe("Longest first delay; doubles with each try."),
      delayMax: duration({ min: 10, max: 86_400_000 })
        .prefault("5m")
        .describe("Longest delay between tries."),
      attemptsMax: z
        .int()
        .min(1)
        .max(1000)
        .default(10)
        .describe(
          "Tries that the target answered before the message is set aside as dead. Outages are not counted.",
        ),
    })
    .prefault({})
    .refine((retry) => retry.delayMin <= retry.delayMax, {
      message: "delayMin must not exceed delayMax",
      path: ["delayMin"],
    })
    .describe("How often, and how far apart, a message is tried again. Delays are drawn with full jitter."),
  ttl: duration({ min: 1000 })
    .optional()
    .describe("Waiting longer than this, a message expires instead of being delivered."),
  lateAfter: duration({ min: 1 })
    .optional()
    .describe(
      "A message accepted later than this after its device produced it is late; more than a year says that a clock is wrong, not that it is late. Needs intake.identities[].producedAt.",
    ),
  late: z
    .enum(["deliver", "divert", "dead", "drop"])
    .default("deliver")
    .describe(
      "What becomes of a late message: delivered and marked, sent down `divertTo`, set aside, or counted and left out.",
    ),
  divertTo: z.string().optional().describe("Name of the flow that takes late messages."),
  onUnknown: z
    .enum(["retry", "probe", "hold"])
    .default("retry")
    .describe(
      "When an answer was lost and the target is not idempotent: send again (may arrive twice), ask the backend whether it has the id, or hold the lane for a person.",
    ),
  batchMax: z
    .int()
    .min(1)
    .max(10_000)
    .optional()
    .describe("Fewer messages a call than the target would take."),
  paused: z.boolean().default(false).describe("Take messages, but do not deliver them."),
});

export type FlowConfig = z.output<typeof flowSchema>;

export interface Flow extends FlowConfig {
  readonly name: string;
  /** Tells versions of one flow apart: a digest of its options. */
  readonly hash: string;
  /** Its target is a device (core/command-message.ts); built in, never from a config. */
  readonly commands?: boolean;
}

export function makeFlow(name: string, config: FlowConfig): Flow {
  const hash = createHash("sha256").update(JSON.stringify(config)).digest("hex").slice(0, 12);
  return { ...config, name, hash };
}

/** A flow that no config names, with the defaults of one. */
export function builtInFlow(name: string, config: z.input<typeof flowSchema>, commands = false): Flow {
  return { ...makeFlow(name, flowSchema.parse(config)), ...(commands ? { commands } : {}) };
}

export function flowFilters(flow: Pick<FlowConfig, "from">): readonly string[] {
  return typeof flow.from === "string" ? [flow.from] : flow.from;
}

/** The part of a topic's answer that depends on the topic alone is remembered for this many topics. */
const TOPICS_REMEMBERED_MAX = 10_000;

/** Finds the flows that take a message; remembers which filters match which topic. */
export class FlowMatcher {
  readonly #flows: readonly Flow[];
  readonly #byTopic = new Map<string, readonly Flow[]>();

  constructor(flows: readonly Flow[]) {
    this.#flows = flows;
  }

  match(topic: string, payloadJson: () => unknown): readonly Flow[] {
    const flows = this.#matchTopic(topic);
    if (!flows.some((flow) => flow.when)) return flows;
    return flows.filter((flow) => !flow.when || conditionHolds(flow.when, payloadJson()));
  }

  #matchTopic(topic: string): readonly Flow[] {
    let flows = this.#byTopic.get(topic);
    if (!flows) {
      flows = this.#flows.filter((flow) => flowFilters(flow).some((filter) => topicMatches(filter, topic)));
      if (this.#byTopic.size >= TOPICS_REMEMBERED_MAX) this.#byTopic.clear();
      this.#byTopic.set(topic, flows);
    }
    return flows;
  }
}

function conditionHolds(when: NonNullable<FlowConfig["when"]>, json: unknown): boolean {
  const value = json === undefined ? undefined : pointerValue(json, when.pointer);
  if (when.exists !== undefined && (value !== undefined) !== when.exists) return false;
  if (when.equals !== undefined && value !== when.equals) return false;
  if (when.in && !when.in.includes(value as string)) return false;
  if (when.above !== undefined && !(typeof value === "number" && value > when.above)) return false;
  if (when.below !== undefined && !(typeof value === "number" && value < when.below)) return false;
  return true;
}
