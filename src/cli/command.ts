/** `holdfast command …`: tells devices what to do, and says what came of it. */
import type { Command } from "commander";
import { COMMAND_STATES, type CommandState } from "../core/command-message.ts";
import { HoldfastError } from "../core/errors.ts";
import type { CommandView } from "../queue/queries-commands.ts";
import type { Answers } from "./api-client.ts";
import { commandStory, commandTable, signalTable, trailTable } from "./command-words.ts";
import { type CliIo, DATA_OPTION, dataDirFrom } from "./io.ts";
import { withGateway } from "./with-gateway.ts";

const LIST_DEFAULT = 20;
const PAGE_MAX = 1000;

interface SendOptions {
  readonly data?: string;
  readonly wait?: string;
  readonly ttl?: string;
  readonly expiresAt?: string;
  readonly if?: readonly string[];
  readonly onUnknown?: string;
  readonly key?: string;
  readonly reason?: string;
  readonly text?: boolean;
}

interface ListOptions {
  readonly data?: string;
  readonly device?: string;
  readonly state?: string;
  readonly command?: string;
  readonly limit?: string;
}

interface DecideOptions {
  readonly data?: string;
  readonly reason?: string;
  readonly done?: boolean;
  readonly notDone?: boolean;
}

const NEEDS_GATEWAY = "Only a running gateway takes commands.";

export function register(program: Command, io: CliIo): void {
  const command = program.command("command").description("Commands to devices");
  command
    .command("send")
    .description("Sends one: queued at once, carried out when the device can be reached")
    .argument("<device>", "the device")
    .argument("<signal>", "what is to be set or done; `holdfast command signals` lists them")
    .argument("[value]", "true, false, a number or text; none where the signal takes none")
    .option("-w, --wait <seconds>", "wait until it is known what came of it")
    .option("--ttl <duration>", "give it up when it could not be sent within this time, such as 30s")
    .option("--expires-at <time>", "…or at this time, such as 2026-11-24T18:00:00Z")
    .option("--if <condition...>", 'only if this holds just before it is sent, such as "pressure < 3"')
    .option("--on-unknown <policy>", "when its answer is lost: probe, hold or retry")
    .option("--key <key>", "the same key is the same command, however often it is sent")
    .option("--reason <text>", "why, for the audit trail")
    .option("--text", "take the value as text, whatever it looks like")
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
With --wait it exits with 0 where the device has shown that it did it, and with 1 otherwise.

Examples:
  $ holdfast command send packer-2 speed 40 --wait 10
  $ holdfast command send press-7 valve false --if "pressure < 3" --reason "shift change"
  $ holdfast command send packer-2 step --key step-4711`,
    )
    .action((device: string, signal: string, value: string | undefined, options: SendOptions) =>
      send(io, { device, signal, value }, options),
    );
  command
    .command("show")
    .description("One command: where it is, each try and its answer")
    .argument("<id>", "its id")
    .option(...DATA_OPTION)
    .action((id: string, options: { data?: string }) => show(io, id, options.data));
  command
    .command("list")
    .description("Which there are; the newest first")
    .option("--device <name>", "to this device alone")
    .option("--state <state>", `in this state alone: ${COMMAND_STATES.join(", ")}`)
    .option("-n, --limit <n>", `at most so many (default: ${LIST_DEFAULT})`)
    .option(...DATA_OPTION)
    .action((options: ListOptions) => list(io, options));
  command
    .command("cancel")
    .description("Takes a command back that is still queued")
    .argument("<id>", "its id")
    .option("--reason <text>", "why, for the audit trail")
    .option(...DATA_OPTION)
    .action((id: string, options: DecideOptions) =>
      decide(io, id, "cancel", { reason: options.reason }, options.data),
    );
  command
    .command("resolve")
    .description("Says what came of a command whose answer was lost: somebody has looked at the machine")
    .argument("<id>", "its id")
    .requiredOption("--reason <text>", "how you know, for the audit trail")
    .option("--done", "it was done")
    .option("--not-done", "it was not done; what waits behind it goes on, and it is not sent again")
    .option(...DATA_OPTION)
    .action((id: string, options: DecideOptions) => {
      if (options.done === options.notDone) throw new HoldfastError("HF_USAGE", "say --done or --not-done");
      const body = { done: options.done === true, reason: options.reason };
      return decide(io, id, "resolve", body, options.data);
    });
  command
    .command("signals")
    .description("What can be commanded, and within which limits")
    .option(...DATA_OPTION)
    .action((options: { data?: string }) => signals(io, options.data));
  command
    .command("audit")
    .description("The audit trail: who commanded what, when, and what came of it; the newest first")
    .option("--device <name>", "of this device alone")
    .option("--command <id>", "of this command alone")
    .option("-n, --limit <n>", `at most so many (default: ${LIST_DEFAULT})`)
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
Nothing in it can be changed; entries leave by age alone (queue.trail). Works with the gateway up or down.

Examples:
  $ holdfast command audit --device packer-2
  $ holdfast command audit --limit 1000 --json | jq -c '.entries[]'`,
    )
    .action((options: ListOptions) => audit(io, options));
}

