/** The one way in: what is refused, what a message is called, and which flows take it. */
import { describe, expect, it } from "vitest";
import { flowSchema, makeFlow } from "../../src/core/flow.ts";
import { MESSAGE_ID_BYTES_MAX } from "../../src/core/limits.ts";
import type { Draft } from "../../src/intake/draft.ts";
import { Intake } from "../../src/intake/intake.ts";
import { intakeSchema } from "../../src/intake/schema.ts";
import { intakeRig, type Raw, seqOf } from "../support/intake-rig.ts";

const { clock, shared, newId, makeIntake, door } = intakeRig();
const UUID = /^[0-9a-f-]{36}$/;

describe("a draft", () => {
  it("is stored with all that it says, and the receipt says so after it can be read", async () => {
    const { accept, store } = await makeIntake();
    const receipt = await accept({
      payload: Buffer.from([0, 255, 1]),
      qos: 2,
      retain: true,
      contentType: "application/octet-stream",
      producedAtMs: clock.wallMs() - 5,
      trace: {
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        tracestate: null,
      },
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

  it("is the door's for its device alone, also where ids in payloads are unique among all devices", async () => {
    const { accept } = await makeIntake({
      identities: [{ topics: "#", id: { pointer: "/id" }, scope: "global" }],
    });
    const drafts = ["plc-1", "plc-2"].map((device) => ({ device, producerId: "boot-1.1" }));
    expect(await Promise.all(drafts.map((draft) => accept(draft)))).toMatchObject([
      { kind: "stored", id: "plc-1:boot-1.1" },
      { kind: "stored", id: "plc-2:boot-1.1" },
    ]);
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
    const name = `${first.prefix}all`;
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

it("the books balance after all of this", () => {
  expect(shared().audit().mismatches).toEqual([]);
});
