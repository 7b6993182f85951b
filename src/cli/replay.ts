/** `holdfast replay`: plays a capture of real traffic back against a broker. */
import { resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
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
  readonly to: URL;
  readonly speed: number;
  readonly duplicates: number;
  readonly delay: number;
  readonly seed: number;
  readonly settle: number;
}

export function register(program: Command, io: CliIo): void {
  program
    .command("replay <capture.jsonl>")
    .description("Play recorded traffic back, as it was or faster, with mishaps added")
    .requiredOption("--to <url>", "the broker, such as mqtt://127.0.0.1:1883 or mqtt://user@host", mqttUrl)
    .option("--speed <factor>", "2 plays twice as fast, max as fast as it goes", speed, 1)
    .option("--duplicates <chance>", "chance, 0 to 1, that a message is sent twice", chance, 0)
    .option("--delay <duration>", "hold each message back up to this long, such as 500ms", durationMs, 0)
    .option("--settle <duration>", "how long to wait for the last answers (default: 30s)", durationMs, 30_000)
    .option("--seed <n>", "the same seed draws the same mishaps", wholeNumber, 1)
    .addHelpText(
      "after",
      `
A capture holds one JSON object a line: {"at", "device", "topic", "payload", "qos", "retain", "id"}.
\`holdfast simulate --record FILE\` writes one. Each device becomes a client of its own; a device's messages
keep their order, whatever is added. A password may stand in HOLDFAST_REPLAY_PASSWORD instead of in the URL.

Exit code 0: everything was sent and, under QoS 1 and 2, acknowledged. 1: it was not.

Examples:
  $ holdfast replay monday.jsonl --to mqtt://127.0.0.1:1883
  $ holdfast replay monday.jsonl --to mqtt://127.0.0.1:1883 --speed 10 --duplicates 0.1 --delay 2s`,
    )
    .action((capture: string, options: Options) => replayCapture(io, capture, options));
}

async function replayCapture(io: CliIo, capture: string, options: Options): Promise<void> {
  const [{ readCapture }, { replay }, { systemClock }, { openScreen }] = await Promise.all([
    import("../../simulators/capture.ts"),
    import("../../simulators/replay.ts"),
    import("../core/clock.ts"),
    import("../../simulators/screen.ts"),
  ]);
  const screen = openScreen(io.json ? { write: () => true } : io.stdout);
  try {
    await untilDone(async (signal) => {
      const { to } = options;
      const result = await replay({
        captured: readCapture(resolve(io.cwd, capture)),
        host: hostOf(to),
        port: mqttPortOf(to),
        ...credentials(to, io.env),
        speed: options.speed,
        duplicates: options.duplicates,
        delayMsMax: options.delay,
        settleMs: options.settle,
        seed: options.seed,
        clock: systemClock,
        signal,
        onProgress: ({ sent, acked, devices, capturedMs }) => {
          const at = `${(capturedMs / 1000).toFixed(1)} s of the capture`;
          screen.draw([`${at} · ${devices} devices · ${sent} sent · ${acked} acknowledged`]);
        },
      });
      screen.end(false);
      const { unacked, complete, sent, acked, repeats, devices, capturedMs } = result;
      if (io.json) {
        const figures = { complete, sent, acked, repeats, devices, capturedMs };
        io.printJson({ event: "replayed", ...figures, unacked: unacked.slice(0, 100) });
      } else {
        const mark = complete ? io.paint("green", "✓ replayed:") : io.paint("red", "✗ not all was taken:");
        const facts = `${sent} messages of ${devices} devices, ${acked} acknowledged, ${repeats} sent again`;
        io.print(`${mark} ${facts}`);
      }
      io.exitCode = complete ? 0 : 1;
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
