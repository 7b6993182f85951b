/**
 * One serial port, kept open: an adapter that is pulled out and plugged in again is a state, not an end.
 *
 *   opening ──▶ open ──gone──▶ waiting ──▶ opening …
 *
 * That it is gone serialport mostly says by itself. Sometimes the read that is under way then ends with no bytes
 * and no error, and is begun again for ever; so its path is looked at, whether it still is the device that was
 * opened.
 *
 * Promise: it is tried again for as long as it takes, every few seconds at most; nothing that serialport emits
 * ends the process; after close() nothing is open. What was written and not sent when it went is lost, and
 * whoever wrote it is told.
 */
import { lstat, stat } from "node:fs/promises";
import type { SerialPort } from "serialport";
import { type Clock, sleep, type Timer } from "../../core/clock.ts";
import { errorText } from "../../core/errors.ts";
import type { SerialConnection } from "./schema.ts";

const REOPEN_MS_MIN = 250;
/** Nobody wants to wait longer for an instrument that has just been plugged in. */
const REOPEN_MS_MAX = 4000;
/** A port whose other end takes nothing may never drain; then it is left to the system. */
const CLOSE_MS_MAX = 1000;
const LOOK_EVERY_MS = 1000;
const GONE = "the serial port is gone";

export interface PortListener {
  onData(data: Buffer): void;
  onOpen(): void;
  /** It is gone, or cannot be opened; told at each try. */
  onGone(why: string): void;
}

export class Port {
  readonly #connection: SerialConnection;
  readonly #clock: Clock;
  readonly #listener: PortListener;
  #port: SerialPort | null = null;
  #opening: Promise<void> | null = null;
  #timer: Timer | null = null;
  #closed = false;
  #tries = 0;

  constructor(connection: SerialConnection, clock: Clock, listener: PortListener) {
    this.#connection = connection;
    this.#clock = clock;
    this.#listener = listener;
  }

  get isOpen(): boolean {
    return this.#port?.isOpen === true;
  }

  start(): void {
    // Where there is no native module for this machine, that is said like any other reason.
    this.#opening = this.#open().catch((error) => this.#later(errorText(error)));
  }

  /** Null where the system has taken it all; else why not. */
  write(bytes: Buffer): Promise<string | null> {
    const port = this.#port;
    if (!port?.isOpen) return Promise.resolve("the port is not open");
    return new Promise((resolve) => port.write(bytes, (error) => resolve(error ? errorText(error) : null)));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#opening;
    const port = this.#port;
    this.#port = null;
    if (port?.isOpen) await this.#shut(port);
  }

  async #open(): Promise<void> {
    // Here rather than above: it loads a native module, and many gateways have no such machine.
    const { SerialPort } = await import("serialport");
    if (this.#closed) return;
    const device = await deviceAt(this.#connection.path);
    const { path, baud, parity, dataBits, stopBits, flowControl } = this.#connection;
    const software = flowControl === "software";
    const port = new SerialPort({
      path,
      baudRate: baud,
      parity,
      dataBits,
      stopBits,
      rtscts: flowControl === "hardware",
      xon: software,
      xoff: software,
      autoOpen: false,
    });
    port.on("error", (error) => this.#gone(port, errorText(error)));
    port.on("close", () => this.#gone(port, GONE));
    port.on("data", (data: Buffer) => {
      if (this.#port === port) this.#listener.onData(data);
    });
    const problem = await new Promise<Error | null>((resolve) => port.open(resolve));
    if (this.#closed) return this.#shut(port);
    this.#port = port;
    // serialport begins with the word itself.
    if (problem) return this.#gone(port, errorText(problem).replace(/^Error: /, ""));
    this.#tries = 0;
    this.#look(port, device);
    this.#listener.onOpen();
  }

  #look(port: SerialPort, opened: string | null): void {
    this.#timer = this.#clock.after(LOOK_EVERY_MS, async () => {
      const now = await deviceAt(this.#connection.path);
      if (this.#port !== port) return;
      if (now === opened) this.#look(port, opened);
      else this.#gone(port, GONE);
    });
  }

  #gone(port: SerialPort, why: string): void {
    if (this.#port !== port) return;
    this.#port = null;
    this.#timer?.cancel();
    if (port.isOpen) void this.#shut(port);
    this.#later(why);
  }

  #later(why: string): void {
    if (this.#closed) return;
    const waitMs = Math.min(REOPEN_MS_MIN * 2 ** this.#tries, REOPEN_MS_MAX);
    this.#tries = Math.min(this.#tries + 1, 30);
    this.#timer = this.#clock.after(waitMs, () => this.start());
    this.#listener.onGone(why);
  }

  async #shut(port: SerialPort): Promise<void> {
    if (!port.isOpen) return;
    const waited = new AbortController();
    const closed = new Promise<void>((resolve) => port.close(() => resolve()));
    await Promise.race([closed, sleep(this.#clock, CLOSE_MS_MAX, waited.signal)]);
    waited.abort();
  }
}

/**
 * Which device a path leads to, and since when; null for none. A device's number comes again when it is plugged in
 * again, but its file, or the link to it, is another one then.
 */
async function deviceAt(path: string): Promise<string | null> {
  try {
    const [file, device] = await Promise.all([lstat(path), stat(path)]);
    const since = file.isSymbolicLink() ? file.ctimeMs : null;
    return [device.rdev, file.ino, since].join();
  } catch {
    return null;
  }
}
