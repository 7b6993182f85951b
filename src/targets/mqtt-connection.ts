/**
 * One network connection to a broker: one mqtt.js client, used once and thrown away.
 *
 * mqtt.js can reconnect by itself, and would then send again, in its own time, what the relay has long been
 * told to be `unknown`. A client per connection, with reconnecting off and a store that holds no more than
 * what mqtt-session.ts puts there, cannot do that.
 */
import { createRequire } from "node:module";
import type * as mqtt from "mqtt";
import type { IClientOptions, IConnackPacket, MqttClient, Packet, Store } from "mqtt";
import type { Clock } from "../core/clock.ts";
import { errorText } from "../core/errors.ts";
import type { Publication } from "./mqtt-message.ts";
import type { PacketIds } from "./mqtt-session.ts";
import type { TargetContext } from "./target.ts";

/** Loaded for the first connection: sixty files, and many gateways have no such target. Awaits nothing, so that no signal is missed meanwhile. */
const library = (): typeof mqtt => createRequire(import.meta.url)("mqtt");

export interface OpenOptions {
  readonly url: string;
  /** What goes to mqtt.js besides what this file decides: credentials, TLS, will, keep-alive. */
  readonly client: IClientOptions;
  /** False asks the broker for the session it kept. */
  readonly clean: boolean;
  readonly connectTimeoutMs: number;
  /** Gives the attempt up. */
  readonly signal: AbortSignal;
  readonly packetIds: PacketIds;
  readonly clock: Clock;
  readonly connect: TargetContext["connect"];
}

/** How long an orderly goodbye may take before the connection is torn down. */
const GOODBYE_MS_MAX = 1000;

export class MqttConnection {
  readonly #client: MqttClient;
  readonly #clock: Clock;
  readonly #store: Store;
  readonly #onLost = new Set<(reason: string) => void>();
  #reason: string | null = null;
  #lost = false;
  #connack: IConnackPacket | null = null;

  private constructor(client: MqttClient, store: Store, clock: Clock) {
    this.#client = client;
    this.#store = store;
    this.#clock = clock;
    client.on("error", (error) => {
      this.#reason ??= errorText(error);
    });
    client.on("disconnect", ({ reasonCode, properties }) => {
      const says = properties?.reasonString;
      this.#reason ??= `the broker ended the connection: 0x${(reasonCode ?? 0).toString(16)}${says ? ` ${says}` : ""}`;
    });
    client.on("close", () => this.#close());
  }

  /** Resolves after CONNACK, and after handshakes in doubt are ended; rejects with the reason why not. */
  static async open(options: OpenOptions): Promise<MqttConnection> {
    const { url, clean, connectTimeoutMs, signal, packetIds, clock } = options;
    const { connect, Store } = library();
    const store = new Store();
    const clientOptions: IClientOptions = {
      ...options.client,
      clean,
      manualConnect: true,
      reconnectPeriod: 0,
      resubscribe: false,
      queueQoSZero: false,
      // Ours, below, covers more: mqtt.js's own ends at CONNACK.
      connectTimeout: connectTimeoutMs * 2,
      outgoingStore: store,
      messageIdProvider: packetIds,
    };
    const client = options.connect
      ? clientThrough(options.connect, url, clientOptions)
      : connect(url, clientOptions);
    const connection = new MqttConnection(client, store, clock);
    /** Runs before mqtt.js acts on a packet: at CONNACK, before it looks into its store for what to send. */
    const watch = (packet: Packet) => {
      if (packet.cmd === "connack") {
        if (packet.sessionPresent) packetIds.resume(store);
        else packetIds.forgetDoubts();
      } else if (packet.cmd === "pubrec" || packet.cmd === "pubcomp") {
        packetIds.answered(packet.cmd, packet.messageId!, packet.reasonCode ?? 0);
      }
    };
    client.on("packetreceive", watch);
    const connack = await new Promise<IConnackPacket>((resolve, reject) => {
      const giveUp = (reason: string) => {
        connection.destroy(reason);
        connection.#close();
      };
      const onAbort = () => giveUp("the target was stopped");
      signal.addEventListener("abort", onAbort, { once: true });
      const timer = clock.after(connectTimeoutMs, () =>
        giveUp(`not connected within ${connectTimeoutMs} ms`),
      );
      const done = () => {
        timer.cancel();
        signal.removeEventListener("abort", onAbort);
      };
      connection.onLost((reason) => {
        done();
        reject(new Error(reason));
      });
      client.once("connect", (packet) => {
        done();
        resolve(packet);
      });
      try {
        client.connect();
      } catch (error) {
        // Options that TLS will not have are thrown here, before there is a socket.
        connection.#reason ??= errorText(error);
        connection.#close();
      }
    });
    connection.#connack = connack;
    client.off("packetreceive", watch);
    // Small packets must not wait for each other: the window is ours to keep.
    (client.stream as { setNoDelay?: (on: boolean) => void }).setNoDelay?.(true);
    return connection;
  }

  get usable(): boolean {
    return !this.#lost && this.#client.connected && !this.#client.disconnecting;
  }

  get connack(): IConnackPacket {
    return this.#connack!;
  }

  /**
   * Called once when the connection is gone, at once where it is gone already. The result forgets the listener: what
   * waits for one answer must not be kept for as long as the connection.
   */
  onLost(listener: (reason: string) => void): () => void {
    if (this.#lost) listener(this.#reason!);
    else this.#onLost.add(listener);
    return () => this.#onLost.delete(listener);
  }

  /** `answered` gets the broker's acknowledgement; never called for one whose connection was lost first. */
  publish(
    { topic, payload, qos, retain, properties }: Publication,
    answered: (reasonCode: number, says: string | undefined) => void,
  ): void {
    this.#client.publish(topic, payload, { qos, retain, properties }, (error, packet) => {
      const says = (packet as { properties?: { reasonString?: string } } | undefined)?.properties
        ?.reasonString;
      if (!error) answered((packet as { reasonCode?: number } | undefined)?.reasonCode ?? 0, says);
      // Reason codes are numbers; anything else is mqtt.js telling of a lost connection, as `close` will.
      else if (typeof (error as { code?: unknown }).code === "number") {
        answered((error as { code: number }).code, says);
      }
    });
  }

