/**
 * The front desk of commands: every door that takes some hands them in here.
 *
 * Promise: a command that was taken is on disk, as a message on its device's flow; one that was not is told which
 * rule it broke. Both stand in the audit trail before anybody is answered. A request that comes again under its
 * sender's key is the same command, also after a restart.
 *
 * States: a command is queued, sent, and then acknowledged or verified, failed, expired, unknown or cancelled
 * (core/command-message.ts). The store alone knows which: whoever waits for one here is told when to look.
 *
 * What it trades away: a refusal here is early, not final. What an executor finds just before it sends counts.
 */
import { type Clock, sleep, wallClockTrusted } from "../core/clock.ts";
import type { CommandableSignal, Commanded, OfferedSignal } from "../core/command.ts";
import {
  type CommandHeaders,
  type CommandOrder,
  type CommandResult,
  commandTopic,
  RESULT_SOURCE,
  type ResultHeaders,
  resultFlow,
} from "../core/command-message.ts";
import { HoldfastError } from "../core/errors.ts";
import { nearMiss } from "../core/near-miss.ts";
import type { CarriedTrace } from "../core/trace-context.ts";
import type { Accepting, Draft } from "../intake/draft.ts";
import type { CommandChange } from "../queue/command-record.ts";
import type { Decision, DecisionResult } from "../queue/decide.ts";
import type { CommandView } from "../queue/queries-commands.ts";
import type { Querying } from "../queue/reader.ts";
import type { Store } from "../queue/store.ts";
import { type Covered, classOf, covers, policyOf, type Refusal, type Terms, termsOf } from "./classes.ts";
import { type CommandRequest, fingerprintOf } from "./request.ts";
import type { CommandsConfig } from "./schema.ts";

/** How long a command, its refusal or a decision on it waits for a store without room before its sender is told so. */
const ROOM_WAIT_MS = 5000;

/** How long, and how often, a decision is tried on a command that is being sent. */
const BEING_SENT_WAIT_MS = 1000;
const BEING_SENT_EVERY_MS = 50;

/** Who asks, and by which door. */
export interface Asker {
  readonly door: "http" | "mqtt";
  readonly by: string;
  /** The sender's own name for its request, unique within the scope. */
  readonly request: { readonly scope: string; readonly key: string } | null;
  /** What may be commanded from there; null for anything. */
  readonly allow: { readonly rule: string; readonly entries: readonly Covered[] } | null;
  /** It is of no use after this time. */
  readonly livesMs?: number;
  readonly trace?: CarriedTrace | null;
  /** Where the result is to go. */
  readonly reply: Pick<CommandHeaders, "upstream" | "replyTo" | "correlation" | "requestId"> | null;
}

export type Submitted =
  | { readonly kind: "taken"; readonly id: string; readonly duplicate: boolean }
  /** Its key was used before, for another request. */
  | { readonly kind: "key reused"; readonly id: string }
  | ({ readonly kind: "refused" } & Refusal);

export interface CommandsOptions {
  readonly config: CommandsConfig;
  readonly commanded: Commanded;
  readonly intake: Accepting;
  readonly store: Pick<Store, "refused" | "steadyMs">;
  readonly reader: Querying;
  /** Resolves when it is on disk. */
  readonly decide: (decision: Decision, signal: AbortSignal) => Promise<DecisionResult>;
  readonly clock: Clock;
}

export class Commands {
  readonly #options: CommandsOptions;
  readonly #waiting = new Map<string, Set<() => void>>();

  constructor(options: CommandsOptions) {
    this.#options = options;
  }

  /** By device; one that takes no commands, since nobody has switched any on, is not in it. */
  commandable(): ReadonlyMap<string, readonly OfferedSignal[]> {
    const { commanded, config } = this.#options;
    return new Map(
      [...commanded.commandable()].map(([device, signals]) => [
        device,
        signals.map((each) => offered(each, config, device)),
      ]),
    );
  }

