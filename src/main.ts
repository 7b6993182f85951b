/**
 * The process's entry: arguments in, exit code out. Everything else is in cli/.
 *
 * An error that nobody caught means that the state in memory can no longer be trusted, so the process ends.
 * That loses nothing: what was acknowledged is on disk, and what was being sent is marked so there.
 */

import { reportFailure } from "./cli/failure.ts";
import { createCliIo } from "./cli/io.ts";
import { runCli } from "./cli/program.ts";
import { ERRORS } from "./core/errors.ts";

const argv = process.argv.slice(2);
const { stdin, stdout, stderr, env } = process;
const io = createCliIo({ argv, stdin, stdout, stderr, env, cwd: process.cwd() });

// Somebody stopped reading (`holdfast … | head`), or the disk behind a redirect is full. Neither is a reason
// for a gateway to stop.
for (const stream of [stdout, stderr]) stream.on("error", () => {});

process.on("uncaughtException", (error) => process.exit(reportFailure(io, error)));
process.on("unhandledRejection", (reason) => {
  throw reason;
});

// Until the command has answered: should the event loop run dry before, that is a defect and not a success.
process.exitCode = ERRORS.HF_INTERNAL.exitCode;
void runCli(argv, io).then((code) => process.exit(code));
