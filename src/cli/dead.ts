/** `holdfast dead list | retry`: what needs a person, and putting it back in line. */
import type { Command } from "commander";
import { HoldfastError } from "../core/errors.ts";
import type { DeadLettersPage } from "../queue/queries-failures.ts";
import type { Answers } from "./api-client.ts";
import { type CliIo, dataDirFrom } from "./io.ts";

const LIST_DEFAULT = 20;
const PAGE_MAX = 1000;
/** Put back by one request: the gateway makes each a commit, and a long one would keep machines waiting. */
const RETRY_STEP = 1000;
/** Where standard output is no terminal. */
const COLUMNS_DEFAULT = 100;

interface ListOptions {
  readonly data?: string;
  readonly flow?: string;
  readonly limit?: string;
}

interface RetryOptions {
  readonly data?: string;
  readonly flow?: string;
  readonly all?: boolean;
}

export function register(program: Command, io: CliIo): void {
  const dead = program.command("dead").description("Dead letters: what no retry can mend");
  dead
    .command("list")
    .description("Which there are, and why; the newest first")
    .option("-f, --flow <name>", "of this flow alone")
    .option("-n, --limit <n>", `at most so many (default: ${LIST_DEFAULT})`)
    .option("-d, --data <dir>", "the gateway's data folder (or HOLDFAST_DATA; default: ./data)")
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
    .option("--all", "all there are, of every flow")
    .option("-d, --data <dir>", "the gateway's data folder (or HOLDFAST_DATA; default: ./data)")
    .addHelpText(
      "after",
      `
Mend the cause first: what is rejected again is dead again. Held unknowns (onUnknown: hold) are put back too;
the backend may get those a second time, under the same id. Needs the running gateway.

Examples:
  $ holdfast dead retry 0197f3c1-7b1e-7a52-9f0e-0d9be0a3c1d2
  $ holdfast dead retry --flow mes
  $ holdfast dead retry --all`,
    )
    .action((ids: string[], options: RetryOptions) => retry(io, ids, options));
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

async function retry(io: CliIo, ids: readonly string[], { flow, all, data }: RetryOptions): Promise<void> {
  if (all && (flow !== undefined || ids.length > 0)) {
    throw new HoldfastError("HF_USAGE", "--all stands alone: it takes every flow and every dead letter");
  }
  if (!all && flow === undefined && ids.length === 0) {
    throw new HoldfastError("HF_USAGE", "name the messages, a flow with --flow, or --all");
  }
  const { openAnswers } = await import("./api-client.ts");
  const answers = await openAnswers(dataDirFrom(io, data), io.env);
  try {
    const redriven = ids.length > 0 ? await retryIds(answers, ids, flow) : await retryAll(io, answers, flow);
    if (io.json) io.printJson({ redriven });
    else io.print(await sentence(redriven, ids.length));
    // Asked for by name and not found: an answer that is a no.
    if (ids.length > 0 && redriven === 0) io.exitCode = 1;
  } finally {
    answers.close();
  }
}

async function sentence(redriven: number, asked: number): Promise<string> {
  const { counted } = await import("./plain-words.ts");
  if (redriven > 0) {
    return `${counted(redriven, "delivery", "deliveries")} put back in line; holdfast status shows how they fare.`;
  }
  return asked > 0
    ? "Nothing was put back: none of these is dead or held."
    : "Nothing was put back: there is nothing dead or held.";
}

async function retryIds(answers: Answers, ids: readonly string[], flow: string | undefined): Promise<number> {
  let redriven = 0;
  for (let at = 0; at < ids.length; at += RETRY_STEP) {
    const step = ids.slice(at, at + RETRY_STEP);
    redriven += (await answers.retry({ ids: step, flow, limit: 5 * RETRY_STEP })).redriven;
  }
  return redriven;
}

/** In steps, and not more than there were at the beginning: what dies again meanwhile is left alone. */
async function retryAll(io: CliIo, answers: Answers, flow: string | undefined): Promise<number> {
  if (answers.down) return (await answers.retry({})).redriven; // Says that it needs the gateway.
  const { failing } = await answers.status();
  const { total } = await answers.dead({ flow, limit: 1 });
  const most = total + failing.unknown.held;
  let redriven = 0;
  while (redriven < most) {
    const limit = Math.min(RETRY_STEP, most - redriven);
    const step = await answers.retry({ ...(flow === undefined ? { all: true } : { flow }), limit });
    redriven += step.redriven;
    if (step.redriven < limit) break;
    if (redriven < most && !io.json) io.note(`${redriven} of ${most} …`);
  }
  return redriven;
}
