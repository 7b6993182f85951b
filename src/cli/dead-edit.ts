/** `holdfast dead edit`: a dead letter goes back in line with another payload or topic, under its id. */
import { isUtf8 } from "node:buffer";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Command } from "commander";
import { errorText, HoldfastError } from "../core/errors.ts";
import { type CliIo, DATA_OPTION } from "./io.ts";
import { withGateway } from "./with-gateway.ts";

interface EditOptions {
  readonly data?: string;
  readonly flow?: string;
  readonly payloadFile?: string;
  readonly set?: readonly string[];
  readonly topic?: string;
  readonly contentType?: string;
  readonly reason?: string;
  readonly dryRun?: boolean;
}

/** What would come of it. */
interface Checked {
  readonly flow: string;
  readonly target: string;
  readonly changed: readonly string[];
  readonly problems: readonly string[];
  readonly remarks: readonly string[];
}

/** What the gateway answers. */
interface Edited {
  readonly id: string;
  readonly flow: string;
  readonly edit: number;
  readonly changed: readonly string[];
  readonly remarks: readonly string[];
}

export function register(dead: Command, io: CliIo): void {
  dead
    .command("edit")
    .description("Put a dead letter back with another payload or topic, under its id and at its place")
    .argument("<id>", "this message")
    .option("--reason <text>", "why; it goes on record (needed, but for a dry run)")
    .option("--dry-run", "say what would come of it; send and change nothing")
    .option("--payload-file <file>", "another payload: the bytes of this file")
    .option("--set </pointer=value...>", "a value (JSON, else text) at a JSON pointer of the payload")
    .option("--topic <topic>", "another topic; the flow stays the same")
    .option("--content-type <type>", "another content type")
    .option("-f, --flow <name>", "on this flow, where it is dead on several")
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
The message stays as it was accepted; the edit is kept beside it, with who, why and when, and is what that flow's
target is given from then on. Numbers that --set does not touch stay digit for digit. Needs the running gateway.

Examples:
  $ holdfast dead edit 0197f3c1-7b1e-7a52-9f0e-0d9be0a3c1d2 --set /pressure=2.9 --reason 'sensor was off by 0.2'
  $ holdfast dead edit ID --set /order='"4711"' --set /lot=null --reason 'wrong order scanned'
  $ holdfast dead edit ID --payload-file mended.json --topic plant/press-7/count --reason 'cut off'
  $ holdfast messages show ID             as it was accepted, and each edit`,
    )
    .action((id: string, options: EditOptions) => edit(io, id, options));
}

/** Says for each message what would come of it; exit code 1 where its target would never take one. */
export async function dryRun(
  io: CliIo,
  ids: readonly string[],
  { data, ...change }: { readonly data?: string; readonly flow?: string },
): Promise<void> {
  const found = await withGateway(io, data, "Only a running gateway knows its targets.", async (gateway) => {
    const checked: (Checked & { readonly id: string })[] = [];
    for (const id of ids) {
      checked.push(
        (await gateway.ask("POST", "/v1/dead/check", { id, ...change })) as Checked & { id: string },
      );
    }
    return checked;
  });
  if (found.some(({ problems }) => problems.length > 0)) io.exitCode = 1;
  if (io.json) {
    io.printJson({ checked: found });
    return;
  }
  const { harmless } = await import("./plain-words.ts");
  for (const { id, flow, target, changed, problems, remarks } of found) {
    const another = changed.length === 0 ? "" : ` with another ${changed.join(" and ")}`;
    const verdict =
      problems.length === 0 ? `would send it to ${target}` : `would reject it again at ${target}`;
    io.print(`${harmless(id)}: flow ${flow} ${verdict}${another}. Nothing was sent or changed.`);
    for (const sentence of [...problems, ...remarks]) io.print(`  ${harmless(sentence)}.`);
  }
}

async function edit(io: CliIo, id: string, options: EditOptions): Promise<void> {
  const { flow, topic, contentType, reason, data } = options;
  const change = { flow, topic, contentType, ...payloadOf(io, options), ...setsOf(options) };
  if (options.dryRun) return dryRun(io, [id], { data, ...change });
  if (reason === undefined) throw new HoldfastError("HF_USAGE", "say why, with --reason; it goes on record");
  const body = { id, reason, ...change };
  const edited = await withGateway(
    io,
    data,
    "Only a running gateway changes what is in its store.",
    async (gateway) => (await gateway.ask("POST", "/v1/dead/edit", body)) as Edited,
  );
  if (io.json) {
    io.printJson(edited);
    return;
  }
  const { harmless } = await import("./plain-words.ts");
  const what = edited.changed.join(" and ");
  io.print(
    `Put back in line on flow ${edited.flow} with another ${what} (edit ${edited.edit}), under its id.`,
  );
  for (const remark of edited.remarks) io.print(`  Note: ${harmless(remark)}.`);
}

function payloadOf(io: CliIo, { payloadFile }: EditOptions): { payload?: string; base64?: string } {
  if (payloadFile === undefined) return {};
  const file = resolve(io.cwd, payloadFile);
  try {
    const bytes = readFileSync(file);
    return isUtf8(bytes) ? { payload: bytes.toString("utf8") } : { base64: bytes.toString("base64") };
  } catch (error) {
    throw new HoldfastError("HF_USAGE", `--payload-file: ${errorText(error)}`, { file });
  }
}

function setsOf({ set }: EditOptions): { set?: { pointer: string; value: unknown }[] } {
  if (set === undefined) return {};
  return {
    set: set.map((text) => {
      const [, pointer, value] = /^((?:\/[^=]*)?)=(.*)$/s.exec(text) ?? [];
      if (pointer === undefined) {
        throw new HoldfastError("HF_USAGE", `--set takes /pointer=value, such as /count=12, not ${text}`);
      }
      return { pointer, value: jsonOr(value!) };
    }),
  };
}

/** JSON where it is some, else the text itself. */
function jsonOr(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
