/** `holdfast replay`: plays a capture back against a broker, or exactly on a gateway of its own. */
import { resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import type { ReplayFileResult } from "../../simulators/replay-run.ts";
import type { Screen } from "../../simulators/screen.ts";
import { HoldfastError } from "../core/errors.ts";
import type { CliIo } from "./io.ts";
import {
  chance,
  durationMs,
  hostOf,
  Interrupted,
  mqttPortOf,
  mqttUrl,
  untilDone,
  wholeNumber,
} from "./simulation.ts";

interface Options {
  readonly to?: URL;
  readonly speed: number;
  readonly asFastAsPossible?: true;
  readonly duplicates: number;
  readonly delay: number;
  readonly seed: number;
  readonly settle: number;
  readonly record?: string;
}

export function register(program: Command, io: CliIo): void {
  program
    .command("replay <capture.jsonl>")
    .description("Play recorded traffic back, exactly as it was or faster, or with mishaps added")
    .option("--to <url>", "a broker that runs, such as mqtt://127.0.0.1:1883 or mqtt://user@host", mqttUrl)
    .option("--speed <factor>", "2 plays twice as fast, max as fast as it goes", speed, 1)
    .option("--as-fast-as-possible", "the same as --speed max")
    .option("--duplicates <chance>", "chance, 0 to 1, that a message is sent twice", chance, 0)
    .option("--delay <duration>", "hold each message back up to this long, such as 500ms", durationMs, 0)
    .option("--settle <duration>", "how long to wait for answers (default: 30s)", durationMs, 30_000)
    .option("--seed <n>", "the same seed draws the same mishaps", wholeNumber, 1)
    .option("--record <file>", "write what the replay did, as a capture of its own")
    .addHelpText(
      "after",
      `
\`holdfast simulate --record FILE\` writes a capture of everything that machines do on the wire. It is replayed
exactly: the same packets in the same order, with their packet ids and DUP flags, each after the answers that it
came after. Without --to that happens on a gateway of its own with the config of the capture, and an oracle judges
what arrived.

A capture of a plant may hold no more than {"at", "device", "topic", "payload"}, one JSON object a line, and
optionally "qos", "retain", "id". Each device becomes a client of its own; a device's messages keep their order,
whatever is added by --duplicates and --delay. That needs --to. A password may stand in HOLDFAST_REPLAY_PASSWORD
instead of in the URL.

Exit code 0: everything was sent and acknowledged, and where the oracle judged, the promise was kept. 1: not.

Examples:
  $ holdfast simulate kill-and-restart --record kill.jsonl && holdfast replay kill.jsonl
  $ holdfast replay kill.jsonl --as-fast-as-possible
  $ holdfast replay monday.jsonl --to mqtt://127.0.0.1:1883 --speed 10 --duplicates 0.1 --delay 2s`,
    )
    .action((capture: string, options: Options) => replayCapture(io, resolve(io.cwd, capture), options));
}

async function replayCapture(io: CliIo, file: string, options: Options): Promise<void> {
  const [{ openCapture }, { openScreen }] = await Promise.all([
    import("../../simulators/capture.ts"),
    import("../../simulators/screen.ts"),
  ]);
  const capture = await openCapture(file);
  await capture.close();
  const changed = options.duplicates > 0 || options.delay > 0;
  const screen = openScreen(io.json ? { write: () => true } : io.stdout);
  try {
    await untilDone(async (signal) => {
      const run = capture.header && !changed ? playExactly : playFreely;
      await run(io, screen, file, options, signal);
      if (signal.aborted) throw signal.reason;
    });
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    io.note(error.message);
    io.exitCode = error.exitCode;
  } finally {
    screen.end(false);
  }
}

async function playExactly(
  io: CliIo,
  screen: Screen,
  file: string,
  options: Options,
  signal: AbortSignal,
): Promise<void> {
  const [{ replayFile }, { systemClock }] = await Promise.all([
    import("../../simulators/replay-run.ts"),
    import("../core/clock.ts"),
  ]);
  const { to, record } = options;
  const result = await replayFile({
    file,
    to: to && { host: hostOf(to), port: mqttPortOf(to) },
    ...(to ? credentials(to, io.env) : {}),
    speed: speedOf(options),
    settleMs: options.settle,
    record: record && resolve(io.cwd, record),
    clock: systemClock,
    signal,
    onProgress: (progress) => screen.draw([progressLine(progress)]),
  });
  screen.end(false);
  const { judged } = result;
  io.exitCode = result.complete && (judged === null || (judged.kept && judged.drained)) ? 0 : 1;
  if (io.json) io.printJson({ event: "replayed", exact: true, ...result });
  else tellExact(io, result);
}

function tellExact(io: CliIo, result: ReplayFileResult): void {
  const { complete, sent, acked, repeats, devices, connections, behindMsMax, judged } = result;
  const mark = complete ? io.paint("green", "✓ replayed exactly:") : io.paint("red", "✗ not as it was:");
  io.print(
    `${mark} ${sent} messages of ${devices} devices on ${connections} connections, ${acked} acknowledged, ${repeats} sent again`,
  );
  for (const sentence of result.deviations) io.print(`  ${sentence}`);
  const more = result.deviationCount - result.deviations.length;
  if (more > 0) io.print(`  … and ${more} more`);
  if (behindMsMax > BEHIND_TOLD_MS)
    io.print(io.paint("dim", `  at most ${behindMsMax} ms behind the capture`));
  if (result.cutOff) io.print(io.paint("yellow", "  the capture ends in the middle of a line"));
  if (!judged) return;
  const { lost, doubled, outOfOrder } = judged.verdict.counts;
  const verdict = judged.kept ? io.paint("green", "✓ the promise was kept:") : io.paint("red", "✗");
  const arrived = `${judged.verdict.figures.arrived} arrived, ${judged.gateway?.duplicates ?? "?"} duplicates stopped`;
  io.print(`${verdict} ${arrived}, ${lost} lost, ${doubled} doubled, ${outOfOrder} out of order`);
  for (const { kind, detail } of judged.verdict.findings.slice(0, FINDINGS_SHOWN_MAX)) {
    io.print(`  ${io.paint("red", kind)} ${detail}`);
  }
  if (!judged.drained) io.print(io.paint("yellow", "  not everything had arrived in time"));
}

const BEHIND_TOLD_MS = 100;
const FINDINGS_SHOWN_MAX = 10;

/** Each device as a machine that does what it must to be heard, with mishaps added where asked for. */
async function playFreely(
  io: CliIo,
  screen: Screen,
  file: string,
  options: Options,
  signal: AbortSignal,
): Promise<void> {
  const { to, record } = options;
  if (!to) {
    throw new HoldfastError(
      "HF_USAGE",
      "a capture without packet ids, and one that is changed by --duplicates or --delay, is played to a broker: say --to mqtt://host:port",
    );
  }
  if (record) throw new HoldfastError("HF_USAGE", "only an exact replay can be recorded");
  const [{ readCapture }, { replay }, { systemClock }] = await Promise.all([
    import("../../simulators/capture.ts"),
    import("../../simulators/replay.ts"),
    import("../core/clock.ts"),
  ]);
  const result = await replay({
    captured: readCapture(file),
    host: hostOf(to),
    port: mqttPortOf(to),
    ...credentials(to, io.env),
    speed: speedOf(options),
    duplicates: options.duplicates,
    delayMsMax: options.delay,
    settleMs: options.settle,
    seed: options.seed,
    clock: systemClock,
    signal,
    onProgress: (progress) => screen.draw([progressLine(progress)]),
  });
  screen.end(false);
  const { unacked, complete, sent, acked, repeats, devices, capturedMs } = result;
  if (io.json) {
    const figures = { complete, sent, acked, repeats, devices, capturedMs };
    io.printJson({ event: "replayed", exact: false, ...figures, unacked: unacked.slice(0, 100) });
  } else {
    const mark = complete ? io.paint("green", "✓ replayed:") : io.paint("red", "✗ not all was taken:");
    const facts = `${sent} messages of ${devices} devices, ${acked} acknowledged, ${repeats} sent again`;
    io.print(`${mark} ${facts}`);
  }
  io.exitCode = complete ? 0 : 1;
}

interface Progress {
  readonly sent: number;
  readonly acked: number;
  readonly devices: number;
  readonly capturedMs: number;
}

function progressLine({ sent, acked, devices, capturedMs }: Progress): string {
  const at = `${(capturedMs / 1000).toFixed(1)} s of the capture`;
  return `${at} · ${devices} devices · ${sent} sent · ${acked} acknowledged`;
}

const speedOf = ({ asFastAsPossible, speed }: Options) =>
  asFastAsPossible ? Number.POSITIVE_INFINITY : speed;

function credentials(to: URL, env: CliIo["env"]): { username?: string; password?: string } {
  const username = decodeURIComponent(to.username) || undefined;
  const password = decodeURIComponent(to.password) || env.HOLDFAST_REPLAY_PASSWORD || undefined;
  return username === undefined ? {} : { username, password };
}

function speed(text: string): number {
  const factor = text === "max" ? Number.POSITIVE_INFINITY : Number(text);
  if (!(factor > 0)) throw new InvalidArgumentError("expected a number above 0, or max.");
  return factor;
}
