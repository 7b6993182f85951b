/** `holdfast soak`: the same steady traffic for hours, and what it does to memory, files and handles. */
import type { Command } from "commander";
import type { Screen } from "../../simulators/screen.ts";
import type { SoakEvent, SoakResult } from "../../simulators/soak/soak.ts";
import type { CliIo } from "./io.ts";
import { reportFiles } from "./report-files.ts";
import { Interrupted, positiveNumber, untilDone, wholeNumber } from "./simulation.ts";
import { openWorkplace } from "./workplace.ts";

interface Options {
  readonly minutes?: number;
  readonly hours?: number;
  readonly rate: number;
  readonly seed: number;
  readonly dir?: string;
  readonly report?: readonly string[];
}

const MINUTES_DEFAULT = 60;
const RATE_DEFAULT = 100;

export function register(program: Command, io: CliIo): void {
  program
    .command("soak")
    .description("Steady traffic for hours, and what memory, files and handles grow by")
    .option("--hours <n>", "how long (default: 1)", positiveNumber)
    .option("--minutes <n>", "the same in minutes; both add up", positiveNumber)
    .option("--rate <n>", "messages a second, all machines together", positiveNumber, RATE_DEFAULT)
    .option("--seed <n>", "the same seed gives the same readings and mishaps", wholeNumber, 1)
    .option("--dir <folder>", "the disk to use (default: the data folder's, else the working directory's)")
    .option(
      "--report <file>",
      "where the report goes, .md or .json; may be given twice (default: both, named by date)",
      (file: string, before: readonly string[] = []) => [...before, file],
    )
    .addHelpText(
      "after",
      `
One gateway process, twelve machines with all QoS, late readings, duplicates and broken connections, and a backend
that is away, restarts, is slow or loses its answers now and then. Retention is short, so that the store soon holds
as much as it ever will. Every minute a row is written: RSS, heap, handles, threads, store file, write-ahead log,
event loop, time to acknowledge. At the end growth is held against named limits, and every message accounted for.

The first third (at most 20 minutes) is warm-up. Runs under ten minutes show gross leaks alone: a heap takes that
long to find its size. Ctrl-C ends it early, with a report of what was measured so far.

Exit code 0: everything held. 1: a limit was passed or a message is not accounted for. 130: Ctrl-C.

Examples:
  $ holdfast soak --hours 8
  $ holdfast soak --minutes 30 --rate 500 --dir /var/lib/holdfast
  $ holdfast soak --hours 1 --report soak.json --json | jq -r 'select(.event == "row").rssBytes'`,
    )
    .action((options: Options) => runSoak(io, options));
}

/** `script` runs in the gateway's place, for those who test this command. */
export async function runSoak(
  io: CliIo,
  options: Options,
  gateway: { readonly script?: string; readonly env?: Readonly<Record<string, string | undefined>> } = {},
): Promise<void> {
  const [{ soak }, report, { describeBox }, { openScreen }, { systemClock }] = await Promise.all([
    import("../../simulators/soak/soak.ts"),
    import("../../simulators/soak/soak-report.ts"),
    import("../../simulators/torture/box.ts"),
    import("../../simulators/screen.ts"),
    import("../core/clock.ts"),
  ]);
  const startedAt = new Date(systemClock.wallMs()).toISOString();
  const files = reportFiles(io, { given: options.report, dir: options.dir, name: "soak", startedAt });
  const workplace = openWorkplace(io, options.dir, "soak");
  const { rate, seed } = options;
  const screen = openScreen(io.json ? { write: () => true } : io.stdout);
  try {
    let interrupted: Interrupted | undefined;
    const made = await untilDone(async (signal) => {
      const box = await describeBox(workplace.dir, systemClock, signal);
      const result = await soak({
        durationMs: durationOf(options),
        rate,
        seed,
        dir: workplace.dir,
        clock: systemClock,
        ...gateway,
        report: io.json ? (event) => io.printJson(event) : progress(io, screen),
        signal,
      });
      if (signal.reason instanceof Interrupted) interrupted = signal.reason;
      return { report: "holdfast soak", version: 1, startedAt, rate, seed, box, ...result } as const;
    });
    screen.end(false);
    for (const file of files) report.writeSoakReport(made, file);
    if (io.json) io.printJson({ event: "result", ...made });
    else tell(io, made, report, files);
    io.exitCode = made.held ? (interrupted?.exitCode ?? 0) : 1;
  } finally {
    screen.end(false);
    workplace.remove();
  }
}

function durationOf({ minutes, hours }: Options): number {
  if (minutes === undefined && hours === undefined) return MINUTES_DEFAULT * 60_000;
  return ((minutes ?? 0) + (hours ?? 0) * 60) * 60_000;
}

function progress(io: CliIo, screen: Screen): (event: SoakEvent) => void {
  return (event) => {
    const time = `${(event.atMs / 1000).toFixed(0).padStart(6)} s`;
    if (event.event === "say") {
      screen.say(`${io.paint("dim", time)}  ${event.text}`);
      return;
    }
    const mib = (bytes: number | null) => (bytes === null ? "?" : (bytes / 2 ** 20).toFixed(0));
    const line = [
      `${time}  sent ${event.sent}`,
      `open ${event.open ?? "?"}`,
      `ack p99 ${event.ackP99Ms} ms`,
      `RSS ${mib(event.rssBytes)} MiB`,
      `handles ${event.handles ?? "?"}`,
      `store ${mib(event.storeBytes)} + ${mib(event.walBytes)} MiB`,
    ].join(" · ");
    if (screen.live) screen.draw([line]);
    else screen.say(line);
  };
}

function tell(
  io: CliIo,
  result: SoakResult,
  { foundText, limitText }: typeof import("../../simulators/soak/soak-report.ts"),
  files: readonly string[],
): void {
  io.print("");
  for (const check of result.checks) {
    const mark = check.met === null ? "?" : check.met ? io.paint("green", "✓") : io.paint("red", "✗");
    io.print(
      `  ${mark} ${check.what.padEnd(28)} ${foundText(check).padStart(14)}   limit ${limitText(check)}`,
    );
  }
  for (const finding of result.findings.slice(0, 10)) io.print(`  ${io.paint("red", "found")} ${finding}`);
  io.print(result.held ? io.paint("green", "✓ it held") : io.paint("red", "✗ it did not hold"));
  for (const file of files) io.print(`  report: ${file}`);
}
