/** `holdfast salvage`: what a start does with a damaged store, by hand and into a folder of one's choice. */
import type { Command } from "commander";
import { type CliIo, dataDirFrom } from "./io.ts";

export function register(program: Command, io: CliIo): void {
  program
    .command("salvage")
    .description("Salvage what can be read of a damaged store into a new one")
    .requiredOption("-i, --into <dir>", "where the new store is made; must not have one")
    .option(
      "-d, --data <dir>",
      "the data folder, or a folder of damaged files (or HOLDFAST_DATA; default: ./data)",
    )
    .addHelpText(
      "after",
      `
A start does this by itself, unless the config says queue.onDamage: refuse. The gateway must be down. What is
salvaged from is only read. The answer says what could not be read; so will the gateway that is started on the new
store, for as long as the old one is where it is.
Exit code 1: acknowledged messages are lost, or may be.

Examples:
  $ holdfast salvage --into ./rescued && holdfast run --data ./rescued
  $ holdfast salvage --data ./data/damaged-20261124T101530Z --into /mnt/usb/rescued --json`,
    )
    .action((options: { into: string; data?: string }) => salvage(io, options));
}

async function salvage(io: CliIo, options: { into: string; data?: string }): Promise<void> {
  const [{ salvageFolder }, { isLossy, salvageSentence }, { systemClock }, { harmless }, { resolve }] =
    await Promise.all([
      import("../queue/by-hand.ts"),
      import("../queue/salvage-report.ts"),
      import("../core/clock.ts"),
      import("./plain-words.ts"),
      import("node:path"),
    ]);
  const into = resolve(io.cwd, options.into);
  const report = salvageFolder(dataDirFrom(io, options.data), into, systemClock.wallMs());
  const lossy = isLossy(report);
  if (io.json) io.printJson({ into, lossy, ...report });
  else {
    io.print(io.paint(lossy ? "yellow" : "green", harmless(salvageSentence(report))));
    for (const { seq, id } of report.lost) io.print(`  lost: ${harmless(id ?? "(id unreadable)")} (#${seq})`);
    io.print(`The new store is in ${into}: holdfast run --data ${into}`);
  }
  io.exitCode = lossy ? 1 : 0;
}
