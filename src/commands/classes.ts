/** Which rules hold for a command, and whether what it asks for is within them. Pure. */
import type { CommandableSignal } from "../core/command.ts";
import type { UnknownPolicy } from "../core/command-message.ts";
import { formatDuration } from "../core/units.ts";
import type { CommandRequest } from "./request.ts";
import type { CommandsConfig } from "./schema.ts";

/** Why a command is not taken: the rule, named as in the config, and a sentence. */
export interface Refusal {
  readonly rule: string;
  readonly reason: string;
}

export interface Terms {
  readonly ttlMs: number;
  readonly answerWithinMs: number;
  readonly onUnknown: UnknownPolicy;
  readonly newestWins: boolean;
}

export interface TermsContext {
  readonly config: CommandsConfig;
  readonly can: CommandableSignal;
  /** Epoch ms, or null where the wall clock is not to be believed. */
  readonly wallMs: number | null;
}

export function termsOf(
  request: CommandRequest,
  { config, can, wallMs }: TermsContext,
): Terms | { readonly refusal: Refusal } {
  const [name, own] = classOf(config, request.device, request.signal) ?? [null, undefined];
  const at = (option: "ttl" | "onUnknown") =>
    name !== null && own?.[option] !== undefined
      ? `commands.classes.${name}.${option}`
      : `commands.${option}`;
  const refuse = (rule: string, reason: string) => ({ refusal: { rule, reason } });
  let ttlMs = request.ttl ?? own?.ttl ?? config.ttl;
  if (request.ttl !== undefined && request.ttl > config.ttlMax) {
    return refuse(
      "commands.ttlMax",
      `a ttl of ${formatDuration(request.ttl)} is above ${formatDuration(config.ttlMax)}`,
    );
  }
  if (request.expiresAt !== undefined) {
    if (wallMs === null) return refuse("expiresAt", "the gateway's clock is not set, so it cannot be judged");
    const leftMs = Date.parse(request.expiresAt) - wallMs;
    if (leftMs <= 0) return refuse("expiresAt", `it had expired at ${request.expiresAt} when it came`);
    ttlMs = Math.min(leftMs, request.ttl ?? config.ttlMax);
  }
  const asked = request.onUnknown ?? own?.onUnknown ?? config.onUnknown;
  if (asked === "retry" && !can.idempotent) {
    const rule = request.onUnknown === undefined ? at("onUnknown") : "onUnknown";
    return refuse(
      rule,
      `\`retry\` may do it twice, and ${request.signal} of ${request.device} is not declared idempotent`,
    );
  }
  return {
    ttlMs,
    answerWithinMs: own?.answerWithin ?? config.answerWithin,
    onUnknown: policyOf(asked, can),
    newestWins: own?.newestWins ?? config.newestWins,
  };
}

/** What is done where an answer was lost, where `asked` for or not. */
export function policyOf(asked: UnknownPolicy | undefined, can: CommandableSignal): UnknownPolicy {
  return asked ?? (can.verifiable ? "probe" : "hold");
}

/** The first class that names it. */
export function classOf({ classes }: CommandsConfig, device: string, signal: string) {
  return Object.entries(classes).find(([, each]) => covers([each], device, signal));
}

/** What may be commanded from somewhere: names, in which * stands for any text. */
export interface Covered {
  readonly devices: readonly string[];
  readonly signals: readonly string[];
}

export function covers(entries: readonly Covered[], device: string, signal: string): boolean {
  return entries.some(({ devices, signals }) => fits(devices, device) && fits(signals, signal));
}

/** True where one of the patterns, in which * stands for any text, is the name. */
export function fits(patterns: readonly string[], name: string): boolean {
  return patterns.some((pattern) => {
    if (!pattern.includes("*")) return pattern === name;
    const text = pattern.split("*").map((part) => RegExp.escape(part));
    return new RegExp(`^${text.join(".*")}$`, "su").test(name);
  });
}
