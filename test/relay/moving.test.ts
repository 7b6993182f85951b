/** Moving to another box, store to store: what is held stays, what is carried arrives as it was, and the books balance. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { type ExportPart, partsOf } from "../../src/cli/export-lines.ts";
import { systemClock } from "../../src/core/clock.ts";
import { HoldfastError } from "../../src/core/errors.ts";
import type { ExportEnd, ExportHead, ExportMessage } from "../../src/core/export-file.ts";
import { flowSchema, makeFlow } from "../../src/core/flow.ts";
import { openForReading } from "../../src/queue/database.ts";
import { overview } from "../../src/queue/queries-flows.ts";
import { messageHistory } from "../../src/queue/queries-history.ts";
import { DirectReader } from "../../src/queue/reader-direct.ts";
import { Corrections } from "../../src/relay/corrections.ts";
import { MovingIn } from "../../src/relay/moving-in.ts";
import { MovingOut } from "../../src/relay/moving-out.ts";
import { Repairs } from "../../src/relay/repairs.ts";
import { scratchFolder, TestStore } from "../support/test-store.ts";

const FLOWS = ["mes", "bulk"];
const act = { who: "anna", what: "test", detail: {}, reason: "box a is replaced" };
const word = { by: "anna", why: "sensor off" };

interface Box {
  readonly store: TestStore;
  readonly corrections: Corrections;
  readonly repairs: Repairs;
  readonly out: MovingOut;
  readonly in: MovingIn;
  readonly woken: string[];
}

async function box(gateway: string): Promise<Box> {
  const store = await TestStore.open({ flows: FLOWS });
  const reader = new DirectReader(store.dataDir);
  const woken: string[] = [];
  const relay = {
    arrived: (lanes: readonly { flow: string; key: string }[]) =>
      void woken.push(...lanes.map(({ flow, key }) => `${flow} ${key}`)),
    wayOf: (name: string) => {
      const flow = flows.find((each) => each.name === name);
      return flow && { flow, target: { name: "backend", idempotent: true } as never };
    },
    pauses: {} as never,
  };
  const flows = FLOWS.map((name) =>
    makeFlow(
      name,
      flowSchema.parse({ from: "#", to: "backend", orderBy: name === "bulk" ? "none" : "device" }),
    ),
  );
  const parts = { gateway, store: store.store, reader, relay };
  const corrections = new Corrections(parts);
  return {
    corrections,
    repairs: new Repairs(parts),
    store,
    woken,
    out: new MovingOut({ ...parts, version: "test", clock: systemClock }),
    in: new MovingIn({ ...parts, flows, corrections }),
  };
}

/** A dead letter, one that was edited and waits, one that waits, one whose answer was lost; and one without order. */
async function filled(): Promise<Box> {
  const a = await box("box-a");
  const { store } = a;
  const put = (id: string, more: object = {}) =>
    store.put({
      id,
      flow: "mes",
      payload: Buffer.from(`{"id":"${id}"}`),
      producedAtMs: 7,
      headers: '{"a":"b"}',
      ...more,
    });
  for (const id of ["dead", "edited"]) {
    const { lane, seq } = await put(id);
    await store.claim(lane);
    await store.settle(lane, seq, { state: "dead", reason: "HTTP 422", note: "dead", attempts: 3 });
    if (id === "dead") continue;
    const payload = Buffer.from([0xff, 0]).toString("base64");
    const changed = ["payload"];
    await store.store.call("edit", {
      lane,
      seq,
      base: null,
      topic: "mended",
      payload,
      contentType: null,
      changed,
      word,
      act,
    });
  }
  await put("waits");
  const lost = await put("lost", { device: "oven" });
  await store.claim(lost.lane);
  await store.settle(lost.lane, lost.seq, { state: "unknown", reason: "timeout", dueAtMs: 0 });
  await put("bulk", { flow: "bulk", key: "3", payload: Buffer.from([0xc0]) });
  return a;
}

async function exported({ out }: Box, { copy = false } = {}): Promise<{ id: string; lines: string[] }> {
  const { id } = await out.begin({ states: "all" }, copy, act);
  if (!copy) {
    expect(await out.hold(id)).toMatchObject({ sending: 0, damaged: 0, next: null });
    await out.seal(id);
  }
  const lines: string[] = [];
  for await (const line of await out.file(id)) lines.push(line);
  return { id, lines };
}

