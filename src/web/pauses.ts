/** Pauses: what is stopped for a while, and by whom; stopping and resuming it. */
import { z } from "zod";
import { NAME_BYTES_MAX } from "../core/limits.ts";
import { PAUSE_KINDS } from "../queue/pauses.ts";
import { reason } from "./acts.ts";
import type { ApiContext } from "./context.ts";
import { pause } from "./flow-shapes.ts";
import { type Operation, operation } from "./operation.ts";

const named = {
  kind: z.enum(PAUSE_KINDS),
  name: z.string().min(1).max(NAME_BYTES_MAX).describe("Of the flow, the target or the device."),
};

const changed = () =>
  z.object({
    changed: z.boolean().describe("False where it was so already; a pause keeps its first reason then."),
    pauses: z.array(pause()).describe("All there are now."),
    passing: z
      .array(z.string())
      .describe(
        "Of a device: flows in another order than the device's, in which its messages go on all the same.",
      ),
  });

export const pauseOperations: readonly Operation[] = [
  operation({
    method: "GET",
    path: "/v1/pauses",
    name: "listPauses",
    tag: "flows",
    summary: "What is paused, since when, by whom and why",
    role: "view",
    answer: () => z.object({ pauses: z.array(pause()) }),
    handle: (_, { pauses }) => ({ pauses: pauses.all }),
  }),
  operation({
    method: "POST",
    path: "/v1/pause",
    name: "pause",
    tag: "flows",
    summary:
      "Stops the deliveries of a flow, to a target, or of what a device has sent; messages are taken as before",
    notes:
      "It outlives restarts. What is being sent ends as usual; nothing new is when this has answered. A time to live (`flows.<name>.ttl`) goes on meanwhile. A device's pause holds flows with `orderBy: device`.",
    role: "operate",
    body: z.strictObject({ ...named, reason }),
    answer: changed,
    async handle({ body: { reason: why, ...name }, caller }, context) {
      const result = await context.pauses.pause(name, { by: caller.name, why });
      if (result.changed) tell(context, caller.name, `paused ${name.kind} ${name.name}: ${why}`);
      return result;
    },
  }),
  operation({
    method: "POST",
    path: "/v1/resume",
    name: "resume",
    tag: "flows",
    summary: "Ends a pause; what has waited goes on at once, in its order",
    notes: "409 (HF_PAUSED_BY_CONFIG) for one that the config makes.",
    role: "operate",
    body: z.strictObject({ ...named, reason: reason.optional() }),
    answer: changed,
    async handle({ body: { reason: why = null, ...name }, caller }, context) {
      const result = await context.pauses.resume(name, caller.name, why);
      if (result.changed) tell(context, caller.name, `resumed ${name.kind} ${name.name}`);
      return result;
    },
  }),
];

function tell({ watch }: Pick<ApiContext, "watch">, who: string, what: string): void {
  watch.events.tell({ kind: "act", severity: "info", subject: who, sentence: `${who} ${what}` });
  // The report says so at once.
  void watch.nudge();
}
