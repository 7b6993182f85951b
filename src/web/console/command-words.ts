/** What the states of a command mean, in sentences for the person who sent it. Pure. */
import type { CommandState } from "../../core/command-message.ts";
import { age, harmless } from "../../core/plain-words.ts";
import type { CommandRow } from "../../queue/queries-commands.ts";
import type { MarkKind } from "./marks.tsx";

export const COMMAND_MARKS: Record<CommandState, MarkKind> = {
  queued: "waiting",
  sent: "waiting",
  acknowledged: "ok",
  verified: "ok",
  failed: "alarm",
  expired: "attention",
  unknown: "unknown",
  cancelled: "idle",
};

type Told = Pick<CommandRow, "device" | "state" | "expiresInMs" | "needsPerson">;

/** `expiresInMs` as of now. */
export function commandSentence({ device, state, needsPerson }: Told, expiresInMs: number | null): string {
  const name = harmless(device);
  switch (state) {
    case "queued":
      return `Stored on this box, and not sent yet${expiresInMs === null ? "" : `; it is given up in ${age(Math.max(0, expiresInMs))}`}.`;
    case "sent":
      return `On its way; ${name} has not answered yet.`;
    case "acknowledged":
      return `${name} says that it took it; whether it was done was not looked at.`;
    case "verified":
      return "It was done, and seen to be done.";
    case "failed":
      return "It was not done.";
    case "expired":
      return `${name} could not be reached in time. It was not sent, and will not be.`;
    case "unknown":
      return needsPerson
        ? `Sent, and the answer was lost: it may have been done. Look at ${name}, and say what came of it.`
        : "Sent, and the answer was lost: it may have been done. It is looked at, or sent again, by itself.";
    case "cancelled":
      return "Taken back. It was not sent, and will not be.";
  }
}
