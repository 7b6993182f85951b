/** `holdfast config check | print | schema`: reads a config without starting anything. */
import { relative } from "node:path";
import type { Command } from "commander";
import { type CliIo, configFileFrom, dataDirFrom } from "./io.ts";

const WHERE =
  "Without FILE: HOLDFAST_CONFIG, else ./holdfast.yaml, /etc/holdfast/holdfast.yaml, or the one that comes with Holdfast.";

export function register(program: Command, io: CliIo): void {
  const config = program
    .command("config")
    .description("Check a config, print it, or describe what one may hold");

  config
    .command("check")
    .description("Read a config and say everything that is wrong with it")
    .argument("[file]", "the config")
    .addHelpText(
      "after",
      `\n${WHERE}\n\nExamples:\n  $ holdfast config check\n  $ holdfast config check /etc/holdfast/holdfast.yaml --json`,
    )
    .action((file: string | undefined) => check(io, file));

  config
    .command("print")
    .description("Print a config as it takes effect: defaults filled in, secrets left out")
    .argument("[file]", "the config")
    .addHelpText(
      "after",
      `\n${WHERE}\n\nExamples:\n  $ holdfast config print\n  $ holdfast config print my.yaml --json | jq .flows`,
    )
    .action((file: string | undefined) => print(io, file));

  config
    .command("schema")
    .description("Print what a config may hold, as JSON Schema for editors")
    .option("--markdown", "as tables for people")
    .addHelpText(
      "after",
      `
Save it beside your config and name it in the config's first line; editors then complete and check as you type:
  $ holdfast config schema > holdfast.schema.json
  # yaml-language-server: $schema=./holdfast.schema.json`,
    )
    .action((options: { markdown?: boolean }) => schema(io, options.markdown === true));
}

async function load(io: CliIo, file: string | undefined) {
  const { loadConfig, ...rest } = await import("../config.ts");
  const loaded = await loadConfig({ path: configFileFrom(io, file), env: io.env, cwd: io.cwd });
  return { ...rest, ...loaded };
}

async function check(io: CliIo, path: string | undefined): Promise<void> {
  const { config, file } = await load(io, path);
  const counts = {
    listeners: config.broker.listeners.length,
    targets: Object.keys(config.targets).length,
    flows: Object.keys(config.flows).length,
  };
  if (io.json) return io.printJson({ ok: true, file, ...counts });
  const said = Object.entries(counts).map(([what, n]) => `${n} ${n === 1 ? what.slice(0, -1) : what}`);
  io.print(`${io.paint("green", "good:")} ${shown(io, file)} (${said.join(", ")})`);
  const door = await doorRemark(io, config.web.host);
  if (door) io.note(door);
}

/** What no config can say: whether there is a token for a door that others reach. */
async function doorRemark(io: CliIo, host: string): Promise<string | null> {
  const [{ isLoopback }, { readTokens }] = await Promise.all([
    import("../web/schema.ts"),
    import("../web/tokens.ts"),
  ]);
  const dataDir = dataDirFrom(io);
  if (isLoopback(host) || readTokens(dataDir).length > 0) return null;
  return `web.host is ${host}, which is open to the network: a gateway starts with that only where its data folder has a token, and ${shown(io, dataDir)} has none (holdfast token create)`;
}

async function print(io: CliIo, path: string | undefined): Promise<void> {
  const { config, file, printable } = await load(io, path);
  const value = printable(config);
  if (io.json) return io.printJson(value);
  const { stringify } = await import("yaml");
  io.print(`# ${shown(io, file)}, with defaults filled in and secrets left out\n${stringify(value)}`);
}

async function schema(io: CliIo, markdown: boolean): Promise<void> {
  const { configSchema, jsonSchema } = await import("../config.ts");
  if (!markdown) return io.print(JSON.stringify(jsonSchema(), null, io.json ? 0 : 2));
  const { schemaTables } = await import("../core/schema-tables.ts");
  const text = schemaTables(configSchema);
  return io.json ? io.printJson({ markdown: text }) : io.print(text);
}

function shown(io: CliIo, file: string): string {
  const below = relative(io.cwd, file);
  return below.startsWith("..") ? file : below;
}
