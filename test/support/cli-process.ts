/**
 * The command line as somebody runs it: a process of its own, with an environment that has nothing else in it.
 * Or the same in this process, where only what it says matters and a test has many lines to try.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { createCliIo } from "../../src/cli/io.ts";
import { runCli } from "../../src/cli/program.ts";

const ROOT = join(import.meta.dirname, "../..");

export interface CliOptions {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Written to standard input, which is then closed. */
  readonly input?: string;
}

export interface CliResult {
  /** Null where a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function startCli(
  args: readonly string[],
  { cwd, env = {} }: CliOptions,
): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [join(ROOT, "src/main.ts"), ...args], {
    cwd,
    env: {
      PATH: process.env.PATH,
      HOME: cwd,
      // Many short processes of the same code.
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
      ...env,
    },
    stdio: "pipe",
  });
}

export async function runCliProcess(args: readonly string[], options: CliOptions): Promise<CliResult> {
  const child = startCli(args, options);
  child.stdin.end(options.input ?? "");
  return finished(child);
}

/** Everything it prints from now on, and its exit code, once it has ended. */
export async function finished(child: ChildProcessWithoutNullStreams): Promise<CliResult> {
  const [[code], stdout, stderr] = await Promise.all([
    once(child, "close") as Promise<[number | null]>,
    text(child.stdout),
    text(child.stderr),
  ]);
  return { code, stdout, stderr };
}

export async function runCliHere(args: readonly string[], options: CliOptions): Promise<CliResult> {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  stdin.end(options.input ?? "");
  const io = createCliIo({ argv: args, stdin, stdout, stderr, env: options.env ?? {}, cwd: options.cwd });
  const code = await runCli(args, io);
  stdout.end();
  stderr.end();
  return { code, stdout: await text(stdout), stderr: await text(stderr) };
}
