/** Deliveries whose answer was lost: to say by evidence that they were delivered, or to have the backend asked. */
import { z } from "zod";
import { reason } from "./acts.ts";
import { type Operation, operation } from "./operation.ts";
import { deliveries, isSelection, NO_SELECTION, selected, selection, step, stepped } from "./selection.ts";
import { count, flowName, messageId } from "./shapes.ts";

export const unknownOperations: readonly Operation[] = [
  operation({
    method: "POST",
    path: "/v1/unknown/delivered",
    name: "markDelivered",
    tag: "repair",
    summary: "Says, with evidence, that the backend has deliveries whose answer was lost",
    notes:
      "By ids also those that would be tried again by themselves; by flow or group those that wait for a person. So too dead letters whose last answer was lost; never one that the backend rejected. To send one again use `POST /v1/dead/retry`.",
    role: "operate",
    body: z
      .strictObject({
        ...selection,
        evidence: reason.describe(
          "What shows that the backend has them, such as its order number; it goes on record.",
        ),
      })
      .refine(isSelection, NO_SELECTION),
    answer: () => z.object({ delivered: count(), ...step() }),
    async handle({ body: { evidence, ...asked }, caller }, { repairs, watch }) {
      const act = { who: caller.name, what: "markDelivered", detail: asked, reason: evidence };
      const word = { by: caller.name, why: evidence };
      const { count: delivered, ...rest } = await repairs.markDelivered({ ...selected(asked), word, act });
      const sentence = `${caller.name} marked ${deliveries(delivered)} as delivered: ${evidence}`;
      watch.events.tell({ kind: "act", severity: "info", subject: caller.name, sentence });
      return { delivered, ...stepped(rest) };
    },
  }),
  operation({
    method: "POST",
    path: "/v1/unknown/probe",
    name: "probeUnknown",
    tag: "repair",
    summary: "Asks the backend now whether it has a delivery whose answer was lost, and does what it says",
    notes:
      "Where it has it, the delivery is delivered; where it has it not, it is put back in line; where it cannot say, nothing changes. 422 (HF_CANNOT_ASK) for a target that cannot be asked, 409 (HF_DELIVERY_STATE) for a delivery that is not unknown, or is just being sent.",
    role: "operate",
    body: z.strictObject({ id: messageId, flow: flowName.optional() }),
    answer: () =>
      z.object({
        id: z.string(),
        flow: z.string(),
        target: z.string(),
        found: z.enum(["has it", "has it not", "cannot say"]),
        detail: z.string(),
        state: z.enum(["delivered", "waiting", "unknown"]).describe("Where that has put it."),
      }),
    async handle({ body, caller }, { repairs, watch }) {
      const asked = await repairs.probe(body, caller.name);
      const sentence = `${caller.name} had target ${asked.target} asked for message ${asked.id}: ${asked.detail}`;
      watch.events.tell({ kind: "act", severity: "info", subject: caller.name, sentence });
      return asked;
    },
  }),
];
