/** `holdfast reconcile`: a backend's list held against what its flow has, with the gateway down and up. */
import { utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { BUILT_AT_MS } from "../support/store-builder.ts";
import { HOUR_MS, tenDelivered } from "../support/ten-delivered.ts";
import { WebRig } from "../support/web-rig.ts";
import { look } from "./look-rig.ts";

let rig: WebRig;

afterEach(() => rig.stop());

/** Written by the backend when everything had been delivered, unless said otherwise. */
function listed(text: string, atHours = 100): string {
  const file = join(rig.built.dataDir, "ids.txt");
  writeFileSync(file, text);
  const at = new Date(BUILT_AT_MS + atHours * HOUR_MS);
  utimesSync(file, at, at);
  return file;
}

async function reconcile(...args: string[]) {
  const said = await look(["reconcile", "--flow", "mes", "--json", ...args], { dataDir: rig.built.dataDir });
  return { ...said, json: JSON.parse(said.out) };
}

const csv = (ids: readonly string[]) => `at,message_id\n${ids.map((id) => `now,"${id}"`).join("\n")}\n`;

it("says what is missing there, doubled there, unexpected, and there though it is not delivered here", async () => {
  rig = new WebRig(tenDelivered);
  const there = [
    "m-1",
    "m-2",
    "m-2",
    "m-3",
    "m-4",
    "m-5",
    "m-7",
    "m-8",
    "m-10",
    "waits",
    "dead",
    "nobody",
    "elsewhere",
  ];
  const { json, code } = await reconcile("--ids", listed(csv(there)), "--column", "message_id");
  expect(json).toMatchObject({
    listed: 12,
    agreed: 8,
    found: { missing: 2, doubled: 1, unexpected: 2, "not delivered here": 2 },
    shown: {
      missing: [{ id: "m-6" }, { id: "m-9" }],
      doubled: [{ id: "m-2", detail: "2" }],
      unexpected: [{ id: "elsewhere" }, { id: "nobody" }],
      "not delivered here": [
        { id: "waits", detail: "waiting" },
        { id: "dead", detail: "dead" },
      ],
    },
  });
  expect(code).toBe(1);
});

it("finds nothing to say where both have the same, in JSON lines too", async () => {
  rig = new WebRig(tenDelivered);
  const ids = Array.from({ length: 10 }, (_, n) => JSON.stringify({ id: `m-${n + 1}` }));
  const { json, code } = await reconcile("--ids", listed(ids.join("\n")));
  expect([json.agreed, code]).toEqual([10, 0]);
});

it("keeps to a time, and calls nothing missing that was delivered after the list was made", async () => {
  rig = new WebRig(tenDelivered);
  const iso = (hours: number) => new Date(BUILT_AT_MS + hours * HOUR_MS).toISOString();
  const range = ["--from", iso(2), "--to", iso(9)];
  const { json } = await reconcile("--ids", listed("m-1\nm-3\n", 6), ...range);
  expect(json).toMatchObject({ agreed: 1, outside: 1, later: 2, found: { missing: 4, unexpected: 0 } });
  expect(json.shown.missing.map(({ id }: { id: string }) => id)).toEqual(["m-2", "m-4", "m-5", "m-6"]);
});

it("names the line that has no id", async () => {
  rig = new WebRig(tenDelivered);
  const { json, code } = await reconcile("--ids", listed('{"id":"m-1"}\n{"no":1}\n'));
  expect([json.error.code, code]).toEqual(["HF_USAGE", 64]);
  expect(json.error.message).toContain("line 2");
});

it("re-sends what is missing, by a job over just those, and not unasked", async () => {
  rig = await new WebRig(tenDelivered).start();
  const running = {
    pid: process.pid,
    http: rig.web.url(),
    boot: "boot-1",
    startedAt: "2026-06-01T12:00:00Z",
  };
  writeFileSync(join(rig.built.dataDir, "gateway.json"), JSON.stringify(running));
  const there = listed("m-1\nm-2\nm-3\nm-4\nm-5\nm-7\nm-8\nm-10\n");
  expect((await reconcile("--ids", there, "--resend")).json.error.message).toContain("nobody to ask");
  expect(rig.jobs.asked).toEqual([]);
  // The rig's jobs are over as soon as they have begun.
  const begin = rig.jobs.begin.bind(rig.jobs);
  rig.jobs.begin = async (ask, act) => ({
    ...(await begin(ask, act)),
    state: "finished",
    done: ask.ids?.length ?? 0,
  });
  const { json } = await reconcile(
    "--ids",
    there,
    "--resend",
    "--yes",
    "--rate",
    "60/min",
    "--reason",
    "restored",
  );
  expect(json.jobs).toMatchObject([{ state: "finished", done: 2 }]);
  expect(rig.jobs.asked).toEqual([
    { kind: "replay", selection: { flow: "mes" }, ids: ["m-6", "m-9"], rate: 1 },
  ]);
  expect(rig.jobs.acts).toMatchObject([{ what: "beginJob", reason: "restored" }]);
});
