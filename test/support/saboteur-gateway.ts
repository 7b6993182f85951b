/**
 * The gateway's process with a store thread that has a fault in it (HOLDFAST_TEST_FAULT, see
 * gateway-saboteur-thread.ts): run in place of src/main.ts, with the arguments of `holdfast run`.
 */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { reportFailure } from "../../src/cli/failure.ts";
import { createCliIo } from "../../src/cli/io.ts";
import { runUntilStopped } from "../../src/cli/run.ts";
import { loadConfig } from "../../src/config.ts";
import { systemClock } from "../../src/core/clock.ts";
import { createLogger } from "../../src/core/logger.ts";
import { Gateway } from "../../src/gateway.ts";
import { threadAt } from "../../src/queue/store.ts";

const argv = process.argv.slice(2);
const { stdin, stdout, stderr, env } = process;
const io = createCliIo({ argv, stdin, stdout, stderr, env, cwd: process.cwd() });

async function run(): Promise<number> {
  const { values } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: { config: { type: "string" }, data: { type: "string" }, json: { type: "boolean" } },
  });
  const { config, file } = await loadConfig({ path: values.config, env, cwd: io.cwd });
  const logger = createLogger({ level: config.log.level });
  const dataDir = resolve(values.data!);
  const startStoreThread = threadAt(new URL("./gateway-saboteur-thread.ts", import.meta.url));
  const gateway = new Gateway({ config, dataDir, clock: systemClock, logger }, { startStoreThread });
  await runUntilStopped({
    io,
    gateway,
    name: config.gateway.name,
    dataDir,
    file,
    logger,
    clock: systemClock,
  });
  return 0;
}

run().then(
  (code) => process.exit(code),
  (error) => process.exit(reportFailure(io, error)),
);
