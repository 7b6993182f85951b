/**
 * The gateway as a process of its own, so that it can be killed in earnest: started with a config and a data
 * folder, asked over HTTP, killed with SIGKILL, started again on the same data.
 *
 * States: down ──start──▶ starting ──its start line──▶ up ──stop, kill, or its own end──▶ down.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { type Clock, systemClock } from "../src/core/clock.ts";
import { HoldfastError } from "../src/core/errors.ts";

const START_MS_MAX = 30_000;
const STOP_MS_MAX = 15_000;
const ASK_MS_MAX = 3_000;
/** What of its log is kept to explain a failed start. */
const LOG_LINES_KEPT = 15;

const startLine = z.object({
  event: z.literal("started"),
  addresses: z.array(z.object({ name: z.string(), kind: z.string(), host: z.string(), port: z.number() })),
});
export type Address = z.output<typeof startLine>["addresses"][number];

export interface GatewayProcessOptions {
  /** YAML. */
  readonly config: string;
  /** Holds the config file and the data folder. */
  readonly dir: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Absolute; default: `data` in `dir`. */
  readonly dataDir?: string;
  /** A script that runs in place of src/main.ts and takes the same arguments; default: the product. */
  readonly script?: string;
  readonly clock?: Clock;
  /** Called when it ends without having been told to, with the end of its log. */
  readonly onCrash?: (how: string, log: readonly string[]) => void;
}

export class GatewayProcess {
  readonly dataDir: string;
  readonly configFile: string;
  readonly #options: GatewayProcessOptions;
  readonly #clock: Clock;
  #child: ChildProcess | null = null;
  #starting: Promise<void> = Promise.resolve();
  #ended: Promise<void> = Promise.resolve();
  #addresses: readonly Address[] = [];
  #meant = true;
  #log: string[] = [];

  constructor(options: GatewayProcessOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.dataDir = options.dataDir ?? join(options.dir, "data");
    this.configFile = join(options.dir, "holdfast.yaml");
    mkdirSync(options.dir, { recursive: true });
    writeFileSync(this.configFile, options.config);
  }

  get up(): boolean {
    return this.#child !== null && this.#addresses.length > 0;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Starts it, where it is down, and waits until it listens. Rejects with the end of its log where it does not. */
  start(): Promise<void> {
    if (this.#child === null) this.#starting = this.#spawn();
    return this.#starting;
  }

  async #spawn(): Promise<void> {
    this.#log = [];
    this.#addresses = [];
    this.#meant = false;
    const { script = mainFile() } = this.#options;
    const child = spawn(
      process.execPath,
      [script, "run", "--config", this.configFile, "--data", this.dataDir, "--json"],
      { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...this.#options.env } },
    );
    this.#child = child;
    // Whatever becomes of this process, it takes the gateway along.
    const withUs = () => child.kill("SIGKILL");
    process.once("exit", withUs);
    this.#ended = new Promise((resolve) => {
      child.once("close", (code, signal) => {
        process.off("exit", withUs);
        if (this.#child === child) this.#child = null;
        const crashed = !this.#meant && this.#addresses.length > 0;
        this.#addresses = [];
        resolve();
        if (crashed) this.#options.onCrash?.(signal ? `by ${signal}` : `with exit code ${code}`, this.#log);
      });
    });
    createInterface({ input: child.stderr! }).on("line", (line) => this.#note(line));
    await this.#untilStarted(child);
  }

  #untilStarted(child: ChildProcess): Promise<void> {
    return new Promise((resolve, reject) => {
      let settled = false;
      const fail = (why: string) => {
        if (settled) return;
        settled = true;
        timer.cancel();
        this.#meant = true;
        child.kill("SIGKILL");
        const log = this.#log.length > 0 ? `\n${this.#log.join("\n")}` : "";
        reject(new HoldfastError("HF_INTERNAL", `the gateway ${why}${log}`));
      };
      const timer = this.#clock.after(START_MS_MAX, () =>
        fail(`did not start within ${START_MS_MAX / 1000} s`),
      );
      child.once("error", (error) => fail(`cannot be started: ${error.message}`));
      void this.#ended.then(() => fail("ended while it was starting"));
      createInterface({ input: child.stdout! }).on("line", (line) => {
        const started = startLine.safeParse(jsonOf(line));
        // Why it does not start comes on standard output as well.
        if (!started.success) this.#note(line);
        if (!started.success || settled) return;
        settled = true;
        this.#addresses = started.data.addresses;
        timer.cancel();
        resolve();
      });
    });
  }

  #note(line: string): void {
    this.#log.push(line);
    if (this.#log.length > LOG_LINES_KEPT) this.#log.shift();
  }

  /** The power cut. Resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#meant = true;
    this.#child?.kill("SIGKILL");
    await this.#ended;
  }

  /** The decent end; SIGKILL where that takes too long. */
  async stop(): Promise<void> {
    this.#meant = true;
    const child = this.#child;
    child?.kill("SIGTERM");
    const timer = this.#clock.after(STOP_MS_MAX, () => child?.kill("SIGKILL"));
    await this.#ended;
    timer.cancel();
  }

  /** Where it listens for `kind`, or null while it is down. */
  address(kind: string): Address | null {
    return this.#addresses.find((address) => address.kind === kind) ?? null;
  }
}

/** Asks a gateway's HTTP door for JSON; null where it does not answer or has no such thing. */
export async function askGateway(base: string | null, path: string): Promise<unknown> {
  if (base === null) return null;
  try {
    const response = await fetch(new URL(path, base), { signal: AbortSignal.timeout(ASK_MS_MAX) });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/** src/main.ts, or main.js beside the compiled form of this file. */
function mainFile(): string {
  const here = fileURLToPath(import.meta.url);
  return join(dirname(here), "..", "src", `main${extname(here)}`);
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