function partsIn(lines: readonly string[]): { head: ExportHead; messages: ExportMessage[]; end: ExportEnd } {
  const [head, ...rest] = lines.map((line) => JSON.parse(line));
  return { head, messages: rest.slice(0, -1), end: rest.at(-1) };
}

async function take(
  b: Box,
  lines: readonly string[],
  more: { copy?: boolean; into?: string; reason?: string } = {},
) {
  const { head, messages, end } = partsIn(lines);
  const flows = messages.flatMap(({ deliveries }) => deliveries.map(({ flow }) => flow));
  const begun = (await b.in.begin({ head, end, flows, ...more }, { ...act, reason: more.reason ?? null }))!;
  for (let from = begun.taken; from < messages.length; from += 2) {
    await b.in.take({ export: head.export, from, lines: messages.slice(from, from + 2) });
  }
  return b.in.finish(head.export, act);
}

function states({ store }: Box): Record<string, string> {
  const rows = store.rows<{ id: string; state: string }>(
    "SELECT m.id, d.state FROM deliveries d JOIN messages m ON m.seq = d.seq ORDER BY m.seq",
  );
  return Object.fromEntries(rows.map(({ id, state }) => [id, state]));
}

async function claimable({ store }: Box): Promise<string[]> {
  const lanes = store.rows<{ id: number; flow: string }>("SELECT id, flow FROM lanes ORDER BY id");
  const reply = await store.store.claim({
    nowMs: store.store.steadyMs(),
    limit: 100,
    bytesMax: 1e6,
    lanes: lanes.map(({ id, flow }) => ({
      lane: id,
      limit: 100,
      expireBeforeMs: 0,
      unordered: flow === "bulk",
    })),
  });
  return reply.deliveries.map(({ message }) => message.id);
}

/** By flow, and how many exports hold something. */
function held({ store }: Box): Record<string, number> {
  const db = openForReading(store.dataDir);
  const { flows, exports } = overview(db, { steadyNowMs: 0 });
  db.close();
  return { ...Object.fromEntries(flows.map((flow) => [flow.flow, flow.held])), exports: exports.length };
}

const HERE = { dead: "dead", edited: "waiting", waits: "waiting", lost: "unknown", bulk: "waiting" };

describe("what is held for an export", () => {
  it("is not sent, does not expire, and is nobody's to repair, over a restart too", async () => {
    const a = await filled();
    await exported(a);
    expect(await claimable(a)).toEqual([]);
    const far = a.store.store.steadyMs() + 1e9;
    for (const flow of FLOWS) expect(await a.store.store.expire(flow, far)).toMatchObject({ expired: 0 });
    expect(await a.store.store.redrive({ limit: 100 })).toMatchObject({ redriven: 0 });
    expect(await a.store.store.call("discard", { limit: 100, word })).toMatchObject({ count: 0 });
    const edit = () => a.corrections.edit({ id: "dead", flow: "mes" }, { payload: Buffer.from("{}") }, word);
    const probe = () => a.repairs.probe({ id: "lost", flow: "mes" }, "anna");
    for (const refused of [edit, probe]) {
      await expect(refused()).rejects.toMatchObject({
        code: "HF_DELIVERY_STATE",
        message: expect.stringContaining("is held for an export"),
      });
    }
    expect(states(a)).toEqual(HERE);
    expect(a.store.audit().mismatches).toEqual([]);
    expect(held(a)).toEqual({ bulk: 1, mes: 4, exports: 1 });
    const again = await a.store.reopen();
    expect(await claimable({ ...a, store: again })).toEqual([]);
    expect(held({ ...a, store: again })).toEqual({ bulk: 1, mes: 4, exports: 1 });
  });

  it("would be seen to be sent, if it were not held", async () => {
    const a = await filled();
    await exported(a);
    await a.store.store.stop();
    const db = new Database(join(a.store.dataDir, "store.db"));
    db.exec("UPDATE deliveries SET export = NULL, due_at = iif(state = 'unknown', 0, NULL)");
    db.close();
    const again = await a.store.reopen();
    expect((await claimable({ ...a, store: again })).sort()).toEqual(["bulk", "edited", "lost", "waits"]);
  });

  it("goes on as it was when the export is cancelled, in its order", async () => {
    const a = await filled();
    const { id } = await exported(a);
    expect(await a.out.cancel(id, "repaired", act)).toEqual({ ended: 5, left: 0 });
    expect(a.woken.sort()).toEqual(["bulk 3", "mes oven", "mes press-7"]);
    expect(states(a)).toEqual(HERE);
    expect(held(a)).toEqual({ bulk: 0, mes: 0, exports: 0 });
    expect(await claimable(a)).toEqual(["edited", "waits", "lost", "bulk"]);
    expect(a.store.audit().mismatches).toEqual([]);
    await expect(a.out.file(id)).rejects.toMatchObject({ code: "HF_EXPORT_STATE" });
  });
});

