/**
 * The `mqtt` target: messages published to a broker upstream, with mqtt.js.
 *
 * Promise: `delivered` only after PUBACK (QoS 1) or PUBCOMP (QoS 2); lane order kept with many in flight
 * (mqtt-publish.ts); nothing is sent except when the relay asks for it (mqtt-connection.ts), but for QoS 2
 * handshakes that a broken connection left open, which the protocol wants ended (mqtt-session.ts).
 *
 * Once in effect: a broker knows no ids of ours. QoS 2 spares a resend after a broken connection as long as
 * both sides remember the handshake (mqtt-session.ts); after a restart, and under QoS 1, a resend is a
 * second message upstream, told apart by its id in the user properties or the envelope.
 *
 * States: off → connecting → connected → off. A call finds a connection or makes one; a connection that
 * cannot be made answers the whole batch with `retry`, the target's fault. With a status topic it also
 * reconnects while nothing is to be sent, so that "online" is said as soon as it is true.
 *
 * Trades away: one connection, so one broker's view of order; QoS 0, which has no answer.
 */

import { createHash } from "node:crypto";
import type { IClientOptions } from "mqtt";
import type { Timer } from "../core/clock.ts";
import { errorText } from "../core/errors.ts";
import { delivered, type Outcome, reject, retryTarget, unknown } from "../core/outcome.ts";
import { BaseService } from "../core/service.ts";
import { tlsOptions } from "../core/tls.ts";
import { abortedBefore, deliveryKey, notSentStopping } from "./batch.ts";
import { MqttConnection } from "./mqtt-connection.ts";
import { fitToBroker, type Publication, PublicationMaker } from "./mqtt-message.ts";
import type { MqttTargetConfig } from "./mqtt-options.ts";
import { HANDSHAKE_ENDED, Publisher } from "./mqtt-publish.ts";
import { PacketIds } from "./mqtt-session.ts";
import type { Target, TargetContext, TargetDelivery, TargetHealth } from "./target.ts";
import { Template } from "./template.ts";

/** Two calls share the window, so that one fills it while the other's last answers come in. */
const CALLS = 2;
const IN_FLIGHT_MAX = 1024;
/**
 * A 3.1.1 broker cannot tell how many QoS 2 messages it takes at once. mosquitto takes 20 unless told
 * otherwise, acknowledges those beyond, and drops them.
 */
const QOS2_IN_FLIGHT_MAX = 20;
/** Between attempts to be online again while nothing is to be sent; spread over gateways by name. */
const RECONNECT_MS_MIN = 2000;
const RECONNECT_MS_SPREAD = 4000;

interface Link {
  readonly connection: MqttConnection;
  readonly publisher: Publisher;
}

export class MqttTarget extends BaseService implements Target {
  readonly type = "mqtt";
  readonly name: string;
  readonly idempotent: boolean;
  readonly batchMax: number;
  readonly batchBytesMax: number;
  readonly concurrency = CALLS;
  readonly #config: MqttTargetConfig;
  readonly #context: TargetContext;
  readonly #clientId: string;
  readonly #inFlightMax: number;
  readonly #publications: PublicationMaker;
  readonly #packetIds = new PacketIds();
  readonly #stop = new AbortController();
  #link: Link | null = null;
  #linking: Promise<Link> | null = null;
  #reconnect: Timer | null = null;
  /** True until the broker was told, in this run, to forget the session of an earlier one. */
  #sessionStale: boolean;
  /** The gateway's health as last told, for the next connection. */
  #health: string | null = null;
  /** True where the last connection was lost with messages in flight. */
  #careful = false;

