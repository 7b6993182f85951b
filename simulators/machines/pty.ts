/**
 * A serial line to pretend with: a pty whose one end is this process, and whose other end is a path that any
 * program may open as a serial port. Pulled out and plugged in again, as a USB adapter is.
 *
 * Node cannot make a pty; `script`, which every Debian has (util-linux), can. The child in it keeps the far end
 * open while nobody else does, and ends with this process, whatever ends that: its input is a pipe from here.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";

/** `tty` tells the far end's name; raw, so that every byte passes as it is. */
const KEEP_OPEN = "stty raw -echo && tty >&3 && exec cat <&4 >/dev/null";

export class Pty {
  /** What may be opened; the same over every unplug and plugIn. */
  readonly path: string;
  readonly #onData: (data: Buffer) => void;
  readonly #folder: string | null;
  #child: ChildProcess | null = null;
  /** Until the far end is raw nothing may be sent: a 3 would be taken for Ctrl-C. */
  #isRaw = false;

  /** `path` must not be there yet; left out, one is made up. */
  constructor(onData: (data: Buffer) => void, path?: string) {
    this.#onData = onData;
    this.#folder = path === undefined ? mkdtempSync(join(tmpdir(), "holdfast-pty-")) : null;
    this.path = path ?? join(this.#folder!, "port");
  }

  get isPlugged(): boolean {
    return this.#isRaw;
  }

  async plugIn(): Promise<void> {
    if (this.#child) return;
    const child = spawn("script", ["-q", "-c", KEEP_OPEN, "/dev/null"], {
      stdio: ["pipe", "pipe", "ignore", "pipe", "pipe"],
      // The shell that `script` takes.
      env: { ...process.env, SHELL: "/bin/sh" },
    });
    this.#child = child;
    child.stdin!.on("error", () => {});
    child.stdout!.on("data", this.#onData);
    const told = once(child.stdio[3] as Readable, "data");
    const failed = once(child, "exit").then(() => null);
    const answer = await Promise.race([told, failed]);
    if (!answer) {
      this.#child = null;
      throw new Error("script, of util-linux, made no pty");
    }
    rmSync(this.path, { force: true });
    symlinkSync(String(answer[0]).trim(), this.path);
    this.#isRaw = true;
  }

  write(data: Buffer): void {
    if (this.#isRaw) this.#child?.stdin?.write(data);
  }

  /** The far end hangs up, and its path is gone. */
  async unplug(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    this.#isRaw = false;
    rmSync(this.path, { force: true });
    if (!child) return;
    const ended = child.exitCode === null && child.signalCode === null ? once(child, "exit") : null;
    (child.stdio[4] as Writable).destroy();
    child.kill("SIGKILL");
    await ended;
  }

  async close(): Promise<void> {
    await this.unplug();
    if (this.#folder) rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** A line to a machine that speaks the same bytes over TCP; one that was off is reached again when it is asked. */
export function ptyTo(port: number, path?: string): Pty {
  let socket: Socket | null = null;
  const join = () => {
    const joined = connect(port, "127.0.0.1");
    joined.on("error", () => {});
    joined.on("close", () => {
      if (socket === joined) socket = null;
    });
    joined.on("data", (data) => pty.write(data));
    return joined;
  };
  const pty = new Pty((data) => {
    socket ??= join();
    socket.write(data);
  }, path);
  socket = join();
  return pty;
}
