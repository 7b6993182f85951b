/**
 * `holdfast user hash`: turns a password into the line that the config keeps instead of it.
 *
 * The password is typed without echo, or read from standard input; never taken as an argument, where the
 * shell's history and every user's `ps` would see it.
 */
import type { Command } from "commander";
import { HoldfastError } from "../core/errors.ts";
import { safeParse } from "../core/safe-parse.ts";
import type { CliIo } from "./io.ts";

const PASSWORD_BYTES_MAX = 4096;

export function register(program: Command, io: CliIo): void {
  const user = program.command("user").description("Users for access.users in the config");
  user
    .command("hash")
    .description("Make a user's entry from a password, which is asked for or read from standard input")
    .argument("[name]", "the user", "device-1")
    .addHelpText(
      "after",
      `
The answer goes under access.users in the config; add which topics the user may publish and subscribe to.

Examples:
  $ holdfast user hash press-7
  $ openssl rand -base64 24 | tee press-7.password | holdfast user hash press-7`,
    )
    .action((name: string) => hash(io, name));
}

async function hash(io: CliIo, name: string): Promise<void> {
  const [{ hashPassword }, { configSchema }] = await Promise.all([
    import("../broker/password.ts"),
    import("../config.ts"),
  ]);
  const password = io.stdin.isTTY ? await askTwice(io) : await readAll(io);
  const line = await hashPassword(password);
  const checked = safeParse(configSchema.shape.access, { users: { [name]: { password: line } } });
  if (!checked.success) {
    const issues = checked.error.issues.flatMap((issue) =>
      issue.code === "invalid_key" ? issue.issues : issue,
    );
    const why = issues.map(({ message }) => message).join("; ");
    throw new HoldfastError("HF_USAGE", `${JSON.stringify(name)} cannot be a user: ${why}`);
  }
  if (io.json) return io.printJson({ name, password: line });
  const { stringify } = await import("yaml");
  const entry = { access: { users: { [name]: { password: line } } } };
  // In quotes, so that it may also be put between { }.
  io.print(stringify(entry, { lineWidth: 0, defaultStringType: "QUOTE_DOUBLE", defaultKeyType: "PLAIN" }));
}

async function readAll(io: CliIo): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of io.stdin) {
    chunks.push(Buffer.from(chunk));
    bytes += chunks.at(-1)!.length;
    if (bytes > PASSWORD_BYTES_MAX) break;
  }
  return checkedPassword(
    Buffer.concat(chunks)
      .toString("utf8")
      .replace(/\r?\n$/, ""),
  );
}

async function askTwice(io: CliIo): Promise<string> {
  const password = checkedPassword(await ask(io, "Password: "));
  if ((await ask(io, "Again: ")) !== password) {
    throw new HoldfastError("HF_USAGE", "the two passwords are not the same");
  }
  return password;
}

function checkedPassword(password: string): string {
  if (password === "") throw new HoldfastError("HF_USAGE", "the password is empty");
  if (/[\r\n]/.test(password)) throw new HoldfastError("HF_USAGE", "the password is more than one line");
  if (Buffer.byteLength(password) > PASSWORD_BYTES_MAX) {
    throw new HoldfastError("HF_USAGE", `the password is longer than ${PASSWORD_BYTES_MAX} bytes`);
  }
  return password;
}

const ENTER = ["\r", "\n", "\u0004"];
const CTRL_C = "\u0003";
const CTRL_U = "\u0015";
const BACKSPACE = ["\b", "\u007f"];

/** Reads one line from the terminal without showing it. Raw mode, so Ctrl-C arrives here as a character. */
function ask(io: CliIo, prompt: string): Promise<string> {
  const { stdin, stderr } = io;
  stderr.write(prompt);
  stdin.setRawMode?.(true);
  stdin.resume();
  return new Promise((resolve, reject) => {
    let typed: string[] = [];
    const finish = (settle: () => void) => {
      stdin.off("data", onData);
      stdin.off("end", onEnd);
      stdin.setRawMode?.(false);
      stdin.pause();
      stderr.write("\n");
      settle();
    };
    const onEnd = () => finish(() => resolve(typed.join("")));
    const onData = (chunk: Buffer) => {
      const characters = [...chunk.toString("utf8")];
      for (const [at, character] of characters.entries()) {
        if (ENTER.includes(character)) {
          finish(() => resolve(typed.join("")));
          // What was pasted behind the line is the answer to the next question.
          const rest = characters.slice(at + 1).join("");
          if (rest !== "") stdin.unshift(Buffer.from(rest));
          return;
        }
        if (character === CTRL_C) {
          return finish(() => reject(new HoldfastError("HF_USAGE", "no password was given")));
        }
        if (character === CTRL_U) typed = [];
        else if (BACKSPACE.includes(character)) typed.pop();
        else typed.push(character);
      }
    };
    stdin.on("data", onData);
    stdin.once("end", onEnd);
  });
}
