/** The one way in: what is refused, what a message is called, which flows take it, and when it is late. */
import { describe, expect, it } from "vitest";
import { flowSchema, makeFlow } from "../../src/core/flow.ts";
import { MESSAGE_ID_BYTES_MAX } from "../../src/core/limits.ts";
import { uuidV7Source } from "../../src/core/message.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Draft } from "../../src/intake/draft.ts";
import { Intake } from "../../src/intake/intake.ts";
import { intakeSchema } from "../../src/intake/schema.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { sharedStore } from "../support/test-store.ts";

type Raw = Record<string, unknown>;

const clock = new ManualClock();
const shared = sharedStore({ clock });
const newId = uuidV7Source(() => clock.wallMs(), seededRandom(1));
const UUID = /^[0-9a-f-]{36}$/;

/** Every test has flow names of its own, so that the figures of flows are its own too. */
let made = 0;

async function makeIntake({
  flows = { all: { from: "#" } },
  ...config
}: { flows?: Record<string, Raw> } & Raw = {}) {
  const store = shared();
  const prefix = `t${++made}-`;
  const own = Object.entries(flows).map(([name, raw]) => {
    const divertTo = raw.divertTo === undefined ? {} : { divertTo: prefix + raw.divertTo };
    return makeFlow(prefix + name, flowSchema.parse({ to: "backend", ...raw, ...divertTo }));
  });
  const intake = new Intake({
    config: intakeSchema.parse(config),
    flows: own,
    store: store.store,
    clock,
    newId,
    describeFlow: (flow) => JSON.stringify({ from: flow.from }),
  });
  await intake.prepare();
  return {
    intake,
    store,
    accept: (draft: Partial<Draft> = {}, signal?: AbortSignal) =>
      intake.accept(
        {
          device: "press-7",
          source: "mqtt",
          topic: "plant/press-7",
          payload: Buffer.from("{}"),
          qos: 1,
          ...draft,
        },
        signal,
      ),
    /** What became of a message on each flow: name without the prefix, key, state, late, reason. */
    deliveries: (seq: number) =>
      store
        .rows<{ flow: string; key: string; state: string; late: number; reason: string | null }>(
          `SELECT l.flow, l.key, d.state, d.late, d.reason FROM deliveries d JOIN lanes l ON l.id = d.lane
           WHERE d.seq = ? ORDER BY l.flow`,
          seq,
        )
        .map((row) => ({ ...row, flow: row.flow.slice(prefix.length) })),
  };
}

async function seqOf(receipt: ReturnType<Intake["accept"]>): Promise<number> {
  const got = await receipt;
  if (got.kind !== "stored") throw new Error(`not stored but ${JSON.stringify(got)}`);
  return got.seq;
}

const door = (what: string) =>
  shared().value<number | undefined>("SELECT n FROM tally WHERE flow = '' AND what = ?", what) ?? 0;

