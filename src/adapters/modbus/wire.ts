/**
 * One connection to one line by way of modbus-serial, with what that library leaves open closed here:
 *
 * - It has no timeout for connecting, and its timeout for answers cannot tell a slow unit from a dead line. So
 *   both are ours, on our clock.
 * - It does not reconnect. A wire that is broken is thrown away, and line.ts makes another.
 * - On TCP an answer is matched by its transaction id, so one that comes late is dropped. On a serial line there
 *   is no such id: what comes late, or is left over from noise, would be taken for the answer to the next
 *   question. So whatever has been received is thrown away before each question.
 * - It does not know how long the answer to a mask write is on a serial line.
 * - It emits `error` where nobody may be listening, which would end the process.
 */
import net from "node:net";
import type ModbusSerial from "modbus-serial";
import type { Clock } from "../../core/clock.ts";
import { errorText } from "../../core/errors.ts";
import {
  exceptionFailure,
  type Failure,
  garbledFailure,
  timeoutFailure,
  unreachableFailure,
} from "./failure.ts";
import type { ConnectionConfig, Table } from "./schema.ts";

export interface ReadQuestion {
  readonly unit: number;
  readonly table: Table;
  readonly address: number;
  readonly count: number;
}

/** What is to stand there: a coil; whole registers (by function 6 or 16); some bits of one register. */
export type Change =
  | { readonly kind: "coil"; readonly on: boolean }
  | { readonly kind: "registers"; readonly data: Buffer; readonly by: 6 | 16 }
  | { readonly kind: "mask"; readonly and: number; readonly or: number };

export interface WriteQuestion {
  readonly unit: number;
  readonly address: number;
  readonly change: Change;
  /** Asked at the last moment before the first byte leaves; false keeps it from leaving. */
  readonly going: () => boolean;
}

export type Question = ReadQuestion | WriteQuestion;

export type Answer =
  | { readonly ok: true; readonly data: Buffer }
  | { readonly ok: false; readonly failure: Failure };

type Client = InstanceType<typeof ModbusSerial.default>;
/** Of the library: a read has a buffer; a write has what the machine says it has done, by the function's own names. */
interface Result {
  readonly buffer?: Buffer;
  readonly address?: number;
  readonly state?: boolean;
  readonly value?: number;
  readonly length?: number;
  readonly andMask?: number;
  readonly orMask?: number;
}
type Answered = (error: unknown, result?: Result) => void;
type Ask<What> = (unit: number, address: number, what: What, answered: Answered) => void;

interface SerialBuffer {
  _buffer: Buffer;
  /** Of the answer that is waited for. */
  _length: number;
}
const MASK_ANSWER_BYTES = 10;

/** What a serial line is given to fall silent after an answer that did not come, before the next question. */
const QUIET_MS = 50;

export class Wire {
  readonly #client: Client;
  readonly #clock: Clock;
  readonly #socket: net.Socket | null;
  #broken: string | null = null;
  /** Fails the question that is under way. */
  #fail: ((why: string) => void) | null = null;

