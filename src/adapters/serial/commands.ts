/**
 * Commands to one instrument: sent, and held against the answer that the config expects; where it names a signal
 * that shows what came of it, that is looked at too.
 *
 * Promise: nothing is sent that the config does not allow, and the last check is made on the box, with the line
 * held, just before the first byte. An answer that did not come makes it unknown, never undone: the instrument
 * may have heard. Nothing is sent twice from here.
 */
import { type Clock, sleep } from "../../core/clock.ts";
import type {
  Command,
  CommandableSignal,
  CommandOutcome,
  CommandValue,
  ProbeOutcome,
} from "../../core/command.ts";
import { pathText } from "../../core/config-text.ts";
import { formatDuration } from "../../core/units.ts";
import { holds } from "../precondition.ts";
import { shownBytes } from "./bytes-text.ts";
import { render, shows } from "./command-rules.ts";
import type { Instrument } from "./instrument.ts";
import { linearPattern } from "./pattern.ts";
import type { CommandConfig, SerialDeviceConfig } from "./schema.ts";

/** Where no answer is expected, an error is waited for only so long. */
const ERROR_WAIT_MS = 200;
/** Between two looks at whether it was done. */
const LOOK_EVERY_MS = 100;

type Refusal = { readonly rule: string; readonly reason: string };
type Answered = { readonly text: string; readonly no: boolean; readonly value?: CommandValue };

export class Commands {
  readonly #device: string;
  readonly #config: SerialDeviceConfig;
  readonly #instrument: Instrument;
  readonly #clock: Clock;
  /** By command: those that were sent within its rate's time. */
  readonly #sent = new Map<string, { readonly id: string; readonly atMs: number }[]>();

  constructor(device: string, config: SerialDeviceConfig, instrument: Instrument, clock: Clock) {
    this.#device = device;
    this.#config = config;
    this.#instrument = instrument;
    this.#clock = clock;
  }

  commandable(): CommandableSignal[] {
    return Object.entries(this.#config.commands).map(
      ([signal, { value, idempotent, readBack, answerMeans }]) => {
        const { unit, min, max } = value?.type === "number" ? value : {};
        const known = Object.entries({ unit, min, max }).filter(([, each]) => each !== undefined);
        const verifiable = readBack !== undefined || answerMeans === "done";
        return { signal, type: value?.type ?? "none", ...Object.fromEntries(known), idempotent, verifiable };
      },
    );
  }

  refusal(command: Command): Refusal | null {
    const allowed = this.#allowed(command);
    return "rule" in allowed ? allowed : null;
  }