async function send(
  io: CliIo,
  { device, signal, value }: { device: string; signal: string; value: string | undefined },
  options: SendOptions,
): Promise<void> {
  const waitS = options.wait === undefined ? 0 : wholeNumber("--wait", options.wait);
  const body = {
    device,
    signal,
    ...(value === undefined ? {} : { value: options.text ? value : literal(value) }),
    ttl: options.ttl,
    expiresAt: options.expiresAt,
    preconditions: options.if,
    onUnknown: options.onUnknown,
    reason: options.reason,
  };
  const headers = {
    ...(options.key === undefined ? {} : { "idempotency-key": options.key }),
    ...(waitS === 0 ? {} : { prefer: `wait=${waitS}` }),
  };
  const view = await withGateway(
    io,
    options.data,
    NEEDS_GATEWAY,
    async (gateway) => (await gateway.ask("POST", "/v1/commands", body, { headers, waitS })) as CommandView,
  );
  await print(io, view);
  if (waitS > 0 && view.state !== "verified" && view.state !== "acknowledged") io.exitCode = 1;
}

/** A JSON value where it is one that a command can have, else text. */
function literal(text: string): boolean | number | string | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? text : (value as boolean | number | string | null);
  } catch {
    return text;
  }
}

async function show(io: CliIo, id: string, data: string | undefined): Promise<void> {
  const view = await withAnswers(io, data, (answers) => answers.command(id));
  if (!view) throw new HoldfastError("HF_NOT_FOUND", `there is no command ${id} in the store`, { id });
  await print(io, view);
}

async function list(io: CliIo, options: ListOptions): Promise<void> {
  const { device, state } = options;
  if (state !== undefined && !(COMMAND_STATES as readonly string[]).includes(state)) {
    throw new HoldfastError("HF_USAGE", `--state takes one of ${COMMAND_STATES.join(", ")}, not ${state}`);
  }
  const params = { device, state: state as CommandState | undefined };
  const found = await withAnswers(io, options.data, (answers) =>
    pages(limitOf(options), async (page) => {
      const { commands, next } = await answers.commands({ ...params, ...page });
      return { rows: commands, next };
    }),
  );
  if (io.json) io.printJson({ commands: found.rows, next: found.next });
  else io.print((await commandTable(io, found.rows)).join("\n"));
}

async function audit(io: CliIo, options: ListOptions): Promise<void> {
  const { device, command } = options;
  const found = await withAnswers(io, options.data, (answers) =>
    pages(limitOf(options), async (page) => {
      const { entries, next } = await answers.trail({ device, command, ...page });
      return { rows: entries, next };
    }),
  );
  if (io.json) io.printJson({ entries: found.rows, next: found.next });
  else io.print((await trailTable(io, found.rows)).join("\n"));
}

async function decide(
  io: CliIo,
  id: string,
  what: "cancel" | "resolve",
  body: object,
  data: string | undefined,
): Promise<void> {
  const path = `/v1/commands/${encodeURIComponent(id)}/${what}`;
  await print(
    io,
    await withGateway(
      io,
      data,
      NEEDS_GATEWAY,
      async (gateway) => (await gateway.ask("POST", path, body)) as CommandView,
    ),
  );
}

async function signals(io: CliIo, data: string | undefined): Promise<void> {
  const found = await withGateway(
    io,
    data,
    NEEDS_GATEWAY,
    async (gateway) => (await gateway.ask("GET", "/v1/commandable")) as Parameters<typeof signalTable>[1],
  );
  if (io.json) io.printJson(found);
  else io.print((await signalTable(io, found)).join("\n"));
}

async function print(io: CliIo, view: CommandView): Promise<void> {
  if (io.json) io.printJson(view);
  else io.print((await commandStory(io, view)).join("\n"));
}

interface Page<T> {
  readonly rows: readonly T[];
  readonly next: number | null;
}

async function pages<T>(
  limit: number,
  ask: (page: { after?: number; limit: number }) => Promise<Page<T>>,
): Promise<Page<T>> {
  let page = await ask({ limit: Math.min(limit, PAGE_MAX) });
  const rows = [...page.rows];
  while (page.next !== null && rows.length < limit) {
    page = await ask({ after: page.next, limit: Math.min(limit - rows.length, PAGE_MAX) });
    rows.push(...page.rows);
  }
  return { rows, next: page.next };
}

async function withAnswers<T>(
  io: CliIo,
  data: string | undefined,
  work: (answers: Answers) => Promise<T>,
): Promise<T> {
  const { openAnswers } = await import("./api-client.ts");
  const answers = await openAnswers(dataDirFrom(io, data), io.env);
  try {
    if (answers.down && !io.json) io.note(`${answers.down.sentence} This is as of its last commit.`);
    return await work(answers);
  } finally {
    answers.close();
  }
}

function limitOf({ limit }: ListOptions): number {
  return limit === undefined ? LIST_DEFAULT : wholeNumber("--limit", limit);
}

function wholeNumber(option: string, text: string): number {
  const number = Number(text);
  if (Number.isInteger(number) && number >= 1) return number;
  throw new HoldfastError("HF_USAGE", `${option} takes a whole number from 1, not ${text}`);
}
