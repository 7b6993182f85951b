/**
 * The command line: puts the subcommands together, parses, and turns whatever comes of it into an exit code.
 *
 * Each subcommand lives in its own file and adds itself with `register(program, io)`; what is heavy it imports
 * when it runs, so that `holdfast --help` is quick. Help teaches: every command shows examples, and the
 * overview ends with the exit codes.
 */
import { Command, CommanderError } from "commander";
import { HoldfastError } from "../core/errors.ts";
import { VERSION } from "../version.ts";
import { register as registerBackup } from "./backup.ts";
import { register as registerCommand } from "./command.ts";
import { register as registerConfig } from "./config.ts";
import { register as registerDead } from "./dead.ts";
import { register as registerDemo } from "./demo.ts";
import { register as registerDevice } from "./device.ts";
import { register as registerDoctor } from "./doctor.ts";
import { register as registerExport } from "./export.ts";
import { exitCodes, reportFailure } from "./failure.ts";
import { register as registerImport } from "./import.ts";
import type { CliIo, Register } from "./io.ts";
import { register as registerJob } from "./job.ts";
import { register as registerMessages } from "./messages.ts";
import { register as registerNotify } from "./notify.ts";
import { register as registerPause } from "./pause.ts";
import { register as registerReconcile } from "./reconcile.ts";
import { register as registerReplay } from "./replay.ts";
import { register as registerRun } from "./run.ts";
import { register as registerSalvage } from "./salvage.ts";
import { register as registerSimulate } from "./simulate.ts";
import { register as registerSoak } from "./soak.ts";
import { register as registerStatus } from "./status.ts";
import { register as registerToken } from "./token.ts";
import { register as registerTorture } from "./torture.ts";
import { register as registerUnknown } from "./unknown.ts";
import { register as registerUser } from "./user.ts";
import { register as registerVerify } from "./verify.ts";

/** Where no terminal says how wide it is. */
const HELP_COLUMNS = 100;

/** In the order in which somebody new meets them. */
const COMMANDS: readonly { readonly group: string; readonly register: readonly Register[] }[] = [
  { group: "To begin with:", register: [registerDemo, registerRun] },
  {
    group: "Looking inside:",
    register: [
      registerStatus,
      registerMessages,
      registerDead,
      registerUnknown,
      registerNotify,
      registerPause,
      registerJob,
      registerReconcile,
      registerDoctor,
    ],
  },
  { group: "Telling devices:", register: [registerCommand] },
  { group: "Keeping it safe:", register: [registerBackup, registerVerify, registerSalvage] },
  { group: "To another box:", register: [registerExport, registerImport] },
  { group: "Setting up:", register: [registerConfig, registerDevice, registerUser, registerToken] },
  { group: "Trying out:", register: [registerSimulate, registerReplay] },
  { group: "Putting to the test:", register: [registerTorture, registerSoak] },
  { group: "In a checkout:", register: [registerLauncherCommands] },
];

/** Runs one command line (without `node` and the script) and resolves with its exit code. Never rejects. */
export async function runCli(argv: readonly string[], io: CliIo): Promise<number> {
  try {
    await createProgram(io).parseAsync([...argv], { from: "user" });
    return io.exitCode;
  } catch (error) {
    if (!(error instanceof CommanderError)) return reportFailure(io, error);
    // Help and version that were asked for; everything else commander throws is about usage.
    if (error.exitCode === 0) return 0;
    return reportFailure(io, usageError(error, argv));
  }
}

function createProgram(io: CliIo): Command {
  const program = new Command("holdfast")
    .description(
      "A messaging gateway for the factory edge: every message on disk before it is acknowledged,\ndelivered once in effect and in order, and always accounted for.",
    )
    .version(VERSION, "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand("help [command]", "print help for a command")
    .configureHelp({ subcommandTerm: termOf })
    .configureOutput({
      writeOut: (text) => io.print(text),
      writeErr: (text) => io.note(text),
      outputError: () => {}, // reportFailure says it, with what to do.
      getOutHelpWidth: () => io.stdout.columns ?? HELP_COLUMNS,
      getErrHelpWidth: () => io.stdout.columns ?? HELP_COLUMNS,
      getOutHasColors: () => io.color,
      getErrHasColors: () => io.color,
    })
    .exitOverride();
  for (const { group, register } of COMMANDS) {
    program.commandsGroup(group);
    for (const add of register) add(program, io);
  }
  addSharedOptions(program);
  return program.addHelpText("after", () => overview());
}

/** `simulate [scenario]`: every command has options, so that goes without saying. */
function termOf(command: Command): string {
  const names = command.registeredArguments.map((argument) => {
    const name = argument.name() + (argument.variadic ? "..." : "");
    return argument.required ? `<${name}>` : `[${name}]`;
  });
  return [command.name(), ...names].join(" ");
}

/** Shown in the help of every command; createCliIo has already read them. */
function addSharedOptions(command: Command): void {
  for (const sub of command.commands) addSharedOptions(sub);
  const has = (flag: string) => command.options.some((option) => option.long === flag);
  if (!has("--json")) command.option("--json", "answer in JSON, for programs");
  if (!has("--no-color")) command.option("--no-color", "no colours (as with NO_COLOR)");
}

/** These run before Node's part of Holdfast does, so that they also work where nothing is installed yet. */
function registerLauncherCommands(program: Command): void {
  for (const [name, description] of [
    ["test", "Run the tests: ./holdfast test"],
    ["bench", "Measure this machine: ./holdfast bench"],
  ] as const) {
    program
      .command(name)
      .description(description)
      .allowUnknownOption()
      .allowExcessArguments()
      .action(() => {
        throw new HoldfastError("HF_USAGE", `${name} is run by the launcher: ./holdfast ${name}`);
      });
  }
}

function overview(): string {
  const codes = exitCodes().map(({ code, meaning }) => `  ${String(code).padStart(3)}  ${meaning}`);
  return `
Examples:
  $ holdfast demo                         see it work, in half a minute
  $ holdfast run                          start with the config that comes with Holdfast
  $ holdfast status                       where every message is, and what is wrong
  $ holdfast config check my.yaml         read a config and say what is wrong with it
  $ holdfast run -c my.yaml -d /var/lib/holdfast
  $ holdfast run --help                   every command has help like this

Environment:
  HOLDFAST_CONFIG, HOLDFAST_DATA          as --config and --data, which win over them
  NO_COLOR                                no colours

Exit codes (docs/errors.md explains each name):
${codes.join("\n")}`;
}

function usageError(error: CommanderError, argv: readonly string[]): HoldfastError {
  if (error.code === "commander.help") {
    const what =
      argv.length === 0 ? "no command given" : `${argv.join(" ")}: a command is missing after this`;
    return new HoldfastError("HF_USAGE", what);
  }
  return new HoldfastError("HF_USAGE", error.message.replace(/^error: /, "").replaceAll("\n", " "));
}
