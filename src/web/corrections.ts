/** Dead letters put back with another payload or topic. */
import { z } from "zod";
import { HoldfastError } from "../core/errors.ts";
import type { Change } from "../relay/corrections.ts";
import { reason } from "./acts.ts";
import { type Operation, operation } from "./operation.ts";
import { count, flowName, messageId } from "./shapes.ts";

/** A payload of 16 MiB in base64, and something around it. */
const BODY_BYTES_MAX = 24 * 2 ** 20;
const SETS_MAX = 100;

const change = {
  payload: z.string().optional().describe("Another payload, as text (UTF-8)."),
  base64: z.base64().optional().describe("Another payload, as bytes."),
  set: z
    .array(
      z.strictObject({
        pointer: z.string().regex(/^(\/.*)?$/, "expected a JSON pointer such as /count"),
        value: z.json().describe("Any JSON."),
      }),
    )
    .min(1)
    .max(SETS_MAX)
    .optional()
    .describe(
      "Values put into the payload, which is JSON, at JSON pointers; its other numbers stay digit for digit.",
    ),
  topic: z.string().min(1).optional(),
  contentType: z.string().min(1).max(255).nullable().optional(),
};

export const correctionOperations: readonly Operation[] = [
  operation({
    method: "POST",
    path: "/v1/dead/edit",
    name: "editDead",
    tag: "repair",
    summary: "Puts a dead letter back in line with another payload or topic, under its id and at its place",
    notes:
      "The message stays as it was accepted; the edit is kept beside it, with who, why and when, and is what the target of that flow is given from then on. The flow stays the same whatever the topic is. `flow` is needed where the message is dead on several. 409 (HF_DELIVERY_STATE) where it is not dead, or was edited by somebody else meanwhile.",
    role: "operate",
    body: z.strictObject({ id: messageId, flow: flowName.optional(), ...change, reason }),
    bodyBytesMax: BODY_BYTES_MAX,
    answer: () =>
      z.object({
        id: z.string(),
        flow: z.string(),
        edit: count().describe("Its number; `deliveries[].edits` of the message has them."),
        changed: z.array(z.string()).describe("`payload`, `topic`, `content type`."),
        remarks: z.array(z.string()).describe("What whoever edits should know, a sentence each."),
      }),
    async handle({ body: { id, flow, reason: why, ...asked }, caller }, { repairs: { corrections }, watch }) {
      const edited = await corrections.edit({ id, flow }, changeOf(asked), { by: caller.name, why });
      const sentence = `${caller.name} edited message ${id} on flow ${edited.flow} and put it back in line: ${why}`;
      watch.events.tell({ kind: "act", severity: "info", subject: caller.name, sentence });
      return edited;
    },
  }),
  operation({
    method: "POST",
    path: "/v1/dead/check",
    name: "checkDead",
    tag: "repair",
    summary: "What would come of a dead letter, or of an edit of it, without sending or changing anything",
    notes:
      "Its target says whether it could send it (the topic or URL that it would have, the size that the broker takes); what the backend itself would answer is not asked.",
    role: "operate",
    body: z.strictObject({ id: messageId, flow: flowName.optional(), ...change }),
    bodyBytesMax: BODY_BYTES_MAX,
    answer: () =>
      z.object({
        id: z.string(),
        flow: z.string(),
        target: z.string(),
        changed: z.array(z.string()),
        problems: z
          .array(z.string())
          .describe("Why its target would never take it; none where it would be sent."),
        remarks: z.array(z.string()),
      }),
    handle: ({ body: { id, flow, ...asked } }, { repairs: { corrections } }) =>
      corrections.check({ id, flow }, changeOf(asked)),
  }),
];

interface AskedChange extends Omit<Change, "payload"> {
  readonly payload?: string;
  readonly base64?: string;
}

function changeOf({ payload, base64, ...rest }: AskedChange): Change {
  if (payload !== undefined && base64 !== undefined) {
    throw new HoldfastError("HF_REQUEST", "body: payload and base64 are two ways to say one thing");
  }
  if (payload !== undefined) return { ...rest, payload: Buffer.from(payload) };
  return base64 === undefined ? rest : { ...rest, payload: Buffer.from(base64, "base64") };
}