describe("a draft", () => {
  it("is stored with all that it says, and the receipt says so after it can be read", async () => {
    const { accept, store } = await makeIntake();
    const receipt = await accept({
      payload: Buffer.from([0, 255, 1]),
      qos: 2,
      retain: true,
      contentType: "application/octet-stream",
      producedAtMs: clock.wallMs() - 5,
      traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      headers: { Line: "3" },
    });
    expect(receipt).toMatchObject({ kind: "stored", flows: 1, id: expect.stringMatching(UUID) });
    const [row] = store.rows("SELECT * FROM messages WHERE id = ?", (receipt as { id: string }).id);
    expect(row).toMatchObject({
      device: "press-7",
      source: "mqtt",
      topic: "plant/press-7",
      payload: Buffer.from([0, 255, 1]),
      content_type: "application/octet-stream",
      qos: 2,
      retain: 1,
      produced_at: clock.wallMs() - 5,
      accepted_at: clock.wallMs(),
      traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      headers: '{"Line":"3"}',
    });
  });

  it.each<[string, Partial<Draft>, RegExp]>([
    ["a topic with a wildcard", { topic: "a/#" }, /topic/],
    ["an empty topic", { topic: "" }, /topic/],
    ["a topic with a NUL", { topic: "a\u0000b" }, /topic/],
    ["no device", { device: "" }, /device/],
    ["a device name that is too long", { device: "x".repeat(257) }, /device/],
    ["a payload that is too large", { payload: Buffer.alloc(1025) }, /1\.0 KiB.*payloadBytesMax/],
    ["headers that are too large", { headers: { a: "x".repeat(20_000) } }, /headers/],
    ["packet id 0", { mqtt: { client: "c", packetId: 0, dup: false } }, /packet id/],
    ["an id that is too long", { producerId: "x".repeat(MESSAGE_ID_BYTES_MAX) }, /id is longer/],
    ["an id that ends a line", { producerId: "a\r\nEvil: header" }, /not text/],
    ["an id that is no text", { producerId: "\ud800" }, /not text/],
  ])("is refused for %s, stored nowhere, and counted", async (_, draft, reason) => {
    const { accept, store } = await makeIntake({ payloadBytesMax: 1024 });
    const before = { refused: door("refused"), messages: store.value("SELECT count(*) FROM messages") };
    expect(await accept(draft)).toMatchObject({
      kind: "refused",
      code: "HF_MESSAGE_INVALID",
      reason: expect.stringMatching(reason),
    });
    expect(door("refused")).toBe(before.refused + 1);
    expect(store.value("SELECT count(*) FROM messages")).toBe(before.messages);
  });

  it("whose packet id says nothing, since its QoS has none, is not held to it", async () => {
    const { accept } = await makeIntake();
    expect((await accept({ qos: 0, mqtt: { client: "c", packetId: 0, dup: false } })).kind).toBe("stored");
  });

  it("given up before the store has it is rejected with the reason", async () => {
    const { accept } = await makeIntake();
    await expect(accept({}, AbortSignal.abort(new Error("client left")))).rejects.toThrow("client left");
  });
});

describe("a message's id", () => {
  const idOf = async (draft: Partial<Draft>, rule?: Raw) => {
    const identities = rule === undefined ? [] : [{ topics: "#", ...rule }];
    const { accept } = await makeIntake({ identities });
    const receipt = await accept(draft);
    return receipt.kind === "refused" ? receipt.reason : receipt.id;
  };
  const json = (value: unknown) => ({ payload: Buffer.from(JSON.stringify(value)) });

  it("is made here where the producer has none, and never twice the same", async () => {
    expect(await idOf({})).toMatch(UUID);
    expect(await idOf({})).not.toBe(await idOf({}));
  });

  it("stands where the config says: in the payload, in a level of the topic, in a header", async () => {
    expect(await idOf(json({ a: { id: "41" } }), { id: { pointer: "/a/id" } })).toBe("press-7:41");
    expect(await idOf({ topic: "plant/press-7/order/42" }, { id: { topicLevel: 3 } })).toBe("press-7:42");
    expect(await idOf({ headers: { "x-id": "43" } }, { id: { header: "x-id" } })).toBe("press-7:43");
  });

  it("is the door's where the door knows it", async () => {
    expect(await idOf({ ...json({ id: "payload" }), producerId: "door" }, { id: { pointer: "/id" } })).toBe(
      "press-7:door",
    );
  });

  it("is the producer's alone where it is unique among all devices", async () => {
    expect(await idOf(json({ id: "ORD-1" }), { id: { pointer: "/id" }, scope: "global" })).toBe("ORD-1");
  });

  it("keeps devices apart whose names and ids run into each other", async () => {
    const one = await idOf({ device: "cell", producerId: "1:9" });
    const other = await idOf({ device: "cell:1", producerId: "9" });
    expect([one, other]).toEqual(["cell:1:9", "cell%3A1:9"]);
    expect(await idOf({ device: "cell%3A1", producerId: "9" })).toBe("cell%253A1:9");
  });

  it.each([
    ["a whole number", 44, "press-7:44"],
    ["zero", 0, "press-7:0"],
    ["a fraction", 1.5, "press-7:1.5"],
  ])("may be %s", async (_, id, expected) => {
    expect(await idOf(json({ id }), { id: { pointer: "/id" } })).toBe(expected);
  });

  it.each([
    ["nothing", "{}"],
    ["null", '{"id":null}'],
    ["empty text", '{"id":""}'],
    ["a list", '{"id":[1]}'],
    ["true", '{"id":true}'],
    ["no JSON at all", "not json"],
    ["a number too large to be told from its neighbour", '{"id":9007199254740993}'],
  ])("is made here where there is %s", async (_, payload) => {
    expect(await idOf({ payload: Buffer.from(payload) }, { id: { pointer: "/id" } })).toMatch(UUID);
  });

  it("is found by the first rule whose topics fit", async () => {
    const { accept } = await makeIntake({
      identities: [
        { topics: ["orders/#", "lots/#"], id: { pointer: "/order" }, scope: "global" },
        { topics: "#", id: { pointer: "/id" } },
      ],
    });
    const payload = Buffer.from('{"order":"o-1","id":"i-1"}');
    expect(await accept({ topic: "lots/1", payload })).toMatchObject({ id: "o-1" });
    expect(await accept({ topic: "other", payload })).toMatchObject({ id: "press-7:i-1" });
  });
});

