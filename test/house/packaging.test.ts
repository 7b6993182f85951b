/** What is shipped, seen from outside: the release that the image is made of, and the files for compose. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadScenario } from "../../simulators/scenario-library.ts";
import { loadConfig } from "../../src/config.ts";
import { capability } from "../support/capabilities.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** Whole programs are started here, on a machine that may be small and busy. */
const PROGRAMS = { timeout: 120_000 };

describe.skipIf(!capability("wide").present)("the release", () => {
  let folder: string;
  let main: string;
  let running: ChildProcess | undefined;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "holdfast-release-"));
    const release = join(folder, "release");
    const built = spawnSync(process.execPath, [join(ROOT, "tools/build.ts"), release], { encoding: "utf8" });
    expect(built.stdout + built.stderr).toBe("");
    symlinkSync(join(ROOT, "node_modules"), join(release, "node_modules"));
    main = join(release, "src/main.js");
  }, PROGRAMS.timeout);

  afterAll(() => {
    running?.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });

  it("holds no TypeScript, and everything else that src/ and simulators/ hold", () => {
    expect(globSync("release/{src,simulators,config}/**/*.{ts,tsx}", { cwd: folder })).toEqual([]);
    const others = globSync("{src,simulators,config}/**/*.{sql,yaml,json,html,css}", { cwd: ROOT });
    expect(others).toContain("src/queue/migrations/001-spine.sql");
    const missing = others.filter((file) => !existsSync(join(folder, "release", file)));
    // The operator's page is there as it is built, and not what it is built of.
    expect(missing.filter((file) => !file.startsWith("src/web/console/"))).toEqual([]);
    expect(existsSync(join(folder, "release/src/web/console/dist/console.html"))).toBe(true);
    expect(globSync("release/src/web/console/*", { cwd: folder })).toEqual(["release/src/web/console/dist"]);
  });

  it(
    "starts the gateway with its threads and migrations, tells its health, and stops at SIGTERM",
    PROGRAMS,
    async () => {
      const data = join(folder, "data");
      const config = join(folder, "holdfast.yaml");
      writeFileSync(config, "broker: { listeners: [{ type: tcp, port: 0 }] }\nweb: { port: 0 }\n");
      const health = () => spawnSync(process.execPath, [main, "health", "--data", data]).status;
      expect(health()).toBe(1);

      const args = ["run", "--json", "--config", config, "--data", data];
      running = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "pipe", "inherit"] });
      const exited = once(running, "exit");
      const lines = createInterface({ input: running.stdout! })[Symbol.asyncIterator]();
      expect(JSON.parse((await lines.next()).value ?? "")).toMatchObject({ event: "started" });
      expect(health()).toBe(0);
      running.kill("SIGTERM");
      expect(await exited).toEqual([0, null]);
      expect(health()).toBe(1);
    },
  );
});

describe("what a gateway's memory is measured with", () => {
  it("is what everything starts Node with: the launcher, npm, the image and the simulators", () => {
    const files = ["holdfast", "package.json", "Dockerfile", "simulators/gateway-process.ts"];
    const settings = files.map((file) => {
      const text = readFileSync(join(ROOT, file), "utf8");
      return [/--max-semi-space-size=\d+/, /glibc\.malloc[\w.=:]+/].map((each) => each.exec(text)?.[0]);
    });
    expect(settings[0]).toEqual([expect.any(String), expect.any(String)]);
    expect(settings).toEqual(files.map(() => settings[0]));
  });
});

describe("docker-compose.yaml", () => {
  it("comes with a config and a scenario that are accepted, and that mean the same port", async () => {
    const file = (name: string) => join(ROOT, "deploy/compose", name);
    const { config } = await loadConfig({ path: file("gateway.yaml"), env: {}, cwd: ROOT });
    const { scenario } = loadScenario(file("machines.yaml"), ROOT, {});
    const oracle = config.targets.oracle!;
    expect(oracle.type).toBe("http");
    expect(scenario.backend).toMatchObject({
      type: "http",
      port: Number(new URL((oracle as { url: string }).url).port),
    });
  });
});
