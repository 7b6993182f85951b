import { afterEach, describe, expect, it } from "vitest";
import { notSent } from "../../src/core/outcome.ts";
import { type Db, openForReading } from "../../src/queue/database.ts";
import { type QueryName, type QueryParams, runQuery } from "../../src/queue/queries.ts";
import { reasonPattern } from "../../src/queue/queries-reasons.ts";
import { BUILT_AT_MS, StoreBuilder } from "../support/store-builder.ts";

const builders: StoreBuilder[] = [];
const readers: Db[] = [];

function store(): StoreBuilder {
  const builder = new StoreBuilder();
  builders.push(builder);
  return builder;
}

function ask<N extends QueryName>(builder: StoreBuilder, name: N, params: QueryParams<N>) {
  const db = openForReading(builder.dataDir);
  readers.push(db);
  return runQuery(db, name, params);
}

afterEach(() => {
  for (const db of readers.splice(0)) db.close();
  for (const builder of builders.splice(0)) builder.remove();
});

const at = (steadyNowMs: number) => ({ steadyNowMs });

describe("how many are waiting", () => {
  it("tells each flow's states, its target and its oldest message with its age", () => {
    const built = store();
    built.flow("mes", { from: ["plant/#", "line/+"], to: "mes-http" }, "abc123");
    built.message({ steadyAt: 1000, deliveries: [{ flow: "mes", state: "delivered" }] });
    built.message({ id: "first", device: "oven-2", steadyAt: 2000, deliveries: [{ flow: "mes" }] });
    built.message({ steadyAt: 3000, deliveries: [{ flow: "mes", state: "sending" }] });
    built.message({ steadyAt: 4000, deliveries: [{ flow: "mes", state: "dead", late: true }] });
    built.tally("mes", "duplicate", 7);
    const { flows, door } = ask(built, "overview", at(12_000));
    expect(flows).toHaveLength(1);
    expect(flows[0]).toMatchObject({
      flow: "mes",
      target: "mes-http",
      from: ["plant/#", "line/+"],
      orderBy: "device",
      version: "abc123",
      waiting: 1,
      sending: 1,
      delivered: 1,
      dead: 1,
      unknown: 0,
      accepted: 4,
      duplicates: 7,
      late: 1,
      openLanes: 2,
      oldest: { seq: 2, id: "first", device: "oven-2", ageMs: 10_000 },
    });
    expect(door).toEqual({ accepted: 4, duplicates: 0, unrouted: 0, dropped: 0, refused: 0 });
  });

  it("finds the oldest among lanes whose heads are only lower bounds", () => {
    const built = store();
    built.message({ device: "a", deliveries: [{ flow: "mes", state: "delivered" }] });
    built.message({ device: "b", deliveries: [{ flow: "mes" }] });
    built.message({ device: "a", deliveries: [{ flow: "mes" }] });
    expect(ask(built, "overview", at(0)).flows[0]!.oldest).toMatchObject({ seq: 2, device: "b" });
  });

  it("does not take a held unknown for a waiting message", () => {
    const built = store();
    built.message({ deliveries: [{ flow: "mes", state: "unknown" }] });
    expect(ask(built, "overview", at(0)).flows[0]).toMatchObject({ oldest: null, unknown: 1, openLanes: 1 });
  });

  it("counts what each device has open, also in lanes that devices share", () => {
    const built = store();
    built.flow("mixed", { orderBy: "none" });
    for (let i = 0; i < 3; i++)
      built.message({ device: "press-7", steadyAt: 10, deliveries: [{ flow: "mes" }] });
    for (const device of ["press-7", "oven-2"])
      built.message({ device, steadyAt: 20, deliveries: [{ flow: "mixed", key: "0" }] });
    built.message({ device: "oven-2", deliveries: [{ flow: "mes", state: "delivered" }] });
    expect(ask(built, "devices", at(100))).toEqual({
      devices: [
        { device: "press-7", open: 4, oldestSeq: 1, oldestAgeMs: 90 },
        { device: "oven-2", open: 1, oldestSeq: 5, oldestAgeMs: 80 },
      ],
      total: 2,
      complete: true,
    });
  });

  it("tells what is held for exports, which those are, and what could go all the same", () => {
    const built = store();
    built.flow("bulk", { orderBy: "none" });
    const heldFor = built.export("e-1", { steadyAt: 1000 });
    const put = (device: string, flow: string, more: object = {}) =>
      built.message({ device, steadyAt: 2000, deliveries: [{ flow, ...more }] });
    for (const state of ["unknown", "dead"] as const) put("a", "mes", { heldFor, state });
    // It stands behind an unknown one that is held.
    put("a", "mes");
    put("bulky", "bulk", { key: "0", heldFor });
    const free = () =>
      ask(built, "overview", at(9000)).flows.map((flow) => [flow.flow, flow.oldestFree?.seq]);
    const { flows, exports } = ask(built, "overview", at(9000));
    expect(flows).toMatchObject([
      { flow: "bulk", held: 1, waiting: 1, oldest: { seq: 4 }, oldestFree: null },
      { flow: "mes", held: 2, waiting: 1, oldest: { seq: 3 }, oldestFree: null },
    ]);
    const selection = { states: "all" };
    expect(exports).toEqual([
      {
        id: "e-1",
        state: "held",
        selection,
        who: "anna",
        reason: "box a is replaced",
        atMs: BUILT_AT_MS,
        ageMs: 8000,
        messages: 1,
      },
    ]);
    // Another lane goes on, and one without order goes past what is held.
    put("b", "mes");
    put("bulky", "bulk", { key: "0" });
    expect(free()).toEqual([
      ["bulk", 6],
      ["mes", 5],
    ]);
  });

  it("tells no export that holds nothing any more, whatever it says of itself", () => {
    const built = store();
    const cancelled = built.export("e-1", { state: "cancelled" });
    built.export("e-2");
    expect(ask(built, "overview", at(0)).exports).toEqual([]);
    // Cancelling was broken off.
    built.message({ deliveries: [{ flow: "mes", heldFor: cancelled }] });
    expect(ask(built, "overview", at(0)).exports).toMatchObject([{ id: "e-1", state: "cancelled" }]);
  });

  it("says how large the file is and when the gateway last lived", () => {
    const built = store();
    built.boot({ boot: "second", startedAt: 5, seenAt: 6, steadyAt: 7, clean: true });
    const { bytes, boot } = ask(built, "overview", at(0));
    expect(bytes.file).toBeGreaterThan(4096);
    expect(boot).toMatchObject({
      boot: "second",
      startedAtMs: 5,
      seenAtMs: 6,
      steadyAtMs: 7,
      stoppedClean: true,
    });
  });
});

