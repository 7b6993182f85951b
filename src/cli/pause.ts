/** `holdfast pause | resume`: stop the deliveries of a flow, to a target or of a device for a while, and let them go on. */
import { type Command, InvalidArgumentError } from "commander";
import { type CliIo, DATA_OPTION } from "./io.ts";
import { withGateway } from "./with-gateway.ts";

const KINDS = ["flow", "target", "device"];

interface Pause {
  readonly kind: string;
  readonly name: string;
  readonly sinceMs: number | null;
  readonly who: string;
  readonly reason: string;
}

interface Changed {
  readonly changed: boolean;
  readonly pauses: readonly Pause[];
  readonly passing: readonly string[];
}

interface Options {
  readonly data?: string;
  readonly reason?: string;
}

const NEEDS_GATEWAY = "Only a running gateway pauses and resumes.";

export function register(program: Command, io: CliIo): void {
  program
    .command("pause")
    .description("Stop deliveries of a flow, to a target, or of a device; without a name: what is paused")
    .argument("[kind]", "flow, target or device", kindOf)
    .argument("[name]", "its name")
    .option("--reason <text>", "why; it goes on record, and is shown wherever something waits for it")
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
Messages are taken as before, and wait. It holds over restarts, until holdfast resume. What is being sent ends as
usual. A time to live (flows.NAME.ttl) goes on: what has one expires where it waits. A device's pause holds what
it has sent in flows that keep its order (orderBy: device); it says in which others its messages go on.

Examples:
  $ holdfast pause target mes --reason 'MES is migrated tonight'
  $ holdfast pause device press-7 --reason 'sends nonsense'
  $ holdfast pause                        what is paused, since when, by whom and why`,
    )
    .action((kind: string | undefined, name: string | undefined, options: Options, command: Command) =>
      kind === undefined ? list(io, options) : pause(io, kind, name, options, command),
    );
  program
    .command("resume")
    .description("Let what was paused go on, in its order")
    .argument("<kind>", "flow, target or device", kindOf)
    .argument("<name>", "its name")
    .option("--reason <text>", "why; it goes on record")
    .option(...DATA_OPTION)
    .addHelpText("after", "\nExamples:\n  $ holdfast resume target mes")
    .action((kind: string, name: string, options: Options) => resume(io, kind, name, options));
}

function kindOf(text: string): string {
  if (KINDS.includes(text)) return text;
  throw new InvalidArgumentError(`it is one of ${KINDS.join(", ")}`);
}

async function pause(
  io: CliIo,
  kind: string,
  name: string | undefined,
  { data, reason }: Options,
  command: Command,
): Promise<void> {
  if (name === undefined) command.error(`which ${kind}? Name it after \`pause ${kind}\``);
  if (reason === undefined)
    command.error("say why, with --reason: whoever finds it paused will want to know");
  const answer = await ask(io, data, "/v1/pause", { kind, name, reason });
  if (io.json) {
    io.printJson(answer);
    return;
  }
  const found = answer.pauses.find((each) => each.kind === kind && each.name === name);
  io.print(
    answer.changed
      ? `${kind} ${name} is paused: it waits, also over a restart, until holdfast resume ${kind} ${name}.`
      : `${kind} ${name} was paused already, by ${found?.who}: ${found?.reason}`,
  );
  if (answer.passing.length > 0) {
    io.print(`  Its messages go on in flows of another order: ${answer.passing.join(", ")}.`);
  }
}

async function resume(io: CliIo, kind: string, name: string, { data, reason }: Options): Promise<void> {
  const answer = await ask(io, data, "/v1/resume", { kind, name, reason });
  if (!answer.changed) io.exitCode = 1;
  if (io.json) io.printJson(answer);
  else io.print(answer.changed ? `${kind} ${name} goes on.` : `${kind} ${name} was not paused.`);
}

async function list(io: CliIo, { data }: Options): Promise<void> {
  const { pauses } = await withGateway(
    io,
    data,
    NEEDS_GATEWAY,
    async (gateway) => (await gateway.ask("GET", "/v1/pauses")) as Pick<Changed, "pauses">,
  );
  if (io.json) {
    io.printJson({ pauses });
    return;
  }
  if (pauses.length === 0) {
    io.print("Nothing is paused.");
    return;
  }
  const [{ systemClock }, { harmless, moment, table }] = await Promise.all([
    import("../core/clock.ts"),
    import("./plain-words.ts"),
  ]);
  const wallMs = systemClock.wallMs();
  const rows = pauses.map(({ kind, name, sinceMs, who, reason }) => [
    kind,
    harmless(name),
    sinceMs === null ? "the start" : moment(sinceMs, wallMs),
    harmless(who),
    harmless(reason),
  ]);
  const head = [
    { title: "paused" },
    { title: "name", shrinkTo: 10 },
    { title: "since" },
    { title: "by" },
    { title: "why", shrinkTo: 20 },
  ];
  const columns = io.stdout.columns ?? 100;
  io.print(table(head, rows, columns, (text) => io.paint("dim", text)).join("\n"));
}

function ask(io: CliIo, data: string | undefined, path: string, body: object): Promise<Changed> {
  return withGateway(
    io,
    data,
    NEEDS_GATEWAY,
    async (gateway) => (await gateway.ask("POST", path, body)) as Changed,
  );
}
