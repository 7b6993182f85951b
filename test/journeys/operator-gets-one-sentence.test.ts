/**
 * A gateway that cannot start says why in one sentence, says what to do, and ends with the exit code that
 * docs/errors.md has for it. No stack trace, nothing half started.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, onTestFinished, test } from "vitest";
import { stringify } from "yaml";
import { SmallDisk } from "../../simulators/disks/small-disk.ts";
import { ERRORS, type ErrorCode } from "../../src/core/errors.ts";
import { capability } from "../support/capabilities.ts";
import { type CliResult, runCliHere, runCliProcess } from "../support/cli-process.ts";
import { Journey, reading, scratchFolder } from "../support/journey.ts";

const FREE_PORTS = {
  log: { level: "silent" },
  broker: { listeners: [{ type: "tcp", port: 0 }] },
  web: { port: 0 },
};

interface Start {
  readonly config?: object | string;
  readonly data?: string;
  /** Where the config is written; a new folder where left out. */
  readonly dir?: string;
  /** As a process of its own. Else the same command in this one, which takes a fraction of the time. */
  readonly process?: boolean;
}

async function start(options: Start): Promise<CliResult> {
  const { config = FREE_PORTS, data = "data", dir = scratchFolder(), process = false } = options;
  writeFileSync(join(dir, "line-3.yaml"), typeof config === "string" ? config : stringify(config));
  const args = ["run", "--config", "line-3.yaml", "--data", data];
  return process ? runCliProcess(args, { cwd: dir }) : runCliHere(args, { cwd: dir });
}

/** Holds what was printed against the catalogue of errors and against docs/errors.md. */
function expectOneSentence(result: CliResult, code: ErrorCode, sentence: RegExp): void {
  const { exitCode, hint } = ERRORS[code];
  expect(result).toMatchObject({ code: exitCode, stdout: "" });
  const lines = result.stderr.split("\n").filter((line) => line !== "" && !line.startsWith("{"));
  expect(lines[0]).toMatch(/^holdfast: /);
  expect(lines.slice(0, -1).join("\n")).toMatch(sentence);
  expect(lines.at(-1)).toBe(`  what to do: ${hint}`);
  expect(result.stderr).not.toMatch(/^\s+at .*:\d+:\d+/m);
  const documented = readFileSync(join(import.meta.dirname, "../../docs/errors.md"), "utf8");
  expect(documented).toMatch(new RegExp(`^\\| ${exitCode} \\|.*\`${code}\``, "m"));
}

/** A data folder that a gateway has used, stopped decently. */
async function usedFolder(): Promise<{ dir: string; dataDir: string }> {
  const journey = await Journey.start({ config: { targets: { backend: { type: "file" } } } });
  const client = await journey.client("press");
  await client.publish({ topic: "plant/press", payload: reading("press", 1), qos: 1 });
  await journey.process.stop();
  return { dir: journey.dir, dataDir: journey.process.dataDir };
}

describe("a gateway that cannot start", () => {
  test("because of its config names file, line, and what was probably meant", async () => {
    const config = "gateway:\n  name: line-3\nbroker:\n  listners:\n    - port: 0\n";
    const result = await start({ config, process: true });
    expectOneSentence(result, "HF_CONFIG", /line-3\.yaml:4:3: broker\.listners: .*did you mean `listeners`/);
  });

  test("because the config is not there says where it looked", async () => {
    const result = await runCliHere(["run", "--config", "none.yaml"], { cwd: scratchFolder() });
    expectOneSentence(result, "HF_CONFIG", /none\.yaml/);
  });

  test("because the door would be open to everyone says how to close it", async () => {
    const config = { ...FREE_PORTS, broker: { listeners: [{ type: "tcp", host: "0.0.0.0", port: 0 }] } };
    expectOneSentence(await start({ config }), "HF_OPEN_DOOR", /0\.0\.0\.0/);
  });

  test.each(["broker", "web"])("because a port of %s is in use names the port", async (room) => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void other.close());
    const { port } = other.address() as { port: number };
    const config =
      room === "web"
        ? { ...FREE_PORTS, web: { port } }
        : { ...FREE_PORTS, broker: { listeners: [{ type: "tcp", port }] } };
    const result = await start({ config, process: room === "broker" });
    expectOneSentence(result, "HF_PORT_IN_USE", new RegExp(`127\\.0\\.0\\.1:${port}`));
  });

  test.skipIf(!capability("wide").present)(
    "because its store is of a newer version, or damaged and not to be salvaged, leaves it as it is",
    async () => {
      const { dir, dataDir } = await usedFolder();
      const file = join(dataDir, "store.db");
      const db = new Database(file);
      db.pragma("user_version = 99");
      db.close();
      const newer = readFileSync(file);
      const refused = await start({ dir, data: dataDir, process: true });
      expectOneSentence(refused, "HF_STORE_NEWER", /store\.db has format 99, and this Holdfast knows/);
      expect(readFileSync(file).equals(newer)).toBe(true);
      // Never an empty store in its place.
      writeFileSync(file, "this is no store");
      const config = { ...FREE_PORTS, queue: { onDamage: "refuse" } };
      const damaged = await start({ dir, data: dataDir, config });
      expectOneSentence(damaged, "HF_STORE_DAMAGED", /store\.db is damaged: .*does not begin as one/);
      expect(readFileSync(file, "utf8")).toBe("this is no store");
    },
  );

  test("because its data folder is a file says so", async () => {
    const dir = scratchFolder();
    writeFileSync(join(dir, "data"), "");
    expectOneSentence(await start({ dir }), "HF_STORE_DENIED", /data/);
  });

  const mount = capability("mount");
  test.skipIf(!mount.present)("because its disk is read-only says so", async () => {
    const disk = new SmallDisk(scratchFolder(), 2 ** 20);
    onTestFinished(() => disk.remove());
    disk.remountReadOnly();
    const result = await start({ data: join(disk.folder, "data") });
    expectOneSentence(result, "HF_STORE_DENIED", /small-disk\/data.*read-only/i);
  });
});
