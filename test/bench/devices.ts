/** PLCs as a plant has them: how many readings a second a gateway takes, and how late its loop is meanwhile. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Figures, Settings } from "./measures.ts";
import { Bench, memoryBytes } from "./processes.ts";

const PLCS = 100;
const SIGNALS = 100;
/** As many as a simulated PLC has in one table. */
const TABLE = 64;
/** Until all have been read, and their code is warm. */
const WARM_UP_MS = 4000;

interface Row {
  readonly stored: number;
  readonly skippedPolls: number;
  readonly failures: number;
}

export async function devices(settings: Settings): Promise<Figures> {
  const figures: Figures = {};
  for (const message of ["poll", "signal"] as const) {
    settings.progress(`${PLCS} PLCs × ${SIGNALS} signals at 1 s, one message a ${message}`);
    Object.assign(figures, await measured(message, settings));
  }
  return figures;
}

async function measured(message: "poll" | "signal", { seconds }: Settings): Promise<Figures> {
  await using bench = new Bench();
  const plcs = bench.node("test/bench/plcs.ts", [String(PLCS)]);
  const { ports } = (await plcs.line()) as unknown as { ports: readonly number[] };
  const loopFile = join(bench.dir, "loop.json");
  const probe = join(import.meta.dirname, "loop-probe.ts");
  const gateway = await bench.gateway("gateway", configOf(ports, message), [], {
    HOLDFAST_BENCH_LOOP: loopFile,
    NODE_OPTIONS: `--import=${probe}`,
  });
  const rows = async () => {
    const response = await fetch(`http://127.0.0.1:${gateway.httpPort}/v1/devices`);
    return ((await response.json()) as { devices: readonly Row[] }).devices;
  };
  const sum = (all: readonly Row[], what: keyof Row) => all.reduce((total, row) => total + row[what], 0);
  await pause(WARM_UP_MS);
  const [before, beganMs] = [await rows(), performance.now()];
  process.kill(gateway.pid, "SIGUSR2");
  await pause(seconds * 1000);
  process.kill(gateway.pid, "SIGUSR2");
  const [after, endedMs] = [await rows(), performance.now()];
  const stored = sum(after, "stored") - sum(before, "stored");
  const readings = stored * (message === "poll" ? SIGNALS : 1);
  for (let left = 50; left > 0 && !existsSync(loopFile); left--) await pause(100);
  const loop = JSON.parse(readFileSync(loopFile, "utf8")) as { p50: number; p99: number; max: number };
  const memory = memoryBytes(gateway.pid);
  await gateway.stop();
  const named = Object.entries({
    "readings/s": readings / ((endedMs - beganMs) / 1000),
    "loop delay p50 ms": loop.p50,
    "loop delay p99 ms": loop.p99,
    "loop delay max ms": loop.max,
    "polls skipped": sum(after, "skippedPolls") - sum(before, "skippedPolls"),
    failures: sum(after, "failures") - sum(before, "failures"),
    "RSS MiB": memory.now / 2 ** 20,
  });
  return Object.fromEntries(named.map(([name, figure]) => [`${message}: ${name}`, figure]));
}

function configOf(ports: readonly number[], message: "poll" | "signal"): string {
  const registers = Object.fromEntries(
    Array.from({ length: SIGNALS }, (_, at) => {
      const table = at < TABLE ? "input" : "holding";
      return [`signal-${at}`, { table, address: at % TABLE }];
    }),
  );
  const devices = Object.fromEntries(
    ports.map((port, at) => [
      `plc-${at}`,
      {
        type: "modbus",
        connection: { type: "tcp", host: "127.0.0.1", port },
        topic: "plant/{device}/{signal}",
        message,
        groups: { all: { every: "1s", registers } },
      },
    ]),
  );
  // JSON is YAML.
  return JSON.stringify({
    broker: { listeners: [{ type: "tcp", host: "127.0.0.1", port: 0 }] },
    web: { port: 0 },
    log: { level: "error" },
    devices,
    targets: { outbox: { type: "file" } },
    flows: { all: { from: "plant/#", to: "outbox" } },
  });
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
