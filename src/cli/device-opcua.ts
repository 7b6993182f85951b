/**
 * `holdfast device browse`: what an OPC UA server has, as a tree, so that nodes can be chosen for the config.
 * And what `holdfast device probe` does for a device of type opcua.
 */
import type { Command } from "commander";
import type { LinkConfig } from "../adapters/opcua/link.ts";
import type { BrowsedNode, OfferedEndpoint, ProbedNode } from "../adapters/opcua/probe.ts";
import type { OpcuaDeviceConfig } from "../adapters/opcua/schema.ts";
import type { Value } from "../adapters/readings.ts";
import type { Config } from "../config.ts";
import { HoldfastError, isHoldfastError } from "../core/errors.ts";
import { safeParse } from "../core/safe-parse.ts";
import { type CliIo, configFileFrom, dataDirFrom } from "./io.ts";

/** Where standard output is no terminal. */
const COLUMNS_DEFAULT = 100;
const DEPTH_DEFAULT = "3";
const DEPTH_MAX = 20;
/** Of a value, beside its node. */
const VALUE_CHARACTERS_MAX = 40;

interface BrowseOptions {
  readonly config?: string;
  readonly data?: string;
  readonly from?: string;
  readonly depth: string;
  readonly endpoints?: boolean;
  readonly mode?: string;
  readonly policy?: string;
  readonly trust?: string;
  readonly user?: string;
}

export function registerBrowse(device: Command, io: CliIo): void {
  device
    .command("browse")
    .description("What an OPC UA server has: its nodes as a tree, with their ids, types and values")
    .argument("<server>", "its address, as opc.tcp://10.0.0.7:4840, or the name of a device of the config")
    .option("-c, --config <file>", "the config that has the device (or HOLDFAST_CONFIG)")
    .option("-d, --data <dir>", "the data folder, with our certificate (or HOLDFAST_DATA; default: ./data)")
    .option("--from <node>", "the node to begin at (default: the folder Objects)")
    .option("--depth <n>", "how deep to go", DEPTH_DEFAULT)
    .option("--endpoints", "only what security it offers, and the fingerprint of its certificate")
    .option("--mode <mode>", "None, Sign or SignAndEncrypt (default: SignAndEncrypt)")
    .option("--policy <policy>", "Basic256Sha256, Aes128_Sha256_RsaOaep or Aes256_Sha256_RsaPss")
    .option("--trust <fingerprint>", "SHA-256 of the server's certificate, which you have compared")
    .option("--user <name>", "log in as; the password is taken from HOLDFAST_OPCUA_PASSWORD")
    .addHelpText(
      "after",
      `
It only reads. What every server has about itself is not opened; --from i=2253 does. \`w\` marks what this user may write.
Exit code 69: it did not answer, or did not let us in.

Examples:
  $ holdfast device browse opc.tcp://10.0.0.7:4840 --endpoints
  $ holdfast device browse opc.tcp://10.0.0.7:4840 --mode None --depth 5
  $ holdfast device browse line-4 --config my.yaml --from "ns=2;s=Tank"`,
    )
    .action((server: string, options: BrowseOptions) => browse(io, server, options));
}

async function browse(io: CliIo, server: string, options: BrowseOptions): Promise<void> {
  const config = await linkConfig(io, server, options);
  const depth = Number(options.depth);
  if (!Number.isInteger(depth) || depth < 1 || depth > DEPTH_MAX) {
    throw new HoldfastError("HF_USAGE", `--depth: expected a whole number from 1 to ${DEPTH_MAX}`);
  }
  const dataDir = dataDirFrom(io, options.data);
  const [{ browseServer, offeredEndpoints }, { systemClock }] = await Promise.all([
    import("../adapters/opcua/probe.ts"),
    import("../core/clock.ts"),
  ]);
  const where = config.endpoint;
  if (options.endpoints) {
    const endpoints = await talking(where, () => offeredEndpoints(config, dataDir, systemClock));
    if (io.json) io.printJson({ where, endpoints });
    else io.print((await endpointTable(io, endpoints)).join("\n"));
    return;
  }
  const found = await talking(where, () => browseServer(config, options.from, depth, dataDir, systemClock));
  if (io.json) {
    io.printJson({ where, ...found });
    return;
  }
  io.print((await treeTable(io, found.nodes)).join("\n"));
  if (found.left) io.note(`there is more than these ${found.nodes.length} nodes: begin deeper, with --from`);
}