describe("a duplicate", () => {
  it("is answered with the original, whatever else has changed", async () => {
    const { accept } = await makeIntake({ identities: [{ topics: "#", id: { pointer: "/id" } }] });
    const payload = Buffer.from('{"id":"twice"}');
    const seq = await seqOf(accept({ payload }));
    expect(await accept({ payload, qos: 0, topic: "elsewhere" })).toEqual({
      kind: "duplicate",
      id: "press-7:twice",
      seq,
    });
    // Of another device, the same id is another message.
    expect((await accept({ payload, device: "press-8" })).kind).toBe("stored");
  });

  it("is known as long as its rule says, or else the default window", async () => {
    const { accept, store } = await makeIntake({
      duplicateWindow: "1h",
      identities: [
        { topics: "short/#", id: { pointer: "/id" }, window: "1m" },
        { topics: "#", id: { pointer: "/id" } },
      ],
    });
    await accept({ topic: "short/x", payload: Buffer.from('{"id":"s"}') });
    await accept({ topic: "x", payload: Buffer.from('{"id":"l"}') });
    const windows = store.rows<{ key: string; ms: number }>(
      "SELECT key, expire_at - ? AS ms FROM identities WHERE key IN ('s', 'l') ORDER BY key",
      store.store.steadyMs(),
    );
    expect(windows).toEqual([
      { key: "l", ms: 3_600_000 },
      { key: "s", ms: 60_000 },
    ]);
  });

  it("by packet id needs QoS 1 with DUP, or QoS 2", async () => {
    const { accept } = await makeIntake();
    const mqtt = (dup: boolean) => ({ client: "dup-1", packetId: 9, dup });
    const first = await accept({ mqtt: mqtt(false) });
    expect((await accept({ mqtt: mqtt(false) })).kind).toBe("stored");
    expect((await accept({ mqtt: mqtt(true) })).kind).toBe("duplicate");
    expect((await accept({ mqtt: mqtt(true), qos: 0 })).kind).toBe("stored");
    expect(first.kind).toBe("stored");
    const exactly = { qos: 2, mqtt: { client: "dup-2", packetId: 9, dup: false } } as const;
    expect((await accept(exactly)).kind).toBe("stored");
    expect((await accept(exactly)).kind).toBe("duplicate");
  });
});