  async execute(command: Command, onSent: () => void, signal: AbortSignal): Promise<CommandOutcome> {
    const early = this.refusal(command);
    if (early) return { kind: "refused", ...early };
    return this.#instrument.conversation.turn(async () => {
      const held = await this.#heldBack(command, signal);
      if (held) return held;
      const allowed = this.#allowed(command);
      if ("rule" in allowed) return { kind: "refused", ...allowed };
      return this.#send(command, allowed, onSent, signal);
    });
  }

  async probe({ signal: name, value }: Command, stop: AbortSignal): Promise<ProbeOutcome> {
    const config = this.#find(name);
    const { readBack } = config ?? {};
    if (!config || !readBack) {
      return { kind: "cannot say", reason: "its config names no signal that shows it", hold: true };
    }
    // It may be asked about for long: no oftener than a silent instrument is polled, for others on its line.
    const resting = this.#instrument.restsBecause;
    if (resting !== null) return { kind: "cannot say", reason: resting };
    return this.#instrument.conversation.turn(async () => {
      const found = await this.#instrument.fresh(readBack.signal, this.#config.timeout, stop);
      if (typeof found === "string") return { kind: "cannot say", reason: `${readBack.signal}: ${found}` };
      const evidence = `${readBack.signal} is ${JSON.stringify(found.value)}`;
      if (shows(found.value, config, value))
        return { kind: "done", evidence, value: found.value as CommandValue };
      if (config.idempotent) return { kind: "not done", evidence };
      // It may be at it yet, or have done it and been changed since: no reason to have it done a second time.
      return { kind: "cannot say", reason: `${evidence}, and twice is not once`, hold: true };
    });
  }

  #find(name: string): CommandConfig | undefined {
    return Object.hasOwn(this.#config.commands, name) ? this.#config.commands[name] : undefined;
  }

  #allowed({
    id,
    signal: name,
    value,
    preconditions,
  }: Command): { config: CommandConfig; bytes: Buffer } | Refusal {
    const path = ["devices", this.#device, "commands"];
    const config = this.#find(name);
    if (!config) return { rule: pathText(path), reason: `${this.#device} has no command ${name}` };
    const rendered = render(config, value, this.#config.framing);
    if (!rendered.ok) return { rule: pathText([...path, name, ...rendered.key]), reason: rendered.reason };
    const odd = preconditions.findIndex((each) => !this.#instrument.has(each.signal));
    if (odd >= 0) {
      const reason = `${this.#device} has no signal ${preconditions[odd]!.signal}`;
      return { rule: `preconditions[${odd}]`, reason };
    }
    const { times, per } = config.rate;
    const nowMs = this.#clock.monoMs();
    const recent = (this.#sent.get(name) ?? []).filter(({ atMs }) => nowMs - atMs < per);
    this.#sent.set(name, recent);
    // A further try of what was sent already: refused, it would be over though it may be done.
    if (recent.length < times || recent.some((each) => each.id === id))
      return { config, bytes: rendered.bytes };
    const reason = `it was sent ${times === 1 ? "once" : `${times} times`} within ${formatDuration(per)}`;
    return { rule: pathText([...path, name, "rate"]), reason };
  }

  /** Why it may not be sent now; null where it may. */
  async #heldBack({ preconditions }: Command, stop: AbortSignal): Promise<CommandOutcome | null> {
    for (const [n, { signal, is, value }] of preconditions.entries()) {
      const found = await this.#instrument.fresh(signal, this.#config.timeout, stop);
      if (stop.aborted) break;
      if (typeof found === "string")
        return { kind: "unreachable", reason: `${signal} cannot be read: ${found}` };
      if (holds(found.value, is, value)) continue;
      const reason = `${signal} is ${JSON.stringify(found.value)}, not ${is} ${JSON.stringify(value)}`;
      return { kind: "refused", rule: `preconditions[${n}]`, reason };
    }
    return stop.aborted ? { kind: "unreachable", reason: "the gateway stops" } : null;
  }

  async #send(
    command: Command,
    { config, bytes }: { config: CommandConfig; bytes: Buffer },
    onSent: () => void,
    signal: AbortSignal,
  ): Promise<CommandOutcome> {
    const timeoutMs = Math.min(command.answerWithinMs, config.deadline);
    const untilMs = this.#clock.monoMs() + timeoutMs;
    const judge = this.#judgeOf(config);
    const exchanged = await this.#instrument.conversation.exchange<Answered>({
      bytes,
      judge,
      timeoutMs: config.answer === undefined ? Math.min(timeoutMs, ERROR_WAIT_MS) : timeoutMs,
      onSent: () => {
        this.#sent.get(command.signal)?.push({ id: command.id, atMs: this.#clock.monoMs() });
        onSent();
      },
      signal,
    });
    if (exchanged.kind === "gone") {
      const kind = exchanged.sent ? "unknown" : "unreachable";
      return { kind, reason: exchanged.why };
    }
    if (exchanged.kind === "answer") {
      this.#instrument.answered();
      if (exchanged.answer.no) return { kind: "failed", reason: `it answered ${exchanged.answer.text}` };
    }
    const answer = exchanged.kind === "answer" ? exchanged.answer : null;
    if (config.readBack) return this.#lookedAt(command, config, answer, untilMs, signal);
    if (!answer) {
      const garbled = exchanged.kind === "silence" ? exchanged.garbled : null;
      const came = garbled === null ? "" : `; ${garbled}`;
      return { kind: "unknown", reason: `no answer within ${formatDuration(timeoutMs)}${came}` };
    }
    const kind = config.answerMeans === "done" ? "verified" : "acknowledged";
    return { kind, evidence: `it answered ${answer.text}`, ...saidValue(answer) };
  }

  /** By the signal that shows it, until the deadline; once at least. */
  async #lookedAt(
    { value }: Command,
    config: CommandConfig,
    answer: Answered | null,
    untilMs: number,
    stop: AbortSignal,
  ): Promise<CommandOutcome> {
    const { signal } = config.readBack!;
    for (;;) {
      const found = await this.#instrument.fresh(signal, this.#config.timeout, stop);
      const read = typeof found !== "string";
      if (read && shows(found.value, config, value)) {
        const evidence = `${signal} is ${JSON.stringify(found.value)}`;
        return { kind: "verified", evidence, value: found.value as CommandValue };
      }
      if (this.#clock.monoMs() < untilMs && !stop.aborted) {
        await sleep(this.#clock, LOOK_EVERY_MS, stop);
        continue;
      }
      const seen = read ? `${signal} is ${JSON.stringify(found.value)}` : `${signal}: ${found}`;
      if (read && (answer || config.answer === undefined)) {
        return { kind: "failed", reason: seen, value: found.value as CommandValue };
      }
      if (!answer) return { kind: "unknown", reason: `no answer; ${seen}` };
      return { kind: "acknowledged", evidence: `it answered ${answer.text}; ${seen}`, ...saidValue(answer) };
    }
  }

  #judgeOf({ answer, error, value }: CommandConfig): (content: Buffer) => Answered | null {
    const [yes, no] = [answer, error].map((each) => (each === undefined ? null : linearPattern(each)));
    return (content) => {
      const text = content.toString(this.#config.encoding);
      const shown = JSON.stringify(shownBytes(content));
      if (no?.test(text)) return { text: shown, no: true };
      const match = yes?.exec(text);
      if (!match) return null;
      const said = match.groups?.value?.trim();
      if (said === undefined) return { text: shown, no: false };
      const number = value?.type === "text" ? Number.NaN : Number(said);
      return { text: shown, no: false, value: said === "" || Number.isNaN(number) ? said : number };
    };
  }
}

function saidValue({ value }: Answered): { value?: CommandValue } {
  return value === undefined ? {} : { value };
}
