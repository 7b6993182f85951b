import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { Command, CommanderError } from "commander";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { scenarioSchema } from "../../simulators/scenario.ts";
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
    const heads = out.split("\n").filter((line) => line !== "" && !line.startsWith("  "));
    expect(heads).toEqual([
      "What happens if a message is …",
      "… delivered twice",
      "… processed late",
      "… never succeeds",
      "and everything else",
    ]);
    expect(out).toMatch(/^ {2}never-rejected +a message that the backend rejects for good$/m);
    const { out: json } = await run("simulate", "--list", "--json");
    const all = JSON.parse(json) as { name: string; question: string; title: string }[];
    expect(all.length).toBeGreaterThan(30);
    expect(all.find(({ name }) => name === "late-diverted")).toMatchObject({ question: "processed late" });
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

  test("runs several together on one gateway, or one after the other", async () => {
    const port = await freePort();
    const gateway = await standInGateway(`http://127.0.0.1:${port}`, "none");
    const machines = (name: string) =>
      `duration: 300ms\nmachines: [{ name: ${name}, rate: 0, burst: { every: 30ms, size: 5 }, messages: 20 }]\nbackend: { type: http, port: ${port} }\n`;
    writeFileSync(join(folder, "a.yaml"), machines("press"));
    writeFileSync(join(folder, "b.yaml"), machines("oven"));
    try {
      const to = ["--gateway", `mqtt://127.0.0.1:${gateway.port}`];
      const together = await run("simulate", "a.yaml", "b.yaml", ...to);
      expect(together.error).toBeUndefined();
      expect(together.code).toBe(0);
      expect(together.out).toContain("2 machines start");
      expect(together.out).toContain("✓ a + b: as expected");
      const each = await run("simulate", "a.yaml", "b.yaml", "--one-after-another", ...to);
      expect(each.code).toBe(0);
      expect(each.out.match(/1 machines start/g)).toHaveLength(2);
      const verdicts = each.out.split("\n").filter((line) => line.startsWith("✓"));
      expect(verdicts.map((line) => line.slice(0, 4))).toEqual(["✓ a:", "✓ b:"]);
    } finally {
      await gateway.stop();
    }
  });

  test("refuses to kill a gateway that it did not start, and a scenario with a mistake", async () => {
    const { error } = await run("simulate", "kill-and-restart", "--gateway", "mqtt://127.0.0.1:1");
    expect(error).toMatchObject({ code: "HF_USAGE" });
    const lines = await run("simulate", "line-half-open", "--gateway", "mqtt://127.0.0.1:1");
    expect(lines.error).toMatchObject({ code: "HF_USAGE" });
    const recorded = ["backend-away", "late-dead", "--one-after-another", "--record", "x.jsonl"];
    expect((await run("simulate", ...recorded)).error).toMatchObject({ code: "HF_USAGE" });
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

  test("needs a broker to play a plain capture to, and does not record it", async () => {
    expect((await run("replay", "c.jsonl")).error).toMatchObject({ code: "HF_USAGE" });
    const to = ["--to", `mqtt://127.0.0.1:${broker.port}`];
    expect((await run("replay", "c.jsonl", ...to, "--record", "r.jsonl")).error).toMatchObject({
      code: "HF_USAGE",
    });
  });

  test("plays an exact capture with its packet ids, and says what went otherwise", async () => {
    const { backend, gateway } = scenarioSchema.parse({});
    const lines = [
      { capture: 2, backend, gateway },
      { at: 1, device: "m", do: "connect", clean: true },
      { at: 2, device: "m", topic: "t", qos: 1, dup: true, packetId: 77, payload: "x" },
      { at: 3, device: "m", do: "answer", answer: "puback", packetId: 77 },
      { at: 4, device: "m", do: "close", how: "disconnect" },
    ];
    const write = (all: object[]) =>
      writeFileSync(join(folder, "e.jsonl"), all.map((line) => `${JSON.stringify(line)}\n`).join(""));
    write(lines);
    const to = ["--to", `mqtt://127.0.0.1:${broker.port}`, "--as-fast-as-possible"];
    const good = await run("replay", "e.jsonl", ...to);
    expect(good.out).toContain(
      "✓ replayed exactly: 1 messages of 1 devices on 1 connections, 1 acknowledged",
    );
    expect(good.code).toBe(0);
    expect(broker.noted).toMatchObject([{ client: "m", dup: true, messageId: 77 }]);
    write([...lines.slice(0, 3), { at: 3, device: "m", do: "answer", answer: "pubrec", packetId: 77 }]);
    const bad = await run("replay", "e.jsonl", ...to, "--settle", "100ms", "--json");
    expect(bad.code).toBe(1);
    expect(JSON.parse(bad.out)).toMatchObject({
      exact: true,
      complete: false,
      deviationCount: 1,
      judged: null,
    });
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
