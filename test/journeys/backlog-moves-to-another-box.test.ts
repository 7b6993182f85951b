/**
 * What waits on one box is carried to another in a file, through kill -9 of both: the backend gets each message once, in
 * the order of each device, and both boxes account for all of them. A copy, which the first box does not hold back,
 * is found out.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { payloadId } from "../../simulators/oracle.ts";
import type { ExportMessage, ImportReceipt } from "../../src/core/export-file.ts";
import type { CliResult } from "../support/cli-process.ts";
import {
  eventually,
  FLOW,
  Journey,
  reading,
  scratchFolder,
  startBackend,
  WAIT_MS,
} from "../support/journey.ts";

const DEVICES = ["press", "oven", "saw"];
const EACH = 30;
const ALL = DEVICES.length * EACH;
const SENT = Object.fromEntries(
  DEVICES.map((device) => [device, Array.from({ length: EACH }, (_, at) => `${device}-${at + 1}`)]),
);

interface Boxes {
  readonly a: Journey;
  readonly b: Journey;
  readonly backend: HttpBackend;
  readonly file: string;
}

/** Two boxes before one backend; to the first its target is paused, and everything waits there. */
async function twoBoxes(): Promise<Boxes> {
  const { backend, url } = await startBackend(new HttpBackend());
  const config = (name: string) => ({
    gateway: { name },
    targets: { backend: { type: "http", url } },
    flows: { all: FLOW },
    intake: { identities: [{ topics: "plant/#", id: { pointer: "/id" }, scope: "global" }] },
  });
  const [a, b] = await Promise.all([
    Journey.start({ config: config("box-a") }),
    Journey.start({ config: config("box-b") }),
  ]);
  said(await a.cli("pause", "target", "backend", "--reason", "it is to be reached from box b"));
  for (const device of DEVICES) {
    const client = await a.client(device);
    const sending = SENT[device]!.map((_, at) =>
      client.publish({ topic: `plant/${device}`, payload: reading(device, at + 1), qos: 1 }, WAIT_MS),
    );
    await Promise.all(sending);
    await client.disconnect();
  }
  return { a, b, backend, file: join(scratchFolder(), "moving.jsonl") };
}

function said({ code, stdout, stderr }: CliResult): string {
  if (code !== 0) throw new Error(`exit code ${code}: ${stdout}${stderr}`);
  return stdout;
}

async function post<T>(journey: Journey, path: string, body: unknown): Promise<T> {
  const response = await fetch(journey.http + path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(await response.text());
  return (await response.json()) as T;
}

function linesOf(file: string): Record<string, unknown>[] {
  return readFileSync(file, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

/** As they arrived, each time. */
function arrivedAt(backend: HttpBackend): Record<string, string[]> {
  const ids = backend.arrivals().map(({ payload }) => payloadId(payload)!);
  return Object.fromEntries(
    DEVICES.map((device) => [device, ids.filter((id) => id.startsWith(`${device}-`))]),
  );
}

test("each message arrives once and in order, though both boxes are killed on the way", async () => {
  const { a, b, backend, file } = await twoBoxes();
  // Killed once they are held, before there is a file.
  const { id } = await post<{ id: string }>(a, "/v1/exports", { reason: "box a is replaced" });
  await post(a, `/v1/exports/${id}/hold`, {});
  await a.killAndStart();
  // What is held is not sent, whatever else lets it go on.
  said(await a.cli("resume", "target", "backend"));
  expect((await a.cli("dead", "retry", "--all")).code).toBe(0);
  said(await a.cli("export", "fetch", id, file));
  const [head, ...rest] = linesOf(file);
  expect(head).toMatchObject({ gateway: "box-a", held: true, count: ALL });
  expect(rest.at(-1)).toMatchObject({ end: true, count: ALL });

  // The other box is killed in the middle of it, and takes the rest from where it was. What is in the air at a kill
  // is sent again, which is another journey's subject: here nothing is, until all is there.
  said(await b.cli("pause", "target", "backend", "--reason", "until all is here"));
  const lines = rest.slice(0, -1) as unknown as ExportMessage[];
  await post(b, "/v1/imports", { head, end: rest.at(-1), flows: ["all"] });
  await post(b, `/v1/imports/${id}/lines`, { from: 0, lines: lines.slice(0, 40) });
  await b.killAndStart();
  const taken = JSON.parse(said(await b.cli("import", file, "--json")));
  expect(taken).toMatchObject({ state: "finished", taken: ALL, stored: ALL, known: 0, left: [] });
  const again = JSON.parse(said(await b.cli("import", file, "--json")));
  expect(again).toMatchObject({ changed: false, import: taken.import, stored: ALL });
  said(await b.cli("resume", "target", "backend"));
  await b.drained();

  const receipt = JSON.parse(readFileSync(`${file}.receipt.json`, "utf8")) as ImportReceipt;
  expect(receipt).toMatchObject({ export: id, gateway: "box-b", count: ALL });
  expect((await a.figures()).open).toBe(ALL);
  // The gateway need not run for that.
  await a.process.kill();
  expect(JSON.parse(said(await a.cli("export", "finish", `${file}.receipt.json`, "--json"))).ended).toBe(ALL);
  await a.process.start();

  expect(arrivedAt(backend)).toEqual(SENT);
  expect(await a.flow("all")).toMatchObject({ accepted: ALL, discarded: ALL, delivered: 0, waiting: 0 });
  expect(await b.flow("all")).toMatchObject({ accepted: ALL, delivered: ALL });
  for (const box of [a, b]) expect(await box.audited()).toMatchObject({ state: "balanced", mismatches: [] });
  const { history } = await b.message("press-1");
  expect(history.find(({ kind }) => kind === "imported")?.detail).toContain(
    `from gateway box-a by export ${id}`,
  );
  expect((await a.message("press-1")).deliveries[0]?.reason).toContain("moved to gateway box-b");
});

test("a copy, which is held by nobody, arrives twice: so it is taken only by whoever says so", async () => {
  const { a, b, backend, file } = await twoBoxes();
  said(await a.cli("export", file, "--all", "--copy"));
  const refused = await b.cli("import", file);
  expect([refused.code, refused.stderr]).toEqual([65, expect.stringContaining("box-a holds nothing back")]);
  said(await b.cli("import", file, "--copy"));
  said(await a.cli("resume", "target", "backend"));
  await eventually("all have arrived from both", () => backend.arrivals().length === 2 * ALL);
  expect(arrivedAt(backend)).not.toEqual(SENT);
});
