/**
 * A backend as a process of its own, so that it can be killed in earnest. It writes each arrival to a file before
 * it answers, and begins again with what the file holds: as with a database, a kill takes only what was under way.
 *
 * States: down ──start──▶ up ──kill──▶ down. Its port stays the same.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, fstatSync, openSync, readSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Clock, systemClock } from "../../src/core/clock.ts";
import { type Arrival, type Backend, type BackendMode, readLedger } from "./backend.ts";

const START_MS_MAX = 60_000;

export interface BackendProcessOptions {
  readonly kind: "http" | "mqtt";
  /** For its ledger. */
  readonly dir: string;
  readonly clock?: Clock;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** The address to listen on; default: 127.0.0.1. */
  readonly host?: string;
  /** A program with its arguments that starts it, such as `ip netns exec NAME`. */
  readonly prefix?: readonly string[];
}

export class BackendProcess implements Backend {
  mode: BackendMode = "ok";
  /** Nobody is told: arrivals are read when they are asked for. */
  onArrival: Backend["onArrival"] = null;
  readonly #options: BackendProcessOptions;
  readonly #ledger: string;
  readonly #arrivals: Arrival[] = [];
  #readBytes = 0;
  #url = "";
  #child: ChildProcess | null = null;
  #ended: Promise<void> = Promise.resolve();

  constructor(options: BackendProcessOptions) {
    this.#options = options;
    this.#ledger = join(options.dir, `${options.kind}-backend.jsonl`);
  }

  get url(): string {
    return this.#url;
  }

  async start(): Promise<{ readonly url: string }> {
    if (this.#child) return { url: this.#url };
    const { kind, env, host, prefix = [] } = this.#options;
    const port = this.#url === "" ? "0" : new URL(this.#url).port;
    const args = [program(), kind, "--port", port, "--mode", this.mode, "--ledger", this.#ledger, "--json"];
    if (kind === "http") args.push("--item-results");
    if (host !== undefined) args.push("--host", host);
    const [command, ...rest] = [...prefix, process.execPath, ...args];
    const child = spawn(command!, rest, {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, ...env },
      detached: true,
    });
    this.#child = child;
    const withUs = () => child.kill("SIGKILL");
    process.once("exit", withUs);
    // A mode that it does not live to hear of.
    child.stdin!.on("error", () => {});
    this.#ended = new Promise((resolve) => {
      child.once("close", () => {
        process.off("exit", withUs);
        if (this.#child === child) this.#child = null;
        resolve();
      });
    });
    this.#url = await this.#untilListening(child);
    return { url: this.#url };
  }

  #untilListening(child: ChildProcess): Promise<string> {
    return new Promise((resolve, reject) => {
      const fail = (why: string) => {
        timer.cancel();
        child.kill("SIGKILL");
        reject(new Error(`the ${this.#options.kind} backend ${why}`));
      };
      const clock = this.#options.clock ?? systemClock;
      const timer = clock.after(START_MS_MAX, () => fail("does not start"));
      child.once("error", (error) => fail(`cannot be started: ${error.message}`));
      void this.#ended.then(() => fail("ended while it was starting"));
      createInterface({ input: child.stdout! }).on("line", (line) => {
        const { event, url } = JSON.parse(line) as { event: string; url: string };
        if (event !== "listening") return;
        timer.cancel();
        resolve(url);
      });
    });
  }

  /** kill -9. */
  async kill(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.#ended;
  }

  stop(): Promise<void> {
    return this.kill();
  }

  goAway(): Promise<void> {
    return this.kill();
  }

  async comeBack(): Promise<void> {
    await this.start();
  }

  setMode(mode: BackendMode): void {
    this.mode = mode;
    this.#child?.stdin?.write(`${mode}\n`);
  }

  arrivals(): readonly Arrival[] {
    if (!existsSync(this.#ledger)) return this.#arrivals;
    const fd = openSync(this.#ledger, "r");
    try {
      const part = Buffer.alloc(fstatSync(fd).size - this.#readBytes);
      const got = readSync(fd, part, 0, part.length, this.#readBytes);
      const { arrivals, bytes } = readLedger(part.subarray(0, got));
      for (const arrival of arrivals) this.#arrivals.push(arrival);
      this.#readBytes += bytes;
    } finally {
      closeSync(fd);
    }
    return this.#arrivals;
  }
}

function program(): string {
  const here = fileURLToPath(import.meta.url);
  return join(dirname(here), `main${extname(here)}`);
}
