/** `holdfast demo`: half a minute that shows what Holdfast is for, on this computer, with nothing to set up. */
import type { Command } from "commander";
import type { DemoEvent } from "../../simulators/demo/demo.ts";
import type { Screen } from "../../simulators/screen.ts";
import type { CliIo } from "./io.ts";
import { Interrupted, untilDone, wholeNumber } from "./simulation.ts";

/** How often the figures become a sentence where there is no terminal to redraw them on. */
const PLAIN_FIGURES_EVERY_MS = 2_000;
const LOOKS_KEPT = 400;

export function register(program: Command, io: CliIo): void {
  program
    .command("demo")
    .description("See it work: machines, a backend that fails, a power cut, and a verdict, in half a minute")
    .option("--seed <n>", "another seed, other mishaps", wholeNumber, 1)
    .addHelpText(
      "after",
      `
Starts a gateway as a process of its own, simulated machines and a backend, all on 127.0.0.1 with free ports and
a temporary folder; lets the backend go away, kills the gateway, loses answers; then an oracle holds what the
machines were promised against what arrived. Takes half a minute and leaves nothing behind. Ctrl-C ends it early.

Exit code 0: the promise was kept. 1: it was not.

Examples:
  $ holdfast demo
  $ holdfast demo --json | jq -r 'select(.event == "say").text'`,
    )
    .action((options: { seed: number }) => demo(io, options.seed));
}

async function demo(io: CliIo, seed: number): Promise<void> {
  const [{ runDemo }, { openScreen }, { systemClock }, panel] = await Promise.all([
    import("../../simulators/demo/demo.ts"),
    import("../../simulators/screen.ts"),
    import("../core/clock.ts"),
    import("../../simulators/demo/panel.ts"),
  ]);
  const screen = openScreen(io.json ? { write: () => true } : io.stdout);
  const report = io.json ? (event: DemoEvent) => io.printJson(event) : teller(io, screen, panel);
  try {
    const kept = await untilDone((signal) => runDemo({ clock: systemClock, seed, report, signal }));
    io.exitCode = kept ? 0 : 1;
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    screen.end();
    io.note(`${error.message}; everything that the demo started has been stopped`);
    io.exitCode = error.exitCode;
  } finally {
    screen.end();
  }
}

type Panel = typeof import("../../simulators/demo/panel.ts");

function teller(io: CliIo, screen: Screen, { panel, verdictLines, narration, plainFigures }: Panel) {
  const paint = (style: Parameters<CliIo["paint"]>[0], text: string) => io.paint(style, text);
  const waitingHistory: number[] = [];
  let shownAtMs = 0;
  return (event: DemoEvent): void => {
    if (event.event === "say") {
      screen.say(narration(event, screen.columns, paint));
    } else if (event.event === "verdict") {
      // The last drawing stays, and the verdict stands below it.
      const { doubled, outOfOrder } = event.verdict.counts;
      screen.draw(
        panel(
          {
            figures: event.figures,
            waitingHistory,
            doubled,
            outOfOrder,
            elapsedMs: event.atMs,
            scene: "the end",
          },
          paint,
        ),
      );
      screen.end();
      for (const line of verdictLines(event, paint)) io.print(line);
    } else {
      waitingHistory.push(event.gateway?.open ?? 0);
      if (waitingHistory.length > LOOKS_KEPT) waitingHistory.shift();
      const { atMs, scene, doubled, outOfOrder } = event;
      if (screen.live) {
        screen.draw(
          panel({ figures: event, waitingHistory, doubled, outOfOrder, elapsedMs: atMs, scene }, paint),
        );
      } else if (event.sent > 0 && atMs - shownAtMs >= PLAIN_FIGURES_EVERY_MS) {
        shownAtMs = atMs;
        screen.say(plainFigures(event, paint));
      }
    }
  };
}
