/**
 * One instrument: asks for what is to be asked for, each group in its interval, listens to what comes by itself,
 * makes readings of both, and hands on those that are worth a message.
 *
 * A request that is not answered is repeated up to `retries` times, and then the instrument counts as silent
 * (backoff.ts). One that speaks by itself is silent when nothing came for `silence`.
 *
 * Readings that could not be had: `bad` and without a value where the instrument said no, `stale` with the value
 * read last where it did not answer or its port is gone. Events have no value that could be stale.
 */
import { sleep, type Timer } from "../../core/clock.ts";
import type { AdapterContext, DeviceReport } from "../adapter.ts";
import { Backoff } from "../backoff.ts";
import { GAP } from "../device-keys.ts";
import { Holding } from "../holding.ts";
import type { Reading } from "../readings.ts";
import { Reporter } from "../report.ts";
import { renderTopic } from "../topic-template.ts";
import { bytesOf, shownBytes } from "./bytes-text.ts";
import { Conversation } from "./conversation.ts";
import { belongs, type Group, groupsOf, readFields } from "./fields.ts";
import { wrap } from "./framing.ts";
import type { SerialDeviceConfig } from "./schema.ts";
import { Standing } from "./standing.ts";

/** One bad frame is noise. So many in a row without a whole one are another baud rate. */
const BAD_FRAMES_MAX = 3;

interface Poll {
  readonly group: Group;
  readonly bytes: Buffer;
  readonly everyMs: number;
  dueMs: number;
}

type Answer = { readonly content: Buffer } | { readonly no: string };

export class Instrument {
  readonly conversation: Conversation;
  readonly #device: string;
  readonly #config: SerialDeviceConfig;
  readonly #context: AdapterContext;
  readonly #groups: readonly Group[];
  readonly #polls: readonly Poll[];
  readonly #holding: Holding;
  readonly #standing: Standing;
  readonly #reporter = new Reporter();
  readonly #backoff: Backoff;
  /** By signal: the last good one. */
  readonly #lastGood = new Map<string, Reading>();
  /** To which it said no when it was asked last. */
  readonly #refusing = new Set<Group>();
  readonly #awaited = new Map<string, (reading: Reading) => void>();
  readonly #stopping = new AbortController();
  #polling: Promise<void> = Promise.resolve();
  #silence: Timer | null = null;
  #requests = 0;
  #failures = 0;
  #skippedPolls = 0;
  #frames = 0;
  #badFrames = 0;
  #badInARow = 0;
  #unknownFrames = 0;

