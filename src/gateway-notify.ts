/** Makes the ways out of notifications: a webhook, our own broker, or the broker of a target. */
import type { Config } from "./config.ts";
import type { Clock } from "./core/clock.ts";
import { sleep } from "./core/clock.ts";
import { authHeader, webhookHeaders, webhookKey } from "./core/http-auth.ts";
import { HttpClient } from "./core/http-exchange.ts";
import { originOf } from "./core/http-options.ts";
import type { Logger } from "./core/logger.ts";
import type { Random } from "./core/random.ts";
import type { Target } from "./targets/target.ts";
import type { Notification } from "./watch/notification.ts";
import { Notifier, type Sender } from "./watch/notifier.ts";
import type { MqttChannelConfig, WebhookChannelConfig } from "./watch/schema.ts";

/** Of an answer no more than its status is of interest, and the beginning of what it says. */
const ANSWER_BYTES_MAX = 4096;
const SAYS_CHARS_MAX = 200;

export interface NotifierParts {
  readonly config: Config;
  readonly dataDir: string;
  /** On our own broker. */
  readonly publish: (topic: string, payload: string) => Promise<void>;
  readonly targets: readonly Target[];
  readonly steadyMs: () => number;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

export function makeNotifier(parts: NotifierParts): Notifier {
  const { config, dataDir, steadyMs, clock, random, logger } = parts;
  const { provenWithin, stalledAfter, deviceSilentAfter } = config.health;
  return new Notifier({
    config: config.notify,
    gateway: config.gateway.name,
    dataDir,
    // What is stalled, silent or away is called so after this time, also by a run that has just begun.
    settleMs: 2 * Math.max(provenWithin, stalledAfter, deviceSilentAfter),
    sender: (_, channel) =>
      channel.type === "webhook" ? webhook(channel, clock) : mqttTopic(channel, parts),
    steadyMs,
    clock,
    random,
    logger,
  });
}

function webhook(config: WebhookChannelConfig, clock: Clock): Sender {
  const { url, body, auth, sign, timeout, tls } = config;
  const { pathname, search, host } = new URL(url);
  const stop = new AbortController();
  const key = sign ? webhookKey(sign.secret) : null;
  const fixed: Record<string, string> = { "user-agent": "holdfast" };
  for (const [name, value] of Object.entries(config.headers)) fixed[name.toLowerCase()] = value.trim();
  if (auth) {
    const [name, value] = authHeader(auth);
    fixed[name] = value;
  }
  const client = new HttpClient({
    origin: originOf(url),
    connections: 1,
    connectTimeoutMs: timeout,
    requestTimeoutMs: timeout,
    responseBytesMax: ANSWER_BYTES_MAX,
    tls,
    clock,
  });
  return {
    // A path may be a secret, as with many chat services.
    where: host,
    async send(notification: Notification) {
      const bytes = Buffer.from(body === "json" ? notification.body : notification.text);
      const type = body === "json" ? "application/json" : "text/plain; charset=utf-8";
      const headers: Record<string, string> = { "content-type": type, ...fixed };
      headers["idempotency-key"] = notification.id;
      if (key) {
        const signed = webhookHeaders(key, notification.id, clock.wallMs(), bytes);
        for (const [name, value] of signed) headers[name] = value;
      }
      const request = { method: "POST", path: pathname + search, headers, body: bytes };
      const exchange = await client.send(request, stop.signal);
      if (exchange.kind !== "answer") throw new Error(exchange.reason);
      const { status } = exchange;
      if (status >= 200 && status < 300) return;
      const says = exchange.body.toString("utf8").replaceAll(/\s+/g, " ").trim().slice(0, SAYS_CHARS_MAX);
      throw new Error(`HTTP ${status} from ${host}${says === "" ? "" : `: ${says}`}`);
    },
    async close() {
      stop.abort();
      await client.close();
    },
  };
}

function mqttTopic(config: MqttChannelConfig, parts: NotifierParts): Sender {
  const { timeout, target: name } = config;
  const topic = config.topic.replaceAll("{gateway}", parts.config.gateway.name);
  const target = parts.targets.find((each) => each.name === name);
  const publish = (words: string) =>
    name === undefined ? parts.publish(topic, words) : target!.tell!(topic, words);
  return {
    where: name === undefined ? topic : `${topic} of target ${name}`,
    async send({ body }) {
      const over = new AbortController();
      const late = sleep(parts.clock, timeout, over.signal).then(() => {
        if (!over.signal.aborted) throw new Error(`the broker did not take it within ${timeout} ms`);
      });
      late.catch(() => {});
      try {
        await Promise.race([publish(body), late]);
      } finally {
        over.abort();
      }
    },
    async close() {},
  };
}
