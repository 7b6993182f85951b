import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { runCliHere, runCliProcess } from "../support/cli-process.ts";

let cwd: string;
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), "holdfast-cli-config-"));
  writeFileSync(join(cwd, "good.yaml"), "gateway: {name: good}\nlog: {level: debug}\n");
  writeFileSync(join(cwd, "bad.yaml"), "gateway:\n  nme: x\nlog: {level: loud}\n");
  writeFileSync(
    join(cwd, "secret.yaml"),
    "targets: {a: {type: mqtt, url: 'mqtt://h', password: hunter2}}\nflows: {a: {from: '#', to: a}}\n",
  );
});
afterAll(() => rmSync(cwd, { recursive: true }));

const cli = (args: readonly string[], env: Record<string, string> = {}) => runCliHere(args, { cwd, env });

describe("holdfast config check", () => {
  it("says that a good config is good", async () => {
    expect(await runCliProcess(["config", "check", "good.yaml"], { cwd })).toEqual({
      code: 0,
      stdout: "good: good.yaml (2 listeners, 1 target, 1 flow)\n",
      stderr: "",
    });
    const { stdout } = await cli(["config", "check", "good.yaml", "--json"]);
    expect(JSON.parse(stdout)).toEqual({
      ok: true,
      file: join(cwd, "good.yaml"),
      listeners: 2,
      targets: 1,
      flows: 1,
    });
  });

  it("says everything that is wrong with a bad one, and exits with 78", async () => {
    expect(await runCliProcess(["config", "check", "bad.yaml"], { cwd })).toEqual({
      code: 78,
      stdout: "",
      stderr: [
        "holdfast: bad.yaml has 2 problems:",
        "  bad.yaml:2:3: gateway.nme: unknown key `nme`; did you mean `name`?",
        '  bad.yaml:3:14: log.level: found "loud"; allowed is one of fatal, error, warn, info, debug, trace, silent',
        "  what to do: Correct the file at the place named; `holdfast config check` reads it without starting anything.",
        "",
      ].join("\n"),
    });
  });

  it("says it in JSON too", async () => {
    const { code, stdout } = await cli(["config", "check", "bad.yaml", "--json"]);
    expect(code).toBe(78);
    expect(JSON.parse(stdout).error).toMatchObject({
      code: "HF_CONFIG",
      details: {
        file: join(cwd, "bad.yaml"),
        problems: [{ line: 2, column: 3, path: "gateway.nme" }, { line: 3 }],
      },
    });
  });

  it("reads the file of HOLDFAST_CONFIG, which the argument wins over, and else the shipped one", async () => {
    const env = { HOLDFAST_CONFIG: "bad.yaml" };
    expect((await cli(["config", "check"], env)).code).toBe(78);
    expect((await cli(["config", "check", "good.yaml"], env)).code).toBe(0);
    expect((await cli(["config", "check"])).stdout).toMatch(/^good: .*config\/gateway\.yaml /);
  });

  it("says that a file is missing", async () => {
    const { code, stderr } = await cli(["config", "check", "none.yaml"]);
    expect(code).toBe(78);
    expect(stderr).toContain(`holdfast: no config to read: there is no file ${join(cwd, "none.yaml")}\n`);
  });
});

describe("holdfast config print", () => {
  it("prints YAML with defaults and without secrets, which can be read again", async () => {
    const { code, stdout } = await cli(["config", "print", "secret.yaml"]);
    expect(code).toBe(0);
    expect(stdout).not.toContain("hunter2");
    expect(stdout).toMatch(/^# secret\.yaml, with defaults filled in and secrets left out\n/);
    expect(parse(stdout)).toMatchObject({
      gateway: { name: "gateway" },
      targets: { a: { password: "(redacted)", keepAlive: "30s", protocol: "3.1.1" } },
    });
    writeFileSync(join(cwd, "printed.yaml"), stdout);
    expect((await cli(["config", "check", "printed.yaml"])).code).toBe(0);
  });

  it("prints the same as one line of JSON", async () => {
    const yaml = await cli(["config", "print", "secret.yaml"]);
    const json = await cli(["config", "print", "secret.yaml", "--json"]);
    expect(json.stdout.trimEnd()).not.toContain("\n");
    expect(JSON.parse(json.stdout)).toEqual(parse(yaml.stdout));
  });
});

describe("holdfast config schema", () => {
  it("prints a JSON Schema", async () => {
    const { code, stdout } = await cli(["config", "schema"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      $schema: "https://json-schema.org/draft/2020-12/schema",
      type: "object",
      additionalProperties: false,
    });
  });

  it("prints tables for people", async () => {
    const { stdout } = await cli(["config", "schema", "--markdown"]);
    expect(stdout).toContain("| `queue.bytesMax` | a size, at least 4 MiB | `4GiB` |");
    const json = await cli(["config", "schema", "--markdown", "--json"]);
    expect(JSON.parse(json.stdout)).toEqual({ markdown: stdout });
  });
});
