/**
 * Notifications: people are told when something is wrong, and told when it is over.
 *
 * Promise: what the rules of the config call worth telling is told once when it has been so for long enough, once when
 * it has been over for long enough, and in between every `remindEvery`; over restarts too. What cannot be told is tried
 * again within bounds, and that it cannot is itself a problem in health. Telling never holds up a message: it is fed
 * by what watch/ has seen anyway, once a look.
 *
 * Alerts (alerts.ts) say what is to be told, channels (notify-channel.ts) tell it, a file (notify-file.ts) remembers.
 * At least once: a kill between a channel's yes and our note of it tells again, under the same id.
 */
import { randomUUID } from "node:crypto";
import { type Clock, sleep } from "../core/clock.ts";
import { errorText, HoldfastError } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import type { Random } from "../core/random.ts";
import { BaseService } from "../core/service.ts";
import { type Alert, type AlertEvent, Alerts, type Happening } from "./alerts.ts";
import type { Events } from "./events.ts";
import type { HealthReport } from "./health.ts";
import type { Metrics } from "./metrics.ts";
import { type Notification, type Telling, testNotification } from "./notification.ts";
import { type ChannelOutcome, type ChannelState, NotifyChannel } from "./notify-channel.ts";
import { NotifyFile } from "./notify-file.ts";
import { type ChannelConfig, type NotifyConfig, type RuleName, ruleWords } from "./schema.ts";
import type { ChannelTrouble } from "./sources.ts";

/** What was told last, for whoever asks; of this run. */
const RECENT_MAX = 200;
/** How long a stop waits for what is being told. */
const LAST_WORDS_MS_MAX = 3000;

/** A way out, made for a channel's options (gateway-notify.ts). */
export interface Sender {
  /** Where it goes, without secrets. */
  readonly where: string;
  /** Resolves when it was taken; rejects with why not. */
  send(notification: Notification): Promise<void>;
  close(): Promise<void>;
}

export interface NotifierOptions {
  readonly config: NotifyConfig;
  readonly gateway: string;
  readonly dataDir: string;
  /** A run sees what an earlier one saw after this time. */
  readonly settleMs: number;
  readonly sender: (name: string, config: ChannelConfig) => Sender;
  readonly steadyMs: () => number;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

export interface Told {
  readonly atMs: number;
  readonly channel: string;
  readonly outcome: ChannelOutcome;
  readonly event: AlertEvent;
  readonly key: string;
  readonly sentence: string;
  /** Why it could not be told; null where it was. */
  readonly error: string | null;
}

/** A rule as it is configured. */
export interface RuleView {
  readonly rule: RuleName;
  /** What it is about, in a sentence. */
  readonly about: string;
  readonly enabled: boolean;
  readonly forMs: number;
  readonly clearAfterMs: number;
  /** Zero for never. */
  readonly remindEveryMs: number;
  /** In the unit of what it looks at: ms, dead letters, bytes. */
  readonly limits: Readonly<Record<string, number>>;
  /** Null for all. */
  readonly only: readonly string[] | null;
  readonly except: readonly string[];
  /** Those that are told. */
  readonly channels: readonly string[];
}

export type ChannelView = ChannelState & {
  readonly type: string;
  readonly where: string;
  /** What it is told of, at least. */
  readonly severity: ChannelConfig["severity"];
};

export interface TestResult {
  readonly channel: string;
  readonly sent: boolean;
  readonly reason: string | null;
}

interface Way {
  readonly channel: NotifyChannel;
  readonly sender: Sender;
  readonly config: ChannelConfig;
}

export class Notifier extends BaseService {
  readonly #options: NotifierOptions;
  readonly #file: NotifyFile;
  readonly #ways = new Map<string, Way>();
  readonly #recent: Told[] = [];
  /** Channels of which it was said that they fail: once, not at each try. */
  readonly #saidFailing = new Set<string>();
  #alerts: Alerts | undefined;
  #tell: { readonly events: Events; readonly metrics: Metrics } | undefined;

  constructor(options: NotifierOptions) {
    super();
    this.#options = options;
    this.#file = new NotifyFile(options.dataDir, options.logger);
  }

  /** Whom it tells of its own doings. */
  reportTo(tell: { readonly events: Events; readonly metrics: Metrics }): void {
    this.#tell = tell;
  }