  /** Rejects with HF_STORE_FULL where there is no room even for commands. */
  async submit(request: CommandRequest, asker: Asker): Promise<Submitted> {
    const terms = await this.#judge(request, asker);
    if ("rule" in terms) {
      await this.refuse(request, asker, terms);
      return { kind: "refused", ...terms };
    }
    const fingerprint = fingerprintOf(request);
    const receipt = await this.#accept(request, asker, terms, fingerprint);
    if (receipt.kind === "stored") return { kind: "taken", id: receipt.id, duplicate: false };
    if (receipt.kind === "duplicate") {
      const first = await this.view(receipt.id);
      // One that retention has removed can no longer be compared.
      const same = first === null || first.fingerprint === fingerprint;
      return same
        ? { kind: "taken", id: receipt.id, duplicate: true }
        : { kind: "key reused", id: receipt.id };
    }
    const reason = receipt.kind === "refused" ? receipt.reason : "no flow takes it";
    const refusal = { rule: "intake", reason };
    await this.refuse(request, asker, refusal);
    return { kind: "refused", ...refusal };
  }

  /** Puts on record, and tells upstream, that something was not taken. Rejects with HF_STORE_FULL. */
  async refuse(asked: Partial<CommandRequest>, asker: Asker, refusal: Refusal): Promise<void> {
    const { device = null, signal = null, value = null } = asked;
    const detail = `${refusal.rule}: ${refusal.reason}`;
    const { door, by, reply } = asker;
    const entry = { device, signal, value: JSON.stringify(value), door, by, detail };
    const result = () => ({
      id: reply?.requestId ?? null,
      command: null,
      device,
      signal,
      value,
      state: "refused" as const,
      final: true,
      detail,
      at: new Date(this.#options.clock.wallMs()).toISOString(),
    });
    await this.#whileRoomMayCome((patience) =>
      Promise.all([
        this.#options.store.refused(entry, patience),
        reply?.replyTo && this.tell(reply, result(), patience),
      ]),
    );
  }

  /** Puts a result in the line of its upstream. */
  async tell(to: NonNullable<Asker["reply"]>, result: CommandResult, patience?: AbortSignal): Promise<void> {
    const { upstream, replyTo, correlation } = to;
    if (upstream === undefined || replyTo === undefined) return;
    const headers: ResultHeaders = { replyTo, ...(correlation === undefined ? {} : { correlation }) };
    const draft: Draft = {
      device: result.device ?? upstream,
      source: RESULT_SOURCE,
      topic: resultFlow(upstream),
      payload: Buffer.from(JSON.stringify(result)),
      contentType: "application/json",
      qos: 1,
      headers: headers as Record<string, string>,
      urgent: true,
    };
    await this.#options.intake.accept(draft, patience);
  }

  /** One that is being tried is asked about again for a moment: it may not have got through. Rejects with HF_STORE_FULL. */
  async decide(decision: Decision): Promise<DecisionResult> {
    const { clock, decide } = this.#options;
    const untilMs = clock.monoMs() + BEING_SENT_WAIT_MS;
    for (;;) {
      const result = await this.#whileRoomMayCome((patience) => decide(decision, patience));
      const busy = result.kind === "not now" && result.state === "sending";
      if (!busy || clock.monoMs() >= untilMs) return result;
      await sleep(clock, BEING_SENT_EVERY_MS);
    }
  }

  view(id: string): Promise<CommandView | null> {
    return this.#options.reader.query("command", { id, steadyNowMs: this.#options.store.steadyMs() });
  }

