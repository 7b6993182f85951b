/**
 * The gateway's process with a store thread that has a fault in it (HOLDFAST_TEST_FAULT, see
 * gateway-saboteur-thread.ts): run in place of src/main.ts, with the arguments of `holdfast run`. Some faults are
 * of the process rather than of its store thread:
 *
 *   cursor-first  a delivery is settled as delivered before the target is given it, whatever the target then says
 *   resend-blindly  a command whose answer was lost is simply sent again
 *   take-for-done   a command counts as acknowledged when it is handed over, whatever the device then does
 *   commands-wait   a command has no place in the reserve: it waits with the messages
 *   lying-sync    each sync says that it is done, and does nothing (needs strace)
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { reportFailure } from "../../src/cli/failure.ts";
import { createCliIo } from "../../src/cli/io.ts";
import { runUntilStopped } from "../../src/cli/run.ts";
import { loadConfig } from "../../src/config.ts";
import { systemClock } from "../../src/core/clock.ts";
import { createLogger } from "../../src/core/logger.ts";
import { delivered } from "../../src/core/outcome.ts";
import { Gateway } from "../../src/gateway.ts";
import { Store } from "../../src/queue/store.ts";
import { threadAt } from "../../src/queue/store-worker.ts";
import { DeviceTarget } from "../../src/targets/device.ts";
import { capability } from "./capabilities.ts";

const argv = process.argv.slice(2);
const { stdin, stdout, stderr, env } = process;
const io = createCliIo({ argv, stdin, stdout, stderr, env, cwd: process.cwd() });

const faults = new Set((env.HOLDFAST_TEST_FAULT ?? "").split(","));

function settleFirst(): void {
  const { claim, settle } = Store.prototype;
  Store.prototype.claim = async function (request) {
    const reply = await claim.call(this, request);
    const settlements = reply.deliveries.map(({ lane, message, attempts }) => {
      const { seq } = message;
      return {
        lane,
        seq,
        attempts,
        state: "delivered" as const,
        resend: false,
        dueAtMs: null,
        reason: null,
        note: null,
      };
    });
    if (settlements.length > 0) await settle.call(this, settlements);
    return reply;
  };
  Store.prototype.settle = async () => {};
}

function resendBlindly(): void {
  DeviceTarget.prototype.onUnknown = () => "retry";
}

function takeForDone(): void {
  DeviceTarget.prototype.deliver = async (batch) => batch.map(() => delivered("handed over"));
}

function commandsWait(): void {
  const { append } = Store.prototype;
  Store.prototype.append = function (request, signal) {
    return append.call(this, { ...request, urgent: false }, signal);
  };
}

/** A tracer of its own answers in the kernel's place; it goes when the gateway does. */
async function lieAboutSyncs(): Promise<void> {
  const injection = ["-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:retval=0"];
  const args = ["-f", "-o", "/dev/null", "-p", String(process.pid), ...injection];
  const strace = spawn(capability("strace").path, args, { stdio: ["ignore", "ignore", "pipe"] });
  await once(strace.stderr!, "data");
  strace.unref();
}

async function run(): Promise<number> {
  if (faults.has("cursor-first")) settleFirst();
  if (faults.has("resend-blindly")) resendBlindly();
  if (faults.has("take-for-done")) takeForDone();
  if (faults.has("commands-wait")) commandsWait();
  if (faults.has("lying-sync")) await lieAboutSyncs();
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
