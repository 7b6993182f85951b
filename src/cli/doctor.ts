/**
 * `holdfast doctor`: looks at everything a gateway stands on, and says what it saw, what that means, and what to do.
 * Changes nothing: what it writes to measure the disk it takes away again.
 */
import type { Command } from "commander";
import type { Finding } from "./doctor-checks.ts";
import { type CliIo, configFileFrom, DATA_OPTION, dataDirFrom } from "./io.ts";

interface DoctorOptions {
  readonly config?: string;
  readonly data?: string;
  readonly thorough?: boolean;
}

const SIGNS = { good: ["green", "✔"], attention: ["yellow", "!"], bad: ["red", "✖"] } as const;
/** Where standard output is no terminal. */
const COLUMNS_DEFAULT = 100;

export function register(program: Command, io: CliIo): void {
  program
    .command("doctor")
    .description("Look at config, disk, clock, store, doors and backends, and explain what is wrong")
    .option("-c, --config <file>", "the config (or HOLDFAST_CONFIG)")
    .option(...DATA_OPTION)
    .option("--thorough", "also read the whole store, as holdfast verify does")
    .addHelpText(
      "after",
      `
Works with the gateway up or down, and changes nothing. While it runs, backends are not asked a second time: what the
gateway knows of them is told. Run it as the user that runs the gateway, or permissions are another user's.
Exit code 1: something is wrong (✖). What is only worth a look (!) is none.

Examples:
  $ holdfast doctor
  $ sudo -u holdfast holdfast doctor -c /etc/holdfast/holdfast.yaml -d /var/lib/holdfast
  $ holdfast doctor --json | jq '.findings[] | select(.verdict != "good")'`,
    )
    .action((options: DoctorOptions) => doctor(io, options));
}

async function doctor(io: CliIo, options: DoctorOptions): Promise<void> {
  const { examine } = await import("./doctor-checks.ts");
  const findings: Finding[] = [];
  const tell = io.json ? () => {} : await teller(io);
  for await (const finding of examine({
    configFile: configFileFrom(io, options.config),
    dataDir: dataDirFrom(io, options.data),
    env: io.env,
    cwd: io.cwd,
    thorough: options.thorough === true,
  })) {
    findings.push(finding);
    tell(finding);
  }
  const bad = findings.filter(({ verdict }) => verdict === "bad").length;
  const look = findings.filter(({ verdict }) => verdict === "attention").length;
  if (io.json) io.printJson({ verdict: bad > 0 ? "bad" : look > 0 ? "attention" : "good", findings });
  else io.print(`\n${await summary(io, bad, look)}`);
  io.exitCode = bad > 0 ? 1 : 0;
}

/** Each finding is told when it is there: a backend that does not answer takes its time. */
async function teller(io: CliIo): Promise<(finding: Finding) => void> {
  const { harmless, wrap } = await import("./plain-words.ts");
  const columns = Math.max(40, (io.stdout.columns ?? COLUMNS_DEFAULT) - 4);
  return ({ about, verdict, says, todo }) => {
    const [paint, sign] = SIGNS[verdict];
    const lines = `${about}: ${says}`.split("\n").flatMap((line) => wrap(harmless(line), columns));
    const [first = "", ...rest] = lines;
    io.print(`${io.paint(paint, sign)} ${first}`);
    for (const line of rest) io.print(`  ${line}`);
    if (todo) for (const line of wrap(harmless(`→ ${todo}`), columns)) io.print(io.paint("dim", `  ${line}`));
  };
}

async function summary(io: CliIo, bad: number, look: number): Promise<string> {
  const { counted } = await import("./plain-words.ts");
  if (bad + look === 0) return io.paint("green", "Everything that was looked at is well.");
  const parts = [
    ...(bad > 0 ? [io.paint("red", `${counted(bad, "thing")} wrong`)] : []),
    ...(look > 0 ? [io.paint("yellow", `${counted(look, "thing")} worth a look`)] : []),
  ];
  return `${parts.join(", ")}.`;
}
