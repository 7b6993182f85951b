/**
 * One connection to one line by way of modbus-serial, with what that library leaves open closed here:
 *
 * - It has no timeout for connecting, and its timeout for answers cannot tell a slow unit from a dead line. So
 *   both are ours, on our clock.
 * - It does not reconnect. A wire that is broken is thrown away, and line.ts makes another.
 * - On TCP an answer is matched by its transaction id, so one that comes late is dropped. On a serial line there
 *   is no such id: what comes late, or is left over from noise, would be taken for the answer to the next
 *   question. So whatever has been received is thrown away before each question.
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

export interface Question {
  readonly unit: number;
  readonly table: Table;
  readonly address: number;
  readonly count: number;
}

export type Answer =
  | { readonly ok: true; readonly data: Buffer }
  | { readonly ok: false; readonly failure: Failure };

type Client = InstanceType<typeof ModbusSerial.default>;
type Ask = Client["writeFC3"];

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
    if (!this.#socket) this.#forgetReceived();
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

  #send({ unit, table, address, count }: Question): Promise<Answer> {
    const client = this.#client;
    const ask: Ask = {
      coil: client.writeFC1 as unknown as Ask,
      discrete: client.writeFC2 as unknown as Ask,
      holding: client.writeFC3,
      input: client.writeFC4,
    }[table];
    return new Promise((resolve) => {
      try {
        ask.call(client, unit, address, count, (error: unknown, result?: { buffer: Buffer }) => {
          if (result) resolve({ ok: true, data: result.buffer });
          else resolve({ ok: false, failure: failureOf(error) });
        });
      } catch (error) {
        resolve({ ok: false, failure: unreachableFailure(errorText(error)) });
      }
    });
  }

  #forgetReceived(): void {
    const port = (this.#client as unknown as { _port?: { _buffer?: Buffer } })._port;
    if (port) port._buffer = Buffer.alloc(0);
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
