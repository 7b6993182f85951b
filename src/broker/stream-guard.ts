/**
 * Stands between a socket and aedes, and is what aedes takes for the socket.
 *
 * Promise: aedes is handed whole packets that have been looked at (packet-scan.ts), and no more of them than
 * Pace allows; what is not handed over stays in the socket, so that memory per client is bounded and TCP
 * slows the sender. Left to itself aedes reads on with every 'readable', however much is pending, and keeps
 * packets of any size.
 *
 * Where many want to be worked on, it waits for its turn (turns.ts) and keeps to its share (workload.ts).
 *
 * States: greeting (waits for CONNECT) → entering (CONNECT is being answered, all else is held) → open →
 * shut. Reading stops while it is entering, while Pace is full, and while a rate is exceeded. A client that
 * does not take its acknowledgements fills Pace too, since a packet is done when its answer is on its way.
 *
 * Writing: what aedes writes in a turn of the event loop goes to the socket as one buffer. The guard notes
 * when the socket last took something, so that a frozen client can be told from a slow one.
 * At the end of the client's side (FIN) what it sent before is still worked off and answered, for a moment.
 */
import { Duplex } from "node:stream";
import type { Clock, Timer } from "../core/clock.ts";
import { Gathering } from "./gathering.ts";
import { sayGoodbye } from "./goodbye.ts";
import { Pace, type PaceLimits } from "./pace.ts";
import { PACKET, type PacketProblem, PacketScan } from "./packet-scan.ts";
import { PART_PACKETS, type Turns, type Waiting } from "./turns.ts";
import type { Workload } from "./workload.ts";

export interface GuardLimits extends PaceLimits {
  readonly connectPacketBytesMax: number;
  readonly packetBytesMax: number;
  readonly subscriptionsMax: number;
}

/** What guards share. */
export interface GuardSurroundings {
  readonly clock: Clock;
  readonly turns: Turns;
  readonly workload: Workload;
}

/** Whom the guard tells what happens on its stream. */
export interface GuardOwner {
  /** Its CONNECT is whole. */
  greeted(): void;
  /** Whole, checked packets in order of arrival. */
  received(packets: Buffer): void;
  /** CONNACK with return code 0 is going out: from here on the client may take itself for connected. */
  accepted(): void;
  /** The stream broke a rule; the guard closes right after. */
  broke(problem: PacketProblem): void;
  /** destroy() was called, perhaps not for the first time. */
  destroyCalled(): void;
}

/** So much of a client's goodbye is waited for: answers in flight, or its own close. */
const LINGER_MS = 5000;
/** Written in pieces of this, so that a slow client's progress is seen. */
const PIECE_BYTES = 64 * 1024;
const CONNACK = 0x20;
/** Of MQTT 5, reason 0x84: unsupported protocol version. */
const REFUSE_MQTT5 = Buffer.from([CONNACK, 3, 0, 0x84, 0]);
/** CONNACK of MQTT 3.1.1, return code 1: unacceptable protocol version [MQTT-3.1.2-2]. */
const REFUSE_OTHER = Buffer.from([CONNACK, 2, 0, 1]);

export class StreamGuard extends Duplex implements Waiting {
  readonly #socket: Duplex;
  readonly #limits: GuardLimits;
  readonly #clock: Clock;
  readonly #turns: Turns;
  readonly #workload: Workload;
  readonly owner: GuardOwner;
  readonly #scan = new PacketScan();
  readonly pace: Pace;
  #state: "greeting" | "entering" | "open" | "shut" = "greeting";
  /** Read and not handed over. */
  readonly #gathered = new Gathering();
  /** As the workload knows it. */
  #gatheredBytes = 0;
  /** Size of the packet that is gathered; 0 where not known. */
  #wanted = 0;
  #pumping = false;
  #holding = false;
  /** What it holds for: its own work, its turn, room in the workload, room to gather more. */
  #waits: "own" | "turn" | "room" | "to read" | null = null;
  /** Since when it gathers the packet that is not whole. */
  #gatheringMs = 0;
  #ended = false;
  #rateTimer: Timer | undefined;
  #lingerTimer: Timer | undefined;
  #writing = false;
  #progressMs = 0;
  #answered = false;
  /** Set before CONNACK where a session is there that aedes does not see (it looks at subscriptions alone). */
  sessionPresent = false;

