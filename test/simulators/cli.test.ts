import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { Command, CommanderError } from "commander";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createCliIo } from "../../src/cli/io.ts";
import { register as registerReplay } from "../../src/cli/replay.ts";
import { register as registerSimulate } from "../../src/cli/simulate.ts";
import { type RecordingBroker, recordingBroker } from "./recording-broker.ts";
import { freePort, type Sabotage, standInGateway } from "./stand-in-gateway.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-cli-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function collector() {
  let text = "";
  const stream = new Writable({
    write(chunk, _encoding, done) {
      text += String(chunk);
      done();
    },
  });
  return { stream, text: () => text };
}

async function run(...argv: string[]) {
  const out = collector();
  const err = collector();
  const io = createCliIo({
    argv,
    stdin: process.stdin,
    stdout: out.stream,
    stderr: err.stream,
    env: {},
    cwd: folder,
  });
  const program = new Command().exitOverride().configureOutput({ writeErr: () => {} });
  program.option("--json");
  for (const register of [registerSimulate, registerReplay]) register(program, io);
  for (const command of program.commands) command.option("--json");
  let error: unknown;
  await program.parseAsync(argv, { from: "user" }).catch((thrown) => {
    error = thrown;
  });
  return { out: out.text(), err: err.text(), code: io.exitCode, error };
}

describe("holdfast simulate", () => {
  async function simulateAgainst(sabotage: Sabotage, ...more: string[]) {
    const port = await freePort();
    const gateway = await standInGateway(`http://127.0.0.1:${port}`, sabotage);
    writeFileSync(
      join(folder, "s.yaml"),
      `about: A short one.
duration: 300ms
drain: ${sabotage === "none" ? "8s" : "500ms"}
machines: [{ count: 2, rate: 0, burst: { every: 30ms, size: 5 }, messages: 30 }]
backend: { type: http, port: ${port} }
`,
    );
    try {
      return await run("simulate", "s.yaml", "--gateway", `mqtt://127.0.0.1:${gateway.port}`, ...more);
    } finally {
      await gateway.stop();
    }
  }

  test("names the scenarios that come with Holdfast", async () => {
    const { out, code } = await run("simulate", "--list");
    expect(code).toBe(0);
    for (const name of ["backend-away", "kill-and-restart", "poison-message"]) expect(out).toContain(name);
    const { out: json } = await run("simulate", "--list", "--json");
    expect((JSON.parse(json) as { name: string }[]).length).toBeGreaterThanOrEqual(8);
  });

  test("says yes with exit code 0 where all is as expected", async () => {
    const { out, code, error } = await simulateAgainst("none");
    expect(error).toBeUndefined();
    expect(out).toContain("✓ s: as expected (seed 1)");
    expect(out).toMatch(/✓ lost {2,}0 {3}expected 0/);
    expect(code).toBe(0);
  });

  test("says no with exit code 1, and names each message, where one was lost", async () => {
    const { out, code } = await simulateAgainst("loses", "--seed", "5");
    expect(code).toBe(1);
    expect(out).toMatch(/lost machine-0\d-\w+-\d+: machine-0\d number \d+ \(QoS 1\): acknowledged/);
    expect(out).toContain("not as expected; again with --seed 5");
  });

  test("prints one JSON value a line with --json, the result last", async () => {
    const { out, code } = await simulateAgainst("doubles", "--json");
    const events = out
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(code).toBe(1);
    expect(events[0]).toMatchObject({ event: "step" });
    expect(events.at(-1)).toMatchObject({ event: "result", ok: false, verdict: { kept: false } });
    expect(events.at(-1).verdict.findings[0]).toMatchObject({ kind: "doubled" });
  });

  test("refuses to kill a gateway that it did not start, and a scenario with a mistake", async () => {
    const { error } = await run("simulate", "kill-and-restart", "--gateway", "mqtt://127.0.0.1:1");
    expect(error).toMatchObject({ code: "HF_USAGE" });
    writeFileSync(join(folder, "bad.yaml"), "machines: 3\n");
    expect((await run("simulate", "bad.yaml")).error).toMatchObject({ code: "HF_SCENARIO" });
    expect((await run("simulate")).error).toMatchObject({ code: "HF_USAGE" });
  });
});

describe("holdfast replay", () => {
  let broker: RecordingBroker;
  beforeEach(async () => {
    broker = await recordingBroker();
    const line = (n: number) =>
      JSON.stringify({ at: n, device: `m${n % 2}`, topic: "t", payload: `p${n}`, qos: 1, id: `i${n}` });
    writeFileSync(join(folder, "c.jsonl"), [1, 2, 3, 4].map(line).join("\n"));
  });
  afterEach(() => broker.stop());

  test("plays a capture back and says what was acknowledged", async () => {
    const { out, code } = await run(
      "replay",
      "c.jsonl",
      "--to",
      `mqtt://127.0.0.1:${broker.port}`,
      "--speed",
      "10",
    );
    expect(code).toBe(0);
    expect(out).toContain("✓ replayed: 4 messages of 2 devices, 4 acknowledged, 0 sent again");
    expect(broker.noted.map(({ payload }) => payload).sort()).toEqual(["p1", "p2", "p3", "p4"]);
  });

  test("says no with exit code 1 where nobody answers, also as JSON", async () => {
    const port = await freePort();
    const { out, code } = await run(
      "replay",
      "c.jsonl",
      "--to",
      `mqtt://127.0.0.1:${port}`,
      "--settle",
      "200ms",
      "--json",
    );
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({ event: "replayed", complete: false, acked: 0 });
  });

  test("refuses what it does not understand before it sends anything", async () => {
    const to = ["--to", `mqtt://127.0.0.1:${broker.port}`];
    for (const wrong of [
      ["--speed", "0"],
      ["--duplicates", "2"],
      ["--delay", "soon"],
      ["--to", "http://x"],
    ]) {
      const { error } = await run("replay", "c.jsonl", ...to, ...wrong);
      expect(error).toBeInstanceOf(CommanderError);
    }
    writeFileSync(join(folder, "c.jsonl"), `${readFileSync(join(folder, "c.jsonl"))}\nnonsense`);
    expect((await run("replay", "c.jsonl", ...to)).error).toMatchObject({ code: "HF_CAPTURE" });
  });
});