describe("flows", () => {
  it("each that takes a message gets one delivery, in a lane by its order", async () => {
    const { accept, deliveries } = await makeIntake({
      flows: {
        "by-device": { from: "#" },
        "by-topic": { from: ["plant/#", "plant/+"], orderBy: "topic" },
        elsewhere: { from: "office/#" },
        some: { from: "#", when: { pointer: "/urgent", equals: true } },
        without: { from: "#", orderBy: "none" },
      },
    });
    const receipt = await accept({ payload: Buffer.from('{"urgent":true}') });
    expect(receipt).toMatchObject({ flows: 4 });
    const rows = deliveries((receipt as { seq: number }).seq);
    expect(rows.map(({ flow, key }) => [flow, key])).toEqual([
      ["by-device", "press-7"],
      ["by-topic", "plant/press-7"],
      ["some", "press-7"],
      ["without", expect.stringMatching(/^\d+$/)],
    ]);
    expect(rows.every(({ state, late }) => state === "waiting" && late === 0)).toBe(true);
  });

  it("without order spread their messages over a few lanes", async () => {
    const { accept, deliveries } = await makeIntake({ flows: { without: { from: "#", orderBy: "none" } } });
    const keys = new Set<string>();
    for (let at = 0; at < 64; at++) keys.add(deliveries(await seqOf(accept()))[0]!.key);
    expect(keys.size).toBe(16);
  });

  it("are recorded as they were when they took a message", async () => {
    const first = await makeIntake({ flows: { all: { from: "#" } } });
    const name = `t${made}-all`;
    const seq = await seqOf(first.accept());
    const flow = makeFlow(name, flowSchema.parse({ from: "plant/#", to: "backend" }));
    const intake = new Intake({
      config: intakeSchema.parse({}),
      flows: [flow],
      store: first.store.store,
      clock,
      newId,
      describeFlow: ({ from }) => JSON.stringify({ from }),
    });
    await intake.prepare();
    const later = await intake.accept({
      device: "press-7",
      source: "mqtt",
      topic: "plant/x",
      payload: Buffer.alloc(0),
      qos: 0,
    });
    const versionOf = (of: number) =>
      first.store.rows<{ config: string }>(
        `SELECT v.config FROM messages m, json_each(m.routes) r JOIN flow_versions v ON v.id = json_extract(r.value, '$[1]')
         WHERE m.seq = ?`,
        of,
      )[0]!.config;
    expect(versionOf(seq)).toBe('{"from":"#"}');
    expect(versionOf((later as { seq: number }).seq)).toBe('{"from":"plant/#"}');
  });
});

describe("a message that no flow takes", () => {
  const flows = { plant: { from: "plant/#" } };

  it("is kept by default, and shown as unrouted", async () => {
    const before = door("unrouted");
    const { accept, store } = await makeIntake({ flows });
    const receipt = await accept({ topic: "office/1" });
    expect(receipt).toMatchObject({ kind: "stored", flows: 0 });
    expect(store.value("SELECT routes FROM messages WHERE id = ?", (receipt as { id: string }).id)).toBe(
      "[]",
    );
    expect(door("unrouted")).toBe(before + 1);
  });

  it("is dropped where the config says so: counted, acknowledged, its session changes kept", async () => {
    const before = { dropped: door("dropped"), accepted: door("accepted") };
    const { accept, store } = await makeIntake({ flows, unrouted: "drop" });
    const change = {
      op: "put",
      kind: "retained",
      client: "",
      key: "office/1",
      value: Buffer.from("x"),
    } as const;
    expect(await accept({ topic: "office/1", session: [change] })).toMatchObject({ kind: "dropped" });
    expect(await accept({ topic: "office/2" })).toMatchObject({ kind: "dropped" });
    expect({ dropped: door("dropped"), accepted: door("accepted") }).toEqual({
      ...before,
      dropped: before.dropped + 2,
    });
    expect(await store.store.load()).toContainEqual({
      kind: "retained",
      client: "",
      key: "office/1",
      value: Buffer.from("x"),
    });
    expect((await accept()).kind).toBe("stored");
  });

  it("is refused where the config says so, and is not acknowledged as accepted", async () => {
    const { accept } = await makeIntake({ flows, unrouted: "refuse" });
    expect(await accept({ topic: "office/1" })).toMatchObject({ kind: "refused", code: "HF_UNROUTED" });
  });
});

