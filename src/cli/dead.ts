/** `holdfast dead list | retry | edit | discard`: what needs a person, putting it back in line, giving it up. */
import type { Command } from "commander";
import { HoldfastError } from "../core/errors.ts";
import type { DeadLettersPage } from "../queue/queries-failures.ts";
import type { Answers } from "./api-client.ts";
import { dryRun, register as registerEdit } from "./dead-edit.ts";
import { type CliIo, DATA_OPTION, dataDirFrom } from "./io.ts";
import type { JobOptions } from "./job-run.ts";
import { momentFrom } from "./message-list.ts";
import { inSteps, sayDone, type WhichOptions, whichOf } from "./repair.ts";
import { withGateway } from "./with-gateway.ts";

const LIST_DEFAULT = 20;
const PAGE_MAX = 1000;
/** Where standard output is no terminal. */
const COLUMNS_DEFAULT = 100;

interface ListOptions {
  readonly data?: string;
  readonly flow?: string;
  readonly limit?: string;
}

interface RetryOptions extends WhichOptions, JobOptions {
  readonly dryRun?: boolean;
  readonly device?: string;
  readonly from?: string;
  readonly to?: string;
}

interface DiscardOptions extends WhichOptions {
  readonly reason: string;
}

const NEEDS_GATEWAY = "Only a running gateway changes what is in its store.";

export function register(program: Command, io: CliIo): void {
  const dead = program.command("dead").description("Dead letters: what no retry can mend");
  dead
    .command("list")
    .description("Which there are, and why; the newest first")
    .option("-f, --flow <name>", "of this flow alone")
    .option("-n, --limit <n>", `at most so many (default: ${LIST_DEFAULT})`)
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
A message is dead when its target rejected it for good, or after retry.attemptsMax tries that were answered.
It keeps its payload, reason and history, and holds nobody back.

Examples:
  $ holdfast dead list
  $ holdfast dead list --flow mes --limit 1000 --json | jq -r '.letters[].id'
  $ holdfast messages show ID             what happened to one of them`,
    )
    .action((options: ListOptions) => list(io, options));
  dead
    .command("retry")
    .description("Put dead letters back in line, with their id and at their place in the lane's order")
    .argument("[ids...]", "these messages")
    .option("-f, --flow <name>", "all of this flow (with ids: only on this flow)")
    .option("-g, --group <reason>", "all of this reason, as `dead list` shows it")
    .option("--all", "all there are, of every flow")
    .option("--dry-run", "of messages named: what would come of each; send and change nothing")
    .option("--rate <rate>", "not at once, but by a job at this rate: 50/s, 600/min")
    .option("--device <name>", "by a job: only of this device")
    .option("--from <time>", "by a job: accepted from then on, such as 2026-06-01T12:00")
    .option("--to <time>", "by a job: accepted before then")
    .option("--estimate", "by a job: say what it would be, and do nothing")
    .option("--no-wait", "do not follow the job: the gateway carries it on by itself")
    .option("--reason <text>", "why; it goes on record")
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
Mend the cause first: what is rejected again is dead again. Held unknowns (onUnknown: hold) are put back too;
the backend may get those a second time, under the same id. Needs the running gateway.

With --rate, or one of the options that narrow it down, a job of the gateway does it: it waits while the target is away,
can be paused (holdfast job), and goes on after a restart.

Examples:
  $ holdfast dead retry 0197f3c1-7b1e-7a52-9f0e-0d9be0a3c1d2
  $ holdfast dead retry --flow mes
  $ holdfast dead retry --group 'HTTP 422: … bar is too much' --reason 'limit raised'
  $ holdfast dead retry --all --rate 50/s
  $ holdfast dead retry --flow mes --group "HTTP 422: …" --estimate`,
    )
    .action((ids: string[], options: RetryOptions) => retry(io, ids, options));
  registerEdit(dead, io);
  dead
    .command("discard")
    .description("Give dead letters up: never sent, on record as discarded, with who and why")
    .argument("[ids...]", "these messages")
    .requiredOption("--reason <text>", "why; it goes on record")
    .option("-f, --flow <name>", "all of this flow (with ids: only on this flow)")
    .option("-g, --group <reason>", "all of this reason, as `dead list` shows it")
    .option("--all", "all there are, of every flow")
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
Nothing brings them back: a discarded message leaves the store after queue.retention. Held unknowns
(onUnknown: hold) are taken too, and what stands behind one in its lane goes on. Needs the running gateway.

