/**
 * `holdfast run`: the gateway in the foreground, until a signal or until it must stop by itself.
 *
 * A first SIGTERM or SIGINT drains: no new messages, answers awaited, everything stored; then exit code 0.
 * A second one ends at once, which loses nothing that was acknowledged. When the gateway stops by itself
 * (a disk that fails, say), the error's exit code tells systemd or Docker why.
 */
import { flushCompileCache } from "node:module";
import { relative } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Command } from "commander";
import { type Clock, sleep } from "../core/clock.ts";
import type { HoldfastError } from "../core/errors.ts";
import type { Logger } from "../core/logger.ts";
import type { Service } from "../core/service.ts";
import { type CliIo, configFileFrom, dataDirFrom } from "./io.ts";
import { keepAlive, onTerminate, type SignalSource } from "./signals.ts";
import { notifySystemd } from "./systemd.ts";

/** After a failure nothing is worth a longer wait: what was acknowledged is on disk. */
export const FAILED_STOP_MS_MAX = 10_000;

export function register(program: Command, io: CliIo): void {
  program
    .command("run")
    .description("Start the gateway, and run until SIGTERM or Ctrl-C")
    .option("-c, --config <file>", "the config (or HOLDFAST_CONFIG)")
    .option("-d, --data <dir>", "where messages are kept (or HOLDFAST_DATA; default: ./data)")
    .addHelpText(
      "after",
      `
Without --config: ./holdfast.yaml, else /etc/holdfast/holdfast.yaml, else the one that comes with Holdfast,
which listens on this machine only and writes every message to <data>/outbox.

When everything listens, one line on standard output names the addresses; with --json it is
{"event":"started",…}. The log goes to standard error. The first SIGTERM or Ctrl-C finishes what is under way,
the second one stops at once; neither loses anything that was acknowledged.

Examples:
  $ holdfast run
  $ mosquitto_pub -t plant/press-7/temperature -m '{"celsius":71.5}' -q 1    (in another terminal)
  $ holdfast run --config /etc/holdfast/holdfast.yaml --data /var/lib/holdfast
  $ HOLDFAST_DATA=/tmp/trial holdfast run --json`,
    )
    .action((options: { config?: string; data?: string }) => run(io, options));
}

async function run(io: CliIo, options: { config?: string; data?: string }): Promise<void> {
  const [{ loadConfig }, { Gateway }, { createLogger }, { systemClock }] = await Promise.all([
    import("../config.ts"),
    import("../gateway.ts"),
    import("../core/logger.ts"),
    import("../core/clock.ts"),
  ]);
  const path = configFileFrom(io, options.config);
  const { config, file } = await loadConfig({ path, env: io.env, cwd: io.cwd });
  const dataDir = dataDirFrom(io, options.data);
  const logger = createLogger({ level: config.log.level });
  const gateway = new Gateway({ config, dataDir, clock: systemClock, logger });
  await runUntilStopped({
    io,
    gateway,
    name: config.gateway.name,
    dataDir,
    file,
    logger,
    clock: systemClock,
    onUp: spareMemory,
  });
}

/** What is run: gateway.ts has the real one. */
export interface Runnable extends Service {
  readonly stopping: boolean;
  /** Resolves when it must stop by itself. */
  readonly failed: Promise<HoldfastError>;
  addresses(): readonly {
    readonly name: string;
    readonly kind: string;
    readonly host: string;
    readonly port: number;
  }[];
}

export interface RunOptions {
  readonly io: CliIo;
  readonly gateway: Runnable;
  readonly name: string;
  readonly dataDir: string;
  readonly file: string;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly signals?: SignalSource;
  /** Called when it listens, and all is loaded. */
  readonly onUp?: () => void;
}

/** Starts it, and resolves when a signal has stopped it; rejects with why it did not start or stopped by itself. */
export async function runUntilStopped(options: RunOptions): Promise<void> {
  const { io, gateway, logger } = options;
  const asked = Promise.withResolvers<null>();
  const forgetSignals = onTerminate(
    (signal) => {
      say(
        io,
        { event: "stopping", signal },
        `${signal}: finishing what is under way; once more stops at once`,
      );
      void tellSystemd(options, "STOPPING=1");
      gateway.stop().then(() => asked.resolve(null), asked.reject);
    },
    options.signals,
    options.clock,
  );
  // What nobody caught ends the process (main.ts); the log must have it too.
  const onDefect = (error: unknown) => logger.fatal({ err: error }, "a defect: nobody caught this error");
  process.on("uncaughtExceptionMonitor", onDefect);
  const letGo = keepAlive();
  try {
    await gateway.start();
    if (!gateway.stopping) {
      announce(options);
      void tellSystemd(options, "READY=1", `STATUS=gateway ${options.name}`);
      // Node writes it when the process ends, which a power cut does not wait for: the next start is to be quick too.
      flushCompileCache();
      options.onUp?.();
    }
    const failure = await Promise.race([asked.promise, gateway.failed]);
    if (failure) throw failure;
    say(io, { event: "stopped" }, "stopped");
  } catch (error) {
    logger.fatal({ err: error, code: (error as Partial<HoldfastError>).code }, "the gateway stops");
    const stopped = gateway.stop().catch((reason) => logger.error({ err: reason }, "it stopped in disorder"));
    await Promise.race([stopped, sleep(options.clock, FAILED_STOP_MS_MAX)]);
    throw error;
  } finally {
    process.off("uncaughtExceptionMonitor", onDefect);
    forgetSignals();
    letGo();
  }
}

/**
 * Collect garbage sooner than a server would: messages are short-lived, and a box needs its memory. Not as an option of
 * Node's: under this flag V8 takes no code that was compiled without it, not Node's own either, which made a start a
 * tenth longer. What the start has left behind goes at once: from its end on counts how far the heap may grow.
 */
function spareMemory(): void {
  setFlagsFromString("--heap-growing-percent=10");
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as (how: object) => void;
  collect({ type: "major", execution: "sync", flavor: "last-resort" });
}

async function tellSystemd({ io, logger }: RunOptions, ...states: string[]): Promise<void> {
  const result = await notifySystemd(io.env, ...states);
  if (typeof result === "object") logger.warn({ states }, `systemd was not told: ${result.failed}`);
}

function announce({ io, gateway, name, dataDir, file }: RunOptions): void {
  const addresses = gateway.addresses();
  const doors = addresses.map(({ name: door, kind, host, port }) => {
    const address = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
    return door === kind ? `${kind} ${address}` : `${door} (${kind}) ${address}`;
  });
  say(
    io,
    { event: "started", gateway: name, pid: process.pid, addresses, data: dataDir, config: file },
    `${name} is ready: ${doors.join(", ")}; data in ${shown(io, dataDir)}; config ${shown(io, file)}`,
  );
}

function say(io: CliIo, event: Record<string, unknown>, text: string): void {
  if (io.json) io.printJson(event);
  else io.print(`holdfast: ${text}`);
}

function shown(io: CliIo, path: string): string {
  const below = relative(io.cwd, path);
  return below.startsWith("..") ? path : below || ".";
}
