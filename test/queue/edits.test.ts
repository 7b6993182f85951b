/** Edits: beside the message, under its id, whole or not at all; they leave with it, and take room like one. */
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import type { EditResult } from "../../src/queue/edits.ts";
import { messageHistory } from "../../src/queue/queries-history.ts";
import { letters } from "../../src/queue/queries-letters.ts";
import { messagePayload } from "../../src/queue/queries-search.ts";
import { verify } from "../../src/queue/verify.ts";
import { sharedStore, TestStore } from "../support/test-store.ts";

const shared = sharedStore({ flows: ["mes"] });

const word = { by: "anna", why: "sensor off" };
const act = { who: "anna", what: "editDead", detail: {}, reason: word.why };
const MENDED = '{"bar":2.9}';

async function deadLetter(store: TestStore, device: string) {
  const put = await store.put({
    device,
    flow: "mes",
    id: `${device}-1`,
    payload: Buffer.from('{"bar":3.1}'),
  });
  await store.claim(put.lane);
  await store.settle(put.lane, put.seq, { state: "dead", reason: "HTTP 422", note: "dead" });
  return put;
}

function edit(
  store: TestStore,
  { lane, seq }: { lane: number; seq: number },
  more: object = {},
): Promise<EditResult> {
  return store.store.call("edit", {
    lane,
    seq,
    base: null,
    topic: "plant/mended",
    payload: Buffer.from(MENDED).toString("base64"),
    contentType: null,
    changed: ["payload", "topic"],
    word,
    act,
    ...more,
  });
}

function sabotage(store: TestStore, sql: string): void {
  const db = new Database(`${store.dataDir}/store.db`);
  db.exec(sql);
  db.close();
}

function ask<T>(store: TestStore, question: (db: Database.Database) => T): T {
  const db = new Database(`${store.dataDir}/store.db`, { readonly: true });
  try {
    return question(db);
  } finally {
    db.close();
  }
}

