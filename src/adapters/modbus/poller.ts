/**
 * One device: asks for each group's registers in the group's interval, makes readings of the answers, and hands
 * on those that are worth a message.
 *
 * A question that is not answered is repeated up to `retries` times, and then the unit counts as silent (backoff.ts):
 * one that is off costs its line one timeout now and then, and the others little.
 *
 * Readings of a question that failed: `bad` and without a value where the unit said no or the bytes made no
 * sense; `stale` with the value read last where it did not answer.
 */
import type { Timer } from "../../core/clock.ts";
import type { AdapterContext, DeviceReport, DeviceState } from "../adapter.ts";
import { Backoff } from "../backoff.ts";
import { GAP } from "../device-keys.ts";
import { Holding } from "../holding.ts";
import type { Reading } from "../readings.ts";
import { Reporter, type ReportRule } from "../report.ts";
import { renderTopic } from "../topic-template.ts";
import { decodeBit, decodeRegisters } from "./decode.ts";
import { type Failure, failureText } from "./failure.ts";
import { type Line, whereText } from "./line.ts";
import { isBitTable, sizeOf } from "./map-checks.ts";
import { planRequests, type Request, type Span } from "./plan.ts";
import type { GroupConfig, ModbusDeviceConfig, RegisterConfig } from "./schema.ts";
import type { Answer } from "./wire.ts";

const ILLEGAL_ADDRESS = "illegal-data-address";

export interface Item extends Span {
  readonly signal: string;
  readonly register: RegisterConfig;
  readonly rule: ReportRule | undefined;
}

interface Group {
  readonly name: string;
  readonly everyMs: number;
  requests: readonly Request<Item>[];
  dueMs: number;
  polling: boolean;
  /** In its last poll the device said no to something. */
  refused: boolean;
}

export class Poller {
  readonly #device: string;
  readonly #config: ModbusDeviceConfig;
  readonly #line: Line;
  readonly #context: AdapterContext;
  readonly #groups: readonly Group[];
  readonly #holding: Holding;
  readonly #reporter = new Reporter();
  readonly #backoff: Backoff;
  /** By signal: looked up for each reading of each poll. */
  readonly #ways = new Map<string, { readonly rule: ReportRule | undefined; readonly topic: string }>();
  /** By signal: the last good one. */
  readonly #lastGood = new Map<string, Reading>();
  readonly #timers = new Map<Group, Timer>();
  readonly #underway = new Set<Promise<void>>();
  #stopped = false;
  #state: DeviceState = "starting";
  #sinceMs: number;
  #lastAnswerAtMs: number | null = null;
  #lastError: string | null = null;
  #lastErrorAtMs: number | null = null;
  #requests = 0;
  #failures = 0;
  #skippedPolls = 0;