describe("lateness", () => {
  const identities = [{ topics: "#", producedAt: { pointer: "/at", unit: "ms" } }];
  const producedBefore = (ms: number) => ({
    payload: Buffer.from(JSON.stringify({ at: clock.wallMs() - ms })),
  });

  async function lateOn(flow: Raw, more: Record<string, Raw> = {}) {
    const { accept, deliveries } = await makeIntake({
      identities,
      flows: { main: { from: "#", lateAfter: "1m", ...flow }, ...more },
    });
    return async (draft: Partial<Draft>) => deliveries(await seqOf(accept(draft)));
  }

  it("begins after lateAfter, and marks what is delivered all the same", async () => {
    const on = await lateOn({});
    expect(await on(producedBefore(60_000))).toMatchObject([{ state: "waiting", late: 0 }]);
    expect(await on(producedBefore(60_001))).toMatchObject([{ state: "waiting", late: 1 }]);
  });

  it("sets aside or leaves out, with how late it was, and counts it", async () => {
    const dead = await lateOn({ late: "dead" });
    expect(await dead(producedBefore(3_600_000))).toMatchObject([
      { state: "dead", late: 1, reason: "late by 1h" },
    ]);
    const drop = await lateOn({ late: "drop" });
    expect(await drop(producedBefore(120_000))).toMatchObject([
      { state: "discarded", late: 1, reason: "late by 2m" },
    ]);
    expect(await drop(producedBefore(0))).toMatchObject([{ state: "waiting", late: 0 }]);
    const late = shared().value("SELECT n FROM tally WHERE flow = ? AND what = 'late'", `t${made}-main`);
    expect(late).toBe(1);
  });

  it("diverts to another flow, once, also where that flow takes the message anyway", async () => {
    const divert = { late: "divert", divertTo: "slow" };
    const apart = await lateOn(divert, { slow: { from: "nothing/#", orderBy: "topic" } });
    expect(await apart(producedBefore(120_000))).toEqual([
      { flow: "slow", key: "plant/press-7", state: "waiting", late: 1, reason: null },
    ]);
    expect(await apart(producedBefore(0))).toMatchObject([{ flow: "main", late: 0 }]);
    const both = await lateOn(divert, { slow: { from: "#" } });
    expect(await both(producedBefore(120_000))).toMatchObject([{ flow: "slow", late: 1 }]);
    expect((await both(producedBefore(0))).map(({ flow }) => flow)).toEqual(["main", "slow"]);
  });

  it("is not known of a message without a time, or with one that is none", async () => {
    const on = await lateOn({ late: "drop" });
    for (const payload of ["{}", "not json", '{"at":"yesterday"}', '{"at":1e300}', '{"at":null}']) {
      expect(await on({ payload: Buffer.from(payload) }), payload).toMatchObject([
        { state: "waiting", late: 0 },
      ]);
    }
    expect(await on({ producedAtMs: Number.NaN })).toMatchObject([{ late: 0 }]);
  });

  it("is not decided by a gateway that does not know the time itself", async () => {
    const on = await lateOn({ late: "drop" });
    const nowMs = clock.wallMs();
    const draft = { payload: Buffer.from('{"at":1000}') };
    clock.setWallMs(Date.UTC(1970, 0, 2));
    const untimed = await on(draft);
    clock.setWallMs(nowMs);
    expect(untimed).toMatchObject([{ state: "waiting", late: 0 }]);
    expect(await on(draft)).toMatchObject([{ state: "discarded" }]);
  });

  it.each([
    ["iso", '"2026-06-01T11:00:00Z"', Date.UTC(2026, 5, 1, 11)],
    ["iso", '"2026-06-01T13:00:00+02:00"', Date.UTC(2026, 5, 1, 11)],
    ["iso", "1780000000000", null],
    ["s", "1780311600.25", 1_780_311_600_250],
    ["ms", "1780311600250.4", 1_780_311_600_250],
    ["ms", '"1780311600250"', null],
  ])("reads a time in %s: %s", async (unit, text, expected) => {
    const { accept, store } = await makeIntake({
      identities: [{ topics: "#", producedAt: { pointer: "/at", unit } }],
    });
    const seq = await seqOf(accept({ payload: Buffer.from(`{"at":${text}}`) }));
    expect(store.value("SELECT produced_at FROM messages WHERE seq = ?", seq)).toBe(expected);
  });

  it("takes a door's fraction of a millisecond without harm to the store", async () => {
    const { accept, store } = await makeIntake();
    const seq = await seqOf(accept({ producedAtMs: 1_780_311_600_250.75 }));
    expect(store.value("SELECT produced_at FROM messages WHERE seq = ?", seq)).toBe(1_780_311_600_251);
  });
});

it("the books balance after all of this", () => {
  expect(shared().audit().mismatches).toEqual([]);
});
