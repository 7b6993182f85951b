/** `holdfast messages replay`: has delivered messages delivered again, on their flow or another one. */
import type { Command } from "commander";
import { HoldfastError } from "../core/errors.ts";
import { type CliIo, DATA_OPTION } from "./io.ts";
import type { JobOptions } from "./job-run.ts";
import { momentFrom } from "./message-list.ts";

interface ReplayOptions extends JobOptions {
  readonly device?: string;
  readonly flow?: string;
  readonly topic?: string;
  readonly from?: string;
  readonly to?: string;
  readonly into?: string;
  readonly all?: boolean;
}

export function registerReplay(messages: Command, io: CliIo): void {
  messages
    .command("replay")
    .description("Have delivered messages delivered again, by a job at a rate")
    .argument("[ids...]", "these messages")
    .option("--device <name>", "of this device")
    .option("-f, --flow <name>", "that this flow delivered")
    .option("--topic <filter>", "MQTT topic filter, such as plant/+/count")
    .option("--from <time>", "accepted from then on: 2026-06-01, 2026-06-01T12:00, 2026-06-01T12:00:00Z")
    .option("--to <time>", "accepted before then")
    .option("--all", "all that were delivered and are kept")
    .option("--into <flow>", "on this flow, to its target, instead of their own")
    .option("--rate <rate>", "such as 50/s or 600/min (default: relay.jobs.rate)")
    .option("--estimate", "say what it would be, and do nothing")
    .option("--no-wait", "do not follow it: the gateway carries it on by itself")
    .option("--reason <text>", "why; it goes on record")
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
They go out under their own ids, marked as replayed (\`holdfast-replay\`), in each lane's order, before what waits there.
A backend that keeps ids has them already and suppresses them. Commands are never replayed.

Examples:
  $ holdfast messages replay --flow mes --from 2026-06-01T06:00 --to 2026-06-01T14:00 --estimate
  $ holdfast messages replay --flow mes --device press-7 --rate 50/s --reason "the MES was restored"
  $ holdfast messages replay --flow mes --into archive --all`,
    )
    .action((ids: string[], options: ReplayOptions) => replay(io, ids, options));
}

async function replay(io: CliIo, ids: readonly string[], options: ReplayOptions): Promise<void> {
  const { device, flow, topic, into, all } = options;
  const ask = {
    kind: "replay",
    device,
    flow,
    topic,
    into,
    from: timeFrom("--from", options.from),
    to: timeFrom("--to", options.to),
    ids: ids.length > 0 ? ids : undefined,
    all: all ? true : undefined,
  };
  const { kind: _, into: __, ...narrowing } = ask;
  if (Object.values(narrowing).every((value) => value === undefined)) {
    throw new HoldfastError("HF_USAGE", "say which: ids, --flow, --device, --topic, --from, --to, or --all");
  }
  const { runJob } = await import("./job-run.ts");
  await runJob(io, ask, options);
}

function timeFrom(option: string, text: string | undefined): string | undefined {
  const ms = momentFrom(option, text);
  return ms === undefined ? undefined : String(ms);
}
