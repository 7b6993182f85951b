/**
 * Commands to one device: written to a node, then read back.
 *
 * Promise: one command is one write or none, whatever happens; nothing in here writes twice. Rules and
 * preconditions are looked at just before the write, and commands to one device take turns. What is said
 * afterwards is what the server has shown:
 *
 *   not sent   ─▶ refused       a rule forbids it, or a precondition does not hold
 *              ─▶ unreachable   there is no session, or no answer to what was asked before the write
 *   sent       ─▶ failed        the server answered with a bad status
 *              ─▶ unknown       no answer, or the server had none from the machine behind it, or a stop meanwhile
 *   taken      ─▶ verified      and it holds the value
 *              ─▶ failed        and it holds another
 *              ─▶ acknowledged  and it is not read back, or could not be
 *
 * What it trades away: the pause between two writes is counted in memory, so that it begins anew with a start
 * of the gateway. Who else writes to the node is not seen: a value that was overwritten before it was read back
 * counts as failed.
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
import type { Value } from "../readings.ts";
import { encodeLong, isGood, readingOf, statusText } from "./decode.ts";
import { failureOf, failureText } from "./failure.ts";
import { type Library, loadLibrary } from "./library.ts";
import type { Link } from "./link.ts";
import type { NodeConfig, OpcuaDeviceConfig } from "./schema.ts";
import { isWritten, ruleOf } from "./write-checks.ts";
import type { WriteConfig, WrittenType } from "./write-schema.ts";

/** Between two looks at a node that does not hold yet what was written. */
const LOOK_AGAIN_MS = 50;
/** The server passed it on, and heard nothing of it. */
const PASSED_ON =
  /^Bad(Timeout|CommunicationError|NoCommunication|RequestTimeout|ShutDown|Shutdown|UnexpectedError)$/;

const DATA_TYPES: Readonly<Record<WrittenType, string>> = {
  bool: "Boolean",
  int8: "SByte",
  uint8: "Byte",
  int16: "Int16",
  uint16: "UInt16",
  int32: "Int32",
  uint32: "UInt32",
  int64: "Int64",
  uint64: "UInt64",
  float32: "Float",
  float64: "Double",
  string: "String",
};

type Refusal = { readonly rule: string; readonly reason: string };
type Allowed = { readonly node: NodeConfig; readonly write: WriteConfig };
type Look =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly answered: boolean; readonly reason: string };

const STOPPED = {
  waiting: { kind: "unreachable", reason: "the gateway stops" },
  sent: { kind: "unknown", reason: "the gateway stopped before the server had answered" },
  taken: {
    kind: "acknowledged",
    evidence: "the server took it; the gateway stopped before it was read back",
  },
} as const satisfies Record<string, CommandOutcome>;

export class Writer {
  readonly #device: string;
  readonly #config: OpcuaDeviceConfig;
  readonly #clock: Clock;
  readonly #link: () => Link | null;
  readonly #nodes: ReadonlyMap<string, { readonly group: string; readonly node: NodeConfig }>;
  /** By signal: the write that was sent last. */
  readonly #last = new Map<string, { readonly id: string; readonly atMs: number }>();
  /** Commands take turns. */
  #turn: Promise<unknown> = Promise.resolve();

