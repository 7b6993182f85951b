/**
 * A machine in a simulated world: makes readings, keeps each until it is answered for, sends again what was not.
 *
 * It does what clients in the field do: in a persistent session, PUBLISH (with DUP=1) and PUBREL that were not
 * answered go out again in their order after a reconnect [MQTT-4.4.0-1]; with a clean session as new messages,
 * which only an id of its own makes recognisable. A machine that is switched off forgets what it had under way.
 */
import type { Packet } from "mqtt-packet";
import type { QoS } from "../../../src/core/message.ts";
import type { Random } from "../../../src/core/random.ts";
import type { Reading, WorldLedger } from "./ledger.ts";
import type { SimNetwork } from "./sim-network.ts";
import type { VirtualTime } from "./virtual-time.ts";
import { WirePeer } from "./wire-peer.ts";

const ANSWER_WITHIN_MS = 6000;
const CONNECT_WITHIN_MS = 4000;
const BACKOFF_MS_MAX = 1500;
const KEEPALIVE_S = 10;
/** How often it looks after its connection. */
const WATCH_EVERY_MS = 2000;

export interface MachineOptions {
  readonly name: string;
  /** Chosen for each reading. */
  readonly qos: readonly QoS[];
  /** Its readings carry an id that the gateway is told of, so it may send one again as if it were new. */
  readonly declaresIds: boolean;
  readonly cleanSession: boolean;
  readonly inFlightMax: number;
  /** One reading in so many is one that the backend refuses; 0 for none. */
  readonly poisonOneIn: number;
}

export interface MachineParts {
  readonly time: VirtualTime;
  readonly network: SimNetwork;
  readonly random: Random;
  readonly ledger: WorldLedger;
  readonly trace: (line: string) => void;
}

interface Flight {
  readonly reading: Reading;
  stage: "publish" | "release";
  sentAtMs: number;
}

export class SimMachine {
  readonly name: string;
  readonly #o: MachineOptions;
  readonly #p: MachineParts;
  readonly #outbox: Reading[] = [];
  /** By packet id, in the order in which they were first sent. */
  #inFlight = new Map<number, Flight>();
  #peer: WirePeer | null = null;
  #up = false;
  #heardAtMs = 0;
  #attempt = 0;
  #packetId = 0;
  #made = 0;
  /** The next connection asks the gateway to forget, since the machine has forgotten. */
  #forgetful = false;
  #stopped = false;

  constructor(options: MachineOptions, parts: MachineParts) {
    this.name = options.name;
    this.#o = options;
    this.#p = parts;
  }

  get idle(): boolean {
    return this.#outbox.length === 0 && this.#inFlight.size === 0;
  }

  get up(): boolean {
    return this.#up;
  }

  start(): void {
    this.#connect();
    this.#watch();
  }

  make(count: number): void {
    const { random, ledger, time } = this.#p;
    const { name, qos, declaresIds, poisonOneIn } = this.#o;
    for (let made = 0; made < count; made++) {
      const n = ++this.#made;
      const id = `${name}-${n}`;
      const poison = poisonOneIn > 0 && random.below(poisonOneIn) === 0;
      // Some were made a while ago, by a machine that was offline.
      const at = Math.round(time.wallMs()) - (random.below(8) === 0 ? random.below(600_000) : 0);
      const payload = Buffer.from(JSON.stringify({ id, n, at, ...(poison ? { poison } : {}) }));
      const topic = `${declaresIds ? "known" : "plain"}/${name}/${random.below(2)}`;
      const chosen = qos[random.below(qos.length)]!;
      const reading: Reading = {
        id,
        device: name,
        n,
        topic,
        door: "mqtt",
        qos: chosen,
        payload,
        poison,
        sentAtMs: null,
        ackedAtMs: null,
        copies: 0,
      };
      ledger.add(reading);
      this.#outbox.push(reading);
    }
    this.#pump();
  }

  /** Loses its connection, or what it takes for one. */
  cut(): void {
    this.#peer?.drop();
    this.#lost();
  }

  /** Switched off and on: what it had under way is forgotten, and so may never be answered for. */
  reboot(): void {
    this.#outbox.length = 0;
    this.#inFlight.clear();
    this.#packetId = 0;
    this.#forgetful = true;
    this.cut();
  }

  stop(): void {
    this.#stopped = true;
    this.#peer?.drop();
    this.#up = false;
  }

