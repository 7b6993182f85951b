/**
 * `holdfast status`: the six questions on one screen, with the gateway up or down.
 * `holdfast health`: whether it takes messages, in an exit code, for whoever restarts or alerts.
 */
import type { Command } from "commander";
import { HoldfastError } from "../core/errors.ts";
import { parseDurationMs } from "../core/units.ts";
import type { Answers, Status } from "./api-client.ts";
import { type CliIo, DATA_OPTION, dataDirFrom } from "./io.ts";

const WATCH_MS_DEFAULT = "2s";
const WATCH_MS_MIN = 200;
/** Where standard output is no terminal. */
const COLUMNS_DEFAULT = 100;

interface StatusOptions {
  readonly data?: string;
  readonly watch?: string | true;
}

export function register(program: Command, io: CliIo): void {
  program
    .command("status")
    .description("What is waiting, failing, retried, accounted for, and how it is repaired")
    .option(...DATA_OPTION)
    .option(
      "-w, --watch [every]",
      `draw it again every so often (default: ${WATCH_MS_DEFAULT}), until Ctrl-C`,
    )
    .addHelpText(
      "after",
      `
With the gateway down it reads the store itself, and says as of when.
Exit code 1: an alarm (messages are not accounted for, or nothing is acknowledged), or the gateway is down.
A backend that is away is no alarm: its messages are stored.

Examples:
  $ holdfast status
  $ holdfast status --watch 1s
  $ holdfast status --json | jq '.flows[] | {flow, waiting, dead}'
  $ holdfast status --data /var/lib/holdfast`,
    )
    .action((options: StatusOptions) => status(io, options));
  program
    .command("health")
    .description("Whether the gateway takes messages: exit code 0, else 1")
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
For a container's HEALTHCHECK or a script. A backend that is away does not make it fail.

Example:
  $ holdfast health || echo "look at it"`,
    )
    .action((options: { data?: string }) => health(io, options));
}

async function status(io: CliIo, options: StatusOptions): Promise<void> {
  const dataDir = dataDirFrom(io, options.data);
  if (options.watch === undefined) return once(io, dataDir);
  const every = options.watch === true ? WATCH_MS_DEFAULT : options.watch;
  const everyMs = parseDurationMs(every);
  if (everyMs === null || everyMs < WATCH_MS_MIN) {
    throw new HoldfastError(
      "HF_USAGE",
      `--watch takes a time of at least ${WATCH_MS_MIN}ms such as 2s, not ${every}`,
    );
  }
  return again(io, dataDir, everyMs);
}

async function once(io: CliIo, dataDir: string): Promise<void> {
  const { openAnswers } = await import("./api-client.ts");
  const answers = await openAnswers(dataDir, io.env);
  try {
    const found = await answers.status();
    if (io.json) io.printJson({ running: answers.down === null, ...found });
    else io.print((await draw(io, answers, found)).join("\n"));
    io.exitCode = isWell(found) ? 0 : 1;
  } finally {
    answers.close();
  }
}

/** Until a signal. Each drawing asks anew, so it follows a gateway that stops and starts. */
async function again(io: CliIo, dataDir: string, everyMs: number): Promise<void> {
  const [{ openAnswers }, { sleep, systemClock }, { keepAlive, onTerminate }] = await Promise.all([
    import("./api-client.ts"),
    import("../core/clock.ts"),
    import("./signals.ts"),
  ]);
  const stop = new AbortController();
  const forget = onTerminate(() => stop.abort());
  const release = keepAlive();
  try {
    while (!stop.signal.aborted) {
      const answers = await openAnswers(dataDir, io.env);
      try {
        const found = await answers.status();
        if (io.json) io.printJson({ running: answers.down === null, ...found });
        else redraw(io, await draw(io, answers, found));
      } finally {
        answers.close();
      }
      await sleep(systemClock, everyMs, stop.signal);
    }
  } finally {
    release();
    forget();
  }
}

async function draw(io: CliIo, answers: Answers, found: Status): Promise<string[]> {
  const [{ statusScreen }, { systemClock }] = await Promise.all([
    import("./status-screen.ts"),
    import("../core/clock.ts"),
  ]);
  return statusScreen(found, {
    columns: io.stdout.columns ?? COLUMNS_DEFAULT,
    wallMs: systemClock.wallMs(),
    down: answers.down,
    paint: (style, text) => io.paint(style, text),
  });
}

/** Home, then each line with the rest of the old one erased, then whatever was below: nothing flickers. */
function redraw(io: CliIo, lines: readonly string[]): void {
  if (!io.stdout.isTTY) {
    io.print(lines.join("\n"));
    return;
  }
  // What does not fit would scroll the screen at each drawing.
  const { rows = Number.POSITIVE_INFINITY } = io.stdout as { rows?: number };
  const fitting = lines.slice(0, rows - 1);
  io.stdout.write(`\u001b[H${fitting.map((line) => `${line}\u001b[K\n`).join("")}\u001b[J`);
}

function isWell({ health }: Status): boolean {
  return health !== null && health.verdict !== "alarm";
}

async function health(io: CliIo, options: { data?: string }): Promise<void> {
  const [{ GatewayClient, openAnswers }, { errorText }] = await Promise.all([
    import("./api-client.ts"),
    import("../core/errors.ts"),
  ]);
  let ready = false;
  let problems: string[] = [];
  try {
    const answers = await openAnswers(dataDirFrom(io, options.data), io.env);
    if (answers instanceof GatewayClient) {
      const said = await answers.ready();
      ready = said.ready;
      problems = said.problems.map(({ sentence }) => sentence);
    } else if (answers.down) problems = [answers.down.sentence];
    answers.close();
  } catch (error) {
    problems = [errorText(error)];
  }
  const { harmless } = await import("./plain-words.ts");
  if (io.json) io.printJson({ ready, problems });
  else {
    io.print(ready ? "ready: messages are taken" : "not ready: messages are not taken");
    for (const problem of problems) io.print(`  ${harmless(problem)}`);
  }
  io.exitCode = ready ? 0 : 1;
}