  /** `link`: the one of now, or null. */
  constructor(device: string, config: OpcuaDeviceConfig, link: () => Link | null, clock: Clock) {
    this.#device = device;
    this.#config = config;
    this.#link = link;
    this.#clock = clock;
    this.#nodes = new Map(
      Object.entries(config.groups).flatMap(([group, { nodes }]) =>
        Object.entries(nodes).map(([signal, node]) => [signal, { group, node }] as const),
      ),
    );
  }

  commandable(): CommandableSignal[] {
    return [...this.#nodes].flatMap(
      ([
        signal,
        {
          node: { unit, write },
        },
      ]) => {
        if (!write) return [];
        const { type, min, max, idempotent, verify } = write;
        const known = Object.entries({ unit, min, max }).filter(([, value]) => value !== undefined);
        return [{ signal, type, ...Object.fromEntries(known), idempotent, verifiable: verify }];
      },
    );
  }

  refusal(command: Command): Refusal | null {
    const allowed = this.#allows(command);
    return "rule" in allowed ? allowed : null;
  }

  async execute(command: Command, onSent: () => void, signal: AbortSignal): Promise<CommandOutcome> {
    if (signal.aborted) return STOPPED.waiting;
    let stage: keyof typeof STOPPED = "waiting";
    const enter = (next: "sent" | "taken") => {
      stage = next;
      if (next !== "sent") return;
      this.#last.set(command.signal, { id: command.id, atMs: this.#clock.monoMs() });
      onSent();
    };
    const stop = Promise.withResolvers<CommandOutcome>();
    const onAbort = () => stop.resolve(STOPPED[stage]);
    signal.addEventListener("abort", onAbort, { once: true });
    const work = this.#inTurn(() => (signal.aborted ? STOPPED.waiting : this.#work(command, enter, signal)));
    try {
      return await Promise.race([work, stop.promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  async probe(command: Command, signal: AbortSignal): Promise<ProbeOutcome> {
    const cannot = (reason: string): ProbeOutcome => ({ kind: "cannot say", reason });
    const never = (reason: string): ProbeOutcome => ({ kind: "cannot say", reason, hold: true });
    const allowed = this.#rules(command);
    if ("rule" in allowed) {
      return never(`by ${allowed.rule} it could not be written: ${allowed.reason}`);
    }
    const { node, write } = allowed;
    if (!write.idempotent) return never("what it holds does not tell how often it was written");
    if (!write.verify) return never("it is not read back (`verify: false`)");
    const link = this.#link();
    if (!link || signal.aborted) return cannot("there is no session");
    const look = await this.#look(node, link);
    if (!look.ok) return cannot(look.reason);
    const evidence = reads(node, look.value);
    return isWritten(look.value, command.value, write)
      ? { kind: "done", evidence, value: look.value as CommandValue }
      : { kind: "not done", evidence };
  }

  #inTurn<T>(work: () => T | Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => {});
    return turn;
  }

  #allows(command: Command): Allowed | Refusal {
    const ruled = this.#rules(command);
    if ("rule" in ruled) return ruled;
    const { id, signal, preconditions } = command;
    const last = this.#last.get(signal);
    const passedMs = last ? this.#clock.monoMs() - last.atMs : Number.POSITIVE_INFINITY;
    // A further try of what was sent already is no new write: refused, it would be over though it may be done.
    if (passedMs < ruled.write.pauseMin && last?.id !== id) {
      const reason = `it was written ${Math.floor(passedMs)} ms ago, and ${formatDuration(ruled.write.pauseMin)} must pass`;
      return { rule: this.#path(signal, "pauseMin"), reason };
    }
    const odd = preconditions.findIndex((each) => !this.#nodes.has(each.signal));
    if (odd < 0) return ruled;
    const reason = `${this.#device} has no signal ${preconditions[odd]!.signal}`;
    return { rule: `preconditions[${odd}]`, reason };
  }

  /** What the config alone says of it. */
  #rules({ signal, value }: Command): Allowed | Refusal {
    const node = this.#nodes.get(signal)?.node;
    if (!node) {
      const rule = pathText(["devices", this.#device, "groups"]);
      return { rule, reason: `${this.#device} has no signal ${signal}` };
    }
    const { write } = node;
    if (!write) return { rule: this.#path(signal), reason: "writing is off for it" };
    const ruled = ruleOf(write, value);
    return ruled.ok ? { node, write } : { rule: this.#path(signal, ruled.key), reason: ruled.reason };
  }

  #path(signal: string, ...rest: readonly string[]): string {
    const { group } = this.#nodes.get(signal)!;
    return pathText(["devices", this.#device, "groups", group, "nodes", signal, "write", ...rest]);
  }

  async #work(
    command: Command,
    enter: (stage: "sent" | "taken") => void,
    signal: AbortSignal,
  ): Promise<CommandOutcome> {
    const library = await loadLibrary();
    const allowed = this.#allows(command);
    if ("rule" in allowed) return { kind: "refused", ...allowed };
    const link = this.#link();
    if (!link) return { kind: "unreachable", reason: "there is no session with the server now" };
    const forbidden = await this.#precondition(command, link);
    if (forbidden) return forbidden;
    if (signal.aborted) return STOPPED.waiting;
    const { node, write } = allowed;
    const request = writeRequest(node, write.type, command.value, library);
    const sentAtMs = this.#clock.monoMs();
    enter("sent");
    try {
      const timeoutMs = Math.min(this.#config.timeout, command.answerWithinMs);
      const [status] = await link.ask(link.session.write([request]), timeoutMs);
      if (!status) return { kind: "unknown", reason: "the server's answer says nothing of it" };
      if (PASSED_ON.test(status.name)) return { kind: "unknown", reason: statusText(status) };
      if (!isGood(status)) return { kind: "failed", reason: statusText(status) };
    } catch (error) {
      const failure = failureOf(error);
      return { kind: failure.answered ? "failed" : "unknown", reason: failureText(failure) };
    }
    enter("taken");
    return this.#readBack(command, allowed, sentAtMs, link, signal);
  }

  /** Null where all hold. */
  async #precondition({ preconditions }: Command, link: Link): Promise<CommandOutcome | null> {
    for (const [at, { signal, is, value }] of preconditions.entries()) {
      const look = await this.#look(this.#nodes.get(signal)!.node, link);
      const rule = `preconditions[${at}]`;
      if (!look.ok) {
        const reason = `${signal} could not be read: ${look.reason}`;
        return look.answered ? { kind: "refused", rule, reason } : { kind: "unreachable", reason };
      }
      const verdict = holds(look.value, is, value);
      const [now, wanted] = [JSON.stringify(look.value), JSON.stringify(value)];
      if (verdict === null) {
        return {
          kind: "refused",
          rule,
          reason: `${signal} is ${now}, which cannot be compared with ${wanted} by ${is}`,
        };
      }
      if (!verdict) return { kind: "refused", rule, reason: `${signal} is ${now}, not ${is} ${wanted}` };
    }
    return null;
  }

  async #readBack(
    command: Command,
    { node, write }: Allowed,
    sentAtMs: number,
    link: Link,
    signal: AbortSignal,
  ): Promise<CommandOutcome> {
    const said = "the server took it (Good)";
    if (!write.verify) return { kind: "acknowledged", evidence: said };
    const untilMs = sentAtMs + Math.min(write.readWithin, Math.max(command.answerWithinMs, write.readAfter));
    let waitMs = sentAtMs + write.readAfter - this.#clock.monoMs();
    for (;;) {
      if (waitMs > 0) await sleep(this.#clock, waitMs, signal);
      const look = await this.#look(node, link);
      const nowMs = this.#clock.monoMs();
      const written = look.ok && isWritten(look.value, command.value, write);
      waitMs = LOOK_AGAIN_MS;
      if (!written && nowMs < untilMs && !signal.aborted) continue;
      if (!look.ok) return { kind: "acknowledged", evidence: `${said}; reading it back: ${look.reason}` };
      const value = look.value as CommandValue;
      const evidence = `${reads(node, value)}, ${Math.round(nowMs - sentAtMs)} ms after the write`;
      if (written) return { kind: "verified", evidence, value };
      return { kind: "failed", reason: `${evidence}, and not ${JSON.stringify(command.value)}`, value };
    }
  }

  async #look({ node }: NodeConfig, link: Link): Promise<Look> {
    const { AttributeIds } = await loadLibrary();
    try {
      const [data] = await link.ask(link.session.read([{ nodeId: node, attributeId: AttributeIds.Value! }]));
      if (!data) return { ok: false, answered: true, reason: "the server's answer says nothing of it" };
      const { value, quality, reason } = readingOf("", null, data, this.#clock.wallMs());
      if (quality === "good") return { ok: true, value };
      return { ok: false, answered: true, reason: reason ?? quality };
    } catch (error) {
      const failure = failureOf(error);
      return { ok: false, answered: failure.answered, reason: failureText(failure) };
    }
  }
}

function writeRequest(
  { node }: NodeConfig,
  type: WrittenType,
  value: CommandValue,
  { AttributeIds, DataType }: Library,
): object {
  const raw = type === "int64" || type === "uint64" ? encodeLong(Number(value)) : value;
  const variant = { dataType: DataType[DATA_TYPES[type]], arrayType: SCALAR, value: raw };
  // Neither status nor time: servers that set these themselves refuse them.
  return { nodeId: node, attributeId: AttributeIds.Value, value: { value: variant } };
}

const SCALAR = 0;

function reads({ node, unit }: NodeConfig, value: Value): string {
  return `${node} reads ${JSON.stringify(value)}${unit === undefined ? "" : ` ${unit}`}`;
}
