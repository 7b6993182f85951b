/** `holdfast torture`: every fault that this machine has the means for, done to a real gateway on this disk. */
import { type Command, InvalidArgumentError } from "commander";
import type { Screen } from "../../simulators/screen.ts";
import type { Skipped, TortureEvent, TortureResult, Tried } from "../../simulators/torture/torture.ts";
import type { Trial } from "../../simulators/torture/trial.ts";
import { HoldfastError } from "../core/errors.ts";
import type { CliIo } from "./io.ts";
import { reportFiles } from "./report-files.ts";
import { Interrupted, positiveNumber, untilDone, wholeNumber } from "./simulation.ts";
import { openWorkplace } from "./workplace.ts";

interface Options {
  readonly minutes?: number;
  readonly hours?: number;
  readonly cycles?: number;
  readonly only?: readonly string[];
  readonly skip?: readonly string[];
  readonly seed?: number;
  readonly dir?: string;
  readonly report?: readonly string[];
  readonly list?: true;
}

const MINUTES_DEFAULT = 5;
const SEED_MAX = 999_999_999;

export function register(program: Command, io: CliIo): void {
  program
    .command("torture")
    .description("Break things around a gateway on this box and disk, and report what held")
    .option("--minutes <n>", `how long to go on (default: ${MINUTES_DEFAULT})`, positiveNumber)
    .option("--hours <n>", "the same in hours; both add up", positiveNumber)
    .option("--cycles <n>", "instead of a time: so many faults of each trial", wholeNumber)
    .option("--only <trials>", "only these, with commas between", nameList)
    .option("--skip <trials>", "all but these", nameList)
    .option("--seed <n>", "begin with this seed (default: another one each time)", wholeNumber)
    .option("--dir <folder>", "the disk to try (default: the data folder's, else the working directory's)")
    .option(
      "--report <file>",
      "where the report goes, .md or .json; may be given twice (default: both, named by date)",
      (file: string, before: readonly string[] = []) => [...before, file],
    )
    .option("--list", "name the trials, and which of them this machine can do")
    .addHelpText(
      "after",
      `
Each trial does one kind of fault to a gateway of its own, under traffic, again and again, and an oracle holds what
machines were promised against what arrived. Trials take turns until the time is over, each with fresh seeds and at
least once. It listens on 127.0.0.1 alone, works in a folder of its own in --dir, and takes away whatever it made.
A gateway that runs here is not touched, but shares disk and processor with all this.

The report (Markdown and JSON) says what box and disk this is, what was tried, what held, what was found, each with
the command that does it again, and what was skipped and how to get it. Some trials need root, strace or more.
Ctrl-C ends it early, with a report of what was done so far.

Exit code 0: everything held. 1: something was found, or a trial could not be done. 130: Ctrl-C.

Examples:
  $ holdfast torture --list
  $ holdfast torture --minutes 10
  $ sudo ./holdfast torture --hours 8 --dir /var/lib/holdfast --report night.md
  $ holdfast torture --only kill,restart --seed 7 --cycles 20
  $ holdfast torture --minutes 5 --json | jq -r 'select(.event == "result").held'`,
    )
    .action((options: Options) => torture(io, options));
}

async function torture(io: CliIo, options: Options): Promise<void> {
  const [{ TRIALS }, runner] = await Promise.all([
    import("../../simulators/torture/trials.ts"),
    import("../../simulators/torture/torture.ts"),
  ]);
  await runTrials(io, options, TRIALS, runner);
}

/** With other trials than those that come with Holdfast, for those who test this command. */
export async function runTrials(
  io: CliIo,
  options: Options,
  trials: readonly Trial[],
  runner: typeof import("../../simulators/torture/torture.ts"),
): Promise<void> {
  checkNames(trials, [...(options.only ?? []), ...(options.skip ?? [])]);
  const { able, skipped } = runner.sortOut(trials, options);
  if (options.list) {
    list(io, able, skipped);
    return;
  }
  if (able.length === 0) throw nothingToTry(skipped);
  const [
    { describeBox },
    { makeReport, writeReport, closingSentence },
    { openScreen },
    { systemClock },
    { systemRandom },
  ] = await Promise.all([
    import("../../simulators/torture/box.ts"),
    import("../../simulators/torture/report.ts"),
    import("../../simulators/screen.ts"),
    import("../core/clock.ts"),
    import("../core/random.ts"),
  ]);
  const startedAt = new Date(systemClock.wallMs()).toISOString();
  const files = reportFiles(io, { given: options.report, dir: options.dir, name: "torture", startedAt });
  const seed = options.seed ?? systemRandom().below(SEED_MAX);
  const until = untilOf(options);
  const asked = "cycles" in until ? `${until.cycles} of each fault` : `${until.ms / 60_000} minutes`;
  const workplace = openWorkplace(io, options.dir, "torture");
  const screen = openScreen(io.json ? { write: () => true } : io.stdout);
  try {
    let interrupted: Interrupted | undefined;
    const report = await untilDone(async (signal) => {
      const box = await describeBox(workplace.dir, systemClock, signal);
      if (!io.json) opening(io, screen, { trials: able.length, skipped, box, asked, seed });
      const result = await runner.torture({
        trials: able,
        until,
        seed,
        dir: workplace.dir,
        clock: systemClock,
        report: io.json ? (event) => io.printJson(event) : progress(io, screen),
        signal,
      });
      if (signal.reason instanceof Interrupted) interrupted = signal.reason;
      return makeReport({ startedAt, asked, seed, box, skipped }, result);
    });
    screen.end(false);
    for (const file of files) writeReport(report, file);
    if (io.json) io.printJson({ event: "result", ...report });
    else tell(io, report, closingSentence(report), files);
    io.exitCode = exitCodeOf(report, interrupted);
  } finally {
    screen.end(false);
    workplace.remove();
  }
}

