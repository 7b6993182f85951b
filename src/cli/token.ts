/** `holdfast token create | list | revoke`: who may use the HTTP door. */
import type { Command } from "commander";
import { HoldfastError } from "../core/errors.ts";
import {
  COMMANDS_PATTERN,
  COMMANDS_PATTERNS_MAX,
  type Role,
  TOKEN_LIFE_DEFAULT,
  TOKEN_NAME,
} from "../web/callers.ts";
import { type CliIo, DATA_OPTION, dataDirFrom } from "./io.ts";

const ROLE_WORDS: Record<Role, string> = {
  view: "look at everything, payloads included",
  operate: "also change where messages are: retry, hand one in; and command devices",
  admin: "also who may enter",
};

export function register(program: Command, io: CliIo): void {
  const token = program
    .command("token")
    .description("Tokens for the HTTP door: who may look, operate, administer");
  token
    .command("create")
    .description("Make a token, and show it this once")
    .argument("<name>", "what it is called in the audit: a person, a program")
    .requiredOption(
      "-r, --role <role>",
      Object.entries(ROLE_WORDS)
        .map(([role, words]) => `${role}: ${words}`)
        .join("; "),
    )
    .option("-e, --expires <time>", `after 12h, 30d, … or never (default: ${TOKEN_LIFE_DEFAULT})`)
    .option(
      "--commands <device/signal...>",
      "operate: all that it may command, as 'packer-*/speed' (default: whatever takes commands)",
    )
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
Works with the gateway up or down; a running one knows of it within a second. Only a digest of the token is kept.
From the first token on everybody needs one, but for whoever can read the data folder: commands on this machine go on
working for the user that runs the gateway.

Examples:
  $ holdfast token create anna --role operate
  $ holdfast token create mes --role operate --commands 'packer-*/speed' 'press-7/levelSetpoint'
  $ holdfast token create prometheus --role view --expires never
  $ curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/v1/status`,
    )
    .action((name: string, options: CreateOptions) => create(io, name, options));
  token
    .command("list")
    .description("Which there are, what they may do, and until when")
    .option(...DATA_OPTION)
    .action((options: { data?: string }) => list(io, options));
  token
    .command("revoke")
    .description("Take a token back; a running gateway knows within a second")
    .argument("<name>", "its name, or its id")
    .option(...DATA_OPTION)
    .action((name: string, options: { data?: string }) => revoke(io, name, options));
}

interface CreateOptions {
  readonly role: string;
  readonly expires?: string;
  readonly commands?: readonly string[];
  readonly data?: string;
}

async function create(
  io: CliIo,
  name: string,
  { role, expires = TOKEN_LIFE_DEFAULT, commands, data }: CreateOptions,
): Promise<void> {
  if (!TOKEN_NAME.test(name)) {
    throw new HoldfastError(
      "HF_USAGE",
      `a token's name is of letters, digits, . _ or -, at most 64, not ${JSON.stringify(name)}`,
    );
  }
  if (!Object.hasOwn(ROLE_WORDS, role)) {
    throw new HoldfastError("HF_USAGE", `--role takes ${Object.keys(ROLE_WORDS).join(", ")}, not ${role}`);
  }
  checkCommands(role, commands);
  const [{ createToken }, { parseDurationMs }, { systemClock }] = await Promise.all([
    import("../web/tokens.ts"),
    import("../core/units.ts"),
    import("../core/clock.ts"),
  ]);
  const forMs = expires === "never" ? null : parseDurationMs(expires);
  if (expires !== "never" && !forMs) {
    throw new HoldfastError("HF_USAGE", `--expires takes a time such as 30d, or never, not ${expires}`);
  }
  const nowMs = systemClock.wallMs();
  const expiresAtMs = forMs === null ? null : nowMs + forMs;
  const dataDir = dataDirFrom(io, data);
  const made = createToken(dataDir, { name, role: role as Role, expiresAtMs, commands, nowMs });
  if (io.json) {
    const { sha256: _, ...record } = made.record;
    return io.printJson({ ...record, token: made.token });
  }
  io.print(made.token);
  const until =
    expiresAtMs === null ? "for good" : `until ${new Date(expiresAtMs).toISOString().slice(0, 10)}`;
  const only = commands ? ` (${commands.join(", ")} alone)` : "";
  io.note(
    `${name} may ${ROLE_WORDS[role as Role]}${only}, ${until}. The token is shown this once: keep it somewhere safe.`,
  );
}

function checkCommands(role: string, commands: readonly string[] | undefined): void {
  if (!commands) return;
  if (role !== "operate") throw new HoldfastError("HF_USAGE", "--commands goes with --role operate");
  if (commands.length > COMMANDS_PATTERNS_MAX) {
    throw new HoldfastError("HF_USAGE", `--commands takes ${COMMANDS_PATTERNS_MAX} at most`);
  }
  const odd = commands.find((each) => !COMMANDS_PATTERN.test(each));
  if (odd === undefined) return;
  const message = `--commands takes DEVICE/SIGNAL, such as 'packer-*/speed', not ${JSON.stringify(odd)}`;
  throw new HoldfastError("HF_USAGE", message);
}

async function list(io: CliIo, { data }: { data?: string }): Promise<void> {
  const [{ readTokens }, { systemClock }, { table }] = await Promise.all([
    import("../web/tokens.ts"),
    import("../core/clock.ts"),
    import("./plain-words.ts"),
  ]);
  const tokens = readTokens(dataDirFrom(io, data)).map(({ sha256: _, ...record }) => record);
  if (io.json) return io.printJson({ tokens });
  if (tokens.length === 0) {
    io.print("There are no tokens: programs on this machine need none, and nobody else gets in.");
    return;
  }
  const nowMs = systemClock.wallMs();
  const day = (ms: number) => new Date(ms).toISOString().slice(0, 10);
  const rows = tokens.map(({ name, role, id, createdAtMs, expiresAtMs, commands }) => [
    name,
    role,
    role === "view" ? "nothing" : (commands?.join(" ") ?? "everything"),
    id,
    day(createdAtMs),
    expiresAtMs === null ? "never" : `${day(expiresAtMs)}${expiresAtMs <= nowMs ? " (has expired)" : ""}`,
  ]);
  const head = ["name", "role", "may command", "id", "made", "expires"].map((title) => ({ title }));
  io.print(table(head, rows, io.stdout.columns ?? 100, (text) => io.paint("dim", text)).join("\n"));
}

async function revoke(io: CliIo, which: string, { data }: { data?: string }): Promise<void> {
  const { revokeToken } = await import("../web/tokens.ts");
  const { name, id, role } = revokeToken(dataDirFrom(io, data), which);
  if (io.json) return io.printJson({ revoked: { name, id, role } });
  io.print(`${name} may not enter any more.`);
}
