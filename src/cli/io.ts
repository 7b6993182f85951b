/**
 * What a command gets to talk through, and how every subcommand's file looks to program.ts:
 *
 *     export function register(program: Command, io: CliIo): void
 *
 * A command adds itself to `program`, imports what is heavy inside its action handler, prints through `io`,
 * throws a HoldfastError for what went wrong (program.ts prints it with its hint and exits with its code),
 * and sets `io.exitCode` where its answer itself is a "no" (a config that is wrong, an oracle that is not
 * satisfied). It never calls process.exit and never writes to the console.
 *
 * `--json` and `--no-color` are added to every command by program.ts; commands read `io.json` and `io.color`.
 */
import { resolve } from "node:path";
import type { Readable, Writable } from "node:stream";
import { styleText } from "node:util";
import type { Command } from "commander";

export interface CliIo {
  readonly stdin: Readable & { readonly isTTY?: boolean; setRawMode?(on: boolean): unknown };
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly stderr: Writable & { readonly isTTY?: boolean };
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** True where standard output is a terminal that wants colour (NO_COLOR, FORCE_COLOR, --no-color). */
  readonly color: boolean;
  /** True under `--json`: standard output then carries JSON and nothing else. */
  readonly json: boolean;
  /** What the process exits with when the action returns. 0 unless a command sets it. */
  exitCode: number;
  /** One or more lines to standard output; ends the last one where `text` does not. */
  print(text: string): void;
  /** One JSON value on one line to standard output. */
  printJson(value: unknown): void;
  /** A remark to standard error: progress and the like, never part of the answer. */
  note(text: string): void;
  /** `text` in colour where colour is wanted, else as it is. */
  paint(style: Paint, text: string): string;
}

export type Paint = "bold" | "dim" | "red" | "green" | "yellow" | "cyan";

export type Register = (program: Command, io: CliIo) => void;

export interface CliIoOptions {
  readonly argv: readonly string[];
  readonly stdin: CliIo["stdin"];
  readonly stdout: CliIo["stdout"];
  readonly stderr: CliIo["stderr"];
  readonly env: CliIo["env"];
  readonly cwd: string;
}

export function createCliIo(options: CliIoOptions): CliIo {
  const { stdin, stdout, stderr, env, cwd } = options;
  const json = hasFlag(options.argv, "--json");
  const color = !json && wantsColor(options);
  const line = (text: string) => (text.endsWith("\n") ? text : `${text}\n`);
  return {
    stdin,
    stdout,
    stderr,
    env,
    cwd,
    color,
    json,
    exitCode: 0,
    print: (text) => void stdout.write(line(text)),
    printJson: (value) => void stdout.write(`${JSON.stringify(value)}\n`),
    note: (text) => void stderr.write(line(text)),
    paint: (style, text) => (color ? styleText(style, text, { validateStream: false }) : text),
  };
}

/** True where `flag` stands among the arguments, before a `--` that ends the options. */
export function hasFlag(argv: readonly string[], flag: string): boolean {
  const end = argv.indexOf("--");
  return (end === -1 ? argv : argv.slice(0, end)).includes(flag);
}

/** https://no-color.org: NO_COLOR set and not empty means none, whatever else is said. */
function wantsColor({ argv, env, stdout }: CliIoOptions): boolean {
  if (env.NO_COLOR || hasFlag(argv, "--no-color")) return false;
  if (env.FORCE_COLOR !== undefined) return env.FORCE_COLOR !== "0" && env.FORCE_COLOR !== "false";
  return stdout.isTTY === true && env.TERM !== "dumb";
}

/** Of every command that has to do with a gateway. */
export const DATA_OPTION = [
  "-d, --data <dir>",
  "the gateway's data folder (or HOLDFAST_DATA; default: ./data)",
] as const;

/** The data folder, absolute: the flag wins over HOLDFAST_DATA, which wins over `./data`. */
export function dataDirFrom(io: Pick<CliIo, "env" | "cwd">, flag?: string): string {
  return resolve(io.cwd, flag || io.env.HOLDFAST_DATA || "data");
}

/** The config file asked for, or undefined where none was: the flag wins over HOLDFAST_CONFIG. */
export function configFileFrom(io: Pick<CliIo, "env" | "cwd">, flag?: string): string | undefined {
  const file = flag || io.env.HOLDFAST_CONFIG;
  return file ? resolve(io.cwd, file) : undefined;
}
