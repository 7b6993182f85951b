/** `holdfast job list | show | follow | pause | resume | cancel`: work on many messages, carried on by the gateway. */
import type { Command } from "commander";
import { HoldfastError } from "../core/errors.ts";
import type { JobView } from "../core/job.ts";
import { type CliIo, DATA_OPTION, dataDirFrom } from "./io.ts";
import { withGateway } from "./with-gateway.ts";

const LIST_DEFAULT = 20;
const LIST_MAX = 1000;

interface Options {
  readonly data?: string;
  readonly open?: boolean;
  readonly limit?: string;
  readonly reason?: string;
}

export function register(program: Command, io: CliIo): void {
  const job = program.command("job").description("Jobs: redrives and replays of many messages, at a rate");
  const data = (command: Command) => command.option(...DATA_OPTION);
  data(job.command("list").description("Which there are; the newest first"))
    .option("--open", "only those that run or are paused")
    .option("-n, --limit <n>", `at most so many (default: ${LIST_DEFAULT})`)
    .addHelpText(
      "after",
      `
They are begun by \`holdfast dead retry --rate\` and \`holdfast messages replay\`. The gateway carries them on, over restarts
too. Works with the gateway up or down.

Examples:
  $ holdfast job list --open
  $ holdfast job list --json | jq '.jobs[] | [.id, .state, .done]'`,
    )
    .action((options: Options) => list(io, options));
  data(
    job.command("show").description("One job: what it does, how far it is").argument("<id>", "its number"),
  ).action((id: string, options: Options) => show(io, id, options));
  data(
    job
      .command("follow")
      .description("Shows the progress of a job until it is over; Ctrl-C leaves it going")
      .argument("<id>", "its number"),
  ).action((id: string, options: Options) => followOne(io, id, options));
  const changes = [
    ["pause", "Pauses a job: it stays where it is, over restarts too"],
    ["resume", "Goes on with a paused job"],
    ["cancel", "Ends a job where it is; what it has put in line stays there"],
  ] as const;
  for (const [what, description] of changes) {
    data(job.command(what).description(description).argument("<id>", "its number"))
      .option("--reason <text>", "why; it goes on record")
      .action((id: string, options: Options) => change(io, id, what, options));
  }
}

function idFrom(text: string): number {
  if (/^\d{1,15}$/.test(text) && Number(text) > 0) return Number(text);
  throw new HoldfastError("HF_USAGE", `a job is named by its number, not ${text}; see holdfast job list`);
}

async function list(io: CliIo, options: Options): Promise<void> {
  const limit = options.limit === undefined ? LIST_DEFAULT : Number(options.limit);
  if (!Number.isInteger(limit) || limit < 1 || limit > LIST_MAX) {
    throw new HoldfastError(
      "HF_USAGE",
      `--limit takes a whole number up to ${LIST_MAX}, not ${options.limit}`,
    );
  }
  const { running, found } = await look(io, options, (answers) =>
    answers.jobs({ open: options.open === true, limit }),
  );
  if (io.json) io.printJson({ running, jobs: found });
  else if (found.length === 0) io.print(options.open ? "No job is open." : "There are no jobs.");
  else {
    const [{ jobTable }, { systemClock }] = await Promise.all([
      import("./job-words.ts"),
      import("../core/clock.ts"),
    ]);
    io.print(jobTable(io, found, systemClock.wallMs()));
  }
}

async function show(io: CliIo, text: string, options: Options): Promise<void> {
  const id = idFrom(text);
  const { running, found } = await look(io, options, (answers) => answers.job(id));
  if (!found) throw notFound(id);
  if (io.json) io.printJson({ running, ...found });
  else await print(io, found);
}

async function followOne(io: CliIo, text: string, options: Options): Promise<void> {
  const id = idFrom(text);
  const { follow, NEEDS_GATEWAY } = await import("./job-run.ts");
  await withGateway(io, options.data, NEEDS_GATEWAY, async (gateway) => {
    const found = await gateway.job(id);
    if (!found) throw notFound(id);
    const last = await follow(io, gateway, found);
    if (io.json) io.printJson(last);
    else await print(io, last);
    if (last.state === "failed" || last.state === "cancelled") io.exitCode = 1;
  });
}

async function change(
  io: CliIo,
  text: string,
  what: "pause" | "resume" | "cancel",
  { data, reason }: Options,
): Promise<void> {
  const id = idFrom(text);
  const { NEEDS_GATEWAY } = await import("./job-run.ts");
  const job = await withGateway(
    io,
    data,
    NEEDS_GATEWAY,
    async (gateway) => (await gateway.ask("POST", `/v1/jobs/${id}/${what}`, { reason })) as JobView,
  );
  if (io.json) io.printJson(job);
  else await print(io, job);
}

async function print(io: CliIo, job: JobView): Promise<void> {
  const [{ story }, { systemClock }] = await Promise.all([
    import("./job-words.ts"),
    import("../core/clock.ts"),
  ]);
  io.print(story(job, systemClock.wallMs()));
}

async function look<T>(
  io: CliIo,
  { data }: Options,
  ask: (answers: import("./api-client.ts").Answers) => Promise<T>,
): Promise<{ running: boolean; found: T }> {
  const { openAnswers } = await import("./api-client.ts");
  const answers = await openAnswers(dataDirFrom(io, data), io.env);
  try {
    const found = await ask(answers);
    if (answers.down && !io.json) io.note(`${answers.down.sentence} This is as of its last commit.`);
    return { running: answers.down === null, found };
  } finally {
    answers.close();
  }
}

function notFound(id: number): HoldfastError {
  return new HoldfastError("HF_NOT_FOUND", `there is no job ${id}`, { id });
}
