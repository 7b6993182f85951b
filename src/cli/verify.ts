/** `holdfast verify`: reads the whole store and says whether anything in it is damaged. */
import type { Command } from "commander";
import { type CliIo, DATA_OPTION, dataDirFrom } from "./io.ts";

export function register(program: Command, io: CliIo): void {
  program
    .command("verify")
    .description("Read the whole store: pages, indexes, the content of every message, and the books")
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
Works with the gateway up or down, and changes nothing. A store of 1,000,000 messages takes some ten seconds.
Exit code 1: something is damaged. The next start salvages what can be read; so does holdfast salvage.

Examples:
  $ holdfast verify
  $ holdfast verify --data /var/lib/holdfast --json | jq .problems`,
    )
    .action((options: { data?: string }) => verify(io, options));
}

async function verify(io: CliIo, options: { data?: string }): Promise<void> {
  const [{ verifyFolder }, { salvageSentence }, { harmless }] = await Promise.all([
    import("../queue/by-hand.ts"),
    import("../queue/salvage-report.ts"),
    import("./plain-words.ts"),
  ]);
  const verdict = verifyFolder(dataDirFrom(io, options.data));
  const { problems, messages, deliveries, salvages } = verdict;
  if (io.json) io.printJson({ sound: problems.length === 0, ...verdict });
  else {
    for (const problem of problems) io.print(io.paint("red", `✖ ${harmless(problem)}`));
    if (problems.length === 0) {
      io.print(
        io.paint("green", `✔ sound: ${messages} messages and ${deliveries} deliveries, all accounted for`),
      );
    }
    for (const report of salvages) io.print(`  earlier: ${harmless(salvageSentence(report))}`);
  }
  io.exitCode = problems.length === 0 ? 0 : 1;
}
