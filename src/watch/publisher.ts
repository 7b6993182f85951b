/**
 * Health as retained MQTT messages, for machines and panels that speak nothing else:
 *
 *   holdfast/<gateway>/status                    online | offline
 *   holdfast/<gateway>/health                    the report, JSON
 *   holdfast/<gateway>/devices/<device>/health   one device, JSON
 *
 * Publishing costs a commit each (a retained message is kept on disk), so devices are bounded in number and
 * in rate, and what has not changed is not said again. A device is what has sent something: a panel that
 * only listens gets no topic. Where there are too many, one that is online takes the place of one that is
 * not. A publish that hangs (the store has no room, say) holds back its own topic alone; of what comes
 * meanwhile only the newest is kept.
 *
 * A retained message outlives the run it spoke of. What an earlier run said of devices is taken back at the
 * start, because it may say "online" of one that left while nobody was there to see it.
 */
import type { Clock } from "../core/clock.ts";
import { errorText } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import { topicLevel } from "../core/topic.ts";
import type { HealthConfig } from "./schema.ts";
import type { DeviceFacts, Publish } from "./sources.ts";

/** Device topics published in one tick (a second). */
const DEVICES_PER_TICK_MAX = 50;
const TICK_MS = 1000;

export interface PublisherOptions {
  readonly gateway: string;
  readonly config: Pick<HealthConfig, "deviceTopicsMax" | "deviceInterval">;
  readonly publish: Publish;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface DeviceTopic {
  readonly topic: string;
  online: boolean;
  publishedAtMs: number;
  messages: number;
  /** What was said last, without what changes by itself. */
  said: string;
}

export class Publisher {
  readonly #options: PublisherOptions;
  readonly #prefix: string;
  /** By topic: what is to be published when the publish under way has ended; null for nothing. */
  readonly #underway = new Map<string, string | null>();
  readonly #devices = new Map<string, DeviceTopic>();
  /** Left by an earlier run, and not taken back yet. */
  readonly #stale = new Set<string>();
  #published: Promise<unknown> = Promise.resolve();
  #failing = false;
  /** Devices that have no topic, because there are more than `deviceTopicsMax`. */
  devicesLeftOut = 0;

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#prefix = `holdfast/${options.gateway}`;
  }

  status(status: "online" | "offline"): void {
    this.#say(`${this.#prefix}/status`, status, 1);
  }

  health(report: object): void {
    this.#say(`${this.#prefix}/health`, JSON.stringify(report));
  }

  /** Where the topics of devices begin. */
  get devicesPrefix(): string {
    return `${this.#prefix}/devices/`;
  }

  /** Device topics that an earlier run has left: taken back, a few a tick, unless the device comes again. */
  takeBack(topics: Iterable<string>): void {
    for (const topic of topics) this.#stale.add(topic);
  }

  /** Once a tick, with all devices known now. */
  devices(known: Iterable<DeviceFacts>): void {
    const nowMs = this.#options.clock.monoMs();
    const intervalMs = Math.max(
      this.#options.config.deviceInterval,
      (this.#devices.size / DEVICES_PER_TICK_MAX) * TICK_MS,
    );
    const met = new Set<string>();
    let left = DEVICES_PER_TICK_MAX;
    this.devicesLeftOut = 0;
    for (const facts of known) {
      if (facts.messages + facts.duplicates + facts.refused === 0) continue;
      met.add(facts.device);
      const topic = this.#devices.get(facts.device) ?? this.#newTopic(facts);
      if (!topic) {
        this.devicesLeftOut += 1;
        continue;
      }
      const due = topic.online !== facts.online || nowMs - topic.publishedAtMs >= intervalMs;
      if (due && left > 0 && this.#sayDevice(topic, facts, nowMs)) left -= 1;
    }
    for (const device of this.#devices.keys()) if (!met.has(device)) this.#forget(device);
    for (const topic of this.#stale) {
      if (left-- <= 0) break;
      this.#stale.delete(topic);
      this.#say(topic, "");
    }
  }

  /** Resolves when nothing is under way any more. */
  async settled(): Promise<void> {
    while (this.#underway.size > 0) await this.#published;
  }

  #newTopic({ device, online }: DeviceFacts): DeviceTopic | undefined {
    if (this.#devices.size >= this.#options.config.deviceTopicsMax && !(online && this.#makeRoom())) {
      return undefined;
    }
    const topic: DeviceTopic = {
      topic: `${this.devicesPrefix}${topicLevel(device)}/health`,
      online: false,
      publishedAtMs: Number.NEGATIVE_INFINITY,
      messages: 0,
      said: "",
    };
    this.#stale.delete(topic.topic);
    this.#devices.set(device, topic);
    return topic;
  }

  #makeRoom(): boolean {
    for (const [device, { online, publishedAtMs }] of this.#devices) {
      if (online || !Number.isFinite(publishedAtMs)) continue;
      this.#forget(device);
      return true;
    }
    return false;
  }

  #forget(device: string): void {
    const topic = this.#devices.get(device);
    this.#devices.delete(device);
    if (topic) this.#say(topic.topic, "");
  }

  #sayDevice(topic: DeviceTopic, facts: DeviceFacts, nowMs: number): boolean {
    const { device, online, lastMessageAtMs, messages, late, duplicates, refused } = facts;
    const sinceMs = nowMs - topic.publishedAtMs;
    const messagesPerSecond = Number.isFinite(sinceMs)
      ? round((messages - topic.messages) / Math.max(sinceMs / 1000, 1))
      : null;
    const figures = { device, online, lastMessageAtMs, messages, late, duplicates, refused };
    const said = JSON.stringify({ ...figures, idle: messagesPerSecond === 0 });
    topic.publishedAtMs = nowMs;
    if (said === topic.said) return false;
    topic.online = online;
    topic.messages = messages;
    topic.said = said;
    this.#say(topic.topic, JSON.stringify({ ...figures, messagesPerSecond }));
    return true;
  }

  #say(topic: string, payload: string, qos: 0 | 1 = 0): void {
    if (this.#underway.has(topic)) {
      this.#underway.set(topic, payload);
      return;
    }
    this.#underway.set(topic, null);
    this.#published = this.#publish(topic, payload, qos).finally(() => {
      const next = this.#underway.get(topic) ?? null;
      this.#underway.delete(topic);
      if (next !== null) this.#say(topic, next, qos);
    });
  }

  async #publish(topic: string, payload: string, qos: 0 | 1): Promise<void> {
    try {
      await this.#options.publish(topic, payload, { retain: true, qos });
      this.#failing = false;
    } catch (error) {
      // Said once: it may well fail every second from now on.
      if (!this.#failing)
        this.#options.logger.warn({ topic, err: errorText(error) }, "health was not published");
      this.#failing = true;
    }
  }
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
