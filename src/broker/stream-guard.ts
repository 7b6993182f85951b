/**
 * Stands between a socket and aedes, and is what aedes takes for the socket.
 *
 * Promise: aedes is handed whole packets that have been looked at (packet-scan.ts), and no more of them than
 * Pace allows; what is not handed over stays in the socket, so that memory per client is bounded and TCP
 * slows the sender. Left to itself aedes reads on with every 'readable', however much is pending, and keeps
 * packets of any size.
 *
 * States: greeting (waits for CONNECT) → entering (CONNECT is being answered, all else is held) → open →
 * shut. Reading stops while it is entering, while Pace is full, and while a rate is exceeded. A client that
 * does not take its acknowledgements fills Pace too, since a packet is done when its answer is on its way.
 *
 * Writing: what aedes writes in a turn of the event loop goes to the socket as one buffer. The guard notes
 * when the socket last took something, so that a frozen client can be told from a slow one.
 *
 * At the end of the client's side (FIN) what it sent before is still worked off and answered, for a moment.
 */
import { Duplex } from "node:stream";
import type { Clock, Timer } from "../core/clock.ts";
import { Pace, type PaceLimits } from "./pace.ts";
import { PACKET, type PacketProblem, PacketScan } from "./packet-scan.ts";

export interface GuardLimits extends PaceLimits {
  readonly connectPacketBytesMax: number;
  readonly packetBytesMax: number;
}

/** Whom the guard tells what happens on its stream. */
export interface GuardOwner {
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
/** CONNACK of MQTT 5, reason 0x84: unsupported protocol version. */
const REFUSE_MQTT5 = Buffer.from([CONNACK, 3, 0, 0x84, 0]);
/** CONNACK of MQTT 3.1.1, return code 1: unacceptable protocol version [MQTT-3.1.2-2]. */
const REFUSE_OTHER = Buffer.from([CONNACK, 2, 0, 1]);

export class StreamGuard extends Duplex {
  readonly #socket: Duplex;
  readonly #limits: GuardLimits;
  readonly #clock: Clock;
  readonly owner: GuardOwner;
  readonly #scan = new PacketScan();
  readonly pace: Pace;
  #state: "greeting" | "entering" | "open" | "shut" = "greeting";
  /** Read and not handed over: bytes in front, and pieces behind them of a packet that is not whole yet. */
  #rest: Buffer | null = null;
  #pieces: Buffer[] = [];
  #piecesBytes = 0;
  /** Size of the packet that the rest and pieces begin; 0 where not known. */
  #wanted = 0;
  #pumping = false;
  #holding = false;
  #ended = false;
  #rateTimer: Timer | undefined;
  #lingerTimer: Timer | undefined;
  #writing = false;
  #progressMs = 0;
  #answered = false;
  /** Set before CONNACK where a session is there that aedes does not see (it looks at subscriptions alone). */
  sessionPresent = false;

  constructor(socket: Duplex, limits: GuardLimits, clock: Clock, owner: GuardOwner) {
    super({ writableHighWaterMark: PIECE_BYTES, emitClose: true });
    this.#socket = socket;
    this.#limits = limits;
    this.#clock = clock;
    this.owner = owner;
    this.pace = new Pace(limits, clock);
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
    socket.on("error", this.#onError);
    socket.on("close", this.#onClose);
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
    if (this.#holding || this.#ended) this.#pump();
  }

  doneBytes(bytes: number): void {
    this.pace.doneBytes(bytes);
  }

  /** True while we are the reason that nothing is read, so that silence is not the client's fault. */
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
    this.#rest = null;
    this.#socket.pause();
    this.#pump();
  }

  /** Closes without a goodbye: for a client that takes nothing anyway. */
  kill(): void {
    this.#socket.destroy();
    this.destroy();
  }

  override destroy(error?: Error): this {
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
    this.#rest = null;
    this.#pieces = [];
    this.#rateTimer?.cancel();
    this.#lingerTimer?.cancel();
    this.#goodbye();
    callback(null);
  }

  /** Sends what is still to be sent, then closes; a client that does not close its side is not waited for. */
  #goodbye(): void {
    const socket = this.#socket;
    socket.off("data", this.#onData);
    if (socket.destroyed) return;
    // Unread bytes would make the close a reset, which can take a CONNACK back from the client.
    socket.resume();
    socket.end();
    let timer = this.#clock.after(LINGER_MS, () => socket.destroy());
    socket.once("finish", () => {
      timer.cancel();
      timer = this.#clock.after(LINGER_MS / 10, () => socket.destroy());
    });
    socket.once("close", () => timer.cancel());
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#state === "shut" || this.#ended) return;
    if (this.#piecesBytes > 0 || this.#rest) {
      this.#pieces.push(chunk);
      this.#piecesBytes += chunk.length;
      if (this.#rest && this.#rest.length + this.#piecesBytes < this.#wanted) return;
      this.#rest = this.#rest ? Buffer.concat([this.#rest, ...this.#pieces]) : Buffer.concat(this.#pieces);
      this.#pieces = [];
      this.#piecesBytes = 0;
    } else this.#rest = chunk;
    this.#pump();
  };

  readonly #onEnd = (): void => {
    this.#ended = true;
    if (this.#state === "shut") return;
    this.#lingerTimer = this.#clock.after(LINGER_MS, () => this.destroy());
    this.#pump();
  };

  readonly #onError = (): void => {
    this.destroy();
  };

  readonly #onClose = (): void => {
    if (!this.destroyed) this.destroy();
  };

  /** Hands over as many whole packets as may go, and decides whether to read on. */
  #pump(): void {
    if (this.#pumping || this.#state === "shut") return;
    this.#pumping = true;
    this.#holding = this.#handOver();
    this.#pumping = false;
    if (this.destroyed) return;
    if (this.#holding) this.#socket.pause();
    else if (this.#ended) {
      // Answers of this turn are on their way to the socket.
      if (this.pace.idle && !this.writableEnded) this.end(() => this.destroy());
    } else if (this.#socket.isPaused()) this.#socket.resume();
  }

  /** True where something is held back that could be handed over. */
  #handOver(): boolean {
    const scan = this.#scan;
    while (this.#rest) {
      const buf: Buffer = this.#rest;
      let at = 0;
      let held = false;
      while (at < buf.length) {
        if (this.#held()) {
          held = true;
          break;
        }
        const bytesMax =
          this.#state === "greeting" ? this.#limits.connectPacketBytesMax : this.#limits.packetBytesMax;
        const known = scan.header(buf, at, bytesMax);
        if (scan.problem) return this.#broke(scan.problem);
        if (!known || at + scan.size > buf.length) break;
        if (!scan.body(buf, at)) return this.#broke(scan.problem!);
        if (scan.type === PACKET.publish && this.#overRate(scan.size)) {
          held = true;
          break;
        }
        at += scan.size;
        this.pace.took();
        if (this.#state === "greeting") this.#state = "entering";
      }
      this.#wanted = held ? 0 : scan.size;
      this.#rest = at === buf.length ? null : at === 0 ? buf : buf.subarray(at);
      if (at > 0) this.owner.received(at === buf.length ? buf : buf.subarray(0, at));
      if (this.destroyed) return false;
      // While it was handed over, room may have been made again; but what is incomplete stays so.
      if (!held) return false;
      if (at === 0 || this.#held() || this.#rateTimer) return true;
    }
    return false;
  }

  #held(): boolean {
    return this.#state === "entering" || this.pace.full || this.#rateTimer !== undefined;
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
    this.#rest = null;
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
        if (this.#holding) this.#pump();
      }
    });
  }
}