async function linkConfig(io: CliIo, server: string, options: BrowseOptions): Promise<LinkConfig> {
  if (!server.includes("://")) {
    const { loadConfig } = await import("../config.ts");
    const path = configFileFrom(io, options.config);
    const { config, file } = await loadConfig({ path, env: io.env, cwd: io.cwd });
    return opcuaDevice(config, server, file);
  }
  const { opcuaDeviceSchema } = await import("../adapters/opcua/schema.ts");
  const given = (name: string, value: unknown) => (value === undefined ? {} : { [name]: value });
  const password = io.env.HOLDFAST_OPCUA_PASSWORD;
  const parsed = safeParse(opcuaDeviceSchema, {
    type: "opcua",
    endpoint: server,
    security: {
      ...given("mode", options.mode),
      ...given("policy", options.policy),
      ...given("trusted", options.trust === undefined ? undefined : [options.trust]),
    },
    ...given("login", options.user && { type: "password", user: options.user, password }),
    groups: { all: { nodes: { server: { node: "i=2253" } } } },
  });
  if (parsed.success) return parsed.data;
  const said = parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
  throw new HoldfastError("HF_USAGE", said.join("; "));
}

function opcuaDevice(config: Config, name: string, file: string): OpcuaDeviceConfig {
  const device = Object.hasOwn(config.devices, name) ? config.devices[name] : undefined;
  if (device?.type === "opcua") return device;
  const known = Object.entries(config.devices).flatMap(([each, { type }]) =>
    type === "opcua" ? [each] : [],
  );
  throw new HoldfastError(
    "HF_USAGE",
    `${file} has no device ${name} of type opcua; it has: ${known.join(", ") || "none"}`,
  );
}

/** What goes wrong between us and a machine is said as such. */
async function talking<T>(where: string, work: () => Promise<T>): Promise<T> {
  const [{ failureOf, failureText }, { keepAlive }] = await Promise.all([
    import("../adapters/opcua/failure.ts"),
    import("./signals.ts"),
  ]);
  const release = keepAlive();
  try {
    return await work();
  } catch (error) {
    if (isHoldfastError(error)) throw error;
    const failure = failureOf(error);
    const reason = failureText(failure);
    const what = failure.answered ? "does not let us in" : "does not answer";
    throw new HoldfastError("HF_DEVICE", `${where} ${what}: ${reason}`, { where, reason });
  } finally {
    release();
  }
}

export async function probeOpcua(io: CliIo, config: OpcuaDeviceConfig, data?: string): Promise<void> {
  const [{ probeDevice }, { systemClock }] = await Promise.all([
    import("../adapters/opcua/probe.ts"),
    import("../core/clock.ts"),
  ]);
  const where = config.endpoint;
  const nodes = await talking(where, () => probeDevice(config, dataDirFrom(io, data), systemClock));
  if (io.json) io.printJson({ where, nodes });
  else {
    io.print(`${where}: ${nodes.length} ${nodes.length === 1 ? "node" : "nodes"}`);
    io.print((await probedTable(io, nodes)).join("\n"));
  }
  io.exitCode = nodes.every(({ reason }) => reason === null) ? 0 : 1;
}

type Column = { readonly title: string; readonly shrinkTo?: number };

async function tableOf(io: CliIo, head: readonly Column[], rows: readonly (readonly string[])[]) {
  const { harmless, table } = await import("./plain-words.ts");
  return table(
    [...head],
    rows.map((row) => row.map(harmless)),
    io.stdout.columns ?? COLUMNS_DEFAULT,
    (text) => io.paint("dim", text),
  );
}

function probedTable(io: CliIo, nodes: readonly ProbedNode[]): Promise<string[]> {
  const rows = nodes.map(({ signal, node, type, value, unit, writable, reason }) => {
    const said = reason ?? `${valueText(value)}${unit === null ? "" : ` ${unit}`}`;
    return [signal, node, type ?? "", writable ? "w" : "", said];
  });
  const head = [{ title: "signal" }, { title: "node" }, { title: "type" }, { title: "" }];
  return tableOf(io, [...head, { title: "value", shrinkTo: 20 }], rows);
}

function treeTable(io: CliIo, nodes: readonly BrowsedNode[]): Promise<string[]> {
  const rows = nodes.map(({ depth, name, node, kind, type, value, writable }) => {
    const what = kind === "Variable" ? (type ?? "?") : kind.toLowerCase();
    return [`${"  ".repeat(depth)}${name}`, node, what, writable ? "w" : "", type ? valueText(value) : ""];
  });
  const head = [{ title: "name", shrinkTo: 20 }, { title: "node" }, { title: "type" }, { title: "" }];
  return tableOf(io, [...head, { title: "value", shrinkTo: 12 }], rows);
}

function endpointTable(io: CliIo, endpoints: readonly OfferedEndpoint[]): Promise<string[]> {
  const rows = endpoints.map(({ security, logins, fingerprint }) => [
    security,
    [...new Set(logins)].join(" "),
    fingerprint ?? "",
  ]);
  return tableOf(
    io,
    ["security", "logins", "SHA-256 of its certificate"].map((title) => ({ title })),
    rows,
  );
}

function valueText(value: Value): string {
  const text = JSON.stringify(value);
  return text.length <= VALUE_CHARACTERS_MAX ? text : `${text.slice(0, VALUE_CHARACTERS_MAX - 1)}…`;
}