  constructor(config: MqttTargetConfig, context: TargetContext) {
    super();
    this.name = context.name;
    this.idempotent = config.idempotent;
    this.#inFlightMax =
      config.inFlightMax ?? (config.qos === 2 && config.protocol === 4 ? QOS2_IN_FLIGHT_MAX : IN_FLIGHT_MAX);
    this.batchMax = Math.ceil(this.#inFlightMax / CALLS);
    this.batchBytesMax = config.batchBytesMax;
    this.#config = config;
    this.#context = context;
    this.#clientId = config.clientId ?? `holdfast-${context.gateway}-${context.name}`;
    this.#publications = new PublicationMaker(config, context.gateway);
    this.#sessionStale = config.qos === 2;
  }

  /** Does not wait for the broker: that it is away keeps nothing from starting. */
  protected async onStart(): Promise<void> {
    this.#linked().catch(() => {});
  }

  protected async onStop(): Promise<void> {
    this.#reconnect?.cancel();
    this.#stop.abort();
    await this.#linking?.catch(() => {});
    const connection = this.#link?.connection;
    if (connection?.usable) await this.#say(connection, this.#config.statusTopic, "offline");
    await connection?.close(true);
  }

  announce(health: string): void {
    this.#health = health;
    const connection = this.#link?.connection;
    if (connection?.usable) void this.#say(connection, this.#config.healthTopic, health);
  }

  async tell(topic: string, words: string): Promise<void> {
    if (this.stopping) throw new Error("the target is stopped");
    const { connection } = await this.#linked();
    await new Promise<void>((resolve, reject) => {
      let forget = () => {};
      const end = (then: () => void) => {
        timer.cancel();
        forget();
        then();
      };
      const late = `no answer from the broker within ${this.#config.ackTimeout} ms`;
      const timer = this.#context.clock.after(this.#config.ackTimeout, () =>
        end(() => reject(new Error(late))),
      );
      forget = connection.onLost((reason) => end(() => reject(new Error(reason))));
      const publication = { topic, payload: Buffer.from(words), qos: 1, retain: false } as const;
      connection.publish({ ...publication, properties: undefined }, (reasonCode, says = "") => {
        end(() => {});
        if (reasonCode < REASON_FAILURE_MIN) resolve();
        else reject(new Error(`the broker refused it (0x${reasonCode.toString(16)}) ${says}`.trim()));
      });
    });
  }