describe("how many are failing, and why", () => {
  it("groups dead letters by flow and reason, largest first", () => {
    const built = store();
    for (const reason of ["HTTP 422", "HTTP 422", "too large"])
      built.message({ deliveries: [{ flow: "mes", state: "dead", reason, attempts: 2 }] });
    built.message({ deliveries: [{ flow: "lake", state: "dead", reason: "HTTP 422" }] });
    const { dead } = ask(built, "failing", {});
    expect(dead.count).toBe(4);
    expect(dead.groups.map(({ flow, reason, count }) => [flow, reason, count])).toEqual([
      ["mes", "HTTP 422", 2],
      ["mes", "too large", 1],
      ["lake", "HTTP 422", 1],
    ]);
    expect(dead.groups[0]).toMatchObject({ exampleSeq: 2, exampleId: "message-2", attemptsMax: 2 });
    expect(ask(built, "failing", { flow: "lake" }).dead.count).toBe(1);
  });

  it("puts reasons together that differ only in measured values and ids, but not status codes", () => {
    const built = store();
    for (const reason of [
      "HTTP 422: 17.3 is too high",
      "HTTP 422: 18.91 is too high",
      "HTTP 409: conflict",
      "HTTP 410: conflict",
    ])
      built.message({ deliveries: [{ flow: "mes", state: "dead", reason }] });
    expect(ask(built, "failing", {}).dead.groups.map(({ reason, count }) => [reason, count])).toEqual([
      ["HTTP 422: … is too high", 2],
      ["HTTP 409: conflict", 1],
      ["HTTP 410: conflict", 1],
    ]);
  });

  it.each([
    ["HTTP 422: value 17 of 171.5 is out of range", "HTTP 422: value … of … is out of range"],
    ["422 Unprocessable: -3 bar", "422 Unprocessable: … bar"],
    ["status 503", "status 503"],
    ["SQLSTATE 23505: key 12 exists", "SQLSTATE 23505: key … exists"],
    ["no answer within 30000 ms", "no answer within … ms"],
    ["order 0197f3c1-7b1e-7a52-9f0e-0d9be0a3c1d2 is closed", "order … is closed"],
    ["HTTP/1.1 500", "HTTP/1.1 500"],
    ["sensor press-7 has no v2 schema", "sensor press-7 has no v2 schema"],
  ])("reads %j as %j", (reason, pattern) => {
    expect(reasonPattern(reason)).toBe(pattern);
  });

  it("counts the groups that are too many to list", () => {
    const built = store();
    built.many(() => {
      for (let i = 0; i < 30; i++)
        built.message({
          deliveries: [{ flow: "mes", state: "dead", reason: `reason ${String.fromCharCode(97 + i)}` }],
        });
    });
    const { dead } = ask(built, "failing", {});
    expect([dead.count, dead.groups.length, dead.others]).toEqual([30, 20, 10]);
  });

  it("tells unknowns that wait for a person from those that are sent again by themselves", () => {
    const built = store();
    built.message({ deliveries: [{ flow: "mes", state: "unknown", dueAt: null, reason: "timeout" }] });
    built.message({ deliveries: [{ flow: "mes", state: "unknown", dueAt: 50, reason: "timeout" }] });
    expect(ask(built, "failing", {}).unknown).toMatchObject({ count: 2, held: 1 });
  });

  it("lists dead letters page by page, newest first, each once", () => {
    const built = store();
    for (let i = 1; i <= 7; i++)
      built.message({
        payload: "x".repeat(i),
        deliveries: [
          { flow: "mes", state: "dead", reason: "no" },
          { flow: "lake", state: i % 2 ? "dead" : "delivered" },
        ],
      });
    const seen: string[] = [];
    let after: string | undefined;
    do {
      const page = ask(built, "deadLetters", { limit: 3, after });
      expect(page.total).toBe(11);
      expect(page.letters.length).toBeLessThanOrEqual(3);
      seen.push(...page.letters.map(({ seq, flow }) => `${seq} ${flow}`));
      after = page.next ?? undefined;
    } while (after);
    expect(seen).toHaveLength(11);
    expect(new Set(seen).size).toBe(11);
    expect(seen.map((line) => Number(line.split(" ")[0]))).toEqual([7, 7, 6, 5, 5, 4, 3, 3, 2, 1, 1]);
    const [first] = ask(built, "deadLetters", { flow: "mes", limit: 1 }).letters;
    expect(first).toMatchObject({
      id: "message-7",
      flow: "mes",
      key: "press-7",
      reason: "no",
      payloadBytes: 7,
    });
  });

  it("refuses a cursor that is none", () => {
    expect(() => ask(store(), "deadLetters", { after: "1; DROP TABLE messages" })).toThrow(RangeError);
  });

  it("shows what is being tried again and how many stand behind it", () => {
    const built = store();
    built.message({
      device: "a",
      deliveries: [{ flow: "mes", attempts: 3, dueAt: 9000, reason: "HTTP 503" }],
    });
    built.message({
      device: "a",
      deliveries: [{ flow: "mes", reason: notSent.kind === "retry" ? notSent.reason : "" }],
    });
    built.message({ device: "a", deliveries: [{ flow: "mes" }] });
    built.message({
      device: "b",
      deliveries: [{ flow: "mes", attempts: 1, dueAt: 4000, reason: "HTTP 503" }],
    });
    built.message({ device: "c", deliveries: [{ flow: "mes" }] });
    expect(ask(built, "retrying", {})).toMatchObject({
      count: 2,
      heldBack: 2,
      complete: true,
      groups: [{ flow: "mes", reason: "HTTP 503", count: 2, attemptsMax: 3, nextDueMs: 4000 }],
    });
  });
});

