/**
 * The server's side of a WebSocket (RFC 6455), as a stream of bytes, which is what MQTT takes it for: packets
 * need not keep to frames or messages [MQTT-6.0.0-2].
 *
 * Promise: nothing of a message is kept here, whatever its size: what has come is handed on, and where the
 * reader does not take it the socket is not read. A library that gathers whole messages would keep the
 * largest one for every connection, also for those of whom nothing is known yet.
 *
 * Only binary frames carry MQTT [MQTT-6.0.0-1]. What breaks the rules is answered with a close frame and its
 * code, and ends the stream. No extension is offered, so none is spoken.
 */
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { Duplex } from "node:stream";

const OPCODE = { continuation: 0, binary: 2, close: 8, ping: 9, pong: 10 } as const;
/** Section 7.4.1. */
const CODE = { normal: 1000, protocolError: 1002, unsupported: 1003, tooLarge: 1009 } as const;
const CONTROL_BYTES_MAX = 125;
const HEADER_BYTES_MAX = 14;
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** Why a request is no WebSocket handshake (section 4.2.1), or null where it is one. */
export function handshakeProblem({ method, headers }: IncomingMessage): string | null {
  if (method !== "GET") return "not a GET";
  if (headers.upgrade?.toLowerCase() !== "websocket") return "no upgrade to websocket";
  if (headers["sec-websocket-version"] !== "13") return "not version 13";
  return /^[A-Za-z0-9+/]{22}==$/.test(headers["sec-websocket-key"] ?? "") ? null : "no Sec-WebSocket-Key";
}

