/** `holdfast doctor` names what is wrong, says what to do, and finds nothing where nothing is. */
import { chmodSync, mkdirSync, readdirSync, truncateSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Finding } from "../../src/cli/doctor-checks.ts";
import { runCliHere } from "../support/cli-process.ts";
import { StoreBuilder } from "../support/store-builder.ts";
import { scratchFolder } from "../support/test-store.ts";

interface Verdict {
  readonly verdict: string;
  readonly findings: readonly Finding[];
}

async function doctor(cwd: string, config: object, ...args: string[]) {
  writeFileSync(join(cwd, "box.yaml"), JSON.stringify(config));
  const result = await runCliHere(["doctor", "-c", "box.yaml", "-d", "data", "--json", ...args], { cwd });
  const answer = JSON.parse(result.stdout) as Verdict;
  const of = (about: string) => answer.findings.filter((finding) => finding.about === about);
  return { code: result.code, ...answer, of };
}

const FREE = { host: "127.0.0.1", port: 0 };
const quiet = {
  gateway: { name: "box" },
  broker: { listeners: [{ type: "tcp", ...FREE }] },
  web: FREE,
};

describe("doctor", () => {
  test("finds nothing wrong where a gateway could start, and leaves nothing behind", async () => {
    const cwd = scratchFolder();
    const { code, findings } = await doctor(cwd, quiet);
    expect(findings.filter(({ verdict }) => verdict === "bad")).toEqual([]);
    expect(code).toBe(0);
    expect(findings.map(({ about }) => about)).toEqual(
      expect.arrayContaining(["config", "data folder", "fsync", "clock", "door tcp", "target outbox"]),
    );
    expect(readdirSync(cwd)).toEqual(["box.yaml"]);
  });

  test("names the line of a wrong config, and goes on with what needs none", async () => {
    const { code, of } = await doctor(scratchFolder(), { ...quiet, que: {} });
    expect(code).toBe(1);
    expect(of("config")).toMatchObject([
      { verdict: "bad", says: expect.stringMatching(/box\.yaml:1:\d+: que/) },
    ]);
    expect(of("fsync")).toMatchObject([{ verdict: "good" }]);
  });

  test("names the port that another program holds, and the backend that does not answer", async () => {
    const other = createServer();
    onTestFinished(() => void other.close());
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const { port } = other.address() as { port: number };
    const { code, of } = await doctor(scratchFolder(), {
      ...quiet,
      web: { host: "127.0.0.1", port },
      // Nobody listens on a port that was free a moment ago and is asked for by number 1.
      targets: { mes: { type: "http", url: "http://127.0.0.1:1/in" } },
      flows: { all: { from: "#", to: "mes" } },
    });
    expect(code).toBe(1);
    expect(of("door http")).toMatchObject([{ verdict: "bad", says: expect.stringContaining(`:${port} `) }]);
    expect(of("target mes")).toMatchObject([
      { verdict: "bad", says: expect.stringContaining("ECONNREFUSED"), todo: expect.any(String) },
    ]);
  });

  test("says that a store is damaged, and with --thorough that one is sound", async () => {
    const cwd = scratchFolder();
    const dataDir = join(cwd, "data");
    mkdirSync(dataDir);
    chmodSync(dataDir, 0o750);
    new StoreBuilder(dataDir).close();
    const sound = await doctor(cwd, quiet, "--thorough");
    expect(sound.of("store")).toMatchObject([{ verdict: "good", says: expect.stringContaining("sound") }]);
    truncateSync(join(dataDir, "store.db"), 5000);
    const cut = await doctor(cwd, quiet);
    expect(cut.of("store")).toMatchObject([{ verdict: "bad", says: expect.stringContaining("damaged") }]);
    expect(cut.code).toBe(1);
  });

  test("warns of a data folder that everybody can read", async () => {
    const cwd = scratchFolder();
    mkdirSync(join(cwd, "data"));
    chmodSync(join(cwd, "data"), 0o755);
    const { of } = await doctor(cwd, quiet);
    expect(of("data folder")).toMatchObject([
      { verdict: "attention", todo: expect.stringContaining("chmod") },
    ]);
  });
});
