/**
 * Commands to one device: written to a register, then read back.
 *
 * Promise: one try of a command is one write or none, whatever happens; nothing in here writes twice. Rules and
 * preconditions are looked at in the same turn on the line in which the write leaves, so that no question of
 * Holdfast's own comes between. What is said of it afterwards is what the machine has shown:
 *
 *   not sent   ─▶ refused       a rule forbids it, or a precondition does not hold
 *              ─▶ unreachable   there is no line, or what was asked before the write was not answered
 *   sent       ─▶ failed        the machine answered with an exception
 *              ─▶ unknown       no answer, or one that makes no sense, or a stop of the gateway meanwhile
 *   taken      ─▶ verified      and it holds the value
 *              ─▶ failed        and it holds another
 *              ─▶ acknowledged  and it is not read back, or could not be
 *
 * What it trades away: the pause between two writes is counted in memory, and begins anew with a start of the
 * gateway. Who else writes to the machine is not seen: a value that is overwritten before it is read back counts
 * as failed.
 */
import { type Clock, sleep } from "../../core/clock.ts";
import type { Command, CommandOutcome, CommandValue, ProbeOutcome } from "../../core/command.ts";
import { holds } from "../precondition.ts";
import type { Value } from "../readings.ts";
import { failureText } from "./failure.ts";
import { type Allowed, Guard, type Refusal, type Signal } from "./guard.ts";
import { type Ask, type Line, STOPPED as STOPPED_LINE } from "./line.ts";
import { decodeItem, type Item, type Poller } from "./poller.ts";
import type { ModbusDeviceConfig } from "./schema.ts";
import type { Answer, Change } from "./wire.ts";
import { isWhatWasWritten } from "./write-rules.ts";

/** Between two looks at a register that does not hold yet what was written. */
const LOOK_AGAIN_MS = 50;
/** Exceptions that are no plain no [Modbus application protocol V1.1b3, section 7]: taken, and not done yet; … */
const BEGUN = "acknowledge";
/** … and passed on by a Modbus gateway, which heard nothing. */
const PASSED_ON = "gateway-target-silent";

type Ended = { readonly outcome: CommandOutcome };
/** The machine has taken the write. */
type Taken = {
  readonly outcome: null;
  readonly allowed: Allowed;
  readonly atMs: number;
  readonly said: string;
};
type Look =
  | { readonly ok: true; readonly value: Value; readonly answer: Answer & { readonly ok: true } }
  | { readonly ok: false; readonly answered: boolean; readonly reason: string };

const STOPPED = {
  waiting: { kind: "unreachable", reason: "the gateway stops" },
  sent: { kind: "unknown", reason: "the gateway stopped before the answer came" },
  taken: { kind: "acknowledged", evidence: "it took it; the gateway stopped before it was read back" },
} as const satisfies Record<string, CommandOutcome>;

export class Writer {
  readonly #config: ModbusDeviceConfig;
  readonly #line: Line;
  readonly #poller: Poller;
  readonly #clock: Clock;
  readonly guard: Guard;

  constructor(device: string, config: ModbusDeviceConfig, line: Line, poller: Poller, clock: Clock) {
    this.#config = config;
    this.#line = line;
    this.#poller = poller;
    this.#clock = clock;
    this.guard = new Guard(device, config, clock);
  }

