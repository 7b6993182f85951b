/** `holdfast torture` as somebody runs it: what it prints, writes, leaves, and exits with. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { TortureReport } from "../../simulators/torture/report.ts";
import * as runner from "../../simulators/torture/torture.ts";
import type { Trial } from "../../simulators/torture/trial.ts";
import { TRIALS } from "../../simulators/torture/trials.ts";
import { createCliIo } from "../../src/cli/io.ts";
import { runTrials } from "../../src/cli/torture.ts";
import { capability } from "../support/capabilities.ts";
import { finished, runCliHere, startCli } from "../support/cli-process.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "holdfast-torture-test-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A process or a whole short run: slow on a machine with others at work on it. */
const SLOW_MS = 120_000;

describe("holdfast torture", () => {
  const here = (...args: string[]) => runCliHere(["torture", ...args], { cwd: dir });

  test.each<[string, (cycles: number) => Promise<string[]>, number]>([
    ["0 where everything held", async () => [], 0],
    ["1 where something was found", async () => ["lost: m-1"], 1],
    ["1 where a trial could not be done", () => Promise.reject(new Error("no such program")), 1],
  ])("exits with %s, and the report names it", async (_, find, code) => {
    const planted: Trial = {
      name: "planted",
      about: "Does nothing.",
      promise: "Nothing.",
      needs: [],
      run: async ({ another }) => {
        let cycles = 0;
        while (another(cycles)) cycles++;
        return { cycles, figures: {}, findings: await find(cycles) };
      },
    };
    const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
    const io = createCliIo({ argv: [], stdin, stdout, stderr, env: {}, cwd: dir });
    await runTrials(io, { cycles: 3, seed: 9, report: ["r.md"] }, [planted], runner);
    stdout.end();
    const printed = await text(stdout);
    expect(io.exitCode).toBe(code);
    const report = readFileSync(join(dir, "r.md"), "utf8");
    if (code === 0) expect(printed).toContain("✓ 1 trial held. 3 faults in all.");
    else expect(report).toMatch(/lost: m-1|seed 9: no such program/);
    expect(printed.includes("again: ./holdfast torture --only planted --seed 9 --cycles 3")).toBe(
      report.includes("lost: m-1"),
    );
    expect(readdirSync(dir)).toEqual(["r.md"]);
  });

  test("lists every trial, and what this machine lacks for it", async () => {
    const { code, stdout } = await here("--list");
    expect(code).toBe(0);
    for (const { name, about } of TRIALS) {
      expect(stdout).toContain(name);
      expect(stdout).toContain(about);
    }
    const listed = JSON.parse((await here("--list", "--json")).stdout) as { trial: string; here: boolean }[];
    expect(listed.map((each) => each.trial).toSorted()).toEqual(TRIALS.map(({ name }) => name).toSorted());
  });

  test("has a sentence for what it cannot do, before it begins", async () => {
    for (const [args, sentence] of [
      [["--only", "kil"], "there is no trial kil"],
      [["--minutes", "0"], "expected a number above 0"],
      [["--minutes", "1", "--cycles", "1"], "--cycles stands in place of"],
      [["--report", "report.pdf"], "a report is a .md or a .json file"],
      [["--report", "no/such/folder/report.md"], "no report can be written"],
      [["--skip", TRIALS.map(({ name }) => name).join(",")], "nothing is left to try"],
    ] as const) {
      const { code, stderr } = await here(...args);
      expect([code, stderr]).toEqual([64, expect.stringContaining(sentence)]);
    }
    expect(readdirSync(dir)).toEqual([]);
  });

  test.skipIf(!capability("wide").present)(
    "runs trials on the disk asked for, writes the report and leaves nothing else",
    {
      timeout: SLOW_MS,
    },
    async () => {
      mkdirSync(join(dir, "disk"));
      const args = ["--only", "storm", "--cycles", "1", "--dir", "disk", "--seed", "3", "--json"];
      const { code, stdout, stderr } = await here(...args, "--report", "r.md", "--report", "r.json");
      expect(stderr).toBe("");
      const events = stdout
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line));
      expect(events.map(({ event }) => event)).toEqual(["visit", "say", "visited", "result"]);
      const report = JSON.parse(readFileSync(join(dir, "r.json"), "utf8")) as TortureReport;
      expect(report).toMatchObject({
        held: true,
        seed: 3,
        tried: [{ trial: "storm", cycles: 1, result: "held" }],
      });
      expect(report.box.disk.folder).toContain(join(dir, "disk"));
      expect(events.at(-1)).toEqual({ event: "result", ...report });
      expect(readFileSync(join(dir, "r.md"), "utf8")).toContain("# Holdfast torture: it held");
      expect(code).toBe(0);
      expect(readdirSync(dir).toSorted()).toEqual(["disk", "r.json", "r.md"]);
      expect(readdirSync(join(dir, "disk"))).toEqual([]);
    },
  );

  test.skipIf(!capability("wide").present)(
    "ends at Ctrl-C with a report of what was done, and no process or folder of its own",
    {
      timeout: SLOW_MS,
    },
    async () => {
      const child = startCli(["torture", "--only", "storm", "--minutes", "5", "--json"], { cwd: dir });
      const result = finished(child);
      // The machines have come, so there is a gateway to be ended.
      const gateway = () => gatewaysBelow(dir);
      await expect.poll(gateway, { timeout: 60_000, interval: 100 }).toHaveLength(1);
      child.kill("SIGINT");
      const { code, stdout } = await result;
      const last = JSON.parse(stdout.trimEnd().split("\n").at(-1)!);
      expect(last).toMatchObject({ event: "result", interrupted: true });
      expect(last.tried[0].failures).toEqual([]);
      expect(code).toBe(130);
      expect(readdirSync(dir).filter((name) => !/^holdfast-torture-[\dT-]+\.(md|json)$/.test(name))).toEqual(
        [],
      );
      expect(readdirSync(dir)).toHaveLength(2);
      expect(gateway()).toEqual([]);
    },
  );
});

function gatewaysBelow(folder: string): string[] {
  return readdirSync("/proc").filter((entry) => {
    try {
      return (
        /^\d+$/.test(entry) &&
        readFileSync(`/proc/${entry}/cmdline`, "utf8").includes(`${folder}/holdfast-torture-`)
      );
    } catch {
      return false;
    }
  });
}
