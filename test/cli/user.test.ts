import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { verifyPassword } from "../../src/broker/password.ts";
import { type CliIo, createCliIo } from "../../src/cli/io.ts";
import { runCli } from "../../src/cli/program.ts";
import { runCliHere, runCliProcess } from "../support/cli-process.ts";

let cwd: string;
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), "holdfast-cli-user-"));
});
afterAll(() => rmSync(cwd, { recursive: true }));

const hash = (args: readonly string[], input: string) =>
  runCliHere(["user", "hash", ...args], { cwd, input });

describe("holdfast user hash, with a password on standard input", () => {
  it("prints an entry that is good in a config, and that the password fits", async () => {
    const input = "wörd with spaces \n";
    const { code, stdout, stderr } = await runCliProcess(["user", "hash", "press-7"], { cwd, input });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).not.toContain("wörd");
    const line = parse(stdout).access.users["press-7"].password as string;
    expect(await verifyPassword("wörd with spaces ", line)).toBe(true);
    expect(await verifyPassword("wörd with spaces", line)).toBe(false);

    writeFileSync(join(cwd, "holdfast.yaml"), stdout);
    expect((await runCliHere(["config", "check"], { cwd })).code).toBe(0);
  });

  it("prints it as JSON too", async () => {
    const { stdout } = await hash(["press-7", "--json"], "x");
    const { name, password } = JSON.parse(stdout);
    expect(name).toBe("press-7");
    expect(await verifyPassword("x", password)).toBe(true);
  });

  it.each([
    ["the password is empty", [], "\n"],
    ["the password is more than one line", [], "a\nb\n"],
    ["the password is longer than 4096 bytes", [], "x".repeat(5000)],
    ['"a b" cannot be a user: expected a name of letters, digits, . _ @ or -', ["a b"], "x"],
  ])("refuses: %s", async (problem, args, input) => {
    const { code, stdout, stderr } = await hash(args, input);
    expect({ code, stdout }).toEqual({ code: 64, stdout: "" });
    expect(stderr).toContain(`holdfast: ${problem}\n`);
  });
});

describe("holdfast user hash, at a terminal", () => {
  /** A terminal: keys go in, what is shown comes out, raw mode is noted. */
  function terminal() {
    const keys = new PassThrough();
    const shown = new PassThrough().setEncoding("utf8");
    const stdout = new PassThrough().setEncoding("utf8");
    const raw: boolean[] = [];
    const stdin = Object.assign(keys, { isTTY: true, setRawMode: (on: boolean) => raw.push(on) });
    const streams = { stdin, stdout, stderr: shown } as unknown as Pick<CliIo, "stdin" | "stdout" | "stderr">;
    const argv = ["user", "hash", "joe", "--json"];
    const io = createCliIo({ argv, ...streams, env: {}, cwd });
    const text = (stream: PassThrough) => (stream.read() as string | null) ?? "";
    return { keys, raw, run: () => runCli(argv, io), shown: () => text(shown), answer: () => text(stdout) };
  }

  it("asks twice, shows nothing of what is typed, and leaves the terminal as it was", async () => {
    const { keys, raw, run, shown, answer } = terminal();
    keys.write("hunterX\u007f2\r");
    keys.write("wrong\u0015hunter2\r");
    expect(await run()).toBe(0);
    expect(await verifyPassword("hunter2", JSON.parse(answer()).password)).toBe(true);
    expect(shown()).toBe("Password: \nAgain: \n");
    expect(raw).toEqual([true, false, true, false]);
  });

  it("takes two lines that were pasted at once", async () => {
    const { keys, run, answer } = terminal();
    keys.write("hunter2\rhunter2\r");
    expect(await run()).toBe(0);
    expect(await verifyPassword("hunter2", JSON.parse(answer()).password)).toBe(true);
  });

  it("refuses two that differ", async () => {
    const { keys, run, answer } = terminal();
    keys.write("hunter2\rhunter3\r");
    expect(await run()).toBe(64);
    expect(JSON.parse(answer()).error.message).toBe("the two passwords are not the same");
  });

  it("ends at Ctrl-C, with the terminal as it was", async () => {
    const { keys, raw, run, answer } = terminal();
    keys.write("hunt\u0003er2\r");
    expect(await run()).toBe(64);
    expect(JSON.parse(answer()).error.message).toBe("no password was given");
    expect(raw).toEqual([true, false]);
  });
});
