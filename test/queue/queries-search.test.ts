import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { DeliveryState } from "../../src/core/outcome.ts";
import { seededRandom } from "../../src/core/random.ts";
import { topicMatches } from "../../src/core/topic.ts";
import { type Db, openForReading } from "../../src/queue/database.ts";
import { runQuery } from "../../src/queue/queries.ts";
import type { DeliveriesPage, MessagesPage, SearchParams } from "../../src/queue/queries-search.ts";
import { BUILT_AT_MS, StoreBuilder } from "../support/store-builder.ts";

/** A store with a bit of everything: by device, by topic and without order, unrouted, pruned. */
const MESSAGES = 600;
const DEVICES = ["press-7", "oven-2", "press-70", "saw:1"];
const STATES: DeliveryState[] = [
  "delivered",
  "delivered",
  "delivered",
  "dead",
  "unknown",
  "waiting",
  "sending",
];

let mixed: StoreBuilder;
let ordered: StoreBuilder;
const open = new Map<StoreBuilder, Db>();

function build(unrouted: boolean): StoreBuilder {
  const built = new StoreBuilder();
  const random = seededRandom(11);
  built.many(() => {
    built.flow("mes", { from: "plant/#", orderBy: "device" });
    if (unrouted) built.flow("archive", { from: "plant/+/temp", orderBy: "topic" });
    for (let n = 0; n < MESSAGES; n++) {
      const device = DEVICES[random.below(DEVICES.length)]!;
      const topic = `plant/${device}/${random.below(2) === 0 ? "temp" : "count"}`;
      const state = () => STATES[random.below(STATES.length)]!;
      // The newest are waiting for the greater part, as behind a stuck head.
      const late = n > MESSAGES - 60;
      const flows = unrouted ? [[], ["mes"], ["mes", "archive"]][random.below(3)]! : ["mes"];
      built.message({
        id: random.below(3) === 0 ? `${device}:${n}` : undefined,
        device,
        topic,
        acceptedAt: BUILT_AT_MS + n * 1000 - (n % 50 === 0 ? 100_000 : 0),
        payload: n % 7 === 0 ? Buffer.from([0xff, 0x00, n % 256]) : `{"n":${n},"note":"größe ${n % 40}"}`,
        deliveries: flows.map((flow) => ({
          flow,
          key: flow === "archive" ? topic : device,
          state: late ? "waiting" : state(),
        })),
      });
    }
    for (let seq = 100; seq < 200; seq++) if (unrouted && seq % 3 === 0) built.prune(seq);
  });
  open.set(built, openForReading(built.dataDir));
  return built;
}

beforeAll(() => {
  mixed = build(true);
  ordered = build(false);
});

afterAll(() => {
  for (const [built, db] of open) {
    db.close();
    built.remove();
  }
});

interface Plain {
  seq: number;
  id: string;
  device: string;
  topic: string;
  accepted_at: number;
  payload: Buffer;
}

const rowsOf = new Map<
  StoreBuilder,
  readonly (Plain & { rows: { flow: string; key: string; state: string }[] })[]
>();

function read(built: StoreBuilder) {
  const known = rowsOf.get(built);
  if (known) return known;
  const deliveries = built.db.prepare(
    "SELECT l.flow, l.key, d.state FROM deliveries d JOIN lanes l ON l.id = d.lane WHERE d.seq = ?",
  );
  const rows = (built.db.prepare("SELECT * FROM messages ORDER BY seq DESC").all() as Plain[]).map(
    (message) => ({
      ...message,
      rows: deliveries.all(message.seq) as { flow: string; key: string; state: string }[],
    }),
  );
  rowsOf.set(built, rows);
  return rows;
}

/** The same search as one would write it without any care for time. */
function plainly(built: StoreBuilder, filter: SearchParams): string[] {
  const { id, device, flow, state, key, topic, fromMs, toMs, text } = filter;
  return read(built)
    .filter((message) => {
      const { rows } = message;
      const byDelivery = flow === undefined && state === undefined && key === undefined;
      return (
        (id === undefined || message.id.startsWith(id)) &&
        (device === undefined || message.device === device) &&
        (topic === undefined || topicMatches(topic, message.topic)) &&
        (fromMs === undefined || message.accepted_at >= fromMs) &&
        (toMs === undefined || message.accepted_at < toMs) &&
        (text === undefined || message.payload.includes(Buffer.from(text))) &&
        (byDelivery ||
          rows.some(
            (row) =>
              (flow === undefined || row.flow === flow) &&
              (state === undefined || row.state === state) &&
              (key === undefined || row.key === key),
          ))
      );
    })
    .map((message) => message.id);
}

function search(built: StoreBuilder, params: SearchParams): MessagesPage {
  return runQuery(open.get(built)!, "searchMessages", params);
}

function allPages(built: StoreBuilder, filter: SearchParams): { ids: string[]; pages: MessagesPage[] } {
  const pages: MessagesPage[] = [];
  for (let after: string | undefined; ; ) {
    const page = search(built, { ...filter, after });
    pages.push(page);
    if (page.next === null)
      return { ids: pages.flatMap(({ messages }) => messages.map(({ id }) => id)), pages };
    after = page.next;
  }
}

