/**
 * A message handed in over HTTP is on disk when 202 says so, and one message however often it is sent under its
 * Idempotency-Key. What the API, the command line and SQL say of the store is the same.
 */
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { DELIVERY_STATES } from "../../src/core/outcome.ts";
import type { FlowFigures } from "../../src/queue/queries-flows.ts";
import type { MessagesPage } from "../../src/queue/queries-search.ts";
import { capability } from "../support/capabilities.ts";
import { effects, Journey, shared, startBackend } from "../support/journey.ts";

async function setUp(fault?: string) {
  const { backend, url } = await startBackend(new HttpBackend());
  const journey = await Journey.start({ fault, config: { targets: { backend: { type: "http", url } } } });
  return { journey, backend };
}

interface Taken {
  readonly status: number;
  readonly headers: Headers;
  readonly body: {
    readonly id: string;
    readonly kind: string;
    readonly code?: string;
    readonly deliveries: readonly { readonly state: string }[] | null;
  };
}

async function handIn(journey: Journey, body: object, headers: Record<string, string> = {}): Promise<Taken> {
  const response = await fetch(`${journey.http}/v1/messages`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Taken["body"],
  };
}

async function get<T>(journey: Journey, path: string): Promise<T> {
  return (await (await fetch(journey.http + path)).json()) as T;
}

const reading = (n: number) => ({
  topic: "plant/press-7",
  device: "press-7",
  payload: { id: `press-7-${n}`, n },
});