  constructor(device: string, config: SerialDeviceConfig, context: AdapterContext) {
    this.#device = device;
    this.#config = config;
    this.#context = context;
    const { boot, intake, clock, logger } = context;
    this.#groups = groupsOf(config);
    this.#polls = this.#groups.flatMap((group) => {
      const { request } = group.config;
      if (!request) return [];
      return [{ group, bytes: bytesToSend(request, config.framing), everyMs: request.every, dueMs: 0 }];
    });
    this.#backoff = new Backoff(clock, config);
    this.#standing = new Standing(device, config.connection.path, clock, logger);
    this.#holding = new Holding({
      source: { device, source: "serial", boot },
      ...config.hold,
      gapTopic: this.#topic(GAP, GAP),
      intake,
      clock,
      logger,
      onGivenUp: () => this.#reporter.forget(),
    });
    this.conversation = new Conversation(config.connection, config.framing, clock, {
      onFrame: ({ content }) => this.#onFrame(content),
      onBad: ({ reason }) => this.#onBad(reason),
      onOpen: () => this.#onOpen(),
      onGone: (why) => this.#unheard(() => true, `unreachable: ${why}`),
    });
  }

  start(): void {
    const { clock, random } = this.#context;
    for (const poll of this.#polls) poll.dueMs = clock.monoMs() + random.below(Math.min(poll.everyMs, 1000));
    this.conversation.start();
    if (this.#polls.length > 0) this.#polling = this.#poll();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#silence?.cancel();
    await this.conversation.stop();
    await this.#polling;
    await this.#holding.stop();
  }

  report(): DeviceReport {
    return {
      ...this.#standing.report(),
      type: "serial",
      ...this.#holding.figures(),
      requests: this.#requests,
      failures: this.#failures,
      skippedPolls: this.#skippedPolls,
      frames: this.#frames,
      badFrames: this.#badFrames,
      unknownFrames: this.#unknownFrames,
      noiseBytes: this.conversation.noiseBytes,
    };
  }

  /** Why nothing is to be asked of it now: it is silent, and the next try is not due. Else null. */
  get restsBecause(): string | null {
    return this.#backoff.rests ? this.#standing.report().lastError : null;
  }

  has(signal: string): boolean {
    return this.#groups.some(({ fields }) => fields.some((field) => field.signal === signal));
  }

  /**
   * A signal as it is now, for a command: asked for, or awaited where it comes by itself. Within a turn. Text is
   * the reason why there is none.
   */
  async fresh(signal: string, timeoutMs: number, stop: AbortSignal): Promise<Reading | string> {
    const poll = this.#polls.find(({ group }) => group.fields.some((field) => field.signal === signal));
    if (poll) {
      const readings = await this.#ask(poll, { timeoutMs, triesMax: 1, stop });
      const found = readings?.find((reading) => reading.signal === signal);
      if (!found) return "nothing was answered";
      return found.quality === "good" ? found : (found.reason ?? found.quality);
    }
    const come = Promise.withResolvers<Reading>();
    this.#awaited.set(signal, come.resolve);
    const ended = new AbortController();
    const late = sleep(this.#context.clock, timeoutMs, AbortSignal.any([stop, ended.signal]));
    const reading = await Promise.race([come.promise, late.then(() => null)]);
    ended.abort();
    this.#awaited.delete(signal);
    if (!reading) return `timeout: it was not said within ${timeoutMs} ms`;
    return reading.quality === "good" ? reading : (reading.reason ?? reading.quality);
  }

  /** It answered a command: evidence like any other answer. */
  answered(): void {
    this.#standing.answered(this.#refusing.size > 0);
  }

  async #poll(): Promise<void> {
    const { clock } = this.#context;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await this.conversation.whenOpen();
      const next = this.#polls.reduce((first, poll) => (poll.dueMs < first.dueMs ? poll : first));
      const dueMs = Math.max(next.dueMs, this.#backoff.untilMs);
      await sleep(clock, dueMs - clock.monoMs(), signal);
      if (signal.aborted || !this.conversation.isOpen) continue;
      // In step with the interval, without catching up on what was missed.
      const late = Math.floor(Math.max(0, clock.monoMs() - next.dueMs) / next.everyMs);
      if (!this.#backoff.isSilent) this.#skippedPolls += late;
      next.dueMs += (late + 1) * next.everyMs;
      const { triesMax } = this.#backoff;
      const { timeout } = this.#config;
      await this.conversation.turn(() => this.#ask(next, { timeoutMs: timeout, triesMax, stop: signal }));
    }
  }

  /** What was read; null where nobody is to know, since the port went or the stop came. */
  async #ask(
    { group, bytes }: Poll,
    { timeoutMs, triesMax, stop }: { timeoutMs: number; triesMax: number; stop: AbortSignal },
  ): Promise<readonly Reading[] | null> {
    for (let n = 1; ; n++) {
      this.#requests += 1;
      const judge = (content: Buffer) => this.#judge(group, content);
      const exchanged = await this.conversation.exchange({ bytes, judge, timeoutMs, signal: stop });
      if (exchanged.kind === "gone") return null;
      if (exchanged.kind === "answer") {
        this.#backoff.heard();
        const { answer } = exchanged;
        return "content" in answer ? this.#heard(group, answer.content) : this.#refused(group, answer.no);
      }
      this.#failures += 1;
      if (n < triesMax) continue;
      this.#backoff.fell();
      const { garbled } = exchanged;
      const reason = garbled === null ? `timeout: no answer within ${timeoutMs} ms` : `garbled: ${garbled}`;
      return this.#unheard((each) => each === group, reason, garbled === null ? "offline" : "failing");
    }
  }

  #judge(group: Group, content: Buffer): Answer | null {
    const { encoding } = this.#config;
    if (group.error?.test(content.toString(encoding))) return { no: shownBytes(content) };
    return belongs(group, content, encoding) ? { content } : null;
  }

  /** A frame that nobody asked for. */
  #onFrame(content: Buffer): void {
    const { encoding } = this.#config;
    const group = this.#groups.find((each) => !each.config.request && belongs(each, content, encoding));
    if (group) {
      this.#heard(group, content);
      return;
    }
    this.#frames += 1;
    this.#unknownFrames += 1;
    // Many say more than anybody wants to know. One of which nothing is known makes no sense yet.
    if (this.#standing.state === "online") return;
    this.#standing.trouble("failing", `unknown-frame: no group takes ${JSON.stringify(shownBytes(content))}`);
  }

  #onBad(reason: string): void {
    this.#badFrames += 1;
    this.#badInARow += 1;
    if (this.#badInARow >= BAD_FRAMES_MAX) this.#standing.trouble("failing", reason);
    else this.#standing.note(reason);
  }

  #onOpen(): void {
    this.#backoff.heard();
    this.#standing.again();
    this.#awaitSilence();
  }

  #heard(group: Group, content: Buffer): readonly Reading[] {
    this.#frames += 1;
    this.#badInARow = 0;
    this.#refusing.delete(group);
    this.answered();
    this.#awaitSilence();
    const producedAtMs = this.#context.clock.wallMs();
    const readings = readFields(group, content, this.#config.encoding).map((field): Reading => {
      const reading: Reading = { ...field, quality: field.reason === null ? "good" : "bad", producedAtMs };
      if (reading.quality === "good") this.#lastGood.set(field.signal, reading);
      this.#awaited.get(field.signal)?.(reading);
      return reading;
    });
    this.#send(group, readings);
    return readings;
  }

  /** The instrument said no. */
  #refused(group: Group, answer: string): readonly Reading[] {
    this.#frames += 1;
    this.#failures += 1;
    this.#badInARow = 0;
    const reason = `refused: it answered ${JSON.stringify(answer)}`;
    this.#refusing.add(group);
    this.#standing.trouble("failing", reason);
    const producedAtMs = this.#context.clock.wallMs();
    const readings = group.fields.map(({ signal, config }): Reading => {
      return { signal, value: null, unit: config.unit ?? null, quality: "bad", reason, producedAtMs };
    });
    this.#send(group, readings);
    return readings;
  }

  #awaitSilence(): void {
    const { silence } = this.#config;
    this.#silence?.cancel();
    if (silence === undefined || !this.conversation.isOpen) return;
    this.#silence = this.#context.clock.after(silence, () => {
      this.#unheard(({ config }) => !config.request, `silence: nothing was said for ${silence} ms`);
    });
  }

  /** Nothing is known of these groups any more. */
  #unheard(
    which: (group: Group) => boolean,
    reason: string,
    state: "failing" | "offline" = "offline",
  ): readonly Reading[] {
    if (this.#stopping.signal.aborted) return [];
    this.#silence?.cancel();
    this.#standing.trouble(state, reason);
    return this.#groups.filter(which).flatMap((group) => {
      if (group.config.event) return [];
      const readings = group.fields.map(({ signal, config }): Reading => {
        const last = this.#lastGood.get(signal);
        if (last) return { ...last, quality: "stale", reason };
        const producedAtMs = this.#context.clock.wallMs();
        return { signal, value: null, unit: config.unit ?? null, quality: "bad", reason, producedAtMs };
      });
      this.#send(group, readings);
      return readings;
    });
  }

  #send(group: Group, readings: readonly Reading[]): void {
    const { clock } = this.#context;
    const nowMs = clock.monoMs();
    const rules = new Map(group.fields.map(({ signal, rule }) => [signal, rule]));
    const worth = readings.filter((each) => this.#reporter.take(each, rules.get(each.signal), nowMs));
    if (worth.length === 0) return;
    const head = { group: group.name, atMs: clock.wallMs() };
    if (this.#config.message === "poll") {
      const topic = this.#topic(group.name, group.name);
      this.#holding.submit(topic, { kind: "poll", ...head, readings: worth });
      return;
    }
    for (const reading of worth) {
      this.#holding.submit(this.#topic(reading.signal, group.name), { kind: "signal", ...head, reading });
    }
  }

  #topic(signal: string, group: string): string {
    return renderTopic(this.#config.topic, { ...this.#config.place, device: this.#device, group, signal });
  }
}

export function bytesToSend(
  { send, framed }: { readonly send: string; readonly framed: boolean },
  framing: SerialDeviceConfig["framing"],
): Buffer {
  const bytes = bytesOf(send);
  return framed ? wrap(framing, bytes) : bytes;
}