  constructor(
    socket: Duplex,
    limits: GuardLimits,
    { clock, turns, workload }: GuardSurroundings,
    owner: GuardOwner,
  ) {
    super({ writableHighWaterMark: PIECE_BYTES, emitClose: true });
    this.#socket = socket;
    this.#limits = limits;
    this.#clock = clock;
    this.#turns = turns;
    this.#workload = workload;
    this.owner = owner;
    this.pace = new Pace(limits, clock, workload);
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
    socket.on("error", this.#onError);
    socket.on("close", this.#onError);
  }

  /** The client is through CONNECT: hand over what came after it. */
  open(): void {
    if (this.#state !== "entering") return;
    this.#state = "open";
    this.#pump();
  }

  /** A packet has been worked off. */
  done(): void {
    this.pace.done();
    this.freed();
  }

  /** Something of what it has in hand is done. */
  freed(): void {
    if (this.#waits === "own" || this.#waits === "room" || this.#ended) this.#pump();
  }

  get isIdle(): boolean {
    return this.pace.idle;
  }

  takeTurn(): void {
    this.#waits = null;
    this.#pump(null, true);
  }

  /** How long it has been gathering a packet of more than its share, while others have no room for theirs. */
  hoardingMs(nowMs: number): number {
    const hoards = !this.#holding && this.#workload.partial.fullFor(this.#gatheredBytes);
    return hoards ? nowMs - this.#gatheringMs : 0;
  }

  /** True while it is we who do not read, so that silence is not the client's fault. */
  get holding(): boolean {
    return this.#holding;
  }

  /** How long the socket has taken nothing of what waits for it. */
  stalledMs(nowMs: number): number {
    return this.#writing ? nowMs - this.#progressMs : 0;
  }

  /** Stops reading for good; what has been handed over is still answered. */
  stopReading(): void {
    if (this.#state === "shut") return;
    this.#ended = true;
    this.#keep(null);
    this.#socket.pause();
    this.#pump();
  }

  /** Closes without a goodbye: for a client that takes nothing anyway. */
  kill(): void {
    this.#socket.destroy();
    this.destroy();
  }

  override destroy(error?: Error): this {
    // What was written in this turn, such as the acknowledgement before a refusal, is not gone yet.
    while (this.writableCorked > 0 && !this.#socket.destroyed) this.uncork();
    super.destroy(error);
    this.owner.destroyCalled();
    return this;
  }

  override _read(): void {
    // Packets are handed to the owner; this side of the stream stays empty.
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#send(chunk, callback);
  }

  override _writev(chunks: { chunk: Buffer }[], callback: (error?: Error | null) => void): void {
    let bytes = 0;
    for (let i = 0; i < chunks.length; i++) bytes += chunks[i]!.chunk.length;
    const whole = Buffer.allocUnsafe(bytes);
    let at = 0;
    for (let i = 0; i < chunks.length; i++) {
      const { chunk } = chunks[i]!;
      whole.set(chunk, at);
      at += chunk.length;
    }
    this.#send(whole, callback);
  }

  override _destroy(_error: Error | null, callback: (error?: Error | null) => void): void {
    this.#state = "shut";
    this.#holding = false;
    this.#keep(null);
    this.#turns.leave(this);
    this.pace.end();
    this.#rateTimer?.cancel();
    this.#lingerTimer?.cancel();
    this.#socket.off("data", this.#onData);
    sayGoodbye(this.#socket, this.#clock, LINGER_MS);
    callback(null);
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#state === "shut" || this.#ended) return;
    if (this.#gathered.bytes === 0) this.#pump(chunk);
    else {
      this.#keep(chunk);
      if (!this.#isIncomplete) this.#pump();
      else if (!this.#mayGather()) {
        this.#holding = true;
        this.#socket.pause();
      }
    }
  };

  readonly #onEnd = (): void => {
    this.#ended = true;
    if (this.#state === "shut") return;
    this.#lingerTimer = this.#clock.after(LINGER_MS, () => this.destroy());
    this.#pump();
  };

  readonly #onError = (): void => {
    if (!this.destroyed) this.destroy();
  };

  /** Hands over as many whole packets as may go, `fresh` ones or those gathered, and decides whether to read on. */
  #pump(fresh: Buffer | null = null, isItsTurn = false): void {
    if (this.#state === "shut") return;
    if (this.#pumping || (this.#waits === "turn" && !this.#ended)) {
      if (fresh) this.#keep(fresh);
      return;
    }
    this.#pumping = true;
    this.#waits = null;
    const isIncomplete = fresh === null && this.#isIncomplete;
    this.#holding =
      !isIncomplete && this.#handOver(fresh ?? this.#takeGathered(), isItsTurn ? PART_PACKETS : 0);
    if (!this.#holding && !this.#ended && this.#isIncomplete) this.#holding = !this.#mayGather();
    this.#pumping = false;
    if (this.destroyed) return;
    if (this.#holding) this.#socket.pause();
    else if (this.#ended) {
      // Answers of this turn are on their way to the socket.
      if (this.pace.idle && !this.writableEnded) this.end(() => this.destroy());
    } else if (this.#socket.isPaused()) this.#socket.resume();
  }

  /** True where something is held back that could be handed over. */
  #handOver(bytes: Buffer | null, part: number): boolean {
    const scan = this.#scan;
    let buf = bytes;
    let left = part;
    while (buf) {
      let at = 0;
      this.#waits = null;
      while (at < buf.length) {
        this.#waits = this.#heldBy();
        if (this.#waits) break;
        if (left === 0 && !this.#turns.mayGoOn) {
          this.#waits = "turn";
          break;
        }
        if (left === 0) left = PART_PACKETS;
        const greeting = this.#state === "greeting";
        const bytesMax = greeting ? this.#limits.connectPacketBytesMax : this.#limits.packetBytesMax;
        const known = scan.header(buf, at, bytesMax);
        if (scan.problem) return this.#broke(scan.problem);
        if (!known || at + scan.size > buf.length) break;
        if (!scan.body(buf, at, this.#limits.subscriptionsMax)) return this.#broke(scan.problem!);
        if (scan.type === PACKET.publish && this.#overRate(scan.size)) {
          this.#waits = "own";
          break;
        }
        at += scan.size;
        left--;
        this.pace.took();
        if (greeting) {
          this.#state = "entering";
          this.owner.greeted();
        }
      }
      const held: boolean = this.#waits !== null;
      this.#wanted = held ? 0 : scan.size;
      const rest: Buffer | null = at === buf.length ? null : at === 0 ? buf : buf.subarray(at);
      if (at > 0) this.owner.received(at === buf.length ? buf : buf.subarray(0, at));
      if (this.destroyed) return false;
      // While it was handed over, room may have been made again; but what is incomplete stays so.
      if (held && at > 0 && this.#waits !== "turn" && !this.#heldBy()) {
        buf = rest;
        continue;
      }
      if (rest) this.#keep(rest);
      if (this.#waits === "turn") this.#turns.wait(this);
      else if (this.#waits === "room") this.#turns.hold(this);
      return held && rest !== null;
    }
    return false;
  }

  #heldBy(): "own" | "room" | null {
    if (this.#state === "entering" || this.#rateTimer !== undefined || this.pace.full) return "own";
    return this.pace.hasItsShare ? "room" : null;
  }

  /** Whether what is gathered is known to be less than a whole packet. */
  get #isIncomplete(): boolean {
    return this.#gatheredBytes > 0 && this.#gatheredBytes < this.#wanted;
  }

  /** Whether more may be read of the packet that is not whole. */
  #mayGather(): boolean {
    if (!this.#workload.partial.fullFor(this.#gatheredBytes) || this.#turns.mayRead(this)) return true;
    this.#waits = "to read";
    this.#turns.hold(this);
    return false;
  }

  #keep(bytes: Buffer | null): void {
    if (this.#gathered.bytes === 0) this.#gatheringMs = this.#clock.monoMs();
    if (bytes) this.#gathered.push(bytes);
    else this.#gathered.clear();
    this.#count();
  }

  #takeGathered(): Buffer | null {
    this.#turns.hasRead(this);
    const bytes = this.#gathered.take();
    this.#count();
    return bytes;
  }

  #count(): void {
    if (this.#gathered.bytes === this.#gatheredBytes) return;
    this.#workload.partial.moved(this.#gatheredBytes, this.#gathered.bytes);
    this.#gatheredBytes = this.#gathered.bytes;
  }

  #overRate(bytes: number): boolean {
    const waitMs = this.pace.wait(bytes);
    if (waitMs === 0) return false;
    this.#rateTimer = this.#clock.after(waitMs, () => {
      this.#rateTimer = undefined;
      this.#pump();
    });
    return true;
  }

  #broke(problem: PacketProblem): false {
    if (problem === "unsupported protocol version") {
      this.#socket.write(this.#scan.protocolLevel === 5 ? REFUSE_MQTT5 : REFUSE_OTHER);
    }
    this.owner.broke(problem);
    this.destroy();
    return false;
  }

  #send(bytes: Buffer, callback: (error?: Error | null) => void): void {
    if (!this.#answered && bytes[0] === CONNACK && bytes.length >= 4) {
      this.#answered = true;
      if (bytes[3] === 0) {
        if (this.sessionPresent) bytes[2] = 1; // [MQTT-3.2.2-2]
        this.owner.accepted();
      }
    }
    this.#writing = true;
    this.#progressMs = this.#clock.monoMs();
    this.#sendFrom(bytes, 0, callback);
  }

  #sendFrom(bytes: Buffer, at: number, callback: (error?: Error | null) => void): void {
    const end = at + PIECE_BYTES;
    const last = end >= bytes.length;
    this.#socket.write(at === 0 && last ? bytes : bytes.subarray(at, end), (error) => {
      this.#progressMs = this.#clock.monoMs();
      if (error || this.destroyed) {
        this.#writing = false;
        callback(null);
      } else if (!last) this.#sendFrom(bytes, end, callback);
      else {
        this.#writing = false;
        callback();
        if (this.#waits === "own") this.#pump();
      }
    });
  }
}
