/** `holdfast messages list | search`: messages by what is known of them, newest first. */
import type { Command } from "commander";
import { HoldfastError } from "../core/errors.ts";
import { DELIVERY_STATES, type DeliveryState } from "../core/outcome.ts";
import { topicFilterProblem } from "../core/topic.ts";
import type { MessageBrief, MessagesPage, SearchParams } from "../queue/queries-search.ts";
import { type CliIo, DATA_OPTION, dataDirFrom } from "./io.ts";

const LIST_DEFAULT = 20;
const PAGE_MAX = 500;
/** Where standard output is no terminal. */
const COLUMNS_DEFAULT = 100;
const FLOWS_SHOWN_MAX = 3;

interface ListOptions {
  readonly data?: string;
  readonly id?: string;
  readonly device?: string;
  readonly flow?: string;
  readonly state?: string;
  readonly key?: string;
  readonly topic?: string;
  readonly from?: string;
  readonly to?: string;
  readonly limit?: string;
}

export function registerList(messages: Command, io: CliIo): void {
  filters(
    messages.command("list").description("Messages by device, flow, state, topic or time; the newest first"),
  )
    .addHelpText(
      "after",
      `
Works with the gateway up or down. Filters are put together: a message must meet all of them.

Examples:
  $ holdfast messages list
  $ holdfast messages list --device press-7 --state dead
  $ holdfast messages list --topic 'plant/+/count' --from 2026-06-01T12:00
  $ holdfast messages list --flow mes --state waiting -n 500 --json | jq -r '.messages[].id'`,
    )
    .action((options: ListOptions) => list(io, options, undefined));
  filters(
    messages
      .command("search")
      .description("Messages with a text in their payload; the newest first")
      .argument("<text>", "exactly so, in UTF-8"),
  )
    .addHelpText(
      "after",
      `
Looks through every payload that the other filters leave, so it takes its time on a large store: the filters of
\`messages list\` make it shorter.

Examples:
  $ holdfast messages search 4711
  $ holdfast messages search '"order":4711' --device press-7`,
    )
    .action((text: string, options: ListOptions) => list(io, options, text));
}

function filters(command: Command): Command {
  return command
    .option("--id <beginning>", "whose id begins so")
    .option("--device <name>", "of this device")
    .option("-f, --flow <name>", "on this flow")
    .option("--state <state>", `in this state (there, where --flow is given): ${DELIVERY_STATES.join(", ")}`)
    .option("--key <key>", "in the lane of this order key")
    .option("--topic <filter>", "MQTT topic filter, such as plant/+/count")
    .option("--from <time>", "accepted from then on: 2026-06-01, 2026-06-01T12:00, 2026-06-01T12:00:00Z")
    .option("--to <time>", "accepted before then")
    .option("-n, --limit <n>", `at most so many (default: ${LIST_DEFAULT})`)
    .option(...DATA_OPTION);
}

async function list(io: CliIo, options: ListOptions, text: string | undefined): Promise<void> {
  const limit = options.limit === undefined ? LIST_DEFAULT : Number(options.limit);
  if (!Number.isInteger(limit) || limit < 1) {
    throw new HoldfastError("HF_USAGE", `--limit takes a whole number from 1, not ${options.limit}`);
  }
  const filter = filterFrom(options, text);
  const { openAnswers } = await import("./api-client.ts");
  const answers = await openAnswers(dataDirFrom(io, options.data), io.env);
  try {
    const messages: MessageBrief[] = [];
    let examined = 0;
    let page: MessagesPage;
    let after: string | undefined;
    do {
      page = await answers.messages({ ...filter, after, limit: Math.min(limit - messages.length, PAGE_MAX) });
      messages.push(...page.messages);
      examined += page.examined;
      after = page.next ?? undefined;
      if (!page.complete && !io.json && io.stderr.isTTY) io.note(`${examined} looked at …`);
    } while (after !== undefined && messages.length < limit);
    const more = after !== undefined;
    if (io.json) io.printJson({ running: answers.down === null, messages, more, examined });
    else {
      if (answers.down) io.note(`${answers.down.sentence} This is as of its last commit.`);
      await print(io, messages, { more, examined, limit });
    }
  } finally {
    answers.close();
  }
}

function filterFrom(options: ListOptions, text: string | undefined): SearchParams {
  const { id, device, flow, state, key, topic, from, to } = options;
  if (state !== undefined && !(DELIVERY_STATES as readonly string[]).includes(state)) {
    throw new HoldfastError("HF_USAGE", `--state takes one of ${DELIVERY_STATES.join(", ")}, not ${state}`);
  }
  const problem = topic === undefined ? null : topicFilterProblem(topic);
  if (problem) throw new HoldfastError("HF_USAGE", `--topic takes a topic filter: ${problem}`);
  if (text === "") throw new HoldfastError("HF_USAGE", "the text to search for is empty");
  return {
    id,
    device,
    flow,
    state: state as DeliveryState | undefined,
    key,
    topic,
    text,
    fromMs: momentFrom("--from", from),
    toMs: momentFrom("--to", to),
  };
}

/** Without a zone it is local time, and a day alone begins at its midnight. */
export function momentFrom(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = Date.parse(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00` : text);
  if (!Number.isNaN(ms)) return ms;
  throw new HoldfastError("HF_USAGE", `${option} takes a time such as 2026-06-01T12:00, not ${text}`);
}

async function print(
  io: CliIo,
  messages: readonly MessageBrief[],
  { more, examined, limit }: { more: boolean; examined: number; limit: number },
): Promise<void> {
  const [{ systemClock }, { counted, harmless, moment, table }] = await Promise.all([
    import("../core/clock.ts"),
    import("./plain-words.ts"),
  ]);
  if (messages.length === 0) {
    io.print(`No message is like that; ${counted(examined, "message was", "messages were")} looked at.`);
    return;
  }
  const wallMs = systemClock.wallMs();
  const rows = messages.map(({ acceptedAtMs, id, device, topic, deliveries, excerpt, payloadBytes }) => [
    moment(acceptedAtMs, wallMs),
    harmless(id),
    harmless(device),
    harmless(topic),
    harmless(whereabouts(deliveries)),
    excerpt === null ? `(${counted(payloadBytes, "byte")})` : harmless(excerpt),
  ]);
  const head = [
    { title: "accepted" },
    { title: "id" },
    { title: "device", shrinkTo: 10 },
    { title: "topic", shrinkTo: 10 },
    { title: "where", shrinkTo: 14 },
    { title: "payload", shrinkTo: 10 },
  ];
  const columns = io.stdout.columns ?? COLUMNS_DEFAULT;
  io.print(table(head, rows, columns, (text) => io.paint("dim", text)).join("\n"));
  if (more) io.print(io.paint("dim", `There are, or may be, more: --limit ${limit * 10}`));
  io.print("\nOne of them in full:  holdfast messages show ID");
}

/** `mes: dead, archive: delivered` */
function whereabouts(deliveries: MessageBrief["deliveries"]): string {
  if (deliveries.length === 0) return "on no flow";
  const shown = deliveries.slice(0, FLOWS_SHOWN_MAX).map(({ flow, state }) => `${flow}: ${state}`);
  return deliveries.length > FLOWS_SHOWN_MAX ? `${shown.join(", ")}, …` : shown.join(", ");
}