describe("a search for messages", () => {
  const range = { fromMs: BUILT_AT_MS + 100_000, toMs: BUILT_AT_MS + 400_000 };
  const filters: SearchParams[] = [
    {},
    { id: "press-7:" },
    { id: "message-5" },
    { id: "m", state: "dead" },
    { id: "nothing begins so" },
    { device: "press-7" },
    { device: "nobody" },
    { device: "oven-2", state: "dead" },
    { device: "oven-2", state: "waiting", flow: "mes" },
    { flow: "archive" },
    { flow: "archive", state: "sending" },
    { flow: "gone" },
    { state: "unknown" },
    { state: "sending" },
    { state: "delivered", topic: "plant/+/count" },
    { key: "saw:1" },
    { key: "plant/oven-2/temp", flow: "archive", state: "unknown" },
    { topic: "plant/press-7/#" },
    { topic: "+/oven-2/temp", ...range },
    range,
    { text: "größe 13" },
    { text: '"n":59', device: "saw:1" },
  ];

  it.each(filters)("%j finds what looking at every row finds, on pages of any size", (filter) => {
    for (const built of [mixed, ordered]) {
      const wanted = plainly(built, filter);
      for (const page of [{ limit: 500 }, { limit: 17 }, { limit: 500, rowsMax: 133 }]) {
        expect(allPages(built, { ...filter, ...page }).ids).toEqual(wanted);
      }
    }
  });

  it("has something to find for each filter but two", () => {
    const empty = filters.filter((filter) => plainly(mixed, filter).length === 0);
    expect(empty).toEqual([{ id: "nothing begins so" }, { device: "nobody" }, { flow: "gone" }]);
  });

  it("ends early where its budget is used up, says so, and says how far it came", () => {
    const first = search(mixed, { text: '"n":1,', rowsMax: 100 });
    expect(first).toMatchObject({ messages: [], complete: false, examined: 100, next: "501" });
    const { examinedToMs } = first;
    const row = mixed.db.prepare("SELECT accepted_at FROM messages WHERE seq = 501").pluck();
    expect(examinedToMs).toBe(row.get());
    const { pages } = allPages(mixed, { text: '"n":1,', rowsMax: 100 });
    expect(pages.at(-1)).toMatchObject({ complete: true, next: null, messages: [{ seq: 2 }] });
  });

  it("finds one device among many without looking at the others", () => {
    expect(search(ordered, { device: "oven-2", limit: 5 }).examined).toBe(5);
    // Here messages can be on no flow, or on one that is not by device, so all have to be looked at.
    expect(search(mixed, { device: "oven-2", limit: 5 }).examined).toBeGreaterThan(5);
    expect(search(mixed, { device: "oven-2", flow: "mes", limit: 5 }).examined).toBe(5);
  });

  it("finds the few that wait or failed behind many that were delivered", () => {
    const built = new StoreBuilder();
    built.many(() => {
      for (const state of ["waiting", "dead"] as const) {
        built.message({ id: state, device: state, deliveries: [{ flow: "mes", state }] });
      }
      for (let n = 0; n < 300; n++) built.message({ deliveries: [{ flow: "mes", state: "delivered" }] });
    });
    open.set(built, openForReading(built.dataDir));
    for (const state of ["waiting", "dead"] as const) {
      expect(search(built, { state, rowsMax: 50 })).toMatchObject({
        messages: [{ id: state, deliveries: [{ flow: "mes", state }] }],
        complete: true,
        examined: 1,
        next: null,
      });
    }
  });

  it("shows a message with its deliveries, and its beginning where that is text", () => {
    const [text] = search(mixed, { id: "message-2" }).messages;
    const row = mixed.db.prepare("SELECT * FROM messages WHERE seq = ?").get(text!.seq) as Plain;
    expect(text).toMatchObject({
      id: row.id,
      device: row.device,
      payloadBytes: row.payload.length,
      acceptedAtMs: row.accepted_at,
    });
    const { messages } = search(mixed, { limit: 500 });
    const binary = messages.find(({ seq }) => (seq - 1) % 7 === 0)!;
    expect([binary.excerpt, binary.payloadBytes]).toEqual([null, 3]);
    expect(messages.find(({ seq }) => seq === MESSAGES - 1)!.excerpt).toContain("größe");
  });

  it("does not take a cursor that is none", () => {
    expect(() => search(mixed, { after: "1.2" })).toThrow(RangeError);
  });
});

describe("a search for deliveries", () => {
  it.each<SearchParams>([
    { state: "dead" },
    { flow: "archive" },
    { flow: "mes", state: "waiting" },
    { key: "plant/oven-2/temp" },
    { flow: "mes", key: "oven-2", state: "delivered" },
  ])("%j finds the rows that SQL finds", (filter) => {
    const { flow = null, state = null, key = null } = filter;
    const wanted = mixed.db
      .prepare(
        `SELECT d.seq, l.flow, l.key, d.state FROM deliveries d JOIN lanes l ON l.id = d.lane
         WHERE (@flow IS NULL OR l.flow = @flow) AND (@state IS NULL OR d.state = @state)
           AND (@key IS NULL OR l.key = @key) ORDER BY d.seq DESC, l.flow DESC`,
      )
      .all({ flow, state, key });
    expect(wanted.length).toBeGreaterThan(20);
    const found: unknown[] = [];
    for (let after: string | undefined; ; ) {
      const page: DeliveriesPage = runQuery(open.get(mixed)!, "searchDeliveries", {
        ...filter,
        after,
        limit: 40,
      });
      found.push(
        ...page.deliveries.map((row) => ({ seq: row.seq, flow: row.flow, key: row.key, state: row.state })),
      );
      if (page.next === null) break;
      after = page.next;
    }
    expect(found).toEqual(wanted);
  });
});
