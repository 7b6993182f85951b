/** `holdfast unknown delivered | probe`: deliveries whose answer was lost, and what became of them. */
import type { Command } from "commander";
import { type CliIo, DATA_OPTION } from "./io.ts";
import { inSteps, sayDone, type WhichOptions, whichOf } from "./repair.ts";
import { withGateway } from "./with-gateway.ts";

interface DeliveredOptions extends WhichOptions {
  readonly evidence: string;
}

interface ProbeOptions {
  readonly data?: string;
  readonly flow?: string;
}

/** What the gateway answers. */
interface Asked {
  readonly target: string;
  readonly found: "has it" | "has it not" | "cannot say";
  readonly detail: string;
  readonly state: "delivered" | "waiting" | "unknown";
}

const NEEDS_GATEWAY = "Only a running gateway changes what is in its store.";

export function register(program: Command, io: CliIo): void {
  const unknown = program
    .command("unknown")
    .description("Deliveries whose answer was lost: sent, and nobody knows whether they arrived");
  unknown
    .command("delivered")
    .description("Say, with evidence, that the backend has them; they are not sent again")
    .argument("[ids...]", "these messages, also where they would be tried again by themselves")
    .requiredOption("--evidence <text>", "what shows that the backend has them; it goes on record")
    .option("-f, --flow <name>", "all of this flow that wait for a person (with ids: only on this flow)")
    .option("-g, --group <reason>", "all of this reason that wait for a person")
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
So too for dead letters whose last answer was lost; never for one that the backend rejected. What stands behind
one in its lane goes on. One that is just being sent cannot be decided on. Needs the running gateway.

Examples:
  $ holdfast messages list --state unknown
  $ holdfast unknown delivered 0197f3c1-7b1e-7a52-9f0e-0d9be0a3c1d2 --evidence 'MES order 4711 is booked'
  $ holdfast dead retry ID                it has not arrived: send it again`,
    )
    .action((ids: string[], options: DeliveredOptions) => delivered(io, ids, options));
  unknown
    .command("probe")
    .description("Ask the backend now whether it has one, and do what it says")
    .argument("<id>", "this message")
    .option("-f, --flow <name>", "on this flow, where it is unknown on more than one")
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
Has it: it is delivered. Has it not: it is put back in line. Cannot say: nothing changes (exit code 1).
A target can be asked where its config says how, such as hasUrl of an http target.

Examples:
  $ holdfast unknown probe 0197f3c1-7b1e-7a52-9f0e-0d9be0a3c1d2`,
    )
    .action((id: string, options: ProbeOptions) => probe(io, id, options));
}

async function delivered(io: CliIo, ids: readonly string[], options: DeliveredOptions): Promise<void> {
  const which = whichOf(ids, options);
  const done = await withGateway(io, options.data, NEEDS_GATEWAY, (gateway) =>
    inSteps(io, gateway, "/v1/unknown/delivered", "delivered", which, { evidence: options.evidence }),
  );
  if (io.json) io.printJson({ delivered: done.count, left: done.left });
  const none = "Nothing was marked: none of these has an answer that was lost.";
  await sayDone(io, done, which, { done: "marked as delivered.", none });
}

async function probe(io: CliIo, id: string, { data, flow }: ProbeOptions): Promise<void> {
  const asked = await withGateway(
    io,
    data,
    NEEDS_GATEWAY,
    async (gateway) => (await gateway.ask("POST", "/v1/unknown/probe", { id, flow })) as Asked,
  );
  if (asked.found === "cannot say") io.exitCode = 1;
  if (io.json) {
    io.printJson(asked);
    return;
  }
  const { harmless } = await import("./plain-words.ts");
  const now = {
    delivered: "It is delivered.",
    waiting: "It is put back in line, under the same id.",
    unknown: "Nothing has changed.",
  }[asked.state];
  io.print(`Target ${asked.target}: ${harmless(asked.detail)}. ${now}`);
}
