/**
 * The gateway as a process of its own, so that it can be killed in earnest: started with a config and a data
 * folder, asked over HTTP, killed with SIGKILL, started again on the same data.
 *
 * States: down ──start──▶ starting ──its start line──▶ up ──stop, kill, or its own end──▶ down.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { z } from "zod";
import { type Clock, systemClock } from "../src/core/clock.ts";
import { HoldfastError } from "../src/core/errors.ts";
import { safeParse } from "../src/core/safe-parse.ts";

/** Many times what it takes, for a computer with others at work on it. */
const START_MS_MAX = 120_000;
const STOP_MS_MAX = 15_000;
const ASK_MS_MAX = 3_000;
/** As the launcher and the image start Node: what is measured should be what people run. */
const NODE_OPTIONS = ["--max-semi-space-size=2"];
const NODE_MEMORY = {
  GLIBC_TUNABLES:
    "glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=131072:glibc.malloc.trim_threshold=131072",
};
/** That of this file: as written, or compiled. */
const ENDING = import.meta.url.endsWith(".ts") ? "ts" : "js";
const LEASH = new URL(`./leash.${ENDING}`, import.meta.url);
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
  /** Called with each line of its log. */
  readonly onLog?: (line: string) => void;
  /** Called when it ends without having been told to, with the end of its log. */
  readonly onCrash?: (how: string, log: readonly string[]) => void;
}

export class GatewayProcess {
  readonly dataDir: string;
  readonly configFile: string;
  /** Words before the command at the next start, such as those of a tracer that leaves it our child (`strace -D`). */
  under: readonly string[] = [];
  readonly #options: GatewayProcessOptions;
  readonly #clock: Clock;
  #child: ChildProcess | null = null;
  #starting: Promise<void> = Promise.resolve();
  #ended: Promise<string> = Promise.resolve("before it was started");
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

  /** The last lines of what it has said since its start. */
  get log(): readonly string[] {
    return this.#log;
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
    const [command = process.execPath, ...words] = [...this.under, process.execPath];
    const child = spawn(
      command,
      [
        ...words,
        ...NODE_OPTIONS,
        // Killed with SIGKILL, this process could not take the gateway along: it ends with the pipe.
        "--import",
        LEASH.href,
        script,
        "run",
        "--config",
        this.configFile,
        "--data",
        this.dataDir,
        "--json",
      ],
      // In a process group of its own: Ctrl-C is for whoever started it, who then says what becomes of it.
      {
        stdio: ["pipe", "pipe", "pipe"],
        env: { ...process.env, ...NODE_MEMORY, ...this.#options.env },
        detached: true,
      },
    );
    this.#child = child;
    child.stdin!.on("error", () => {});
    // Whatever becomes of this process, it takes the gateway along.
    const withUs = () => child.kill("SIGKILL");
    process.once("exit", withUs);
    this.#ended = new Promise((resolve) => {
      child.once("close", (code, signal) => {
        process.off("exit", withUs);
        if (this.#child === child) this.#child = null;
        const crashed = !this.#meant && this.#addresses.length > 0;
        this.#addresses = [];
        const how = signal ? `by ${signal}` : `with exit code ${code}`;
        resolve(how);
        if (crashed) this.#options.onCrash?.(how, this.#log);
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
        const started = safeParse(startLine, jsonOf(line));
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
    this.#options.onLog?.(line);
    this.#log.push(line);
    if (this.#log.length > LOG_LINES_KEPT) this.#log.shift();
  }

  /** The power cut. Resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#meant = true;
    this.#child?.kill("SIGKILL");
    await this.#ended;
  }

  /** The decent end; SIGKILL where that takes too long. Resolves with how it ended: "with exit code 0". */
  async stop(): Promise<string> {
    this.#meant = true;
    const child = this.#child;
    child?.kill("SIGTERM");
    const timer = this.#clock.after(STOP_MS_MAX, () => child?.kill("SIGKILL"));
    const how = await this.#ended;
    timer.cancel();
    return how;
  }

  /** Where it listens for `kind`, or null while it is down. */
  address(kind: string): Address | null {
    return this.#addresses.find((address) => address.kind === kind) ?? null;
  }
}

/** Asks a gateway's HTTP door for JSON, or posts `body` to it; null where it does not answer or has no such thing. */
export async function askGateway(base: string | null, path: string, body?: object): Promise<unknown> {
  if (base === null) return null;
  const post = body && {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  };
  try {
    const response = await fetch(new URL(path, base), { ...post, signal: AbortSignal.timeout(ASK_MS_MAX) });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/** src/main.ts, or main.js beside the compiled form of this file. */
function mainFile(): string {
  return join(import.meta.dirname, "..", "src", `main.${ENDING}`);
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
