/**
 * How a command travels: as a message like any other, on a flow of its own for each device.
 *
 *   topic    `$command/<device>/<signal>`  no machine may publish to `$…`, and no filter that begins with a
 *                                          wildcard matches it: it cannot be forged, and does not slip into `#`
 *   payload  CommandOrder, as JSON
 *   headers  who asked for it, by which door, and where its result is to go
 *
 * What became of it goes back upstream in the same way: as a message on the flow `$result/<upstream>`. Pure.
 */
import type { Command, CommandValue, Precondition } from "./command.ts";
import type { DeliveryState } from "./outcome.ts";

export const COMMAND_PREFIX = "$command/";
export const RESULT_PREFIX = "$result/";

/** The door that results come in by. */
export const RESULT_SOURCE = "result";

/** What a device's flow, and its target, are called; no name in a config begins with `$`. */
export const commandFlow = (device: string): string => COMMAND_PREFIX + device;
export const resultFlow = (upstream: string): string => RESULT_PREFIX + upstream;

export function isCommandFlow(flow: string): boolean {
  return flow.startsWith(COMMAND_PREFIX);
}

export function isBuiltInFlow(flow: string): boolean {
  return isCommandFlow(flow) || flow.startsWith(RESULT_PREFIX);
}

/** A flow as people read of it: by its own name, or, built in, by what it carries. */
export function flowWords(flow: string): string {
  if (isCommandFlow(flow)) return `commands to ${flow.slice(COMMAND_PREFIX.length)}`;
  return flow.startsWith(RESULT_PREFIX) ? `results to ${flow.slice(RESULT_PREFIX.length)}` : flow;
}

/** A target with what it is: a backend, a device that is commanded, an upstream that gets results. */
export function targetWords(target: string): string {
  if (isCommandFlow(target)) return `device ${target.slice(COMMAND_PREFIX.length)}`;
  return target.startsWith(RESULT_PREFIX)
    ? `upstream ${target.slice(RESULT_PREFIX.length)}`
    : `target ${target}`;
}

export function commandTopic(device: string, signal: string): string {
  return `${COMMAND_PREFIX}${device}/${signal.replace(/[%/+#]/g, encodeURIComponent)}`;
}

export const UNKNOWN_POLICIES = ["probe", "hold", "retry"] as const;
export type UnknownPolicy = (typeof UNKNOWN_POLICIES)[number];

/** The payload of a command's message: everything that must still be known when it is carried out. */
export interface CommandOrder {
  readonly signal: string;
  readonly value: CommandValue;
  readonly preconditions: readonly Precondition[];
  readonly onUnknown: UnknownPolicy;
  readonly answerWithinMs: number;
}

/** Headers of a command's message; all are text. */
export interface CommandHeaders {
  /** Who asked: `127.0.0.1`, or the name of the upstream. */
  readonly by: string;
  /** Why, in the words of whoever asked. */
  readonly reason?: string;
  /** Tells whether a request under the same key is the same request. */
  readonly fingerprint?: string;
  /** Present where it replaces older ones of its topic that are not sent yet. */
  readonly newestWins?: "yes";
  /** The sender's own id. */
  readonly requestId?: string;
  /** The upstream that gets the result, and the topic there. */
  readonly upstream?: string;
  readonly replyTo?: string;
  /** MQTT 5 correlation data, in base64. */
  readonly correlation?: string;
}

/** Throws where the message is none of a command: what has been stored by us and is intact always is. */
export function commandOf(
  message: { readonly id: string; readonly device: string; readonly payload: Buffer },
  attempt: number,
): Command & Pick<CommandOrder, "onUnknown"> {
  const order = JSON.parse(message.payload.toString("utf8")) as CommandOrder;
  return { ...order, id: message.id, device: message.device, attempt };
}

export const COMMAND_STATES = [
  "queued",
  "sent",
  "acknowledged",
  "verified",
  "failed",
  "expired",
  "unknown",
  "cancelled",
] as const;
export type CommandState = (typeof COMMAND_STATES)[number];

const FINAL: readonly CommandState[] = ["acknowledged", "verified", "failed", "expired", "cancelled"];

export function isFinal(state: CommandState): boolean {
  return FINAL.includes(state);
}

/**
 * A command's state from its delivery's. `waiting` is queued; `sending` was committed before anything was sent,
 * so from there on it counts as sent; of what was delivered the history says whether it was seen to be done.
 */
export function commandState(state: DeliveryState, seenToBeDone: boolean): CommandState {
  switch (state) {
    case "waiting":
      return "queued";
    case "sending":
      return "sent";
    case "delivered":
      return seenToBeDone ? "verified" : "acknowledged";
    case "dead":
      return "failed";
    case "evicted":
    case "discarded":
      return "cancelled";
    default:
      return state;
  }
}

/** Events of the audit trail: a state that was reached, or a command that was not even taken. */
export const TRAIL_EVENTS = ["refused", ...COMMAND_STATES] as const;
export type TrailEvent = (typeof TRAIL_EVENTS)[number];

/** Headers of a result's message: where it is published. */
export type ResultHeaders = Pick<CommandHeaders, "replyTo" | "correlation">;

/** What is told of a command upstream: a result, or that it was refused. */
export interface CommandResult {
  /** The sender's own id where it gave one, and ours; null where the command was not taken. */
  readonly id: string | null;
  readonly command: string | null;
  readonly device: string | null;
  readonly signal: string | null;
  readonly value: CommandValue;
  readonly state: TrailEvent;
  /** False for `unknown`: what is found out later is told too. */
  readonly final: boolean;
  /** Evidence for what was done, or the reason why not. */
  readonly detail: string | null;
  /** RFC 3339. */
  readonly at: string;
}