  async execute(command: Command, onSent: () => void, signal: AbortSignal): Promise<CommandOutcome> {
    if (signal.aborted) return STOPPED.waiting;
    let stage: keyof typeof STOPPED = "waiting";
    const going = () => {
      if (signal.aborted) return false;
      stage = "sent";
      this.guard.sent(command);
      onSent();
      return true;
    };
    const work = async (): Promise<CommandOutcome> => {
      const sent = await this.#line.urgently<Ended | Taken>(async (ask) =>
        signal.aborted ? { outcome: STOPPED.waiting } : await this.#write(command, going, ask),
      );
      if (sent.outcome) return sent.outcome;
      stage = "taken";
      return await this.#readBack(command, sent, signal);
    };
    const stop = Promise.withResolvers<CommandOutcome>();
    const onAbort = () => stop.resolve(STOPPED[stage]);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([work(), stop.promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  async probe(command: Command, signal: AbortSignal): Promise<ProbeOutcome> {
    const never = (reason: string): ProbeOutcome => ({ kind: "cannot say", reason, hold: true });
    const allowed = this.guard.rules(command);
    if (isRefusal(allowed)) return never(`by ${allowed.rule} it could not be written: ${allowed.reason}`);
    const { found, write } = allowed;
    if (!write.idempotent) return never("what it holds does not tell how often it was written");
    if (!write.verify) return never("it is not read back (`verify: false`)");
    // It may be asked about for long: no oftener than a silent unit is polled, for the others on its line.
    const resting = this.#poller.restsBecause;
    if (resting !== null) return { kind: "cannot say", reason: resting };
    const look = await this.#line.urgently((ask) => this.#look(found.item, ask, signal));
    if (!look.ok) {
      if (!look.answered && !signal.aborted) this.#poller.fellSilent(look.reason);
      return { kind: "cannot say", reason: look.reason };
    }
    this.#poller.readBack(found.group, found.item, look.answer);
    const evidence = reads(found, look.value);
    return isWritten(look, command, allowed)
      ? { kind: "done", evidence, value: look.value as CommandValue }
      : { kind: "not done", evidence };
  }

  async #write(command: Command, going: () => boolean, ask: Ask): Promise<Ended | Taken> {
    const allowed = this.guard.allows(command);
    if (isRefusal(allowed)) return { outcome: { kind: "refused", ...allowed } };
    const forbidden = await this.#precondition(command, ask);
    if (forbidden) return { outcome: forbidden };
    const change = await this.#change(allowed, ask);
    if (change.kind === "unreachable" || change.kind === "failed") return { outcome: change };
    const { unit, timeout } = this.#config;
    let atMs: number | null = null;
    const leaving = () => {
      const leaves = going();
      if (leaves) atMs = this.#clock.monoMs();
      return leaves;
    };
    const { address } = allowed.found.item;
    const timeoutMs = Math.min(timeout, command.answerWithinMs);
    const answer = await ask({ unit, address, change, going: leaving }, timeoutMs);
    this.#poller.heard(answer);
    if (atMs === null) return { outcome: { kind: "unreachable", reason: reasonOf(answer) } };
    if (answer.ok) return { outcome: null, allowed, atMs, said: "it took it" };
    const { name, exception } = answer.failure;
    const reason = failureText(answer.failure);
    if (name === BEGUN) return { outcome: null, allowed, atMs, said: reason };
    return { outcome: { kind: exception && name !== PASSED_ON ? "failed" : "unknown", reason } };
  }

  /** What is to be put where; asks only where a bit is to be set in a register that is written as a whole. */
  async #change(
    { found, encoded, write }: Allowed,
    ask: Ask,
  ): Promise<Change | (CommandOutcome & { kind: "unreachable" | "failed" })> {
    const { item } = found;
    if (encoded.kind === "coil") return { kind: "coil", on: encoded.on };
    if (encoded.kind === "registers") {
      const by = encoded.data.length === 2 ? this.#config.writeOne : 16;
      return { kind: "registers", data: encoded.data, by };
    }
    const mask = bitMask(item, this.#config);
    const or = encoded.on ? mask : 0;
    if (!write.alone) return { kind: "mask", and: ~mask & 0xffff, or };
    const answer = await this.#read(item, ask);
    if (!answer.ok) {
      const kind = answer.failure.answered ? "failed" : "unreachable";
      return { kind, reason: `before the write: ${failureText(answer.failure)}` };
    }
    const data = Buffer.alloc(2);
    data.writeUInt16BE((answer.data.readUInt16BE(0) & ~mask & 0xffff) | or);
    return { kind: "registers", data, by: this.#config.writeOne };
  }

  /** Null where all hold. */
  async #precondition({ preconditions }: Command, ask: Ask): Promise<CommandOutcome | null> {
    for (const [at, { signal, is, value }] of preconditions.entries()) {
      const { found, bit } = this.guard.find(signal)!;
      const look = await this.#look(found.item, ask);
      const rule = `preconditions[${at}]`;
      if (!look.ok) {
        const reason = `${signal} could not be read: ${look.reason}`;
        return look.answered ? { kind: "refused", rule, reason } : { kind: "unreachable", reason };
      }
      const now = bit === null ? look.value : (look.value as Record<string, boolean>)[bit];
      const verdict = holds(now, is, value);
      const [nowText, wanted] = [JSON.stringify(now), JSON.stringify(value)];
      if (verdict === null) {
        const reason = `${signal} is ${nowText}, which cannot be compared with ${wanted} by ${is}`;
        return { kind: "refused", rule, reason };
      }
      if (!verdict) return { kind: "refused", rule, reason: `${signal} is ${nowText}, not ${is} ${wanted}` };
    }
    return null;
  }

  async #readBack(command: Command, taken: Taken, signal: AbortSignal): Promise<CommandOutcome> {
    const { allowed, atMs, said } = taken;
    const { found, write } = allowed;
    if (!write.verify) return { kind: "acknowledged", evidence: said };
    const untilMs = atMs + Math.min(write.readWithin, Math.max(command.answerWithinMs, write.readAfter));
    let waitMs = atMs + write.readAfter - this.#clock.monoMs();
    for (;;) {
      if (waitMs > 0) await sleep(this.#clock, waitMs, signal);
      const look = await this.#line.urgently((ask) => this.#look(found.item, ask, signal));
      const passedMs = this.#clock.monoMs() - atMs;
      const isOver = atMs + passedMs >= untilMs || signal.aborted;
      const written = look.ok && isWritten(look, command, allowed);
      waitMs = LOOK_AGAIN_MS;
      if (!written && !isOver) continue;
      if (!look.ok) return { kind: "acknowledged", evidence: `${said}; reading it back: ${look.reason}` };
      this.#poller.readBack(found.group, found.item, look.answer);
      const value = look.value as CommandValue;
      const evidence = `${reads(found, value)}, ${Math.round(passedMs)} ms after the write`;
      if (written) return { kind: "verified", evidence, value };
      return { kind: "failed", reason: `${evidence}, and not ${JSON.stringify(command.value)}`, value };
    }
  }

  /** Reads it; asked again where there is no answer, which changes nothing in a machine. */
  async #look(item: Item, ask: Ask, signal?: AbortSignal): Promise<Look> {
    const { triesMax } = this.#poller;
    for (let n = 1; ; n++) {
      const answer = signal?.aborted
        ? { ok: false as const, failure: STOPPED_LINE }
        : await this.#read(item, ask);
      if (answer.ok) {
        const decoded = decodeItem(answer.data, item, item.address, this.#config);
        if (decoded.ok) return { ok: true, value: decoded.value, answer };
        return { ok: false, answered: true, reason: decoded.reason };
      }
      const { failure } = answer;
      if (failure.answered || n >= triesMax || signal?.aborted) {
        return { ok: false, answered: failure.answered, reason: failureText(failure) };
      }
    }
  }

  async #read({ table, address, size }: Item, ask: Ask): Promise<Answer> {
    const { unit, timeout } = this.#config;
    const answer = await ask({ unit, table, address, count: size }, timeout);
    this.#poller.heard(answer);
    return answer;
  }
}

function isRefusal(allowed: Allowed | Refusal): allowed is Refusal {
  return "rule" in allowed;
}

function isWritten(look: Look & { ok: true }, { value }: Command, { encoded, write }: Allowed): boolean {
  return isWhatWasWritten(look.value, look.answer.data, value, encoded, write);
}

function reads({ item: { table, address, register } }: Signal, value: Value): string {
  const unit = register.unit === undefined ? "" : ` ${register.unit}`;
  return `${table} ${address} reads ${JSON.stringify(value)}${unit}`;
}

function reasonOf(answer: Answer): string {
  return answer.ok ? "" : failureText(answer.failure);
}

/** The bit as it lies in the register on the wire. */
function bitMask({ register }: Item, device: ModbusDeviceConfig): number {
  const bit = register.bit!;
  const swapped = (register.byteOrder ?? device.byteOrder) === "little";
  return 2 ** (swapped ? (bit + 8) % 16 : bit);
}
