/**
 * An MQTT broker that misbehaves on request: 3.1.1 and 5, on mqtt-packet and a socket, so that each packet
 * is ours to withhold. It takes publications and keeps sessions (for QoS 2); it delivers to nobody, except
 * that it remembers retained messages.
 *
 * A QoS 2 message is taken at PUBLISH and known by its packet id until PUBREL (section 4.3.3, method B).
 */
import { createServer, type Server, type Socket } from "node:net";
import {
  parser as createParser,
  type IConnectPacket,
  type IPublishPacket,
  type Packet,
  writeToStream,
} from "mqtt-packet";
import {
  type Arrival,
  type BackendMode,
  type BackendOptions,
  carriesPoison,
  identifyJson,
} from "./backend.ts";
import { ServedBackend } from "./served-backend.ts";

export interface MqttBackendOptions extends BackendOptions {
  /** Told to MQTT 5 clients, and held against them. */
  readonly receiveMaximum?: number;
  readonly maximumPacketSize?: number;
  readonly retainAvailable?: boolean;
  readonly maximumQoS?: 0 | 1;
  /** Keeps no session over a connection, as a broker that restarts without persistence. */
  readonly forgetsSessions?: boolean;
  /** The only credentials let in, where set. */
  readonly users?: Readonly<Record<string, string>>;
}

/** What a client left behind. */
interface Session {
  readonly packetIds: Set<number>;
}

interface Client {
  readonly socket: Socket;
  id: string;
  version: 4 | 5;
  session: Session;
  will: IConnectPacket["will"] | null;
  keepSession: boolean;
  connected: boolean;
}

const QUOTA_EXCEEDED = 0x97;
const PAYLOAD_FORMAT_INVALID = 0x99;
const SERVER_UNAVAILABLE = { 4: 3, 5: 0x88 } as const;
const BAD_CREDENTIALS = { 4: 4, 5: 0x86 } as const;

export class MqttBackend extends ServedBackend {
  /** Retained messages, wills included. */
  readonly retained = new Map<string, Buffer>();
  /** Packets as they came, newest last; for tests that look at flags and properties. */
  readonly packets: Packet[] = [];
  /** The most publications that were in flight at once on one connection. */
  inFlightPeak = 0;
  #inFlight = 0;
  readonly #options: MqttBackendOptions;
  readonly #sessions = new Map<string, Session>();
  readonly #connected = new Map<string, Client>();

  constructor(options: MqttBackendOptions = {}) {
    super("mqtt", options);
    this.#options = options;
  }

