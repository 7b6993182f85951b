/**
 * The `device` target: a command's last step, from the queue to whatever executes it (core/command.ts).
 *
 * Promise: `delivered` only for what the device itself has shown, with the evidence. One command at a time in each
 * lane. What was sent and not answered is `unknown`, and is sent again only where it was found out that it did not
 * happen, or where its class declares that twice is once. Nothing is sent after its time, also where the device had
 * no ear for it until then. That a further try got a no says nothing of the one whose answer was lost.
 *
 * An executor that contradicts itself (it says that nothing was sent, after it said that something was) is not
 * believed: then nobody knows.
 *
 * What becomes of a try is told in the history by `sent`, `acknowledged` and `verified`, each with its time.
 */
import type { Clock } from "../core/clock.ts";
import type { CommandableSignal, Commanded, CommandOutcome, CommandValue } from "../core/command.ts";
import { commandFlow, commandOf, type UnknownPolicy } from "../core/command-message.ts";
import { errorText } from "../core/errors.ts";
import { REASON_CHARS_MAX } from "../core/limits.ts";
import {
  delivered,
  notSent,
  type Outcome,
  reject,
  retryTarget,
  type TryNote,
  unknown,
} from "../core/outcome.ts";
import { BaseService } from "../core/service.ts";
import { letsLaneGoOn, notSentStopping } from "./batch.ts";
import type { Target, TargetDelivery, TargetHealth } from "./target.ts";

/** What an executor gets beyond the device's own deadline before it is taken to have lost the answer. */
const ANSWER_SLACK_MS = 5000;
const TOO_LATE = "its time was over before the device could be told";
/** Signals of one device that may be commanded at the same time, where the config allows that at all. */
const SIGNALS_AT_A_TIME = 8;

export interface DeviceTargetOptions {
  readonly device: string;
  readonly commanded: Commanded;
  /** Whether it can be reached, by evidence; for the circuit. */
  readonly presence: () => TargetHealth;
  /** False: its signals have lanes of their own. */
  readonly oneAtATime: boolean;
  readonly clock: Clock;
}

export class DeviceTarget extends BaseService implements Target {
  readonly type = "device";
  readonly name: string;
  readonly idempotent = false;
  readonly batchMax = 1;
  readonly batchBytesMax = 2 ** 20;
  readonly concurrency: number;
  /** A device that is away is no trouble as long as nobody has anything to tell it. */
  readonly probing = { whenIdle: false, delayMsMax: 2000 };
  readonly #options: DeviceTargetOptions;

  constructor(options: DeviceTargetOptions) {
    super();
    this.#options = options;
    this.name = commandFlow(options.device);
    this.concurrency = options.oneAtATime ? 1 : SIGNALS_AT_A_TIME;
  }

  protected async onStart(): Promise<void> {}
  protected async onStop(): Promise<void> {}

  async deliver(batch: readonly TargetDelivery[], signal: AbortSignal): Promise<Outcome[]> {
    const stuck = new Set<string>();
    const outcomes: Outcome[] = [];
    for (const delivery of batch) {
      const { lane } = delivery;
      const outcome = stuck.has(lane) ? notSent : await this.#execute(delivery, signal);
      if (!letsLaneGoOn(outcome)) stuck.add(lane);
      outcomes.push(outcome);
    }
    return outcomes;
  }

  async probe(): Promise<TargetHealth> {
    if (this.stopping) return { reachable: false, detail: "the target is stopped" };
    return this.#options.presence();
  }

  onUnknown(delivery: TargetDelivery): UnknownPolicy {
    const { onUnknown, signal } = commandOf(delivery.message, delivery.attempt);
    const can = this.#signal(signal);
    // As declared now: the config may be another than when it was queued.
    if (onUnknown === "retry" && (!can?.idempotent || delivery.expiresInMs === 0)) return "hold";
    return onUnknown === "probe" && !can?.verifiable ? "hold" : onUnknown;
  }