describe("the whole history of one message", () => {
  it("says of each message whether its clock was believed, whatever was true when the gateway started", () => {
    const built = store();
    built.message({ id: "before", acceptedAt: Date.UTC(1970, 0, 1, 0, 5) });
    built.message({ id: "after", acceptedAt: Date.UTC(2026, 6, 1) });
    const trusted = (id: string) => ask(built, "messageHistory", { id, ...at(0) })!.message.clockTrusted;
    expect([trusted("before"), trusted("after")]).toEqual([false, true]);
  });

  it("names device, source, flow, version and target, and each thing that happened in order", () => {
    const built = store();
    built.flow("mes", { to: "mes-http", orderBy: "device" }, "v1");
    built.flow("mes", { to: "mes-http-2", orderBy: "device" }, "v2");
    const { seq, lanes } = built.message({
      id: "press-7:4711",
      source: "mqtt",
      topic: "plant/press-7/count",
      payload: '{"n":4711}',
      qos: 2,
      producedAt: 900,
      steadyAt: 1000,
      traceparent: "00-aa-bb-01",
      headers: { line: "3" },
      duplicates: 1,
      deliveries: [{ flow: "mes", attempts: 1, reason: "HTTP 503", dueAt: 5000, resend: true }],
    });
    built.history(seq, "duplicate", "came again", { at: 10 });
    built.history(seq, "retry", "HTTP 503", { lane: lanes[0], at: 20 });
    const found = ask(built, "messageHistory", { id: "press-7:4711", ...at(3000) })!;
    expect(found.message).toMatchObject({
      seq,
      device: "press-7",
      source: "mqtt",
      topic: "plant/press-7/count",
      qos: 2,
      producedAtMs: 900,
      ageMs: 2000,
      boot: "boot-1",
      traceparent: "00-aa-bb-01",
      headers: { line: "3" },
      duplicates: 1,
      payloadBytes: 10,
      preview: { form: "text", text: '{"n":4711}', cut: false },
    });
    expect(found.deliveries).toEqual([
      expect.objectContaining({
        flow: "mes",
        version: "v2",
        target: "mes-http-2",
        key: "press-7",
        state: "waiting",
        attempts: 1,
        reason: "HTTP 503",
        dueInMs: 2000,
        resend: true,
      }),
    ]);
    expect(found.history).toEqual([
      { atMs: 10, flow: null, kind: "duplicate", detail: "came again" },
      { atMs: 20, flow: "mes", kind: "retry", detail: "HTTP 503" },
    ]);
  });

  it("is found by sequence too, but an id that looks like a number comes first", () => {
    const built = store();
    built.message({ id: "2" });
    built.message({ id: "other" });
    expect(ask(built, "messageHistory", { id: "2", ...at(0) })!.message.seq).toBe(1);
    expect(ask(built, "messageHistory", { id: "#2", ...at(0) })!.message.seq).toBe(2);
    expect(ask(built, "messageHistory", { id: "1", ...at(0) })!.message.id).toBe("2");
    expect(ask(built, "messageHistory", { id: "nowhere", ...at(0) })).toBeNull();
  });

  it("says how many stand before it in its lane", () => {
    const built = store();
    for (let i = 0; i < 4; i++)
      built.message({ deliveries: [{ flow: "mes", state: i === 1 ? "dead" : "waiting" }] });
    expect(ask(built, "messageHistory", { id: "#4", ...at(0) })!.deliveries[0]!.behind).toBe(2);
  });

  it("shows bytes that are no text in hexadecimal, and only the beginning of a large payload", () => {
    const built = store();
    built.message({ payload: Buffer.from([0xff, 0xfe, 0x00]) });
    built.message({ payload: "é".repeat(5000) });
    expect(ask(built, "messageHistory", { id: "#1", ...at(0) })!.message.preview).toEqual({
      form: "hex",
      text: "fffe00",
      cut: false,
    });
    const { preview, payloadBytes } = ask(built, "messageHistory", { id: "#2", ...at(0) })!.message;
    expect(payloadBytes).toBe(10_000);
    expect(preview).toEqual({ form: "text", text: "é".repeat(2048), cut: true });
  });
});

describe("the six questions on one screen", () => {
  it("are answered as of one commit, and nothing is written", () => {
    const built = store();
    built.message({ deliveries: [{ flow: "mes" }] });
    const db = openForReading(built.dataDir);
    readers.push(db);
    const status = runQuery(db, "status", at(0));
    expect(Object.keys(status)).toEqual([
      "flows",
      "door",
      "bytes",
      "boot",
      "salvages",
      "exports",
      "devices",
      "failing",
      "retrying",
    ]);
    expect(() => db.exec("DELETE FROM deliveries")).toThrow(/readonly/);
  });
});
