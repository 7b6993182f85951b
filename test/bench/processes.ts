/** The processes of a bench: each started here, and ended here by its id. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { LoadOptions, LoadResult } from "./load.ts";

const ROOT = join(import.meta.dirname, "../..");

export class Bench {
  readonly dir = mkdtempSync(join(tmpdir(), "holdfast-bench-"));
  readonly #children = new Set<ChildProcess>();

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) child.kill("SIGKILL");
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** A Node process of ours that talks in JSON lines. */
  node(script: string, args: readonly string[], env: Record<string, string> = {}): JsonProcess {
    // With the options that the launcher has started us with, as it would start the gateway.
    const child = spawn(process.execPath, [...process.execArgv, join(ROOT, script), ...args], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, ...env },
    });
    return this.#keep(child);
  }

  program(command: string, args: readonly string[]): JsonProcess {
    return this.#keep(spawn(command, args, { stdio: ["pipe", "pipe", "ignore"] }));
  }

  async load(options: LoadOptions): Promise<LoadResult> {
    const child = this.node("test/bench/load.ts", [JSON.stringify(options)]);
    return (await child.line()) as unknown as LoadResult;
  }

  async gateway(
    name: string,
    config: string,
    args: readonly string[] = [],
    env: Readonly<Record<string, string>> = {},
  ): Promise<Gateway> {
    const dir = join(this.dir, name);
    mkdirSync(dir, { recursive: true });
    const file = join(dir, "gateway.yaml");
    writeFileSync(file, config);
    const beganMs = performance.now();
    const profile = process.env.HOLDFAST_BENCH_PROFILE;
    const nodeArgs = [env.NODE_OPTIONS, profile && `--cpu-prof --cpu-prof-dir=${profile}`];
    const child = this.node(
      "src/main.ts",
      ["run", "--config", file, "--data", join(dir, "data"), "--json", ...args],
      {
        ...env,
        NODE_OPTIONS: nodeArgs.filter((each) => each).join(" "),
      },
    );
    const started = (await child.line()) as unknown as { addresses: { kind: string; port: number }[] };

    const port = (kind: string) => started.addresses.find((address) => address.kind === kind)!.port;
    return {
      ...child,
      startMs: performance.now() - beganMs,
      dataDir: join(dir, "data"),
      mqttPort: port("tcp"),
      httpPort: port("http"),
    };
  }

  async mosquitto(name: string, lines: readonly string[]): Promise<{ port: number } & JsonProcess> {
    const port = await freePort();
    const file = join(this.dir, `${name}.conf`);
    const config = [
      `listener ${port} 127.0.0.1`,
      "allow_anonymous true",
      "persistence false",
      "max_queued_messages 0",
      "max_inflight_messages 0",
    ];
    writeFileSync(file, `${[...config, ...lines].join("\n")}\n`);
    const child = this.program("mosquitto", ["-c", file]);
    await reachable(port);
    return { ...child, port };
  }

  #keep(child: ChildProcess): JsonProcess {
    this.#children.add(child);
    child.once("exit", () => this.#children.delete(child));
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    return {
      pid: child.pid!,
      async line() {
        const next = await lines.next();
        if (next.done) throw new Error(`process ${child.pid} ended without an answer`);
        return JSON.parse(next.value);
      },
      async ask() {
        child.stdin!.write("\n");
        return this.line();
      },
      async stop(signal = "SIGTERM") {
        if (child.exitCode !== null || child.signalCode !== null) return;
        const gone = new Promise((resolve) => child.once("exit", resolve));
        child.stdin!.end();
        child.kill(signal);
        await gone;
      },
    };
  }
}

export interface JsonProcess {
  readonly pid: number;
  line(): Promise<Record<string, number>>;
  ask(): Promise<Record<string, number>>;
  stop(signal?: NodeJS.Signals): Promise<void>;
}

export interface Gateway extends JsonProcess {
  readonly startMs: number;
  readonly dataDir: string;
  readonly mqttPort: number;
  readonly httpPort: number;
}

export function hasMosquitto(): boolean {
  return spawnSync("mosquitto", ["-h"]).error === undefined;
}

/** Resident memory of a process in bytes, now and at its highest (Linux). */
export function memoryBytes(pid: number): { now: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const field = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1] ?? 0) * 1024;
  return { now: field("VmRSS"), peak: field("VmHWM") };
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function reachable(port: number): Promise<void> {
  const { connect } = await import("node:net");
  for (let left = 100; left > 0; left--) {
    const ok = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
      socket.once("close", () => {}).setTimeout(500, () => socket.destroy());
      socket.once("connect", () => socket.destroy());
    });
    if (ok) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nothing answers on port ${port}`);
}