  private constructor(client: Client, clock: Clock, socket: net.Socket | null) {
    this.#client = client;
    this.#clock = clock;
    this.#socket = socket;
    client.on("error", (error: unknown) => this.#break(errorText(error)));
    const closed = socket ? "the machine closed the connection" : "the serial port is gone";
    client.on("close", () => this.#break(closed));
    // Where the library has let go of its socket already.
    socket?.on("error", (error) => this.#break(errorText(error)));
    socket?.on("close", () => this.#break(closed));
  }

  /** Resolves with a wire, or with why there is none. */
  static async open(
    connection: ConnectionConfig,
    timeoutMs: number,
    clock: Clock,
    signal: AbortSignal,
  ): Promise<Wire | Failure> {
    // Here rather than above: it loads the serial ports' native module, and many gateways have no such machine.
    const { default: library } = await import("modbus-serial");
    const client = new library.default();
    const opening =
      connection.type === "tcp"
        ? openTcp(client, connection, signal)
        : openSerial(client, connection).then(() => null);
    const late = timer(clock, timeoutMs);
    try {
      const opened = await Promise.race([opening, late.due]);
      if (opened !== "due") return new Wire(client, clock, opened);
      // It may open yet; nobody wants it then.
      void opening.then(
        (socket) => (socket ? socket.destroy() : client.close(() => {})),
        () => {},
      );
      return unreachableFailure(`no connection within ${timeoutMs} ms`);
    } catch (error) {
      // serialport begins with the word itself.
      return unreachableFailure(errorText(error).replace(/^Error: /, ""));
    } finally {
      late.cancel();
    }
  }

  get broken(): boolean {
    return this.#broken !== null;
  }

  /** One question at a time: line.ts sees to that. Never rejects. */
  async ask(question: Question, timeoutMs: number): Promise<Answer> {
    if (this.#broken !== null) return { ok: false, failure: unreachableFailure(this.#broken) };
    if ("going" in question && !question.going()) return { ok: false, failure: HELD_BACK };
    if (this.#port) this.#port._buffer = Buffer.alloc(0);
    const broken = new Promise<Answer>((resolve) => {
      this.#fail = (why) => resolve({ ok: false, failure: unreachableFailure(why) });
    });
    const late = timer(this.#clock, timeoutMs);
    const answer = await Promise.race([this.#send(question), broken, late.due]);
    this.#fail = null;
    late.cancel();
    if (answer !== "due" && (answer.ok || answer.failure.answered)) return answer;
    if (!this.#socket && !this.broken) await timer(this.#clock, QUIET_MS).due;
    return answer === "due" ? { ok: false, failure: timeoutFailure(timeoutMs) } : answer;
  }

  /** A question under way is answered `unreachable`. */
  close(why = "closed"): Promise<void> {
    this.#break(why);
    if (this.#socket) {
      this.#socket.destroy();
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      if (this.#client.isOpen) this.#client.close(() => resolve());
      else resolve();
    });
  }

  #send(question: Question): Promise<Answer> {
    return new Promise((resolve) => {
      try {
        const answered: Answered = (error, result) => {
          if (!result) resolve({ ok: false, failure: failureOf(error) });
          else if ("change" in question) resolve(taken(question, result));
          else resolve({ ok: true, data: result.buffer! });
        };
        if ("change" in question) this.#write(question, answered);
        else this.#read(question, answered);
      } catch (error) {
        resolve({ ok: false, failure: unreachableFailure(errorText(error)) });
      }
    });
  }

  #read({ unit, table, address, count }: ReadQuestion, answered: Answered): void {
    const client = this.#client;
    const ask = {
      coil: client.writeFC1,
      discrete: client.writeFC2,
      holding: client.writeFC3,
      input: client.writeFC4,
    }[table] as unknown as Ask<number>;
    ask.call(client, unit, address, count, answered);
  }

  #write({ unit, address, change }: WriteQuestion, answered: Answered): void {
    const client = this.#client as unknown as Record<"writeFC5" | "writeFC6" | "writeFC16", Ask<unknown>> & {
      writeFC22(unit: number, address: number, and: number, or: number, answered: Answered): void;
    };
    if (change.kind === "coil") client.writeFC5(unit, address, change.on, answered);
    else if (change.kind === "mask") {
      client.writeFC22(unit, address, change.and, change.or, answered);
      // On a serial line the library knows no length for this answer, and would wait for ever.
      if (this.#port) this.#port._length = MASK_ANSWER_BYTES;
    } else if (change.by === 6) client.writeFC6(unit, address, change.data.readUInt16BE(0), answered);
    else client.writeFC16(unit, address, change.data, answered);
  }

  /** The library's buffer of a serial line; null over TCP. */
  get #port(): SerialBuffer | null {
    return this.#socket ? null : (this.#client as unknown as { _port: SerialBuffer })._port;
  }

  #break(why: string): void {
    this.#broken ??= why;
    this.#fail?.(this.#broken);
  }
}

function timer(clock: Clock, delayMs: number): { readonly due: Promise<"due">; cancel(): void } {
  const { promise, resolve } = Promise.withResolvers<"due">();
  const { cancel } = clock.after(delayMs, () => resolve("due"));
  return { due: promise, cancel };
}

async function openTcp(
  client: Client,
  { host, port }: ConnectionConfig & { type: "tcp" },
  signal: AbortSignal,
): Promise<net.Socket> {
  const socket = net.connect({ host, port, noDelay: true, keepAlive: true, signal });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
  } catch (error) {
    socket.destroy();
    throw error;
  }
  socket.on("error", () => {});
  await client.linkTCP(socket, { port });
  return socket;
}

async function openSerial(client: Client, connection: ConnectionConfig & { type: "serial" }): Promise<void> {
  const { path, baud, parity, dataBits, stopBits } = connection;
  await client.connectRTUBuffered(path, { baudRate: baud, parity, dataBits, stopBits });
}

/** The library tells its failures apart by an exception's code, and for the rest by words alone. */
function failureOf(error: unknown): Failure {
  const { modbusCode } = error as { modbusCode?: unknown };
  if (typeof modbusCode === "number") return exceptionFailure(modbusCode);
  const text = errorText(error);
  if (text === "CRC error") return garbledFailure("its checksum is wrong");
  return /^(Data length|Unexpected data)/.test(text) ? garbledFailure(text) : unreachableFailure(text);
}

const HELD_BACK = unreachableFailure("it was not sent");

/** The answer to a write repeats the question, or part of it; one that does not is an answer to something else. */
function taken({ address, change }: WriteQuestion, result: Result): Answer {
  if (result.address === address && repeats(change, result)) return { ok: true, data: Buffer.alloc(0) };
  return { ok: false, failure: garbledFailure("it is the answer to another write") };
}

function repeats(change: Change, result: Result): boolean {
  switch (change.kind) {
    case "coil":
      return result.state === change.on;
    case "mask":
      return result.andMask === change.and && result.orMask === change.or;
    case "registers":
      if (change.by === 6) return result.value === change.data.readUInt16BE(0);
      return result.length === change.data.length / 2;
  }
}
