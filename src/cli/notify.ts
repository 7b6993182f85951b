/** `holdfast notify list | test`: who is told of what, and whether they can be reached. */
import type { Command } from "commander";
import { type CliIo, DATA_OPTION } from "./io.ts";
import { withGateway } from "./with-gateway.ts";

const NEEDS_GATEWAY = "Only a running gateway tells anybody anything.";
const COLUMNS_DEFAULT = 100;
/** A channel may take its time to answer a test. */
const TEST_WAIT_S = 60;
const RECENT_SHOWN_MAX = 20;

interface Options {
  readonly data?: string;
}

/** As GET /v1/notifications answers (web/notifications.ts). */
interface Notifications {
  readonly asOfMs: number;
  readonly channels: readonly {
    readonly channel: string;
    readonly type: string;
    readonly where: string;
    readonly state: string;
    readonly waiting: number;
    readonly lastSentAtMs: number | null;
    readonly lastError: string | null;
    readonly nextTryInMs: number | null;
  }[];
  readonly current: readonly {
    readonly severity: string;
    readonly sentence: string;
    readonly sinceMs: number;
    readonly over: boolean;
  }[];
  readonly recent: readonly {
    readonly atMs: number;
    readonly channel: string;
    readonly outcome: string;
    readonly event: string;
    readonly sentence: string;
  }[];
}

export function register(program: Command, io: CliIo): void {
  const notify = program.command("notify").description("Notifications: who is told when something is wrong");
  notify
    .command("list")
    .description("Channels and how they are, alerts that are raised, and what was told")
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
Examples:
  $ holdfast notify list
  $ holdfast notify list --json`,
    )
    .action((options: Options) => list(io, options));
  notify
    .command("test")
    .description("Send a test down a channel, or all; exit code 1 where one did not take it")
    .argument("[channel]", "its name under notify.channels; default: all")
    .option("-r, --reason <text>", "why; it goes on record")
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
Examples:
  $ holdfast notify test
  $ holdfast notify test phone`,
    )
    .action((channel: string | undefined, options: Options & { reason?: string }) =>
      test(io, channel, options),
    );
}

async function list(io: CliIo, options: Options): Promise<void> {
  const found = await withGateway(io, options.data, NEEDS_GATEWAY, (client) =>
    client.ask("GET", "/v1/notifications"),
  );
  const { asOfMs, channels, current, recent } = found as Notifications;
  if (io.json) return io.printJson(found);
  const { age, harmless, moment, table } = await import("./plain-words.ts");
  const shown = (rows: readonly (readonly string[])[], titles: readonly string[], shrink: string) => {
    const head = titles.map((title) => ({ title, ...(title === shrink ? { shrinkTo: 24 } : {}) }));
    const cells = rows.map((row) => row.map(harmless));
    return table(head, cells, io.stdout.columns ?? COLUMNS_DEFAULT, (text) => io.paint("dim", text)).join(
      "\n",
    );
  };
  if (channels.length === 0) {
    return io.print(
      "Nobody is told: there is no channel under `notify.channels`. docs/notifications.md says how.",
    );
  }
  const when = (ms: number | null) => (ms === null ? "never" : moment(ms, asOfMs));
  const ways = channels.map(
    ({ channel, type, where, state, waiting, lastSentAtMs, lastError, nextTryInMs }) => {
      const next = nextTryInMs === null ? "" : `; next try in ${age(nextTryInMs)}`;
      return [
        channel,
        type,
        where,
        state,
        `${waiting}`,
        when(lastSentAtMs),
        `${lastError ?? ""}${lastError === null ? "" : next}`,
      ];
    },
  );
  io.print(shown(ways, ["channel", "type", "where", "state", "waiting", "last sent", "trouble"], "trouble"));
  io.print("");
  if (current.length === 0) io.print("No alert is raised.");
  else {
    const rows = current.map(({ severity, sentence, sinceMs, over }) => [
      severity,
      `${age(asOfMs - sinceMs)}${over ? " (over just now)" : ""}`,
      sentence,
    ]);
    io.print(shown(rows, ["raised", "for", "what"], "what"));
  }
  if (recent.length === 0) return;
  io.print("");
  const rows = recent
    .slice(0, RECENT_SHOWN_MAX)
    .map(({ atMs, channel, outcome, event, sentence }) => [
      moment(atMs, asOfMs),
      channel,
      outcome,
      event,
      sentence,
    ]);
  io.print(shown(rows, ["told", "channel", "outcome", "event", "what"], "what"));
}

async function test(
  io: CliIo,
  channel: string | undefined,
  options: Options & { reason?: string },
): Promise<void> {
  const body = { channel, reason: options.reason };
  const answer = await withGateway(io, options.data, NEEDS_GATEWAY, (client) =>
    client.ask("POST", "/v1/notifications/test", body, { waitS: TEST_WAIT_S }),
  );
  const { results } = answer as {
    readonly results: readonly { channel: string; sent: boolean; reason: string | null }[];
  };
  if (results.some(({ sent }) => !sent)) io.exitCode = 1;
  if (io.json) return io.printJson(answer);
  const { harmless } = await import("./plain-words.ts");
  for (const { channel: name, sent, reason } of results) {
    io.print(
      sent
        ? `${io.paint("green", "taken")}  ${name}`
        : `${io.paint("red", "not taken")}  ${name}: ${harmless(reason ?? "")}`,
    );
  }
}