  constructor(device: string, config: ModbusDeviceConfig, line: Line, context: AdapterContext) {
    this.#device = device;
    this.#config = config;
    this.#line = line;
    this.#context = context;
    const { clock, boot, intake, logger } = context;
    this.#sinceMs = clock.wallMs();
    this.#backoff = new Backoff(clock, config);
    this.#groups = Object.entries(config.groups).map(([name, group]) => {
      return {
        name,
        everyMs: group.every,
        requests: planRequests(itemsOf(group), config),
        dueMs: 0,
        polling: false,
        refused: false,
      };
    });
    for (const { name, requests } of this.#groups) {
      for (const { signal, rule } of requests.flatMap(({ spans }) => spans)) {
        this.#ways.set(signal, { rule, topic: this.#topic(signal, name) });
      }
    }
    this.#holding = new Holding({
      source: { device, source: "modbus", boot },
      ...config.hold,
      gapTopic: this.#topic(GAP, GAP),
      intake,
      clock,
      logger,
      onGivenUp: () => this.#reporter.forget(),
    });
  }

  start(): void {
    const { clock, random } = this.#context;
    for (const group of this.#groups) {
      // Not all at once: a hundred devices that start together would come together for ever.
      group.dueMs = clock.monoMs() + random.below(Math.min(group.everyMs, 1000));
      this.#arm(group);
    }
  }

  /** The line must be closed first, or a question under way is waited for. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers.values()) timer.cancel();
    await Promise.all(this.#underway);
    await this.#holding.stop();
  }

  /** An answer to what a command asked: evidence like that of a poll, but silence is for polls to find out. */
  heard(answer: Answer): void {
    this.#requests += 1;
    if (answer.ok || answer.failure.answered) this.#answered(answer);
    else {
      this.#failures += 1;
      this.#note(failureText(answer.failure));
    }
  }

  /** How often it is asked before it counts as silent. */
  get triesMax(): number {
    return this.#backoff.triesMax;
  }

  /** Why nothing but a write is to be asked of it now: it is silent, and the next try is not due. Else null. */
  get restsBecause(): string | null {
    return this.#backoff.rests ? this.#lastError : null;
  }

  /** It did not answer in as many tries. */
  fellSilent(reason: string): void {
    this.#backoff.fell();
    this.#note(reason);
    this.#enter("offline");
  }

  /** What was read outside of the polls, as a reading of its group. */
  readBack(group: string, item: Item, answer: Answer): void {
    const { table, address, size } = item;
    const readings = this.#readings({ table, address, count: size, spans: [item] }, answer);
    if (!this.#stopped) this.#send(this.#groups.find(({ name }) => name === group)!, readings);
  }

  report(): DeviceReport {
    const { stored, held, missed, refused, duplicates, made, storedSequence, lastStoredAtMs } =
      this.#holding.figures();
    return {
      device: this.#device,
      type: "modbus",
      where: whereText(this.#config.connection, this.#config.unit),
      state: this.#state,
      sinceMs: this.#sinceMs,
      lastAnswerAtMs: this.#lastAnswerAtMs,
      lastError: this.#lastError,
      lastErrorAtMs: this.#lastErrorAtMs,
      lastStoredAtMs,
      requests: this.#requests,
      failures: this.#failures,
      skippedPolls: this.#skippedPolls,
      made,
      stored,
      held,
      missed,
      refused,
      duplicates,
      storedSequence,
    };
  }

  #arm(group: Group): void {
    const { clock } = this.#context;
    const dueMs = Math.max(group.dueMs, this.#backoff.untilMs);
    this.#timers.set(
      group,
      clock.after(dueMs - clock.monoMs(), () => this.#due(group)),
    );
  }

  #due(group: Group): void {
    if (this.#stopped) return;
    const nowMs = this.#context.clock.monoMs();
    // In step with the interval, without catching up on what was missed.
    const late = Math.floor(Math.max(0, nowMs - group.dueMs) / group.everyMs);
    group.dueMs += (late + 1) * group.everyMs;
    if (group.polling) this.#skippedPolls += 1;
    else if (nowMs >= this.#backoff.untilMs) {
      group.polling = true;
      // While it is silent one question is enough: the other groups wait for its answer.
      const answered = this.#backoff.asked();
      const poll = this.#poll(group).finally(() => {
        group.polling = false;
        this.#underway.delete(poll);
        answered();
        if (!this.#stopped) for (const each of this.#groups) this.#rearm(each);
      });
      this.#underway.add(poll);
    }
    this.#arm(group);
  }

  #rearm(group: Group): void {
    this.#timers.get(group)?.cancel();
    this.#arm(group);
  }

  async #poll(group: Group): Promise<void> {
    const readings: Reading[] = [];
    let silent: Failure | null = null;
    let refused = false;
    for (const request of group.requests) {
      const answer: Answer = silent ? { ok: false, failure: silent } : await this.#ask(request);
      if (this.#stopped) return;
      if (!answer.ok && !answer.failure.answered) silent = answer.failure;
      refused ||= !answer.ok && answer.failure.answered;
      if (!answer.ok && answer.failure.name === ILLEGAL_ADDRESS && request.spans.length > 1) {
        this.#askApart(group, request);
      }
      readings.push(...this.#readings(request, answer));
    }
    group.refused = refused;
    // Of a poll as a whole: a register that is not there would have it fail and answer by turns, many times a second.
    if (!silent) this.#enter(this.#groups.some((each) => each.refused) ? "failing" : "online");
    this.#send(group, readings);
  }

  /** One register that is not there must not cost its neighbours: from now on each is asked for by itself. */
  #askApart(group: Group, refused: Request<Item>): void {
    const facts = {
      device: this.#device,
      table: refused.table,
      address: refused.address,
      count: refused.count,
    };
    this.#context.logger.warn(facts, "the device refuses these registers together: they are read one by one");
    group.requests = group.requests.flatMap((request) =>
      request === refused
        ? request.spans.map((span) => {
            return { table: span.table, address: span.address, count: span.size, spans: [span] };
          })
        : [request],
    );
  }

  async #ask({ table, address, count }: Request<Item>): Promise<Answer> {
    const { unit, timeout } = this.#config;
    const question = { unit, table, address, count };
    const { triesMax } = this;
    for (let n = 1; ; n++) {
      this.#requests += 1;
      const answer = await this.#line.ask(question, timeout);
      if (this.#stopped) return answer;
      if (answer.ok || answer.failure.answered) {
        this.#answered(answer, `: ${placeText({ table, address, count })}`);
        return answer;
      }
      this.#failures += 1;
      if (n < triesMax) continue;
      this.fellSilent(failureText(answer.failure));
      return answer;
    }
  }

  /** `where`: what it may have said no to. */
  #answered(answer: Answer, where = ""): void {
    const { clock } = this.#context;
    this.#backoff.heard();
    this.#lastAnswerAtMs = clock.wallMs();
    if (!answer.ok) {
      this.#failures += 1;
      this.#note(`${failureText(answer.failure)}${where}`);
    }
    // It is there; whether it says no to something is told by its polls.
    if (this.#state === "starting" || this.#state === "offline") {
      this.#enter(answer.ok ? "online" : "failing");
    }
  }

  #note(reason: string): void {
    this.#lastError = reason;
    this.#lastErrorAtMs = this.#context.clock.wallMs();
  }

  #enter(state: DeviceState): void {
    if (this.#state === state) return;
    const { logger, clock } = this.#context;
    this.#state = state;
    this.#sinceMs = clock.wallMs();
    const facts = { device: this.#device, where: whereText(this.#config.connection, this.#config.unit) };
    if (state === "online") logger.info(facts, "the device answers");
    else logger.warn({ ...facts, reason: this.#lastError }, `the device is ${state}`);
  }

  #readings(request: Request<Item>, answer: Answer): Reading[] {
    const producedAtMs = this.#context.clock.wallMs();
    return request.spans.map((item): Reading => {
      const { signal, register } = item;
      const base = { signal, unit: register.unit ?? null, producedAtMs };
      if (!answer.ok) return this.#notRead(base, answer.failure);
      const decoded = decodeItem(answer.data, item, request.address, this.#config);
      if (!decoded.ok) return { ...base, value: null, quality: "bad", reason: decoded.reason };
      const reading: Reading = { ...base, value: decoded.value, quality: "good", reason: null };
      this.#lastGood.set(signal, reading);
      return reading;
    });
  }

  #notRead(base: Pick<Reading, "signal" | "unit" | "producedAtMs">, failure: Failure): Reading {
    const last = failure.answered ? undefined : this.#lastGood.get(base.signal);
    const reason = failureText(failure);
    if (last) return { ...last, quality: "stale", reason };
    return { ...base, value: null, quality: "bad", reason };
  }

  #send(group: Group, readings: readonly Reading[]): void {
    const { clock } = this.#context;
    const nowMs = clock.monoMs();
    const worth = readings.filter((each) =>
      this.#reporter.take(each, this.#ways.get(each.signal)!.rule, nowMs),
    );
    if (worth.length === 0) return;
    const head = { group: group.name, atMs: clock.wallMs() };
    if (this.#config.message === "poll") {
      const topic = this.#topic(group.name, group.name);
      this.#holding.submit(topic, { kind: "poll", ...head, readings: worth });
      return;
    }
    for (const reading of worth) {
      this.#holding.submit(this.#ways.get(reading.signal)!.topic, { kind: "signal", ...head, reading });
    }
  }

  #topic(signal: string, group: string): string {
    return renderTopic(this.#config.topic, { ...this.#config.place, device: this.#device, group, signal });
  }
}

/** `input 64`, `coil 0 to 15` */
function placeText({ table, address, count }: Omit<Request<Item>, "spans">): string {
  return count === 1 ? `${table} ${address}` : `${table} ${address} to ${address + count - 1}`;
}

export function itemsOf({ registers, report }: GroupConfig): Item[] {
  return Object.entries(registers).map(([signal, register]) => {
    const { table, address } = register;
    return { signal, register, table, address, size: sizeOf(register), rule: register.report ?? report };
  });
}

export function decodeItem(
  data: Buffer,
  { table, address, register }: Item,
  from: number,
  orders: Pick<ModbusDeviceConfig, "byteOrder" | "wordOrder">,
) {
  if (isBitTable(table)) return { ok: true, value: decodeBit(data, address - from) } as const;
  return decodeRegisters(data, address - from, register, orders);
}