describe("what is taken in on another box", () => {
  it("is as it was, with its edit and its history; each box accounts for it, and twice is once", async () => {
    const [a, b] = [await filled(), await box("box-b")];
    const { id, lines } = await exported(a);
    const done = await take(b, lines);
    expect(done).toMatchObject({ state: "finished", stored: 5, added: 5, known: 0, left: [] });
    expect(states(b)).toEqual({ ...HERE });
    expect(await take(b, lines)).toMatchObject({ number: done.number, stored: 5 });
    const columns =
      "id, device, topic, hex(payload) AS payload, produced_at, accepted_at, headers, qos, source";
    const all = `SELECT ${columns} FROM messages ORDER BY seq`;
    expect(b.store.rows(all)).toEqual(a.store.rows(all));
    const edits = "SELECT at, who, reason, topic, hex(payload) AS payload FROM edits";
    expect(b.store.rows(edits)).toEqual(a.store.rows(edits));
    expect(b.store.value("SELECT attempts FROM deliveries WHERE state = 'dead'")).toBe(3);
    const reader = new Database(join(b.store.dataDir, "store.db"), { readonly: true });
    const history = messageHistory(reader, { id: "dead", steadyNowMs: 0 })!.history.map(
      ({ detail }) => detail,
    );
    reader.close();
    expect(history).toContain("at gateway box-a: HTTP 422");
    expect(history.at(-1)).toMatch(
      `came from gateway box-a by export ${id} (import 1 of anna); it was dead there`,
    );
    expect(await claimable(b)).toEqual(["edited", "waits", "lost", "bulk"]);

    const receipt = b.in.receipt(done)!;
    expect(await a.out.finish(receipt, act)).toEqual({ ended: 5, left: 0 });
    expect(await a.out.finish(receipt, act)).toEqual({ ended: 0, left: 0 });
    expect(new Set(Object.values(states(a)))).toEqual(new Set(["discarded"]));
    for (const each of [a, b]) expect(each.store.audit().mismatches).toEqual([]);
    expect(held(a)).toEqual({ bulk: 0, mes: 0, exports: 0 });
    await expect(a.out.cancel(id, "x", act)).rejects.toMatchObject({ code: "HF_EXPORT_STATE" });
    await expect(a.in.begin({ ...partsIn(lines), flows: FLOWS }, act)).rejects.toMatchObject({
      code: "HF_IMPORT",
    });
  });

  it("leaves alone what is there, adds the flow that is missing, and does not take another's id", async () => {
    const [a, b] = [await filled(), await box("box-b")];
    const here = (id: string, more: object = {}) =>
      b.store.put({ id, flow: "mes", payload: Buffer.from(`{"id":"${id}"}`), ...more });
    await here("waits");
    await here("dead", { flow: "bulk" });
    await here("lost", { device: "saw" });
    const { lines } = await exported(a);
    const done = await take(b, lines);
    expect(done).toMatchObject({ stored: 2, added: 3, known: 1, left: [{ id: "lost" }] });
    expect(b.store.audit().mismatches).toEqual([]);
    // What was not taken goes on where it comes from.
    await a.out.finish(b.in.receipt(done)!, act);
    expect(await claimable(a)).toEqual(["lost"]);
    expect(a.store.audit().mismatches).toEqual([]);
  });

  it("is refused where its flow is not known, and goes into the one that is named", async () => {
    const [a, b] = [await filled(), await box("box-b")];
    const { lines } = await exported(a);
    const { head, end } = partsIn(lines);
    await expect(b.in.begin({ head, end, flows: ["mes", "old"] }, act)).rejects.toMatchObject({
      code: "HF_IMPORT",
      message: expect.stringContaining("no flow old"),
    });
    expect(await take(b, lines, { into: "bulk" })).toMatchObject({ added: 5 });
    expect(b.store.rows("SELECT DISTINCT l.flow FROM deliveries d JOIN lanes l ON l.id = d.lane")).toEqual([
      { flow: "bulk" },
    ]);
    expect(b.store.audit().mismatches).toEqual([]);
  });
});

