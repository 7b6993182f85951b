/** Commands that change what became of deliveries: what they ask the gateway for, and what they say came of it. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { WebRig } from "../support/web-rig.ts";
import { look } from "./look-rig.ts";

let rig: WebRig;
let dataDir: string;

beforeAll(async () => {
  rig = await new WebRig((store) => void store.flow("mes", { from: "#", to: "mes-http" })).start();
  dataDir = rig.built.dataDir;
  const file = { pid: process.pid, http: rig.web.url(), boot: "boot-1", startedAt: "2026-06-01T12:00:00Z" };
  writeFileSync(join(dataDir, "gateway.json"), JSON.stringify(file));
});

beforeEach(() => {
  for (const asked of [rig.repaired, rig.edited, rig.redriven, rig.acts]) asked.length = 0;
});

afterAll(() => rig.stop());

it("discards with a reason, and says of what was named and not taken why", async () => {
  const args = ["dead", "discard", "message-6", "gone", "--flow", "mes", "--reason", "a test part"];
  const { out, code } = await look(args, { dataDir });
  expect([out, code]).toEqual(["1 delivery discarded.\n  not gone: there is no such message\n", 0]);
  expect(rig.repaired[0]).toMatchObject({
    ids: ["message-6", "gone"],
    flow: "mes",
    word: { why: "a test part" },
  });
  expect(rig.acts.at(-1)).toMatchObject({ what: "discardDead", reason: "a test part" });
  expect((await look(["dead", "discard", "message-6"], { dataDir })).code).toBe(64);
  expect((await look(["dead", "discard", "message-6", "--reason", " "], { dataDir })).code).toBe(65);
  expect(rig.repaired).toHaveLength(1);
});

it("edits a dead letter by values at pointers, or by a file", async () => {
  const sets = ["--set", "/bar=2.9", "--set", "/order=4711x", "--topic", "plant/x"];
  const edit = await look(["dead", "edit", "message-6", ...sets, "--reason", "typo"], { dataDir });
  expect(edit.out).toBe("Put back in line on flow mes with another set and topic (edit 1), under its id.\n");
  writeFileSync(join(dataDir, "mended.bin"), Buffer.from([0xff, 0]));
  await look(["dead", "edit", "message-6", "--payload-file", "mended.bin", "--reason", "typo"], {
    dataDir,
  });
  expect(rig.edited).toEqual([
    {
      id: "message-6",
      flow: "mes",
      change: {
        set: [
          { pointer: "/bar", value: 2.9 },
          { pointer: "/order", value: "4711x" },
        ],
        topic: "plant/x",
      },
      word: { by: "local", why: "typo" },
    },
    {
      id: "message-6",
      flow: "mes",
      change: { payload: Buffer.from([0xff, 0]) },
      word: { by: "local", why: "typo" },
    },
  ]);
  for (const wrong of [
    ["--set", "bar=1"],
    ["--payload-file", "nothing-there"],
  ]) {
    expect((await look(["dead", "edit", "x", ...wrong, "--reason", "y"], { dataDir })).code).toBe(64);
  }
});

it("says of a dry run what would come of it, and exits with 1 where it would be rejected again", async () => {
  const good = await look(["dead", "retry", "message-6", "--dry-run"], { dataDir });
  expect([good.code, good.out]).toEqual([
    0,
    "message-6: flow mes would send it to mes-http. Nothing was sent or changed.\n",
  ]);
  const bad = await look(["dead", "edit", "message-6", "--topic", "..", "--dry-run"], { dataDir });
  expect([bad.code, bad.out]).toEqual([1, expect.stringContaining("would reject it again at mes-http")]);
  expect((await look(["dead", "retry", "--all", "--dry-run"], { dataDir })).code).toBe(64);
  expect([rig.redriven, rig.edited]).toEqual([[], []]);
  expect((await look(["dead", "edit", "message-6", "--topic", "x"], { dataDir })).code).toBe(64);
});

it("pauses and resumes by kind and name, with a reason, and says what is paused", async () => {
  expect((await look(["pause"], { dataDir })).out).toBe("Nothing is paused.\n");
  const paused = await look(["pause", "device", "press-7", "--reason", "sends nonsense"], { dataDir });
  expect(paused.out).toContain("device press-7 is paused: it waits, also over a restart");
  expect(paused.out).toContain("go on in flows of another order: log.");
  expect((await look(["pause"], { dataDir })).out).toMatch(/device +press-7 .*local +sends nonsense/);
  await rig.look();
  expect((await look(["status"], { dataDir })).out).toContain("Device press-7 is paused by local since");
  const resumed = await look(["resume", "flow", "mes"], { dataDir });
  expect([resumed.code, resumed.out]).toEqual([1, "flow mes was not paused.\n"]);
  for (const wrong of [["line", "x"], ["flow"], ["flow", "mes"]]) {
    expect((await look(["pause", ...wrong], { dataDir })).code).toBe(64);
  }
});

it("marks an unknown as delivered by evidence, and has a backend asked", async () => {
  const mark = ["unknown", "delivered", "press-7:4711", "--evidence", "order 4711"];
  expect((await look(mark, { dataDir })).out).toMatch(/^1 delivery marked as delivered\.\n/);
  expect(rig.repaired[0]).toMatchObject({ word: { by: "local", why: "order 4711" } });
  const asked = await look(["unknown", "probe", "press-7:4711"], { dataDir });
  expect(asked.out).toBe("Target mes-http: the backend was asked and has it. It is delivered.\n");
});
