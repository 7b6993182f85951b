/** `holdfast messages show ID`: where one message is and everything that happened to it; `list` and `search` beside it. */
import type { Command } from "commander";
import { HoldfastError } from "../core/errors.ts";
import { type CliIo, DATA_OPTION, dataDirFrom } from "./io.ts";
import { registerList } from "./message-list.ts";
import { registerReplay } from "./message-replay.ts";

/** Where standard output is no terminal. */
const COLUMNS_DEFAULT = 100;
const COLUMNS_MAX = 120;

export function register(program: Command, io: CliIo): void {
  const messages = program
    .command("messages")
    .description("Find messages, look at single ones, have them delivered again");
  registerList(messages, io);
  messages
    .command("show")
    .description("One message: where it is, which flow took it, each try and its answer")
    .argument("<id>", "its id, as the backend sees it; or its number in the store, such as 17 or #17")
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
Works with the gateway up or down. A message is kept as long as queue.retention says; dead ones stay.

Examples:
  $ holdfast messages show 0197f3c1-7b1e-7a52-9f0e-0d9be0a3c1d2
  $ holdfast messages show press-7:4711
  $ holdfast messages show '#17' --json | jq '.deliveries[].state'`,
    )
    .action((id: string, options: { data?: string }) => show(io, id, options));
  registerReplay(messages, io);
}

async function show(io: CliIo, id: string, options: { data?: string }): Promise<void> {
  const [{ openAnswers }, { messageStory }, { systemClock }] = await Promise.all([
    import("./api-client.ts"),
    import("./message-story.ts"),
    import("../core/clock.ts"),
  ]);
  const answers = await openAnswers(dataDirFrom(io, options.data), io.env);
  try {
    const found = await answers.message(id);
    if (!found) throw new HoldfastError("HF_NOT_FOUND", `there is no message ${id} in the store`, { id });
    if (io.json) {
      io.printJson({ running: answers.down === null, ...found });
      return;
    }
    if (answers.down) io.note(`${answers.down.sentence} This is as of its last commit.`);
    const health = answers.down ? null : (await answers.status()).health;
    const story = messageStory(found, {
      targets: health?.targets ?? [],
      columns: Math.min(io.stdout.columns ?? COLUMNS_DEFAULT, COLUMNS_MAX),
      wallMs: systemClock.wallMs(),
      paint: (style, text) => io.paint(style, text),
    });
    io.print(story.join("\n"));
  } finally {
    answers.close();
  }
}