describe("a message over HTTP", () => {
  const made = shared(() => setUp());

  test("is delivered as it was handed in, with what goes with it", async () => {
    const { journey, backend } = made();
    const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const handed = { ...reading(1), producedAt: "2026-06-01T12:00:00Z", headers: { line: "3" } };
    const { status, headers, body } = await handIn(journey, handed, {
      prefer: "wait=20",
      traceparent: trace,
    });
    expect([status, headers.get("preference-applied")]).toEqual([200, "wait=20"]);
    expect(body).toMatchObject({ kind: "stored", deliveries: [{ flow: "all", state: "delivered" }] });
    expect(effects(backend)).toContain("press-7-1");
    const { message } = await get<{ message: object }>(journey, headers.get("location")!);
    expect(message).toMatchObject({
      id: body.id,
      device: "press-7",
      source: "http",
      contentType: "application/json",
      traceparent: trace,
      producedAtMs: Date.UTC(2026, 5, 1, 12),
      headers: { line: "3" },
    });
  });

  test("is text, bytes or JSON, and comes back so as a file that no page shows", async () => {
    const { journey } = made();
    const topic = "forms";
    for (const [form, type, bytes] of [
      [{ text: "grün\n" }, "text/plain", Buffer.from("grün\n")],
      [{ base64: "/wAB" }, "application/octet-stream", Buffer.from([0xff, 0, 1])],
      [{ payload: [1, null] }, "application/json", Buffer.from("[1,null]")],
      [{ text: "<script>", contentType: "text/html" }, "text/html", Buffer.from("<script>")],
    ] as const) {
      const { headers } = await handIn(journey, { topic, ...form });
      const response = await fetch(`${journey.http}${headers.get("location")}/payload`);
      expect(response.headers.get("content-type")).toContain(type);
      expect(response.headers.get("content-disposition")).toMatch(/^attachment; filename="[\w.-]+"$/);
      expect(response.headers.get("content-security-policy")).toBe("sandbox; default-src 'none'");
      expect(response.headers.get("x-content-type-options")).toBe("nosniff");
      expect(Buffer.from(await response.arrayBuffer())).toEqual(bytes);
    }
  });

  test("is one message under its key, also for the next gateway, and never two contents", async () => {
    const { journey, backend } = made();
    const key = { "idempotency-key": "order-4711" };
    const first = await handIn(journey, reading(2), key);
    expect([first.status, first.body.id]).toEqual([202, "press-7:order-4711"]);
    const again = await handIn(journey, reading(2), key);
    expect([again.status, again.body]).toEqual([202, first.body]);
    expect(again.headers.get("idempotent-replayed")).toBe("true");
    await journey.killAndStart();
    expect((await handIn(journey, reading(2), key)).body).toEqual(first.body);
    for (const other of [reading(3), { ...reading(2), topic: "plant/press-8" }]) {
      const refused = await handIn(journey, other, key);
      expect([refused.status, refused.body.code]).toEqual([422, "HF_KEY_REUSED"]);
    }
    // Another device's key of the same text is another key.
    expect((await handIn(journey, { ...reading(2), device: "press-8" }, key)).body.id).toBe(
      "press-8:order-4711",
    );
    await journey.drained();
    expect(effects(backend).filter((id) => id === "press-7-2")).toHaveLength(2);
  });

  test("is refused where nobody could take it, with what is wrong", async () => {
    const { journey } = made();
    for (const [body, status, code] of [
      [{ topic: "plant/#", text: "x" }, 422, "HF_MESSAGE_INVALID"],
      [{ topic: "plant/x" }, 400, "HF_REQUEST"],
      [{ topic: "plant/x", text: "a", base64: "" }, 400, "HF_REQUEST"],
      [{ topic: "plant/x", text: "a", qos: 2 }, 400, "HF_REQUEST"],
    ] as const) {
      const answer = await handIn(journey, body);
      expect([body, answer.status, answer.body.code]).toEqual([body, status, code]);
    }
    expect((await handIn(journey, reading(9), { "idempotency-key": "ä" })).status).toBe(400);
  });

  test("counts the same for the API, the command line and SQL", async () => {
    const { journey } = made();
    await Promise.all(
      [...Array(20)].map((_, n) => handIn(journey, { topic: `plant/${n % 3}`, text: `n${n}` })),
    );
    await handIn(journey, { topic: "nowhere", text: "on no flow" });
    const { accepted } = await journey.drained();
    const status = await journey.status();
    const [all] = status.flows as [FlowFigures];
    const cli = JSON.parse((await journey.cli("status", "--json")).stdout) as {
      flows: FlowFigures[];
      door: object;
    };
    const accounting = await get<{ flows: FlowFigures[]; door: { accepted: number; unrouted: number } }>(
      journey,
      "/v1/accounting",
    );
    const flows = await get<{ flows: FlowFigures[] }>(journey, "/v1/flows");
    const db = new Database(join(journey.process.dataDir, "store.db"), { readonly: true });
    const count = (sql: string) => db.prepare(sql).pluck().get() as number;
    try {
      for (const state of DELIVERY_STATES) {
        const rows = count(`SELECT count(*) FROM deliveries WHERE state = '${state}'`);
        for (const figures of [all, cli.flows[0]!, accounting.flows[0]!, flows.flows[0]!]) {
          expect([state, figures[state]]).toEqual([state, rows]);
        }
        const found = await get<MessagesPage>(journey, `/v1/messages?state=${state}&limit=500`);
        expect([state, found.messages.length, found.next]).toEqual([state, rows, null]);
      }
      expect(all.delivered).toBeGreaterThan(20);
      expect([accounting.door, cli.door]).toEqual([status.door, status.door]);
      expect(accounting.door.accepted).toBe(count("SELECT count(*) FROM messages"));
      expect([accepted, accounting.door.unrouted]).toEqual([accounting.door.accepted, 5]);
      const listed = JSON.parse((await journey.cli("messages", "list", "--json", "-n", "500")).stdout);
      expect(listed.messages).toEqual((await get<MessagesPage>(journey, "/v1/messages?limit=500")).messages);
      expect(listed.messages).toHaveLength(accounting.door.accepted);
    } finally {
      db.close();
    }
  });
});

test.skipIf(!capability("wide").present)("a store that knows no duplicates is noticed", async () => {
  const { journey } = await setUp("no-dedupe");
  const key = { "idempotency-key": "order-4711" };
  const first = await handIn(journey, reading(2), key);
  expect(first.status).toBe(202);
  const again = await handIn(journey, reading(2), key).catch(() => null);
  expect(again?.body).not.toEqual(first.body);
  await journey.crashed().catch(() => null);
});