describe("dead letters that are edited in a copy", () => {
  const mended = (lines: readonly string[]) =>
    lines.map((line) => {
      const value = JSON.parse(line);
      if (value.id === "dead") value.deliveries[0].edit = { payload: '{"bar":2.9}' };
      return JSON.stringify(value);
    });

  it("go back in line on the box that they come from, with the original kept; and once", async () => {
    const a = await filled();
    const { head, messages, end } = partsIn(mended((await exported(a, { copy: true })).lines));
    const ask = { head, end, flows: FLOWS };
    expect(await a.in.begin(ask, act)).toBeNull();
    const own = { export: head.export, from: 0, lines: messages };
    await expect(a.in.own(own, "anna")).rejects.toMatchObject({
      message: expect.stringContaining("--reason"),
    });
    const done = await a.in.own({ ...own, reason: "typo" }, "anna");
    expect(done).toEqual({ edited: 1, untouched: 4, left: [] });
    expect(states(a).dead).toBe("waiting");
    expect(a.store.value("SELECT payload FROM edits WHERE reason = 'typo'")!.toString()).toBe('{"bar":2.9}');
    expect(a.store.value("SELECT payload FROM messages WHERE id = 'dead'")!.toString()).toBe('{"id":"dead"}');
    expect(await a.in.own({ ...own, reason: "typo" }, "anna")).toMatchObject({
      edited: 0,
      left: [{ id: "dead" }],
    });
    expect(a.store.audit().mismatches).toEqual([]);
  });

  it("wait on another box, edited", async () => {
    const [a, b] = [await filled(), await box("box-b")];
    const { lines } = await exported(a);
    await take(b, mended(lines), { reason: "typo" });
    expect(states(b).dead).toBe("waiting");
    expect((await claimable(b))[0]).toBe("dead");
    expect(b.store.audit().mismatches).toEqual([]);
  });
});

describe("a file", () => {
  async function read(lines: readonly string[]): Promise<ExportPart["kind"][] | HoldfastError> {
    const file = join(scratchFolder(), "moving.jsonl");
    writeFileSync(file, lines.join(""));
    const kinds: ExportPart["kind"][] = [];
    try {
      for await (const { kind } of partsOf(file)) kinds.push(kind);
      return kinds;
    } catch (error) {
      if (error instanceof HoldfastError) return error;
      throw error;
    }
  }

  it("is told apart from one that is cut off, damaged, changed, or short of a line, by its line", async () => {
    const { lines } = await exported(await filled());
    expect(await read(lines)).toEqual(["head", ...Array(5).fill("message"), "end"]);
    const changed = lines.map((line) => line.replace('{\\"id\\":\\"waits\\"}', '{\\"id\\":\\"w8its\\"}'));
    const wrongs: [readonly string[], RegExp][] = [
      [lines.slice(0, -1), /is cut off after line 6 \(5 messages\)/],
      [[...lines.slice(0, 3), lines[3]!.slice(0, 40)], /line 4: it is no JSON, or was cut off/],
      [
        lines.filter((_, at) => at !== 2),
        /line 6: the end speaks of 5 messages, and the file has 4 messages/,
      ],
      [[lines[0]!, lines[2]!, lines[1]!, ...lines.slice(3)], /line 7: the sum of all lines is another one/],
      [changed, /line 4: message waits: it is not what was exported/],
      [["{}\n"], /line 1: this is no export of Holdfast/],
      [[lines[0]!.replace('"version":1', '"version":2')], /line 1: it has version 2/],
      [[...lines, lines[1]!], /line 8: something follows the end/],
      [[lines[0]!, lines[1]!.replace('"qos":1', '"qos":7'), ...lines.slice(2)], /line 2: qos: /],
      [[""], /is empty/],
    ];
    for (const [wrong, sentence] of wrongs) {
      expect(await read(wrong)).toMatchObject({
        code: "HF_IMPORT",
        message: expect.stringMatching(sentence),
      });
    }
  });

  it("is the same whenever it is asked for", async () => {
    const a = await filled();
    const { id, lines } = await exported(a);
    const again: string[] = [];
    for await (const line of await a.out.file(id)) again.push(line);
    expect(again).toEqual(lines);
  });
});