  check(delivery: TargetDelivery): string[] {
    const made = this.#publications.make(delivery);
    if ("problem" in made) return [made.problem];
    // What the broker takes it has told when we connected; where we never did, there is nothing to go by.
    const fitted = fitToBroker(made, this.#config, this.#link?.connection.connack.properties);
    return "kind" in fitted && "reason" in fitted ? [fitted.reason] : [];
  }

  async deliver(batch: readonly TargetDelivery[], signal: AbortSignal): Promise<Outcome[]> {
    if (this.stopping || signal.aborted) return batch.map(() => notSentStopping);
    const linked = this.#linked();
    try {
      if (await abortedBefore(linked, signal))
        return this.#unsent(batch, "the gateway is stopping", notSentStopping);
    } catch (error) {
      return this.#unsent(batch, errorText(error), retryTarget(errorText(error)));
    }
    const { connection, publisher } = await linked;
    const publications = batch.map((delivery): Publication | Outcome => {
      const made = this.#publications.make(delivery);
      if ("problem" in made) return reject(made.problem);
      return fitToBroker(made, this.#config, connection.connack.properties);
    });
    return publisher.publish(batch, publications, signal);
  }

  /** `outcome` for a batch without a connection, save for what went out when an attempt to connect ended handshakes. */
  #unsent(batch: readonly TargetDelivery[], reason: string, outcome: Outcome): Outcome[] {
    const inDoubt = this.#packetIds.keysInDoubt();
    return batch.map(({ flow, message }) => {
      const key = deliveryKey(flow, message.id);
      if (this.#packetIds.takeEnded(key)) return delivered(HANDSHAKE_ENDED);
      return inDoubt.has(key) ? unknown(reason) : outcome;
    });
  }

  async probe(signal: AbortSignal): Promise<TargetHealth> {
    if (this.stopping) return { reachable: false, detail: "the target is stopped" };
    const linked = this.#linked();
    try {
      if (await abortedBefore(linked, signal)) return { reachable: false, detail: "the gateway is stopping" };
      const { connection } = await linked;
      const answering = connection.ping(this.#config.connectTimeout);
      if (await abortedBefore(answering, signal))
        return { reachable: false, detail: "the gateway is stopping" };
      if (await answering)
        return { reachable: true, detail: `connected to ${this.#config.url} as ${this.#clientId}` };
      connection.destroy("no answer to a ping");
      return { reachable: false, detail: `no answer to a ping within ${this.#config.connectTimeout} ms` };
    } catch (error) {
      return { reachable: false, detail: errorText(error) };
    }
  }

  /** The link, made where there is none; many callers share one attempt. */
  #linked(): Promise<Link> {
    if (this.#link) return Promise.resolve(this.#link);
    this.#linking ??= this.#makeLink().finally(() => {
      this.#linking = null;
    });
    return this.#linking;
  }

  async #makeLink(): Promise<Link> {
    this.#reconnect?.cancel();
    try {
      const connection = await this.#open();
      const { inFlightPerLane, ackTimeout } = this.#config;
      const { receiveMaximum = this.#inFlightMax } = connection.connack.properties ?? {};
      const windowMax = Math.min(this.#inFlightMax, receiveMaximum);
      const publisher = new Publisher({
        connection,
        packetIds: this.#packetIds,
        ackTimeoutMs: ackTimeout,
        windowMax,
        windowStart: this.#careful ? 1 : windowMax,
        perLaneMax: inFlightPerLane,
        clock: this.#context.clock,
      });
      const link = { connection, publisher };
      this.#link = link;
      connection.onLost((reason) => {
        if (this.#link === link) this.#link = null;
        this.#careful = publisher.lostInFlight;
        this.#context.logger.info({ target: this.name, reason }, "connection to the broker ended");
        this.#reconnectLater();
      });
      this.#context.logger.info({ target: this.name, url: this.#config.url }, "connected to the broker");
      return link;
    } catch (error) {
      this.#reconnectLater();
      throw error;
    }
  }

  async #open(): Promise<MqttConnection> {
    const { qos, protocol } = this.#config;
    if (qos === 1) return this.#openOnce(true);
    // Ids of an earlier run may still be known to the broker, and a new message under one would be swallowed.
    const stale = this.#sessionStale;
    if (stale && protocol === 4) await (await this.#openOnce(true, false)).close(true);
    const connection = await this.#openOnce(stale && protocol === 5);
    this.#sessionStale = false;
    return connection;
  }

  async #openOnce(clean: boolean, announce = true): Promise<MqttConnection> {
    const { url, connectTimeout } = this.#config;
    if (this.stopping) throw new Error("the target is stopped");
    const connection = await MqttConnection.open({
      url,
      client: this.#clientOptions(),
      clean,
      connectTimeoutMs: connectTimeout,
      signal: this.#stop.signal,
      packetIds: this.#packetIds,
      clock: this.#context.clock,
      connect: this.#context.connect,
    });
    if (announce) {
      await this.#say(connection, this.#config.statusTopic, "online");
      if (this.#health !== null) await this.#say(connection, this.#config.healthTopic, this.#health);
    }
    return connection;
  }

  #clientOptions(): IClientOptions {
    const { protocol, qos, keepAlive, username, password, sessionExpiry, statusTopic, tls, url } =
      this.#config;
    const options: IClientOptions = {
      clientId: this.#clientId,
      protocolVersion: protocol,
      keepalive: Math.round(keepAlive / 1000),
      username,
      password,
    };
    if (/^(mqtts|wss):/i.test(url)) Object.assign(options, tlsOptions(tls));
    if (protocol === 5 && qos === 2)
      options.properties = { sessionExpiryInterval: Math.round(sessionExpiry / 1000) };
    if (statusTopic) {
      options.will = {
        topic: this.#ownTopic(statusTopic),
        payload: Buffer.from("offline"),
        qos: 1,
        retain: true,
      };
    }
    return options;
  }

  /** A topic for words about the gateway itself. */
  #ownTopic(template: string): string {
    const values = { topic: "", device: "", gateway: this.#context.gateway, flow: "", id: "" };
    return new Template(template).render(values, (value) => value);
  }

  /**
   * Publishes words about the gateway, retained, where a topic is configured for them. Resolves when the
   * broker has them, or soon without: they are a courtesy, the messages are not.
   */
  async #say(connection: MqttConnection, template: string | undefined, words: string): Promise<void> {
    if (!template) return;
    await new Promise<void>((resolve) => {
      let forget = () => {};
      const done = () => {
        timer.cancel();
        forget();
        resolve();
      };
      const timer = this.#context.clock.after(ANNOUNCE_MS_MAX, done);
      forget = connection.onLost(done);
      const publication = {
        topic: this.#ownTopic(template),
        payload: Buffer.from(words),
        qos: 1,
        retain: true,
      } as const;
      connection.publish({ ...publication, properties: undefined }, done);
    });
  }

  #reconnectLater(): void {
    const speaks = this.#config.statusTopic || this.#config.healthTopic;
    if (!speaks || this.stopping) return;
    const spread = createHash("sha256").update(this.#clientId).digest().readUInt16BE(0) / 0x1_0000;
    this.#reconnect?.cancel();
    this.#reconnect = this.#context.clock.after(RECONNECT_MS_MIN + spread * RECONNECT_MS_SPREAD, () => {
      if (!this.stopping) this.#linked().catch(() => {});
    });
  }
}

const ANNOUNCE_MS_MAX = 2000;
/** MQTT 5, section 2.4: codes from here on say that it failed. */
const REASON_FAILURE_MIN = 0x80;