Examples:
  $ holdfast dead discard 0197f3c1-7b1e-7a52-9f0e-0d9be0a3c1d2 --reason 'test part, not produced'
  $ holdfast dead discard --flow mes --group 'HTTP 422: unknown order …' --reason 'orders were cancelled'`,
    )
    .action((ids: string[], options: DiscardOptions) => discard(io, ids, options));
}

async function list(io: CliIo, options: ListOptions): Promise<void> {
  const limit = options.limit === undefined ? LIST_DEFAULT : Number(options.limit);
  if (!Number.isInteger(limit) || limit < 1) {
    throw new HoldfastError("HF_USAGE", `--limit takes a whole number from 1, not ${options.limit}`);
  }
  const { openAnswers } = await import("./api-client.ts");
  const answers = await openAnswers(dataDirFrom(io, options.data), io.env);
  try {
    const page = await pages(answers, options.flow, limit);
    if (io.json) io.printJson({ running: answers.down === null, ...page });
    else {
      if (answers.down) io.note(`${answers.down.sentence} This is as of its last commit.`);
      await print(io, page, options.flow);
    }
  } finally {
    answers.close();
  }
}

async function pages(answers: Answers, flow: string | undefined, limit: number): Promise<DeadLettersPage> {
  let page = await answers.dead({ flow, limit: Math.min(limit, PAGE_MAX) });
  const letters = [...page.letters];
  while (page.next !== null && letters.length < limit) {
    page = await answers.dead({ flow, after: page.next, limit: Math.min(limit - letters.length, PAGE_MAX) });
    letters.push(...page.letters);
  }
  return { ...page, letters };
}

async function print(io: CliIo, page: DeadLettersPage, flow: string | undefined): Promise<void> {
  const [{ systemClock }, { count, counted, harmless, moment, table }] = await Promise.all([
    import("../core/clock.ts"),
    import("./plain-words.ts"),
  ]);
  const { total, letters, reasons } = page;
  const where = flow === undefined ? "" : ` on flow ${flow}`;
  if (total === 0) {
    io.print(`There are no dead letters${where}.`);
    return;
  }
  const columns = io.stdout.columns ?? COLUMNS_DEFAULT;
  io.print(io.paint("bold", `${counted(total, "dead letter")}${where}`));
  for (const group of reasons.groups) {
    io.print(`  ${count(group.count)} × ${group.flow}: ${harmless(group.reason)}`);
  }
  if (reasons.others > 0) io.print(`  ${count(reasons.others)} for rarer reasons`);
  io.print("");
  const wallMs = systemClock.wallMs();
  const rows = letters.map((letter) => [
    moment(letter.deadAtMs, wallMs),
    letter.flow,
    harmless(letter.id),
    harmless(letter.device),
    harmless(letter.topic),
    harmless(letter.reason ?? ""),
  ]);
  const head = [
    { title: "since" },
    { title: "flow" },
    { title: "id" },
    { title: "device", shrinkTo: 10 },
    { title: "topic", shrinkTo: 10 },
    { title: "reason", shrinkTo: 20 },
  ];
  io.print(table(head, rows, columns, (text) => io.paint("dim", text)).join("\n"));
  if (letters.length < total) {
    io.print(io.paint("dim", `${count(total - letters.length)} more: --limit ${total}`));
  }
  io.print("");
  io.print("One of them in full:  holdfast messages show ID");
  io.print(
    `Once mended:          holdfast dead retry ${flow === undefined ? "ID | --flow FLOW | --all" : `--flow ${flow}`}`,
  );
}

async function retry(io: CliIo, ids: readonly string[], options: RetryOptions): Promise<void> {
  const which = whichOf(ids, options);
  if (options.dryRun) {
    if (ids.length === 0) throw new HoldfastError("HF_USAGE", "--dry-run takes the messages by their ids");
    return dryRun(io, ids, { data: options.data, flow: options.flow });
  }
  const { rate, device, from, to, estimate } = options;
  if ([rate, device, from, to, estimate].some((option) => option !== undefined)) {
    const { runJob } = await import("./job-run.ts");
    const moments = {
      from: momentFrom("--from", from)?.toString(),
      to: momentFrom("--to", to)?.toString(),
    };
    return runJob(
      io,
      { kind: "redrive", ...which, ids: ids.length > 0 ? ids : undefined, device, ...moments },
      options,
    );
  }
  const more = options.reason === undefined ? {} : { reason: options.reason };
  const done = await withGateway(io, options.data, NEEDS_GATEWAY, (gateway) =>
    inSteps(io, gateway, "/v1/dead/retry", "redriven", which, more),
  );
  if (io.json) io.printJson({ redriven: done.count, left: done.left });
  const none =
    ids.length > 0
      ? "Nothing was put back: none of these is dead or held."
      : "Nothing was put back: there is nothing dead or held.";
  await sayDone(io, done, which, { done: "put back in line; holdfast status shows how they fare.", none });
}

async function discard(io: CliIo, ids: readonly string[], options: DiscardOptions): Promise<void> {
  const which = whichOf(ids, options);
  const done = await withGateway(io, options.data, NEEDS_GATEWAY, (gateway) =>
    inSteps(io, gateway, "/v1/dead/discard", "discarded", which, { reason: options.reason }),
  );
  if (io.json) io.printJson({ discarded: done.count, left: done.left });
  const none =
    ids.length > 0
      ? "Nothing was discarded: none of these is dead or held."
      : "Nothing was discarded: there is nothing dead or held.";
  await sayDone(io, done, which, { done: "discarded.", none });
}
