/**
 * Commands from a broker upstream: one subscription, kept alive.
 *
 * Promise: a command is acknowledged to the broker after it, or its refusal, is on disk, so that neither side's power
 * cut loses it. One that comes again (QoS 1 repeats what was not acknowledged) is known by its id.
 *
 *   MQTT 5    response topic and correlation data say where the result goes; the correlation data is the id where
 *             the envelope has none, and the message expiry bounds the time to live
 *   3.1.1     the envelope says all of it
 *
 *   {"id": "…", "device": "press-7", "signal": "speed", "value": 40, "replyTo"?: "…", …as over HTTP}
 *
 * What cannot be told from its repetition (no id), or may be of any age (retained), is refused. So is what names a
 * reply topic that the config does not allow: we publish with our own credentials.
 *
 * Its session at the broker is kept, so that commands wait there while we are away; their time to live begins when
 * we take them, which is what `expiresAt` is for. Taken one after the other, in the order in which they come.
 */
import type { IClientOptions, IPublishPacket, MqttClient } from "mqtt";
import { z } from "zod";
import { type Clock, sleep } from "../core/clock.ts";
import { errorText } from "../core/errors.ts";
import { parseJson } from "../core/json-pointer.ts";
import { MESSAGE_ID_BYTES_MAX } from "../core/limits.ts";
import type { Logger } from "../core/logger.ts";
import type { Random } from "../core/random.ts";
import { safeParse } from "../core/safe-parse.ts";
import { BaseService } from "../core/service.ts";
import { tlsOptions } from "../core/tls.ts";
import { topicMatches, topicNameProblem } from "../core/topic.ts";
import { carriedTrace } from "../core/trace-context.ts";
import type { Refusal } from "./classes.ts";
import type { Asker, Commands } from "./commands.ts";
import { type CommandRequest, commandRequestSchema } from "./request.ts";
import type { UpstreamConfig } from "./schema.ts";

const RECONNECT_MS_MIN = 500;
const RECONNECT_MS_MAX = 30_000;
/** Correlation data is kept with the command, and sent back with its results. */
const CORRELATION_BYTES_MAX = 1024;
/** The broker forgets our session when we have been away for so long; in seconds. */
const SESSION_EXPIRY_S = 7 * 86_400;
/** How long a goodbye may take. */
const GOODBYE_MS_MAX = 1000;

const envelopeSchema = commandRequestSchema.extend({
  id: z.string().min(1).max(MESSAGE_ID_BYTES_MAX).optional(),
  replyTo: z.string().min(1).max(1024).optional(),
  traceparent: z.string().max(1024).optional(),
});

/** What the broker says of how it stands, for people. */
export interface UpstreamView {
  readonly upstream: string;
  readonly connected: boolean;
  readonly detail: string;
}

export interface UpstreamOptions {
  readonly name: string;
  readonly config: UpstreamConfig;
  readonly clientId: string;
  readonly commands: Pick<Commands, "submit" | "refuse" | "view" | "tell">;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

export class Upstream extends BaseService {
  readonly #options: UpstreamOptions;
  readonly #stop = new AbortController();
  #client: MqttClient | null = null;
  #running: Promise<void> = Promise.resolve();
  #detail = "not connected yet";
  #connected = false;

  constructor(options: UpstreamOptions) {
    super();
    this.#options = options;
  }

  view(): UpstreamView {
    return { upstream: this.#options.name, connected: this.#connected, detail: this.#detail };
  }

  /** Does not wait for the broker: that it is away keeps nothing from starting. */
  protected async onStart(): Promise<void> {
    this.#running = this.#run();
  }

  protected async onStop(): Promise<void> {
    this.#stop.abort();
    const client = this.#client;
    // What is being taken is not acknowledged any more, and comes again.
    if (client) {
      const timer = this.#options.clock.after(GOODBYE_MS_MAX, () => client.stream?.destroy());
      await client.endAsync(true).catch(() => {});
      timer.cancel();
    }
    await this.#running;
  }

  /** A client for each connection: one that reconnects by itself would do so in its own time. */
  async #run(): Promise<void> {
    const { clock, random, logger, name } = this.#options;
    for (let failures = 0; !this.stopping; ) {
      const reason = await this.#connection(() => {
        failures = 0;
      });
      if (this.stopping) return;
      if (this.#connected || failures === 0)
        logger.warn({ upstream: name, reason }, "upstream of commands is away");
      this.#connected = false;
      this.#detail = reason;
      failures += 1;
      const mostMs = Math.min(RECONNECT_MS_MIN * 2 ** Math.min(failures, 10), RECONNECT_MS_MAX);
      await sleep(clock, RECONNECT_MS_MIN + random.below(mostMs), this.#stop.signal);
    }
  }

  /** Resolves with why it ended. */
  async #connection(onUp: () => void): Promise<string> {
    const { config, logger, name } = this.#options;
    // For those who have an upstream: it takes 20 MB.
    const { connect } = await import("mqtt");
    if (this.stopping) return "the gateway stops";
    const { promise, resolve } = Promise.withResolvers<string>();
    let reason: string | null = null;
    let client: MqttClient;
    try {
      client = connect(config.url, this.#clientOptions());
    } catch (error) {
      return errorText(error);
    }
    this.#client = client;
    client.handleMessage = (packet, done) => {
      this.#take(packet).then(
        () => done(),
        (error) => {
          // Not acknowledged: it comes again with the next connection.
          reason ??= `a command could not be stored: ${errorText(error)}`;
          client.stream.destroy();
        },
      );
    };
    client.on("error", (error) => {
      reason ??= errorText(error);
    });
    client.on("connect", () => {
      // Retained ones are not even sent to us where the protocol can say so.
      client.subscribe(
        config.topic,
        { qos: 1, ...(config.protocol === 5 ? { rh: 2 } : {}) },
        (error, granted) => {
          const refused = error ?? granted?.find(({ qos }) => qos > 2);
          if (refused) {
            reason ??= `the broker does not let us subscribe to ${config.topic}`;
            client.stream.destroy();
            return;
          }
          onUp();
          this.#connected = true;
          this.#detail = `subscribed to ${config.topic} at ${config.url}`;
          logger.info({ upstream: name, topic: config.topic }, "commands are taken from upstream");
        },
      );
    });
    client.on("close", () => {
      client.end(true);
      resolve(reason ?? "the connection was closed by the broker");
    });
    return promise;
  }