  /** True where the broker has answered PUBREC, so that it has the message. */
  isReleased(packetId: number): boolean {
    let released = false;
    this.#store.get({ messageId: packetId }, (error, packet) => {
      released = !error && packet?.cmd === "pubrel";
    });
    return released;
  }

  /** Resolves to true when the broker answers a ping, to false when it does not within `timeoutMs`. */
  ping(timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      let forget = () => {};
      const done = (answered: boolean) => {
        timer.cancel();
        forget();
        this.#client.off("packetreceive", onPacket);
        resolve(answered);
      };
      const onPacket = ({ cmd }: { cmd: string }) => {
        if (cmd === "pingresp") done(true);
      };
      const timer = this.#clock.after(timeoutMs, () => done(false));
      this.#client.on("packetreceive", onPacket);
      forget = this.onLost(() => done(false));
      if (this.usable) this.#client.sendPing();
    });
  }

  /** Tears the connection down without a goodbye, so that the will goes out. */
  destroy(reason: string): void {
    this.#reason ??= reason;
    this.#client.stream?.destroy();
  }

  /** Says goodbye (no will goes out) and resolves when the connection is gone. `forget`: the session as well. */
  async close(forget: boolean): Promise<void> {
    if (this.#lost) return;
    this.#reason ??= "the target was stopped";
    await new Promise<void>((resolve) => {
      const timer = this.#clock.after(GOODBYE_MS_MAX, () => {
        this.#client.stream.destroy();
        this.#close();
      });
      this.onLost(() => {
        timer.cancel();
        resolve();
      });
      // mqtt.js waits for what is in flight unless forced, and forced it says no goodbye: so it is forgotten first.
      for (const packetId of Object.keys(this.#client.outgoing))
        delete this.#client.outgoing[Number(packetId)];
      const v5 = this.#client.options.protocolVersion === 5;
      this.#client.end(false, v5 && forget ? { properties: { sessionExpiryInterval: 0 } } : {});
    });
  }

  #close(): void {
    if (this.#lost) return;
    this.#lost = true;
    this.#reason ??= "the connection was closed by the broker";
    // Before the client forgets what it has under way: listeners ask isReleased().
    const listeners = [...this.#onLost];
    this.#onLost.clear();
    for (const listener of listeners) listener(this.#reason);
    if (this.#client.stream) this.#client.end(true);
  }
}

function clientThrough(
  open: NonNullable<TargetContext["connect"]>,
  url: string,
  options: IClientOptions,
): MqttClient {
  const { hostname, port } = new URL(url);
  const { MqttClient } = library();
  return new MqttClient(() => open(hostname, Number(port || 1883)), { ...options, protocol: "mqtt" });
}
