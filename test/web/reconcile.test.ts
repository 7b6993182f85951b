/** POST /v1/reconcile: what `holdfast reconcile` says, of a list that is sent; bounded, one at a time, and nothing of it stays. */
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { look } from "../cli/look-rig.ts";
import { capability } from "../support/capabilities.ts";
import { BUILT_AT_MS } from "../support/store-builder.ts";
import { HOUR_MS, tenDelivered } from "../support/ten-delivered.ts";
import { eventually } from "../support/test-store.ts";
import { WebRig } from "../support/web-rig.ts";

let rig: WebRig;

afterEach(() => rig.stop());

const MIB = 2 ** 20;

const THERE = "m-1 m-2 m-2 m-3 m-4 m-5 m-7 m-8 m-10 waits dead nobody elsewhere".split(" ");
const MADE_AT = `madeAt=${BUILT_AT_MS + 100 * HOUR_MS}`;

interface Answer {
  readonly found: Record<string, number>;
  readonly shown: Record<string, unknown>;
  readonly code: string;
  readonly detail: string;
}

async function reconcile(
  body: string | ReadableStream,
  { type = "text/csv", query = MADE_AT, flow = "mes" } = {},
) {
  const response = await fetch(`${rig.web.url()}/v1/reconcile?flow=${flow}&${query}`, {
    method: "POST",
    headers: { "content-type": type },
    body,
    ...(body instanceof ReadableStream ? { duplex: "half" } : {}),
  } as RequestInit);
  return { status: response.status, headers: response.headers, json: (await response.json()) as Answer };
}