function exitCodeOf({ tried, held }: TortureResult, interrupted: Interrupted | undefined): number {
  if (tried.some(({ result }) => result === "found")) return 1;
  if (interrupted) return interrupted.exitCode;
  return held ? 0 : 1;
}

function untilOf({ minutes, hours, cycles }: Options): { ms: number } | { cycles: number } {
  if (cycles !== undefined) {
    if (minutes !== undefined || hours !== undefined) {
      throw new HoldfastError(
        "HF_USAGE",
        "--cycles stands in place of --minutes and --hours: give one of them",
      );
    }
    return { cycles: Math.max(1, cycles) };
  }
  const given = minutes !== undefined || hours !== undefined;
  return { ms: given ? ((minutes ?? 0) + (hours ?? 0) * 60) * 60_000 : MINUTES_DEFAULT * 60_000 };
}

function checkNames(trials: readonly Trial[], asked: readonly string[]): void {
  const known = trials.map(({ name }) => name);
  const strange = asked.filter((name) => !known.includes(name));
  if (strange.length === 0) return;
  throw new HoldfastError(
    "HF_USAGE",
    `there is no trial ${strange.join(", ")}; there are: ${known.join(", ")}`,
  );
}

function nothingToTry(skipped: readonly Skipped[]): HoldfastError {
  const why = skipped.map(({ trial, why: lacks, howToGet }) => {
    return `\n  ${trial}: ${lacks}${howToGet === null ? "" : ` (${howToGet})`}`;
  });
  return new HoldfastError("HF_USAGE", `nothing is left to try:${why.join("")}`, { skipped });
}

function list(io: CliIo, able: readonly Trial[], skipped: readonly Skipped[]): void {
  if (io.json) {
    const here = able.map(({ name, about, promise }) => ({ trial: name, about, promise, here: true }));
    io.printJson([...here, ...skipped.map((each) => ({ ...each, here: false }))]);
    return;
  }
  for (const { name, about, promise } of able) {
    io.print(`${io.paint("bold", name)}\n  ${about}\n  ${io.paint("dim", promise)}`);
  }
  for (const { trial, about, why, howToGet } of skipped) {
    const how = howToGet === null ? "" : ` (${howToGet})`;
    io.print(`${io.paint("bold", trial)} ${io.paint("yellow", "not here")}\n  ${about}\n  ${why}${how}`);
  }
}

interface Opening {
  readonly trials: number;
  readonly skipped: readonly Skipped[];
  readonly box: Awaited<ReturnType<typeof import("../../simulators/torture/box.ts").describeBox>>;
  readonly asked: string;
  readonly seed: number;
}

function opening(io: CliIo, screen: Screen, { trials, skipped, box, asked, seed }: Opening): void {
  const { disk, fsync } = box;
  screen.say(`${io.paint("bold", `${trials} trials`)}, ${asked}, seed ${seed}`);
  screen.say(`on ${disk.device}, ${disk.filesystem} at ${disk.mountPoint} (${disk.mountOptions})`);
  screen.say(`fsync here: median ${fsync.medianMs.toFixed(2)} ms, p99 ${fsync.p99Ms.toFixed(2)} ms`);
  for (const { trial, why, howToGet } of skipped) {
    screen.say(
      `${io.paint("yellow", "skipped")} ${trial}: ${why}${howToGet === null ? "" : ` (${howToGet})`}`,
    );
  }
}

function progress(io: CliIo, screen: Screen): (event: TortureEvent) => void {
  return (event) => {
    if (event.event === "visit") {
      const share = event.forMs === null ? "" : `, ${Math.round(event.forMs / 1000)} s`;
      screen.draw([io.paint("dim", `  ${event.trial} (seed ${event.seed}${share})`)]);
    } else if (event.event === "say") {
      const line = io.paint("dim", `  ${event.trial}: ${event.cycles} done · ${event.text}`);
      if (screen.live) screen.draw([line]);
      else screen.say(line);
    } else {
      const { trial, cycles, tookMs, findings, failure, seed } = event;
      const mark = findings.length > 0 || failure !== null ? io.paint("red", "✗") : io.paint("green", "✓");
      screen.say(
        `${mark} ${trial.padEnd(14)} ${String(cycles).padStart(5)} × in ${(tookMs / 1000).toFixed(1)} s`,
      );
      for (const finding of findings.slice(0, 3))
        screen.say(`    ${io.paint("red", "found")} ${finding} (seed ${seed})`);
      if (findings.length > 3) screen.say(`    … and ${findings.length - 3} more`);
      if (failure !== null) screen.say(`    ${io.paint("yellow", "could not be done")}: ${failure}`);
    }
  };
}

function tell(
  io: CliIo,
  report: {
    readonly tried: readonly Tried[];
    readonly held: boolean;
    readonly repeat: readonly { command: string }[];
  },
  sentence: string,
  files: readonly string[],
): void {
  io.print("");
  for (const { trial, cycles, result } of report.tried) {
    const style = result === "held" ? "green" : result === "found" ? "red" : "yellow";
    io.print(`  ${io.paint(style, result.padEnd(12))} ${trial} (${cycles} ×)`);
  }
  io.print("");
  io.print(`${report.held ? io.paint("green", "✓") : io.paint("red", "✗")} ${sentence}`);
  const commands = new Set(report.repeat.map(({ command }) => command));
  for (const command of [...commands].slice(0, 5)) io.print(`  again: ${command}`);
  for (const file of files) io.print(`  report: ${file}`);
}

function nameList(text: string): string[] {
  const names = text.split(",").map((name) => name.trim());
  if (names.includes("")) throw new InvalidArgumentError("expected names with commas between.");
  return names;
}