  #connect(): void {
    const { network, time } = this.#p;
    const attempt = ++this.#attempt;
    const stream = network.connect(this.name, "gateway");
    const mine = () => attempt === this.#attempt && !this.#stopped;
    const peer = new WirePeer(
      stream,
      (packet) => mine() && this.#received(packet),
      () => mine() && this.#lost(),
    );
    this.#peer = peer;
    const clean = this.#o.cleanSession || this.#forgetful;
    stream.on("connect", () => {
      peer.send({
        cmd: "connect",
        clientId: this.name,
        clean,
        protocolId: "MQTT",
        protocolVersion: 4,
        keepalive: KEEPALIVE_S,
      });
    });
    time.after(CONNECT_WITHIN_MS, () => {
      if (mine() && !this.#up) this.cut();
    });
  }

  #lost(): void {
    if (this.#stopped) return;
    this.#up = false;
    this.#attempt++;
    const { time, random } = this.#p;
    time.after(10 + random.below(BACKOFF_MS_MAX), () => {
      if (!this.#stopped) this.#connect();
    });
  }

  #received(packet: Packet): void {
    this.#heardAtMs = this.#p.time.monoMs();
    if (packet.cmd === "connack") {
      // The gateway has forgotten as well; the next session may be kept again.
      const again = packet.returnCode !== 0 || (this.#forgetful && !this.#o.cleanSession);
      if (packet.returnCode === 0) this.#forgetful = false;
      if (again) {
        this.cut();
        return;
      }
      this.#up = true;
      this.#resume();
      this.#pump();
    } else if (packet.cmd === "puback" || packet.cmd === "pubrec" || packet.cmd === "pubcomp") {
      this.#answered(packet.cmd, packet.messageId!);
    }
  }

  #resume(): void {
    const flights = [...this.#inFlight];
    if (this.#o.cleanSession) {
      // Whatever the gateway knew of these packet ids is gone: they go out as new, in their order.
      this.#inFlight.clear();
      const open = flights.filter(([, { stage }]) => stage === "publish").map(([, { reading }]) => reading);
      this.#outbox.unshift(...open);
      return;
    }
    for (const [messageId, flight] of flights) {
      flight.sentAtMs = this.#p.time.monoMs();
      if (flight.stage === "release") this.#peer!.send({ cmd: "pubrel", messageId });
      else this.#send(messageId, flight.reading, true);
    }
  }

  #pump(): void {
    if (!this.#up) return;
    while (this.#outbox.length > 0 && this.#inFlight.size < this.#o.inFlightMax) {
      const reading = this.#outbox.shift()!;
      if (reading.qos === 0) {
        this.#send(0, reading, false);
        continue;
      }
      const messageId = this.#freePacketId();
      this.#inFlight.set(messageId, { reading, stage: "publish", sentAtMs: this.#p.time.monoMs() });
      this.#send(messageId, reading, false);
    }
  }

  #freePacketId(): number {
    do this.#packetId = (this.#packetId % 65_535) + 1;
    while (this.#inFlight.has(this.#packetId));
    return this.#packetId;
  }

  #send(messageId: number, reading: Reading, dup: boolean): void {
    const { topic, payload, qos } = reading;
    reading.sentAtMs ??= this.#p.time.monoMs();
    reading.copies++;
    this.#p.trace(`${this.name} sends ${reading.id} qos ${qos}${dup ? " dup" : ""} as ${messageId}`);
    this.#peer!.send({ cmd: "publish", topic, payload, qos, retain: false, dup, messageId });
  }

  #answered(cmd: "puback" | "pubrec" | "pubcomp", messageId: number): void {
    const flight = this.#inFlight.get(messageId);
    if (cmd === "pubrec") this.#peer!.send({ cmd: "pubrel", messageId });
    if (!flight) return;
    const { reading } = flight;
    if (cmd !== "pubcomp" && reading.ackedAtMs === null) {
      reading.ackedAtMs = this.#p.time.monoMs();
      this.#p.trace(`${this.name} has its answer for ${reading.id}`);
    }
    if (cmd === "pubrec") {
      flight.stage = "release";
      flight.sentAtMs = this.#p.time.monoMs();
      return;
    }
    this.#inFlight.delete(messageId);
    // Now and then an application sends one again that it has an answer for, under its own id.
    if (this.#o.declaresIds && this.#p.random.below(12) === 0 && reading.copies < 3)
      this.#outbox.push(reading);
    this.#pump();
  }

  /** Gives up a connection on which the oldest has had no answer for long, or nothing was heard for long. */
  #watch(): void {
    const { time } = this.#p;
    time.after(WATCH_EVERY_MS, () => {
      if (this.#stopped) return;
      const nowMs = time.monoMs();
      const [oldest] = this.#inFlight.values();
      const sinceMs = Math.min(oldest?.sentAtMs ?? nowMs, this.#heardAtMs);
      if (this.#up && nowMs - sinceMs > ANSWER_WITHIN_MS) this.cut();
      else if (this.#up && nowMs - this.#heardAtMs >= WATCH_EVERY_MS) this.#peer!.send({ cmd: "pingreq" });
      this.#watch();
    });
  }
}