describe("a list that is sent", () => {
  it.each([
    ["CSV", "text/csv; charset=utf-8", `at,message_id\r\n${THERE.map((id) => `now,"${id}"`).join("\r\n")}`],
    ["JSON lines", "application/x-ndjson", THERE.map((id) => JSON.stringify({ message_id: id })).join("\n")],
    ["JSON", "application/json", JSON.stringify({ ids: THERE })],
    ["JSON of objects", "application/json", JSON.stringify(THERE.map((id) => ({ message_id: id })))],
  ])("as %s has the answer that the command line gives", async (_, type, body) => {
    rig = await new WebRig(tenDelivered).start();
    const { status, json } = await reconcile(body, { type, query: `column=message_id&${MADE_AT}` });
    expect(status).toBe(200);
    expect(json.found).toEqual({ missing: 2, doubled: 1, unexpected: 2, "not delivered here": 2 });
    const file = join(rig.built.dataDir, "ids.txt");
    writeFileSync(file, THERE.join("\n"));
    const to = new Date(BUILT_AT_MS + 100 * HOUR_MS).toISOString();
    const said = await look(["reconcile", "--flow", "mes", "--ids", file, "--to", to, "--json"], {
      dataDir: rig.built.dataDir,
    });
    const { jobs, ...told } = JSON.parse(said.out);
    expect([json, jobs]).toEqual([told, []]);
  });

  it("is of a time, and shows at most so many of each kind", async () => {
    rig = await new WebRig(tenDelivered).start();
    const range = `from=${BUILT_AT_MS + 2 * HOUR_MS}&to=${BUILT_AT_MS + 9 * HOUR_MS}`;
    const { json } = await reconcile("m-1\nm-3\n", {
      query: `${range}&limit=2&madeAt=${BUILT_AT_MS + 6 * HOUR_MS}`,
    });
    expect(json).toMatchObject({ listed: 2, agreed: 1, outside: 1, later: 2, found: { missing: 4 } });
    expect(json.shown.missing).toEqual([
      { id: "m-2", detail: null },
      { id: "m-4", detail: null },
    ]);
    // Made later, it says something of those too.
    const now = await reconcile("m-1\nm-3\n", { query: `${range}&${MADE_AT}` });
    expect(now.json).toMatchObject({ later: 0, found: { missing: 6 } });
  });

  it("is refused where it is wrong, with its line and what to do, however much of it is still to come", async () => {
    rig = await new WebRig(tenDelivered).start();
    const long = '{"id":"m-1"}\n'.repeat(400_000);
    const bad = await reconcile(`{"id":"m-1"}\n{"no":1}\n${long}`, { type: "application/x-ndjson" });
    expect([bad.status, bad.json.code]).toEqual([400, "HF_REQUEST"]);
    expect(bad.json.detail).toBe(
      'line 2 has no id in `id`: {"no":1}; nothing was compared. `column` says what the id is called',
    );
    const json = async (body: string) => (await reconcile(body, { type: "application/json" })).json.detail;
    expect(await json('{"ids":["a",{"no":1}]}')).toContain('entry 2 has no id in `id`: {"no":1}');
    expect(await json('{"ids":')).toContain("it is no JSON");
    expect(await json(`["${"x".repeat(9 * MIB)}"]`)).toContain("larger than 8 MiB: as JSON lines or CSV");
    expect((await reconcile("x".repeat(70_000))).json.detail).toContain("line 1 is longer than");
    // The same connection, or another one, goes on.
    expect((await reconcile("m-1\n")).status).toBe(200);
  });

  it("is of a kind that is taken, for a flow that there is", async () => {
    rig = await new WebRig(tenDelivered).start();
    const plain = await reconcile("m-1", { type: "text/plain" });
    expect([plain.status, plain.json.detail]).toEqual([
      415,
      "content-type text/plain: expected one of text/csv, application/x-ndjson, application/jsonl, application/json, as it is",
    ]);
    const asked = {
      method: "POST",
      headers: { "content-type": "text/csv", "content-encoding": "gzip" },
      body: "x",
    };
    expect((await fetch(`${rig.web.url()}/v1/reconcile?flow=mes`, asked)).status).toBe(415);
    expect((await reconcile("m-1", { flow: "mse" })).json.detail).toBe("there is no flow mse");
    expect((await reconcile("m-1", { query: "limit=5001" })).status).toBe(400);
    // What is configured has taken nothing yet.
    expect((await reconcile("m-1", { flow: "other" })).json).toMatchObject({
      agreed: 0,
      found: { unexpected: 1 },
    });
    // Elsewhere a list is no body.
    const elsewhere = { method: "POST", headers: { "content-type": "text/csv" }, body: "m-1" };
    expect((await fetch(`${rig.web.url()}/v1/jobs/estimate`, elsewhere)).status).toBe(415);
  });

  it("is bounded", async () => {
    rig = await new WebRig(tenDelivered).start();
    const line = `${" ".repeat(60_000)}\n`;
    const send = async (bytes: number) => {
      let sent = 0;
      const body = new ReadableStream({
        pull(controller) {
          if (sent >= bytes) return controller.close();
          sent += line.length;
          controller.enqueue(new TextEncoder().encode(line));
        },
      });
      const refused = { status: 413 };
      // A client that goes on sending may hear no more than that the connection is closed.
      return (await reconcile(body).catch(() => refused)).status;
    };
    expect(await send(127 * MIB)).toBe(200);
    expect(await send(130 * MIB)).toBe(413);
    expect((await reconcile("m-1\n")).status).toBe(200);
  }, 60_000);

  it("is left where its sender goes away midway, and the next one is taken", async () => {
    rig = await new WebRig(tenDelivered).start();
    const { port } = rig.web.address();
    const options = { port, host: "127.0.0.1", method: "POST", path: `/v1/reconcile?flow=mes&${MADE_AT}` };
    const first = request({ ...options, headers: { "content-type": "text/csv" } });
    first.on("error", () => {});
    first.write("m-1\n");
    let second = await reconcile("m-1\n");
    await eventually(async () => {
      second = await reconcile("m-1\n");
      return second.status;
    }).toBe(429);
    expect([second.json.code, second.headers.get("retry-after")]).toEqual(["HF_TOO_MANY", "5"]);
    first.destroy();
    await eventually(async () => (await reconcile("m-1\n")).status).toBe(200);
  });

  it.skipIf(!capability("wide").present)(
    "may take longer than other requests, as long as something comes",
    async () => {
      rig = await new WebRig(tenDelivered).start();
      const { port } = rig.web.address();
      const slowly = async (path: string, type: string) => {
        const sent = request({
          port,
          host: "127.0.0.1",
          method: "POST",
          path,
          headers: { "content-type": type },
        });
        const status = once(sent, "response").then(([response]) => {
          response.resume();
          return response.statusCode as number;
        });
        status.catch(() => {});
        for (let n = 0; n < 15; n++) {
          sent.write(`m-${n}\n`);
          await new Promise((resolve) => setTimeout(resolve, 1000));
        }
        sent.end();
        return status;
      };
      const both = [
        slowly("/v1/reconcile?flow=mes", "text/csv"),
        slowly("/v1/jobs/estimate", "application/json"),
      ];
      expect(await Promise.all(both)).toEqual([200, 408]);
    },
    60_000,
  );
});