  /** Resolves when nothing more will come of it, when `waitMs` have passed, or when `signal` aborts. */
  async settled(id: string, waitMs: number, signal?: AbortSignal): Promise<void> {
    const over = new AbortController();
    const waiters = this.#waiting.get(id) ?? new Set();
    this.#waiting.set(id, waiters);
    const look = async () => {
      const view = await this.view(id);
      if (!view || view.final) over.abort();
    };
    const changed = () => void look().catch(() => over.abort());
    waiters.add(changed);
    // It may have been settled before anybody waited.
    changed();
    await sleep(this.#options.clock, waitMs, signal ? AbortSignal.any([over.signal, signal]) : over.signal);
    waiters.delete(changed);
    if (waiters.size === 0) this.#waiting.delete(id);
  }

  /** As the store tells of them. */
  changed(changes: readonly CommandChange[]): void {
    for (const { id } of changes) for (const look of this.#waiting.get(id) ?? []) look();
  }

  async #judge(request: CommandRequest, asker: Asker): Promise<Terms | Refusal> {
    const { config, commanded, clock, reader } = this.#options;
    const { device, signal } = request;
    if (asker.allow && !covers(asker.allow.entries, device, signal)) return notAllowed(asker.allow, request);
    const all = commanded.commandable();
    const signals = all.get(device);
    if (!signals)
      return { rule: "devices", reason: nobody("device that takes commands", device, [...all.keys()]) };
    const can = signals.find((each) => each.signal === signal);
    if (!can) {
      const names = signals.map((each) => each.signal);
      return {
        rule: `devices.${device}`,
        reason: nobody("signal of it that can be commanded", signal, names),
      };
    }
    const wallMs = clock.wallMs();
    const terms = termsOf(request, { config, can, wallMs: wallClockTrusted(wallMs) ? wallMs : null });
    if ("refusal" in terms) return terms.refusal;
    const { value, preconditions } = request;
    const { answerWithinMs } = terms;
    const command = { id: "", device, signal, value, preconditions, attempt: 1, answerWithinMs };
    const refusal = commanded.refusal(command);
    if (refusal) return refusal;
    if ((await reader.query("commandsOpen", { device })) >= config.queuedMax) {
      const reason = `there are ${config.queuedMax} commands to ${device} that are not finished`;
      return { rule: "commands.queuedMax", reason };
    }
    return terms;
  }

  async #accept(request: CommandRequest, asker: Asker, terms: Terms, fingerprint: string) {
    const { intake } = this.#options;
    const { device, signal, value, preconditions, reason } = request;
    const { onUnknown, answerWithinMs } = terms;
    const order: CommandOrder = { signal, value, preconditions, onUnknown, answerWithinMs };
    const headers: CommandHeaders = {
      by: asker.by,
      fingerprint,
      reason,
      ...(terms.newestWins ? { newestWins: "yes" } : {}),
      ...asker.reply,
    };
    const draft: Draft = {
      device,
      source: asker.door,
      topic: commandTopic(device, signal),
      payload: Buffer.from(JSON.stringify(order)),
      contentType: "application/json",
      qos: 1,
      headers: Object.fromEntries(Object.entries(headers).filter(([, text]) => text !== undefined)),
      trace: asker.trace ?? null,
      ...(asker.request ? { request: asker.request } : {}),
      ttlMs: Math.min(terms.ttlMs, asker.livesMs ?? terms.ttlMs),
      urgent: true,
      supersede: terms.newestWins,
    };
    return this.#whileRoomMayCome((patience) => intake.accept(draft, patience));
  }

  /** Work that the store may have no room for: given up after a while, and then nothing of it happens later either. */
  async #whileRoomMayCome<T>(work: (patience: AbortSignal) => Promise<T>): Promise<T> {
    const patience = new AbortController();
    const timer = this.#options.clock.after(ROOM_WAIT_MS, () =>
      patience.abort(new HoldfastError("HF_STORE_FULL", "the store has no room, not even for a command")),
    );
    try {
      return await work(patience.signal);
    } finally {
      timer.cancel();
    }
  }
}

export function notAllowed(
  { rule }: NonNullable<Asker["allow"]>,
  { device, signal }: Pick<CommandRequest, "device" | "signal">,
): Refusal {
  return { rule, reason: `${signal} of ${device} may not be commanded from there` };
}

function offered(can: CommandableSignal, config: CommandsConfig, device: string): OfferedSignal {
  const [name, own] = classOf(config, device, can.signal) ?? [null, undefined];
  return {
    ...can,
    class: name,
    ttlMs: own?.ttl ?? config.ttl,
    onUnknown: policyOf(own?.onUnknown ?? config.onUnknown, can),
  };
}

function nobody(what: string, name: string, known: readonly string[]): string {
  const meant = nearMiss(name, known);
  const shown = JSON.stringify(name.slice(0, 100));
  if (meant) return `there is no ${what} called ${shown}; did you mean ${meant}?`;
  return known.length === 0
    ? `there is no ${what} called ${shown}, and none at all`
    : `there is no ${what} called ${shown}; there are: ${known.slice(0, 16).join(", ")}`;
}