  async findOut(delivery: TargetDelivery, signal: AbortSignal): Promise<Outcome | "send again"> {
    const command = commandOf(delivery.message, delivery.attempt);
    const found = await this.#options.commanded.probe(command, signal);
    switch (found.kind) {
      case "done": {
        const detail = withValue(`found to be done: ${found.evidence}`, found.value);
        return { ...delivered(detail), trail: [this.#note("verified", detail)] };
      }
      case "not done":
        if (delivery.expiresInMs !== 0) return "send again";
        return reject(`it was not done (${found.evidence}), and its time is over`);
      case "failed":
        return reject(withValue(found.reason, found.value));
      case "cannot say":
        return found.hold
          ? forPerson(`it cannot be found out: ${found.reason}`)
          : unknown(`it cannot be found out yet: ${found.reason}`);
    }
  }

  async #execute(delivery: TargetDelivery, signal: AbortSignal): Promise<Outcome> {
    if (this.stopping || signal.aborted) return notSentStopping;
    const command = commandOf(delivery.message, delivery.attempt);
    const sent: { note: TryNote | null } = { note: null };
    const overdue = Promise.withResolvers<CommandOutcome>();
    const tooLate = new AbortController();
    const { clock, commanded } = this.#options;
    const { expiresInMs } = delivery;
    let timer = expiresInMs === null ? null : clock.after(expiresInMs, () => tooLate.abort());
    const onSent = () => {
      if (sent.note) return;
      sent.note = this.#note("sent", null);
      timer?.cancel();
      timer = clock.after(command.answerWithinMs + ANSWER_SLACK_MS, () =>
        overdue.resolve({ kind: "unknown", reason: "nothing was heard of it in time" }),
      );
    };
    const stop = AbortSignal.any([signal, tooLate.signal]);
    let outcome: CommandOutcome;
    delivery.trace?.begun();
    try {
      outcome = await Promise.race([commanded.execute(command, onSent, stop), overdue.promise]);
    } catch (error) {
      outcome = { kind: "unknown", reason: `executing it failed: ${errorText(error)}` };
    } finally {
      timer?.cancel();
      delivery.trace?.answered();
    }
    // It goes back to the queue, which lets it expire.
    if (tooLate.signal.aborted && outcome.kind === "unreachable" && !sent.note) return retryTarget(TOO_LATE);
    const settled = this.#outcomeOf(outcome, sent.note);
    const policy = this.onUnknown(delivery);
    if (settled.kind === "reject" && delivery.resend && policy === "retry" && !isSeen(outcome)) {
      return forPerson(
        `an earlier try may have been done, and this one was not: ${settled.reason}`,
        settled.trail,
      );
    }
    // Nothing is to be found out by waiting: the device need not come back for a person to be asked.
    if (settled.kind === "unknown" && policy === "hold") return forPerson(settled.reason, settled.trail);
    return settled;
  }

  #outcomeOf(outcome: CommandOutcome, sent: TryNote | null): Outcome {
    const trail = sent ? [sent] : [];
    switch (outcome.kind) {
      case "verified":
      case "acknowledged": {
        const detail = withValue(outcome.evidence, outcome.value);
        return { ...delivered(detail), trail: [...trail, this.#note(outcome.kind, detail)] };
      }
      case "failed":
        return { ...reject(withValue(outcome.reason, outcome.value)), trail };
      case "refused":
        if (!sent) return reject(`${outcome.rule}: ${outcome.reason}`);
        return { ...unknown(`it was sent, and then refused by ${outcome.rule}: ${outcome.reason}`), trail };
      case "unreachable":
        if (!sent) return retryTarget(outcome.reason);
        return { ...unknown(`it was sent, and then: ${outcome.reason}`), trail };
      case "unknown":
        return { ...unknown(outcome.reason), trail };
    }
  }

  #signal(name: string): CommandableSignal | undefined {
    const { commanded, device } = this.#options;
    return commanded
      .commandable()
      .get(device)
      ?.find(({ signal }) => signal === name);
  }

  #note(kind: string, detail: string | null): TryNote {
    return {
      kind,
      atMs: this.#options.clock.wallMs(),
      detail: detail?.slice(0, REASON_CHARS_MAX) ?? null,
    };
  }
}

function forPerson(reason: string, trail?: readonly TryNote[]): Outcome {
  return { kind: "unknown", reason, trail, hold: true };
}

/** What stands in the device now has been looked at. */
function isSeen(outcome: CommandOutcome): boolean {
  return outcome.kind === "failed" && outcome.value !== undefined;
}

function withValue(text: string, value: CommandValue | undefined): string {
  return value === undefined ? text : `${text} (${JSON.stringify(value)})`;
}