/** Answers the handshake, after which the socket speaks WebSocket. */
export function acceptHandshake(request: IncomingMessage, socket: Duplex, subprotocol: string): void {
  const key = createHash("sha1").update(`${request.headers["sec-websocket-key"]}${GUID}`).digest("base64");
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${key}\r\nSec-WebSocket-Protocol: ${subprotocol}\r\n\r\n`,
  );
}

export class WebSocketStream extends Duplex {
  readonly #socket: Socket;
  /** A frame's header as far as it has come. */
  readonly #header = Buffer.alloc(HEADER_BYTES_MAX);
  #headerBytes = 0;
  /** Bytes of the frame that are still to come; -1 while its header is not whole. */
  #left = -1;
  #opcode = 0;
  #isFinal = false;
  readonly #mask = Buffer.alloc(4);
  #maskAt = 0;
  /** A control frame's payload. */
  #control: Buffer[] = [];
  /** Between the first frame of a message and its last. */
  #inMessage = false;
  #hasEnded = false;
  #closeSent = false;

  /** `head` is what came behind the handshake's request. */
  constructor(socket: Socket, head: Buffer) {
    super({ emitClose: true });
    this.#socket = socket;
    socket.on("data", this.#onData);
    socket.on("end", () => this.#finishReading());
    socket.on("error", (error) => this.destroy(error));
    socket.on("close", () => this.destroy());
    if (head.length > 0) socket.unshift(head);
  }

  override _read(): void {
    if (!this.#hasEnded && this.#socket.isPaused()) this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    if (this.#closeSent || !this.#socket.writable) {
      callback(null);
      return;
    }
    this.#socket.cork();
    this.#socket.write(headerOf(OPCODE.binary, chunk.length));
    this.#socket.write(chunk, (error) => callback(error));
    this.#socket.uncork();
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#sendClose(CODE.normal);
    this.#socket.end();
    callback(null);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#hasEnded = true;
    this.#socket.destroy();
    callback(error);
  }

  readonly #onData = (chunk: Buffer): void => {
    let at = 0;
    while (at < chunk.length && !this.#hasEnded) {
      if (this.#left < 0) at = this.#readHeader(chunk, at);
      else at = this.#readPayload(chunk, at);
    }
  };

  #readHeader(chunk: Buffer, from: number): number {
    let at = from;
    for (;;) {
      const wanted = this.#headerWanted();
      if (this.#headerBytes === wanted) break;
      if (at === chunk.length) return at;
      this.#header[this.#headerBytes++] = chunk[at++]!;
    }
    this.#headerBytes = 0;
    this.#begin();
    return at;
  }

  /** Length, by what is known of it: 2 bytes, the longer lengths, the mask. */
  #headerWanted(): number {
    if (this.#headerBytes < 2) return 2;
    const length = this.#header[1]! & 0x7f;
    const masked = (this.#header[1]! & 0x80) === 0 ? 0 : 4;
    return 2 + masked + (length === 126 ? 2 : length === 127 ? 8 : 0);
  }

  /** The header is whole: what follows belongs to its frame. */
  #begin(): void {
    const header = this.#header;
    const [first, second] = [header[0]!, header[1]!];
    this.#isFinal = (first & 0x80) !== 0;
    this.#opcode = first & 0x0f;
    const short = second & 0x7f;
    const problem =
      (first & 0x70) !== 0 || (second & 0x80) === 0 ? CODE.protocolError : this.#opcodeProblem(short);
    if (problem !== null) {
      this.#fail(problem);
      return;
    }
    const maskAt = 2 + (short === 126 ? 2 : short === 127 ? 8 : 0);
    header.copy(this.#mask, 0, maskAt, maskAt + 4);
    this.#maskAt = 0;
    if (this.#opcode < OPCODE.close) this.#inMessage = !this.#isFinal;
    this.#left = short === 126 ? header.readUInt16BE(2) : short === 127 ? header.readUInt32BE(6) : short;
    if (this.#left === 0) this.#frameDone();
  }

  #opcodeProblem(short: number): number | null {
    const opcode = this.#opcode;
    if (short === 127 && this.#header.readUInt32BE(2) !== 0) return CODE.tooLarge;
    if (opcode >= OPCODE.close) {
      const isControl = opcode <= OPCODE.pong && this.#isFinal && short <= CONTROL_BYTES_MAX;
      return isControl ? null : CODE.protocolError;
    }
    if (opcode === 1) return CODE.unsupported;
    // A message begins with a binary frame and goes on with continuations, and with nothing else.
    const goesOn = opcode === OPCODE.continuation;
    return (goesOn || opcode === OPCODE.binary) && goesOn === this.#inMessage ? null : CODE.protocolError;
  }

  #readPayload(chunk: Buffer, from: number): number {
    const bytes = Math.min(this.#left, chunk.length - from);
    const part = chunk.subarray(from, from + bytes);
    const mask = this.#mask;
    let maskAt = this.#maskAt;
    for (let i = 0; i < bytes; i++) part[i]! ^= mask[maskAt++ & 3]!;
    this.#maskAt = maskAt & 3;
    this.#left -= bytes;
    if (this.#opcode >= OPCODE.close) this.#control.push(part);
    else if (!this.push(part)) this.#socket.pause();
    if (this.#left === 0) this.#frameDone();
    return from + bytes;
  }

  #frameDone(): void {
    this.#left = -1;
    if (this.#opcode < OPCODE.close) return;
    const payload = Buffer.concat(this.#control);
    this.#control = [];
    if (this.#opcode === OPCODE.close) {
      this.#finishReading();
    } else if (this.#opcode === OPCODE.ping && !this.#closeSent && this.#socket.writable) {
      // One that asks and does not read the answers gets none any more: it has lost what they say.
      if (this.#socket.writableNeedDrain) return;
      this.#socket.write(Buffer.concat([headerOf(OPCODE.pong, payload.length), payload]));
    }
  }

  #fail(code: number): void {
    this.#sendClose(code);
    this.#finishReading();
  }

  /** Nothing more comes; what came is still answered. */
  #finishReading(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.push(null);
    // Discarded, so that the end of the connection is seen.
    this.#socket.resume();
  }

  #sendClose(code: number): void {
    if (this.#closeSent || !this.#socket.writable) return;
    this.#closeSent = true;
    this.#socket.write(Buffer.concat([headerOf(OPCODE.close, 2), Buffer.from([code >> 8, code & 0xff])]));
  }
}

function headerOf(opcode: number, bytes: number): Buffer {
  const first = 0x80 | opcode;
  if (bytes < 126) return Buffer.from([first, bytes]);
  if (bytes < 65_536) return Buffer.from([first, 126, bytes >> 8, bytes & 0xff]);
  const header = Buffer.alloc(10);
  header[0] = first;
  header[1] = 127;
  header.writeUInt32BE(bytes, 6);
  return header;
}
