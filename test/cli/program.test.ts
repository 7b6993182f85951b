import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ERRORS } from "../../src/core/errors.ts";
import { runCliHere, runCliProcess } from "../support/cli-process.ts";

let cwd: string;
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), "holdfast-cli-"));
});
afterAll(() => rmSync(cwd, { recursive: true }));

const cli = (args: readonly string[], env: Record<string, string> = {}) => runCliHere(args, { cwd, env });

describe("help", () => {
  it("shows every command, an example, and all exit codes with their errors", async () => {
    const { code, stdout, stderr } = await cli(["--help"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    for (const command of [
      "run",
      "demo",
      "status",
      "messages",
      "dead",
      "config",
      "user",
      "simulate",
      "replay",
      "torture",
      "soak",
      "test",
      "bench",
    ]) {
      expect(stdout).toMatch(new RegExp(`^  ${command}\\b`, "m"));
    }
    expect(stdout).toContain("$ holdfast run");
    expect(stdout).toContain("Exit codes");
    for (const [name, { exitCode }] of Object.entries(ERRORS)) {
      expect(stdout).toMatch(new RegExp(`^ +${exitCode} .*\\b${name}\\b`, "m"));
    }
  });

  it.each([["run"], ["config", "check"], ["config", "print"], ["config", "schema"], ["user", "hash"]])(
    "of %s %s teaches by example and knows --json",
    async (...args) => {
      const { code, stdout } = await cli([...args, "--help"]);
      expect(code).toBe(0);
      expect(stdout).toContain(
        `$ ${args.join(" ") === "user hash" ? "holdfast user hash" : `holdfast ${args.join(" ")}`}`,
      );
      expect(stdout).toContain("--json");
    },
  );

  it("is what a command without its subcommand shows", async () => {
    const { code, stdout, stderr } = await cli(["config"]);
    expect(code).toBe(64);
    expect(stdout).toBe("");
    expect(stderr).toContain("check [file]");
  });

  it("knows its version", async () => {
    expect(await cli(["--version"])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    });
  });
});

describe("a process", () => {
  it("exits with the code that its command line deserves, and with nothing else on its streams", async () => {
    const process = (args: readonly string[]) => runCliProcess(args, { cwd });
    expect(await process(["--version"])).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
      stderr: "",
    });
    expect(await process(["run", "--dta"])).toEqual({
      code: 64,
      stdout: "",
      stderr: `holdfast: unknown option '--dta' (Did you mean --data?)\n  what to do: ${ERRORS.HF_USAGE.hint}\n`,
    });
  });
});

describe("a wrong command line", () => {
  it.each([
    [["confg", "check"], "holdfast: unknown command 'confg' (Did you mean config?)"],
    [["run", "--dta", "x"], "holdfast: unknown option '--dta' (Did you mean --data?)"],
    [["run", "--data"], "holdfast: option '-d, --data <dir>' argument missing"],
    [
      ["config", "check", "a", "b"],
      "holdfast: too many arguments for 'check'. Expected 1 argument but got 2: a, b.",
    ],
    [[], "holdfast: no command given"],
    [["bench"], "holdfast: bench is run by the launcher: ./holdfast bench"],
  ])("%j is told, with what to do, and exits with 64", async (args, line) => {
    const { code, stdout, stderr } = await cli(args);
    expect({ code, stdout }).toEqual({ code: 64, stdout: "" });
    expect(stderr.split("\n")).toContain(line);
    expect(stderr).toContain("\n  what to do: See `holdfast --help`.\n");
  });

  it("is one JSON object under --json", async () => {
    const { code, stdout, stderr } = await cli(["run", "--dta", "x", "--json"]);
    expect({ code, stderr }).toEqual({ code: 64, stderr: "" });
    expect(JSON.parse(stdout)).toEqual({
      error: {
        code: "HF_USAGE",
        message: "unknown option '--dta' (Did you mean --data?)",
        hint: ERRORS.HF_USAGE.hint,
        details: {},
      },
    });
  });
});

describe("colour", () => {
  const ESC = "\u001b[";

  it("is used where it is forced, and not for a pipe", async () => {
    expect((await cli(["config", "check"], { FORCE_COLOR: "1" })).stdout).toContain(ESC);
    expect((await cli(["config", "check"])).stdout).not.toContain(ESC);
  });

  it("is never used under NO_COLOR, --no-color or --json", async () => {
    const answers = await Promise.all([
      cli(["config", "check"], { FORCE_COLOR: "1", NO_COLOR: "1" }),
      cli(["config", "check", "--no-color"], { FORCE_COLOR: "1" }),
      cli(["config", "check", "--json"], { FORCE_COLOR: "1" }),
    ]);
    for (const { code, stdout } of answers) {
      expect(code).toBe(0);
      expect(stdout).not.toContain(ESC);
    }
  });
});