  protected override makeServer(): Server {
    return createServer((socket) => this.#accept(socket));
  }

  /** `failing` also hangs up on who is connected: a refusal to connect has to be met to be felt. */
  override setMode(mode: BackendMode): void {
    super.setMode(mode);
    if (mode === "failing") this.door.cutAll();
  }

  #accept(socket: Socket): void {
    socket.setNoDelay(true);
    const session = { packetIds: new Set<number>() };
    const client: Client = {
      socket,
      id: "",
      version: 4,
      session,
      will: null,
      keepSession: false,
      connected: false,
    };
    const parser = createParser();
    parser.on("packet", (packet) => this.#receive(client, packet));
    parser.on("error", () => socket.destroy());
    socket.on("data", (bytes) => {
      if (!socket.destroyed) parser.parse(bytes);
    });
    socket.once("close", () => {
      if (this.#connected.get(client.id) === client) this.#connected.delete(client.id);
      if (client.connected && client.will)
        this.retained.set(client.will.topic, Buffer.from(client.will.payload));
      if (!client.keepSession && this.#sessions.get(client.id) === client.session)
        this.#sessions.delete(client.id);
    });
  }

  #receive(client: Client, packet: Packet): void {
    if (client.socket.destroyed) return;
    this.packets.push(packet);
    if (this.packets.length > PACKETS_KEPT) this.packets.shift();
    if (this.mode === "silent") {
      // Half-open: everything is read and nothing comes of it, but what came is written down.
      if (packet.cmd === "publish") this.ledger.record(identify(packet), false);
      return;
    }
    const { socket, session } = client;
    switch (packet.cmd) {
      case "connect":
        this.#connect(client, packet);
        break;
      case "publish":
        this.#publish(client, packet);
        break;
      case "pubrel":
        session.packetIds.delete(packet.messageId!);
        if (this.mode === "commit-then-drop") socket.destroy();
        else if (this.mode !== "commit-then-silent") {
          this.#send(client, { cmd: "pubcomp", messageId: packet.messageId!, reasonCode: 0 });
        }
        break;
      case "pingreq":
        this.#send(client, { cmd: "pingresp" });
        break;
      case "disconnect":
        client.will = null;
        client.keepSession &&= packet.properties?.sessionExpiryInterval !== 0;
        socket.end();
        break;
    }
  }

  #connect(client: Client, packet: IConnectPacket): void {
    const { clientId, clean, protocolVersion, will, properties, username, password } = packet;
    client.version = protocolVersion === 5 ? 5 : 4;
    client.id = clientId;
    const { users, receiveMaximum, maximumPacketSize, retainAvailable, maximumQoS } = this.#options;
    const away = this.mode === "failing" || (this.mode === "busy" && client.version === 4);
    const stranger = users !== undefined && users[username ?? ""] !== password?.toString();
    if (away || stranger) {
      const code = (away ? SERVER_UNAVAILABLE : BAD_CREDENTIALS)[client.version];
      this.#send(client, { cmd: "connack", sessionPresent: false, returnCode: code, reasonCode: code });
      client.socket.end();
      return;
    }
    // Who comes again under an id ends its own older connection, with all that was still under way on it [MQTT-3.1.4-2].
    this.#connected.get(clientId)?.socket.destroy();
    this.#connected.set(clientId, client);
    const kept = clean || this.#options.forgetsSessions ? undefined : this.#sessions.get(clientId);
    client.session = kept ?? { packetIds: new Set() };
    client.keepSession =
      client.version === 5 ? (properties?.sessionExpiryInterval ?? 0) > 0 : clean === false;
    if (client.keepSession) this.#sessions.set(clientId, client.session);
    else this.#sessions.delete(clientId);
    client.will = will ?? null;
    client.connected = true;
    this.#send(client, {
      cmd: "connack",
      sessionPresent: kept !== undefined,
      returnCode: 0,
      reasonCode: 0,
      properties:
        client.version === 5
          ? definedOf({ receiveMaximum, maximumPacketSize, retainAvailable, maximumQoS })
          : undefined,
    });
  }

  #publish(client: Client, packet: IPublishPacket): void {
    const arrival = identify(packet);
    const { session, socket } = client;
    const { mode } = this;
    const refusal = this.#refusal(arrival);
    const act = () => {
      if (socket.destroyed) return;
      if (mode === "drop" || refusal !== null) this.ledger.record(arrival, false);
      else this.#take(session, packet, arrival);
      if (mode === "commit-then-silent") return;
      const hangUp =
        mode === "drop" || mode === "commit-then-drop" || (refusal !== null && client.version === 4);
      if (hangUp) socket.destroy();
      else {
        const cmd = packet.qos === 2 ? "pubrec" : "puback";
        this.#send(client, { cmd, messageId: packet.messageId!, reasonCode: refusal ?? 0 });
      }
    };
    if (mode !== "slow") {
      act();
      return;
    }
    this.#inFlight++;
    this.inFlightPeak = Math.max(this.inFlightPeak, this.#inFlight);
    this.clock.after(this.#options.slowMs ?? 200, () => {
      this.#inFlight--;
      act();
    });
  }

  /** The MQTT 5 reason code for a message that is not taken; null for one that is. 3.1.1 can only hang up. */
  #refusal(arrival: Arriving): number | null {
    if (this.mode === "busy") return QUOTA_EXCEEDED;
    const poison = this.mode === "reject-one" && (this.#options.isPoison ?? carriesPoison)(arrival);
    return poison ? PAYLOAD_FORMAT_INVALID : null;
  }

  #take(session: Session, packet: IPublishPacket, arrival: Arriving): void {
    if (packet.retain) this.retained.set(packet.topic, Buffer.from(packet.payload));
    if (packet.qos === 2) {
      // An id that we still know is the same message again.
      if (session.packetIds.has(packet.messageId!)) return;
      session.packetIds.add(packet.messageId!);
    }
    if (!isStatus(packet)) this.ledger.record(arrival, true);
  }

  #send(client: Client, packet: Packet): void {
    if (!client.socket.destroyed) writeToStream(packet, client.socket, { protocolVersion: client.version });
  }
}

type Arriving = Pick<Arrival, "id" | "device" | "topic" | "payload">;

const PACKETS_KEPT = 10_000;

/** A status that a client says of itself is no message. */
function isStatus({ retain, payload }: IPublishPacket): boolean {
  return retain && /^(online|offline)$/.test(payload.toString());
}

/** By the user properties of MQTT 5, else by what a JSON payload says of itself. */
function identify(packet: IPublishPacket): Arriving {
  const payload = Buffer.from(packet.payload);
  const properties = packet.properties?.userProperties ?? {};
  const inPayload = identifyJson(payload);
  const property = (name: string) => [properties[name]].flat()[0];
  return {
    id: property("holdfast-id") ?? inPayload.id ?? "",
    device: property("holdfast-device") ?? inPayload.device ?? "",
    topic: packet.topic,
    payload,
  };
}

function definedOf<T extends object>(object: T): Partial<T> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as Partial<T>;
}