  #clientOptions(): IClientOptions {
    const { config, clientId } = this.#options;
    const v5 = config.protocol === 5;
    return {
      clientId,
      username: config.username,
      password: config.password,
      protocolVersion: config.protocol,
      keepalive: Math.round(config.keepAlive / 1000),
      connectTimeout: config.connectTimeout,
      clean: false,
      reconnectPeriod: 0,
      resubscribe: false,
      // One at a time: the next is sent when this one is on disk.
      ...(v5 ? { properties: { sessionExpiryInterval: SESSION_EXPIRY_S, receiveMaximum: 16 } } : {}),
      ...tlsOptions(config.tls),
    };
  }

  /** Resolves when it, or its refusal, is on disk. */
  async #take(packet: IPublishPacket): Promise<void> {
    const { commands, logger, name } = this.#options;
    const read = this.#read(packet);
    if ("refusal" in read) {
      logger.warn(
        { upstream: name, topic: packet.topic, ...read.refusal },
        "a command from upstream was refused",
      );
      await commands.refuse(read.asked, read.asker, read.refusal);
      return;
    }
    const submitted = await commands.submit(read.request, read.asker);
    if (submitted.kind === "key reused") {
      const reason = "its id was used before, for another command";
      await commands.refuse(read.request, read.asker, { rule: "id", reason });
    } else if (submitted.kind === "taken" && submitted.duplicate)
      await this.#tellAgain(submitted.id, read.asker);
  }

  /** Who sends it again may have missed the result. */
  async #tellAgain(id: string, { reply }: Asker): Promise<void> {
    const { commands } = this.#options;
    const view = await commands.view(id);
    if (!view?.final || !reply) return;
    const { device, signal, value, state, final, detail, stateAtMs } = view;
    await commands.tell(reply, {
      id: reply.requestId ?? null,
      command: id,
      device,
      signal,
      value,
      state,
      final,
      detail,
      at: new Date(stateAtMs).toISOString(),
    });
  }

  #read(
    packet: IPublishPacket,
  ):
    | { request: CommandRequest; asker: Asker }
    | { refusal: Refusal; asked: Partial<CommandRequest>; asker: Asker } {
    const { name, config } = this.#options;
    const { responseTopic, correlationData, messageExpiryInterval, userProperties } = packet.properties ?? {};
    const json = parseJson(Buffer.from(packet.payload as Buffer));
    const parsed = safeParse(envelopeSchema, json);
    const said = (parsed.data ?? json ?? {}) as Record<string, unknown>;
    const text = (value: unknown) => (typeof value === "string" && value.length <= 1024 ? value : undefined);
    const replyTo = text(responseTopic) ?? text(said.replyTo) ?? config.replyTopic;
    const mayReply = replyTo === config.replyTopic || (replyTo !== undefined && this.#mayReplyTo(replyTo));
    const fits = correlationData !== undefined && correlationData.length <= CORRELATION_BYTES_MAX;
    const correlation = fits ? correlationData.toString("base64") : undefined;
    const id = text(said.id);
    const key = id ?? (correlation === undefined ? undefined : `correlation:${correlation}`);
    const asker: Asker = {
      door: "mqtt",
      by: name,
      request: key === undefined ? null : { scope: `$upstream/${name}`, key },
      allow: { rule: `commands.upstreams.${name}.allow`, entries: config.allow },
      trace: carriedTrace(userProperties?.traceparent ?? said.traceparent, userProperties?.tracestate),
      ...(messageExpiryInterval === undefined ? {} : { livesMs: messageExpiryInterval * 1000 }),
      reply: {
        upstream: name,
        replyTo: mayReply ? replyTo : config.replyTopic,
        ...(correlation === undefined ? {} : { correlation }),
        ...(id === undefined ? {} : { requestId: id }),
      },
    };
    const asked = {
      device: text(said.device),
      signal: text(said.signal),
      value: parsed.data?.value ?? null,
    };
    const refuse = (rule: string, reason: string) => ({ refusal: { rule, reason }, asked, asker });
    if (json === undefined) return refuse("envelope", "it is not JSON");
    if (!parsed.success) {
      const [first] = parsed.error.issues;
      return refuse("envelope", `${first!.path.join(".") || "it"}: ${first!.message}`);
    }
    if (packet.retain) return refuse("retain", "a retained command may be of any age");
    if (key === undefined)
      return refuse("id", "without an id its repetition could not be told from another one");
    if (correlationData !== undefined && !fits) {
      return refuse("correlation", `correlation data of more than ${CORRELATION_BYTES_MAX} bytes`);
    }
    if (!mayReply && replyTo !== undefined) {
      return refuse(
        `commands.upstreams.${name}.replyTopics`,
        `no result may go to ${JSON.stringify(replyTo)}`,
      );
    }
    const { id: _, replyTo: __, traceparent: ___, ...request } = parsed.data;
    return { request, asker };
  }

  #mayReplyTo(topic: string): boolean {
    if (topicNameProblem(topic) !== null) return false;
    return this.#options.config.replyTopics.some((filter) => topicMatches(filter, topic));
  }
}
