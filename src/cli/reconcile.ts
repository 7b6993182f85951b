/** `holdfast reconcile`: holds what a backend has against what was delivered to it, and re-sends what is missing. */
import type { Command } from "commander";
import { HoldfastError } from "../core/errors.ts";
import type { JobView } from "../core/job.ts";
import { type Compared, FINDINGS, type Finding, IdList, reconcile } from "../queue/id-list.ts";
import { type CliIo, DATA_OPTION, dataDirFrom } from "./io.ts";
import { count, counted, harmless } from "./plain-words.ts";
import { withGateway } from "./with-gateway.ts";

/** Shown of each kind, unless more are asked for. */
const SHOWN_DEFAULT = 20;
const SHOWN_MAX = 1_000_000;
/** Named in one job. */
const RESEND_STEP = 20_000;

interface Options {
  readonly flow: string;
  readonly ids?: string;
  readonly url?: string;
  readonly tokenEnv?: string;
  readonly column: string;
  readonly from?: string;
  readonly to?: string;
  readonly limit?: string;
  readonly resend?: boolean;
  readonly yes?: boolean;
  readonly rate?: string;
  readonly reason?: string;
  readonly data?: string;
}

export function register(program: Command, io: CliIo): void {
  program
    .command("reconcile")
    .description("Hold a backend's list of ids against what was delivered to it")
    .requiredOption("-f, --flow <name>", "the flow that delivers to it")
    .option("--ids <file>", "what the backend has: CSV or JSON lines, an id each; - for standard input")
    .option("--url <url>", "or where it tells that itself: JSON, JSON lines or CSV, page after page")
    .option("--token-env <name>", "with --url: the environment variable that has its bearer token")
    .option("--column <name>", "what the id is called there", "id")
    .option("--from <time>", "of messages accepted from then on, such as 2026-06-01T12:00")
    .option("--to <time>", "of messages accepted before then (default: when the file was written)")
    .option("-n, --limit <n>", `show at most so many of each kind (default: ${SHOWN_DEFAULT})`)
    .option("--resend", "deliver again what is missing there, after a yes: a replay under the same ids")
    .option("--yes", "with --resend: do not ask")
    .option("--rate <rate>", "with --resend: such as 50/s (default: relay.jobs.rate)")
    .option("--reason <text>", "with --resend: why; it goes on record")
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
  missing             delivered here, and not there
  doubled             there more than once
  unexpected          there, and not known on this flow (any more: retention removes what is old)
  not delivered here  there, and here still waiting, unknown or dead: it is not to be sent again without a look

Works with the gateway up or down; --resend needs it up. Exits with 1 where something differs.

Examples:
  $ psql -Atc "select holdfast_id from readings where at >= '2026-06-01'" | holdfast reconcile --flow mes --ids -
  $ holdfast reconcile --flow mes --from 2026-06-01 --to 2026-06-02 --ids june.csv --column message_id
  $ holdfast reconcile --flow mes --url https://mes.example/api/ids?since=2026-06-01 --token-env MES_TOKEN
  $ holdfast reconcile --flow mes --ids june.csv --resend --rate 50/s --reason "restored from Sunday"`,
    )
    .action((options: Options) => run(io, options));
}

async function run(io: CliIo, options: Options): Promise<void> {
  const [{ openAnswers }, { idsIn }, { idsAt }, { momentFrom }, { systemClock }, fs] = await Promise.all([
    import("./api-client.ts"),
    import("../core/id-lines.ts"),
    import("./id-endpoint.ts"),
    import("./message-list.ts"),
    import("../core/clock.ts"),
    import("node:fs"),
  ]);
  const limit = options.limit === undefined ? SHOWN_DEFAULT : Number(options.limit);
  if (!Number.isInteger(limit) || limit < 0 || limit > SHOWN_MAX) {
    throw new HoldfastError(
      "HF_USAGE",
      `--limit takes a whole number up to ${SHOWN_MAX}, not ${options.limit}`,
    );
  }
  const { ids: file, url, tokenEnv } = options;
  if ((file === undefined) === (url === undefined)) {
    throw new HoldfastError("HF_USAGE", "say where the backend's ids are: one of --ids and --url");
  }
  const token = tokenEnv === undefined ? undefined : io.env[tokenEnv];
  if (tokenEnv !== undefined && !token) throw new HoldfastError("HF_USAGE", `${tokenEnv} is not set`);
  const piped = file === "-";
  if (file !== undefined && !piped && !fs.existsSync(file)) {
    throw new HoldfastError("HF_NOT_FOUND", `there is no file ${file}`, { file });
  }
  // What is piped in, or asked for, may be of any time since now.
  const madeAtMs = file === undefined || piped ? systemClock.wallMs() : fs.statSync(file).mtimeMs;
  const { column } = options;
  const refuse = (sentence: string) => new HoldfastError("HF_USAGE", sentence);
  const told = () =>
    url === undefined
      ? idsIn(piped ? io.stdin : fs.createReadStream(file!), { column, refuse })
      : idsAt(url, { column, token });
  const range = {
    fromMs: momentFrom("--from", options.from) ?? Number.NEGATIVE_INFINITY,
    toMs: momentFrom("--to", options.to) ?? madeAtMs,
    madeAtMs,
  };
  const answers = await openAnswers(dataDirFrom(io, options.data), io.env);
  const list = new IdList(range);
  try {
    const { flow } = options;
    const compared = await reconcile(list, told(), (after) => answers.ledger({ flow, after }));
    if (!io.json) io.print(report(list, compared, { limit, flow }));
    const jobs = options.resend ? await resend(io, list, compared.found.missing, options) : [];
    if (io.json) io.printJson({ flow, ...compared, shown: list.shown(limit), jobs });
    const { missing, doubled, unexpected } = compared.found;
    if (missing + doubled + unexpected + compared.found["not delivered here"] > 0) io.exitCode = 1;
  } finally {
    list.close();
    answers.close();
  }
}

const MEANING: Record<Finding, string> = {
  missing: "delivered here, and not there",
  doubled: "there more than once",
  unexpected: "there, and not known on this flow (any more)",
  "not delivered here": "there, and here in another state",
};

function report(
  list: IdList,
  { listed, agreed, later, outside, pruned, found }: Compared,
  { limit, flow }: { limit: number; flow: string },
): string {
  const lines = [
    `${counted(listed, "id")} there, ${count(agreed)} of them delivered by flow ${flow} in that time.`,
  ];
  if (outside > 0) lines.push(`${count(outside)} there are of another time.`);
  if (later > 0)
    lines.push(`${count(later)} were delivered after the list was made, and are left out of account.`);
  if (pruned > 0)
    lines.push(`${count(pruned)} that the flow has ever delivered were removed here by retention.`);
  for (const what of FINDINGS) {
    lines.push("", `${what}: ${count(found[what])}${found[what] > 0 ? `  (${MEANING[what]})` : ""}`);
    for (const { id, detail } of list.page(what, limit)) {
      lines.push(
        `  ${harmless(id)}${detail === null ? "" : `  ${what === "doubled" ? `${detail} times` : detail}`}`,
      );
    }
    if (found[what] > limit) lines.push(`  and ${count(found[what] - limit)} more: --limit ${found[what]}`);
  }
  return lines.join("\n");
}

/** Jobs of at most so many messages each, one after the other, so that a list of any length is none too long. */
async function resend(io: CliIo, list: IdList, missing: number, options: Options): Promise<JobView[]> {
  if (missing === 0) return [];
  if (!options.yes && !(await says(io, `Deliver ${counted(missing, "missing message")} again? [y/N] `)))
    return [];
  const { follow, NEEDS_GATEWAY, rateFrom } = await import("./job-run.ts");
  const body = { kind: "replay", flow: options.flow, rate: rateFrom(options.rate) };
  const reason = options.reason ?? "missing at the backend (reconcile)";
  return withGateway(io, options.data, NEEDS_GATEWAY, async (gateway) => {
    const jobs: JobView[] = [];
    for (let page = list.page("missing", RESEND_STEP); page.length > 0; ) {
      const ids = page.map(({ id }) => id);
      const job = (await gateway.ask("POST", "/v1/jobs", { ...body, ids, reason }, { waitS: 10 })) as JobView;
      if (!io.json) io.note(`Job ${job.id} has begun: ${counted(ids.length, "message")}.`);
      const last = await follow(io, gateway, job);
      jobs.push(last);
      if (!io.json) io.print(`job ${last.id}: ${last.state}, ${count(last.done)} put in line`);
      if (last.state !== "finished") break;
      page = list.page("missing", RESEND_STEP, page.at(-1)!.number);
    }
    return jobs;
  });
}

/** Nobody is asked where nobody can answer. */
async function says(io: CliIo, question: string): Promise<boolean> {
  if (io.json || !io.stdin.isTTY) {
    throw new HoldfastError("HF_USAGE", "there is nobody to ask: say --yes with --resend");
  }
  const { createInterface } = await import("node:readline/promises");
  const asking = createInterface({ input: io.stdin, output: io.stderr });
  const answer = await asking.question(question);
  asking.close();
  return /^y(es)?$/i.test(answer.trim());
}
