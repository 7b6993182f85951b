/** Runs the commands that look at a gateway or its store, in this process, and keeps what they say. */
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { type CliIo, createCliIo } from "../../src/cli/io.ts";
import { runCli } from "../../src/cli/program.ts";

export interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export async function look(
  args: readonly string[],
  { dataDir, columns = 80, env = {} }: { dataDir: string; columns?: number; env?: Record<string, string> },
): Promise<Said> {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const out: CliIo["stdout"] = Object.assign(stdout, { columns });
  const io = createCliIo({
    argv: args,
    stdin,
    stdout: out,
    stderr,
    env: { HOLDFAST_DATA: dataDir, ...env },
    cwd: dataDir,
  });
  const code = await runCli(args, io);
  stdout.end();
  stderr.end();
  return { code, out: await text(stdout), err: await text(stderr) };
}