  protected async onStart(): Promise<void> {
    const { config, settleMs, steadyMs } = this.#options;
    if (Object.keys(config.channels).length === 0) return;
    const { alerts, waiting } = await this.#file.read();
    const settledSteadyMs = steadyMs() + settleMs;
    this.#alerts = new Alerts({ rules: config.rules, raised: alerts, settledSteadyMs, newId: randomUUID });
    for (const [name, of] of Object.entries(config.channels)) this.#add(name, of, waiting[name] ?? []);
    for (const { channel } of this.#ways.values()) channel.start();
  }

  protected async onStop(): Promise<void> {
    const waited = new AbortController();
    const ending = [...this.#ways.values()].map(async ({ channel }) => channel.stop());
    await Promise.race([Promise.all(ending), sleep(this.#options.clock, LAST_WORDS_MS_MAX, waited.signal)]);
    waited.abort();
    await Promise.all([...this.#ways.values()].map(({ sender }) => sender.close()));
    if (this.#alerts) await this.#save();
  }

  /** After each look of watch/. */
  look(report: HealthReport): void {
    if (!this.#alerts || this.stopping) return;
    const { steadyMs, clock, config } = this.#options;
    const before = this.#alerts.raised().length;
    const happenings = this.#alerts.look(report, steadyMs(), clock.wallMs());
    for (const happening of happenings) {
      const chosen = config.rules[happening.alert.rule].channels;
      for (const [name, { channel }] of this.#ways) {
        if (!chosen || chosen.includes(name)) channel.take(happening, clock.wallMs());
      }
    }
    if (happenings.length > 0 || before !== this.#alerts.raised().length) void this.#save();
  }

  /** Channels that have failed for longer than a hiccup. */
  troubles(): ChannelTrouble[] {
    return [...this.#ways].flatMap(([channel, { channel: of }]) => {
      const { failingSinceMs, lastError, waiting } = of.state();
      return of.isTroubled ? [{ channel, sinceMs: failingSinceMs!, reason: lastError!, waiting }] : [];
    });
  }

  channels(): ChannelView[] {
    return [...this.#ways.values()].map(({ channel, sender, config }) => ({
      ...channel.state(),
      type: config.type,
      where: sender.where,
      severity: config.severity,
    }));
  }

  /** What is looked at, and who is told. */
  rules(): RuleView[] {
    const { rules } = this.#options.config;
    return (Object.keys(rules) as RuleName[]).map((rule) => {
      const { enabled, for: forMs, clearAfter, remindEvery, only, except, channels, ...limits } = rules[rule];
      return {
        rule,
        about: ruleWords(rule),
        enabled,
        forMs,
        clearAfterMs: clearAfter,
        remindEveryMs: remindEvery,
        limits,
        only: only ?? null,
        except,
        channels: channels ?? [...this.#ways.keys()],
      };
    });
  }

  /** Raised now. */
  raised(): Alert[] {
    return this.#alerts?.raised() ?? [];
  }

  /** What was told, or could not be, the newest first. */
  recent(): Told[] {
    return this.#recent.toReversed();
  }

  /** Sends a test down one channel, or all. Throws HF_NOT_FOUND where there is none to send it down. */
  async test(channel: string | undefined, who: string): Promise<TestResult[]> {
    const { gateway, clock } = this.#options;
    const ways = [...this.#ways].filter(([name]) => channel === undefined || name === channel);
    if (ways.length === 0) {
      const known = [...this.#ways.keys()].join(", ") || "none; add one under notify.channels";
      const which = channel === undefined ? "there is no channel" : `there is no channel ${channel}`;
      throw new HoldfastError("HF_NOT_FOUND", `${which}; there are: ${known}`, { channel });
    }
    const notification = testNotification(randomUUID(), gateway, clock.wallMs(), who);
    return Promise.all(
      ways.map(async ([name, way]) => {
        try {
          await way.channel.test(notification);
          return { channel: name, sent: true, reason: null };
        } catch (error) {
          return { channel: name, sent: false, reason: errorText(error) };
        }
      }),
    );
  }

  #add(name: string, config: ChannelConfig, waiting: readonly Telling[]): void {
    const { gateway, steadyMs, clock, random } = this.#options;
    const sender = this.#options.sender(name, config);
    const channel = new NotifyChannel({
      name,
      config,
      gateway,
      waiting,
      send: (notification) => sender.send(notification),
      saved: () => this.#save(),
      onOutcome: (...of) => this.#onOutcome(...of),
      steadyMs,
      clock,
      random,
    });
    this.#ways.set(name, { channel, sender, config });
  }

  #save(): Promise<void> {
    const waiting = Object.fromEntries(
      [...this.#ways].map(([name, { channel }]) => [name, channel.waiting()]),
    );
    return this.#file.write({ alerts: this.raised(), waiting });
  }

  #onOutcome(channel: string, outcome: ChannelOutcome, tellings: readonly Telling[]): void {
    const { clock, logger } = this.#options;
    this.#tell?.metrics.notified(channel, outcome);
    const state = this.#ways.get(channel)!.channel.state();
    for (const { event, alert } of tellings) {
      const told = {
        atMs: clock.wallMs(),
        channel,
        outcome,
        event,
        key: alert.key,
        sentence: alert.sentence,
        error: outcome === "sent" ? null : state.lastError,
      };
      // Each try would push out what else there was.
      const last = this.#recent.findLastIndex((each) => each.channel === channel && each.key === alert.key);
      if (outcome === "failed" && this.#recent[last]?.outcome === "failed") this.#recent.splice(last, 1);
      this.#recent.push(told);
      if (this.#recent.length > RECENT_MAX) this.#recent.shift();
    }
    if (outcome !== "failed" && tellings.length > 0) void this.#save();
    if (tellings.length === 0 || (outcome === "failed" && this.#saidFailing.has(channel))) return;
    if (outcome === "failed") this.#saidFailing.add(channel);
    else if (outcome === "sent") this.#saidFailing.delete(channel);
    const what = sentenceOf(channel, outcome, tellings, state);
    const severity = outcome === "sent" ? "info" : "attention";
    this.#tell?.events.tell({ kind: "notification", severity, subject: channel, sentence: what });
    logger[outcome === "sent" ? "info" : "warn"]({ channel }, what);
  }
}

function sentenceOf(
  channel: string,
  outcome: ChannelOutcome,
  tellings: readonly Pick<Happening, "event" | "alert">[],
  { lastError }: ChannelState,
): string {
  const what = tellings.map(({ event, alert }) => `${event} ${alert.key}`).join(", ");
  if (outcome === "sent") return `told ${channel}: ${what}`;
  if (outcome === "dropped") return `could not tell ${channel} in time, and gave it up: ${what}`;
  return `channel ${channel} does not take notifications: ${lastError}`;
}