describe("an edit", () => {
  it("goes out in place of the message, under its id and at its place; the message stays as it was accepted", async () => {
    const store = shared();
    const letter = await deadLetter(store, "a");
    const later = await store.put({ device: "a", flow: "mes" });
    const result = await edit(store, letter);
    expect(result).toEqual({
      kind: "edited",
      edit: 1,
      lane: { lane: letter.lane, flow: "mes", key: "a", open: 2 },
    });
    const { deliveries } = await store.claim(letter.lane);
    const [edited, other] = deliveries;
    expect([
      edited!.message.id,
      edited!.message.topic,
      String(edited!.message.payload),
      edited!.edited,
    ]).toEqual([letter.id, "plant/mended", MENDED, true]);
    expect([other!.message.seq, other!.edited]).toEqual([later.seq, false]);
    for (const { message } of deliveries) await store.settle(letter.lane, message.seq);
    expect(String(store.value("SELECT payload FROM messages WHERE seq = ?", letter.seq))).toBe('{"bar":3.1}');
    expect(store.audit().mismatches).toEqual([]);
    expect(verify(store.dataDir).problems).toEqual([]);
  });

  it("is shown beside the message, with who, why and when, and its payload can be had", async () => {
    const store = shared();
    const letter = await deadLetter(store, "b");
    const result = await edit(store, letter);
    const number = result.kind === "edited" ? result.edit : 0;
    const found = ask(store, (db) => messageHistory(db, { id: letter.id, steadyNowMs: 0 }))!;
    expect([found.message.preview.text, found.message.topic]).toEqual(['{"bar":3.1}', "plant/b"]);
    expect(found.deliveries[0]).toMatchObject({
      state: "waiting",
      edits: [
        { edit: number, who: "anna", reason: "sensor off", topic: "plant/mended", preview: { text: MENDED } },
      ],
    });
    expect(found.history.map(({ kind, detail }) => `${kind}: ${detail}`)).toEqual([
      "dead: HTTP 422",
      `edit: payload and topic changed by anna: sensor off (edit ${number})`,
      "redrive: put back from dead to waiting",
    ]);
    expect(store.rows("SELECT who, what, detail FROM acts ORDER BY id DESC LIMIT 1")).toEqual([
      { who: "anna", what: "editDead", detail: `{"edit":${number}}` },
    ]);
    const payload = (edit?: number) =>
      ask(store, (db) => messagePayload(db, { id: letter.id, edit })?.payload);
    expect([String(payload()), String(payload(number)), payload(999)]).toEqual([
      '{"bar":3.1}',
      MENDED,
      undefined,
    ]);
    await store.deliver(letter.lane);
  });

  it("stays in effect when it is rejected and put back, until another one is made from it", async () => {
    const store = shared();
    const letter = await deadLetter(store, "c");
    const first = await edit(store, letter);
    await store.claim(letter.lane);
    await store.settle(letter.lane, letter.seq, { state: "dead", reason: "HTTP 422", note: "dead" });
    expect(await edit(store, letter)).toEqual({ kind: "changed" });
    const base = first.kind === "edited" ? first.edit : 0;
    expect(ask(store, (db) => letters(db, { id: letter.id }))![0]).toMatchObject({ edit: base });
    expect((await edit(store, letter, { base, topic: "plant/again" })).kind).toBe("edited");
    const { deliveries } = await store.claim(letter.lane);
    expect(deliveries[0]!.message.topic).toBe("plant/again");
    await store.settle(letter.lane, letter.seq);
  });

  it("is of a dead letter alone", async () => {
    const store = shared();
    const waiting = await store.put({ device: "d", flow: "mes" });
    expect(await edit(store, waiting)).toEqual({ kind: "not now", state: "waiting" });
    await store.claim(waiting.lane);
    await store.settle(waiting.lane, waiting.seq, { state: "unknown", resend: true });
    expect(await edit(store, waiting)).toEqual({ kind: "not now", state: "unknown" });
    expect(store.value("SELECT count(*) FROM edits WHERE seq = ?", waiting.seq)).toBe(0);
  });

  it.each([
    ["damaged", (seq: number) => `UPDATE edits SET payload = x'00' WHERE seq = ${seq}`],
    ["lost", (seq: number) => `DELETE FROM edits WHERE seq = ${seq}`],
  ])(
    "that is %s on the disk is seen by a check, and neither it nor the original goes out",
    async (_, harm) => {
      const store = shared();
      const letter = await deadLetter(store, `e-${_}`);
      await edit(store, letter);
      sabotage(store, harm(letter.seq));
      expect(verify(store.dataDir).problems).toEqual([expect.stringMatching(/edits/)]);
      expect((await store.claim(letter.lane)).deliveries).toEqual([]);
      expect(store.rows("SELECT state FROM deliveries WHERE seq = ?", letter.seq)).toEqual([
        { state: "dead" },
      ]);
      await store.store.redrive({ ids: [letter.id], limit: 1 });
      expect((await store.claim(letter.lane)).deliveries).toEqual([]);
      expect(store.audit().mismatches).toEqual([]);
      sabotage(store, `DELETE FROM edits WHERE seq = ${letter.seq}`);
    },
  );

  it("leaves with its message", async () => {
    const store = await TestStore.open({ flows: ["mes"] });
    const letter = await deadLetter(store, "f");
    await edit(store, letter);
    await store.deliver(letter.lane);
    await store.store.call("prune", { nowMs: store.store.steadyMs(), sweep: true, forRoom: true });
    expect(store.value("SELECT count(*) FROM messages")).toBe(0);
    expect(store.value("SELECT count(*) FROM edits")).toBe(0);
    expect(store.audit().mismatches).toEqual([]);
  });

  it("is there after a restart, and finds no room where a message would find none", async () => {
    const queue = { bytesMax: "16MiB", reserve: "4MiB" };
    const store = await TestStore.open({ flows: ["mes"], queue });
    const letter = await deadLetter(store, "g");
    const large = Buffer.alloc(13 * 2 ** 20).toString("base64");
    expect(await edit(store, letter, { payload: large })).toEqual({ kind: "no room" });
    expect((await edit(store, letter)).kind).toBe("edited");
    const again = await store.reopen();
    const { deliveries } = await again.claim(letter.lane);
    expect(String(deliveries[0]!.message.payload)).toBe(MENDED);
  });
});
