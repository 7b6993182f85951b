import { createHmac } from "node:crypto";
import type { ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HttpBackend, type HttpRequestSeen } from "../../simulators/backends/http-backend.ts";
import type { Outcome } from "../../src/core/outcome.ts";
import { HttpTarget } from "../../src/targets/http.ts";
import { httpTargetSchema } from "../../src/targets/http-options.ts";
import { makeContext, makeDelivery, noAbort, nth } from "./deliveries.ts";

const backend = new HttpBackend({ itemResults: true });
const targets: HttpTarget[] = [];

beforeEach(async () => {
  backend.setMode("ok");
  backend.script = null;
  backend.requests.length = 0;
  await backend.start();
});

afterEach(async () => {
  await Promise.all(targets.splice(0).map((target) => target.stop()));
  await backend.stop();
});

function makeTarget(options: Record<string, unknown> = {}): HttpTarget {
  const config = httpTargetSchema.parse({
    type: "http",
    url: `${backend.url}/messages`,
    requestTimeout: 2000,
    ...options,
  });
  const target = new HttpTarget(config, makeContext());
  targets.push(target);
  return target;
}

/** Answers every request with `status`, `headers` and `body`. */
function answerWith(status: number, headers: Record<string, string> = {}, body = ""): void {
  backend.script = (_, response) => {
    response.writeHead(status, headers).end(body);
    return true;
  };
}

const one = async (target: HttpTarget, delivery = nth("a", 1)): Promise<Outcome> =>
  (await target.deliver([delivery], noAbort))[0]!;
const lastRequest = () => backend.requests.at(-1)!;

describe("a request of the http target", () => {
  it("carries the payload as it is, and what is known of the message in headers", async () => {
    const delivery = makeDelivery(
      {
        topic: "plant/press 4/°C",
        contentType: "application/json",
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      },
      { late: true },
    );
    expect((await one(makeTarget(), delivery)).kind).toBe("delivered");
    const { headers, body, method } = lastRequest();
    expect(method).toBe("POST");
    expect(body).toEqual(delivery.message.payload);
    expect(headers).toMatchObject({
      "content-type": "application/json",
      "idempotency-key": delivery.message.id,
      "holdfast-id": delivery.message.id,
      "holdfast-device": "press-4",
      "holdfast-topic": "plant/press 4/%C2%B0C",
      "holdfast-flow": "all",
      "holdfast-gateway": "edge-1",
      "holdfast-produced-at": "2026-07-01T08:00:00.000Z",
      "holdfast-accepted-at": "2026-07-01T08:00:01.000Z",
      "holdfast-late": "true",
      traceparent: delivery.message.traceparent,
    });
  });

  it("leaves out a header that would be too long, rather than cut it", async () => {
    const delivery = makeDelivery({ topic: `plant/${"x".repeat(5000)}` });
    expect((await one(makeTarget(), delivery)).kind).toBe("delivered");
    expect(lastRequest().headers["holdfast-topic"]).toBeUndefined();
  });

  it("proves who we are in each of the three ways", async () => {
    await one(makeTarget({ auth: { type: "bearer", token: "t0ken\n" } }));
    expect(lastRequest().headers.authorization).toBe("Bearer t0ken");
    await one(makeTarget({ auth: { type: "basic", username: "edge", password: "pässword" } }));
    expect(lastRequest().headers.authorization).toBe(
      `Basic ${Buffer.from("edge:pässword").toString("base64")}`,
    );
    await one(makeTarget({ auth: { type: "header", name: "X-Api-Key", value: "k" } }));
    expect(lastRequest().headers["x-api-key"]).toBe("k");
  });

  it("is signed by Standard Webhooks over id, time and body, so that none can be exchanged", async () => {
    const key = Buffer.alloc(32, 7);
    await one(makeTarget({ sign: { secret: `whsec_${key.toString("base64")}` } }));
    const { headers, body } = lastRequest();
    expect(headers["webhook-id"]).toBe(headers["idempotency-key"]);
    expect(Math.abs(Number(headers["webhook-timestamp"]) - Date.now() / 1000)).toBeLessThan(60);
    const sign = (id: unknown) =>
      createHmac("sha256", key)
        .update(`${id}.${headers["webhook-timestamp"]}.`)
        .update(body)
        .digest("base64");
    expect(headers["webhook-signature"]).toBe(`v1,${sign(headers["webhook-id"])}`);
    expect(headers["webhook-signature"]).not.toBe(`v1,${sign("another")}`);
  });

  it("goes where the message says, and nowhere when that would leave the path", async () => {
    const target = makeTarget({ url: `${backend.url}/devices/{device}/messages` });
    await one(target, makeDelivery({ device: "press/4" }));
    expect(lastRequest().url).toBe("/devices/press%2F4/messages");
    const sent = backend.requests.length;
    expect((await one(target, makeDelivery({ device: ".." }))).kind).toBe("reject");
    expect(backend.requests.length).toBe(sent);
  });
});

describe("a batch of the http target", () => {
  const batch = ["a", "b"].flatMap((device) => [1, 2, 3].map((n) => nth(device, n)));

  it("goes as one request whose key is the same for the same messages only", async () => {
    const target = makeTarget({ batch: "ndjson" });
    await target.deliver(batch, noAbort);
    await target.deliver(batch, noAbort);
    await target.deliver(batch.slice(1), noAbort);
    const keys = backend.requests.map(({ headers }) => headers["idempotency-key"]);
    expect(keys).toHaveLength(3);
    expect(keys[0]).toBe(keys[1]);
    expect(keys[2]).not.toBe(keys[0]);
    expect(lastRequest().headers["content-type"]).toBe("application/x-ndjson");
    const lines = backend.requests[0]!.body.toString()
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines.map(({ id }) => id)).toEqual(batch.map(({ message }) => message.id));
  });

  it("can be a JSON array of CloudEvents", async () => {
    await makeTarget({ batch: "json", payload: "cloudevents" }).deliver(batch, noAbort);
    expect(lastRequest().headers["content-type"]).toBe("application/cloudevents-batch+json");
    expect(JSON.parse(lastRequest().body.toString())).toHaveLength(batch.length);
  });

  const json = { "content-type": "application/json" };

  it("leaves unknown what the backend's results do not mention", async () => {
    answerWith(
      200,
      json,
      JSON.stringify({
        results: [
          { id: "a-1", status: "delivered" },
          { id: "a-2", status: "retry", retryAfter: 2 },
          { id: "b-1", status: 422, reason: "no such part" },
        ],
      }),
    );
    const outcomes = await makeTarget({ batch: "json" }).deliver(batch, noAbort);
    expect(outcomes.map(({ kind }) => kind)).toEqual([
      "delivered",
      "retry",
      "unknown",
      "reject",
      "unknown",
      "unknown",
    ]);
    expect(outcomes[1]).toMatchObject({ fault: "message", retryAfterMs: 2000 });
    expect(outcomes[3]).toMatchObject({ reason: "HTTP 422: no such part" });
  });

  it("is unknown after a 207 that cannot be read, and after results that broke off", async () => {
    answerWith(207, json, "<html>");
    expect((await makeTarget({ batch: "json" }).deliver(batch, noAbort))[0]!.kind).toBe("unknown");
    answerWith(
      200,
      json,
      JSON.stringify({ results: batch.map(({ message }) => ({ id: message.id, status: 200 })) }),
    );
    const narrow = makeTarget({ batch: "json", responseBytesMax: 50 });
    expect((await narrow.deliver(batch, noAbort))[0]!.kind).toBe("unknown");
    expect((await makeTarget({ batch: "json" }).deliver(batch, noAbort))[0]!.kind).toBe("delivered");
  });

  it("that is too large for the backend is cut in halves until it fits", async () => {
    const linesOf = (request: HttpRequestSeen) => request.body.toString().split("\n").filter(Boolean).length;
    backend.script = (request, response) => {
      response.writeHead(linesOf(request) > 2 ? 413 : 202).end();
      return true;
    };
    const outcomes = await makeTarget({ batch: "ndjson" }).deliver(batch, noAbort);
    expect(outcomes.every(({ kind }) => kind === "delivered")).toBe(true);
    expect(backend.requests.map(linesOf)).toEqual([6, 3, 2, 1, 3, 2, 1]);
  });

  it("that is refused for a while is charged to the head of each lane alone", async () => {
    answerWith(423);
    const outcomes = await makeTarget({ batch: "json" }).deliver(batch, noAbort);
    expect(outcomes.map((outcome) => outcome.kind === "retry" && outcome.fault)).toEqual([
      "message",
      "predecessor",
      "predecessor",
      "message",
      "predecessor",
      "predecessor",
    ]);
    expect(backend.requests).toHaveLength(1);
  });
});

describe("the http target", () => {
  it("works on lanes side by side and on a lane one after the other", async () => {
    const waiting: { device: unknown; response: ServerResponse }[] = [];
    let peak = 0;
    backend.script = ({ headers }, response) => {
      waiting.push({ device: headers["holdfast-device"], response });
      peak = Math.max(peak, waiting.length);
      expect(new Set(waiting.map(({ device }) => device)).size).toBe(waiting.length);
      // Answered only when as many are there as may come at once, so that none is missed.
      if (waiting.length === 3) for (const each of waiting.splice(0)) each.response.writeHead(204).end();
      return true;
    };
    const batch = [1, 2, 3, 4].flatMap((n) => ["a", "b", "c"].map((device) => nth(device, n)));
    const outcomes = await makeTarget({ connections: 3 }).deliver(batch, noAbort);
    expect(outcomes.every(({ kind }) => kind === "delivered")).toBe(true);
    expect(peak).toBe(3);
  });

  it("does not follow a redirect, and says so", async () => {
    answerWith(302, { location: `${backend.url}/elsewhere` });
    const outcome = await one(makeTarget());
    expect(outcome).toMatchObject({ kind: "retry", fault: "target" });
    expect((outcome as { reason: string }).reason).toMatch(/redirects are not followed/);
    expect(backend.requests.map(({ url }) => url)).toEqual(["/messages"]);
  });

  it("honours Retry-After in seconds and as a date", async () => {
    answerWith(503, { "retry-after": "7" });
    expect(await one(makeTarget())).toMatchObject({ kind: "retry", fault: "target", retryAfterMs: 7000 });
    answerWith(429, { "retry-after": new Date(Date.now() + 60_000).toUTCString() });
    const { retryAfterMs } = (await one(makeTarget())) as { retryAfterMs: number };
    expect(retryAfterMs).toBeGreaterThan(50_000);
    expect(retryAfterMs).toBeLessThanOrEqual(60_000);
  });

  it("blames a 500 on the message once the backend has taken another", async () => {
    const target = makeTarget();
    answerWith(500);
    expect(await one(target)).toMatchObject({ kind: "retry", fault: "target" });
    backend.script = null;
    await one(target, nth("b", 1));
    answerWith(500);
    expect(await one(target)).toMatchObject({ kind: "retry", fault: "message" });
  });

  it("tells what was never sent from what was not answered", async () => {
    backend.setMode("silent");
    expect((await one(makeTarget({ requestTimeout: 100 }))).kind).toBe("unknown");
    await backend.goAway();
    expect(await one(makeTarget())).toMatchObject({
      kind: "retry",
      fault: "target",
      reason: expect.stringMatching(/ECONNREFUSED/),
    });
  });

  it("takes the status line for the answer to a single message, however its body ends", async () => {
    answerWith(200, {}, "x".repeat(100_000));
    expect((await one(makeTarget({ responseBytesMax: 1000 }))).kind).toBe("delivered");
    backend.script = (_, response) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("not a hundred");
      setImmediate(() => response.destroy());
      return true;
    };
    expect((await one(makeTarget())).kind).toBe("delivered");
  });

  it("does not try the rest of a batch at a backend that is away", async () => {
    answerWith(503);
    const batch = ["a", "b", "c", "d", "e", "f"].map((device) => nth(device, 1));
    const outcomes = await makeTarget({ connections: 2 }).deliver(batch, noAbort);
    expect(outcomes.every(({ kind }) => kind === "retry")).toBe(true);
    expect(backend.requests.length).toBeLessThanOrEqual(2);
  });

  it("asks the backend whether it has a message", async () => {
    const target = makeTarget({ hasUrl: `${backend.url}/has/{id}` });
    await one(target, nth("asked", 1));
    const found = (n: number) => target.findOut!(nth("asked", n), noAbort);
    expect(await found(1)).toMatchObject({ kind: "delivered", detail: expect.stringMatching(/has it/) });
    expect(await found(2)).toBe("send again");
    await backend.goAway();
    expect(await found(1)).toMatchObject({ kind: "unknown" });
    expect(makeTarget().findOut).toBeUndefined();
  });

  it("probes with the URL given, and calls a backend well only when it answers well", async () => {
    const target = makeTarget({ probeUrl: `${backend.url}/health` });
    expect(await target.probe(noAbort)).toMatchObject({ reachable: true });
    backend.setMode("failing");
    expect(await target.probe(noAbort)).toEqual({ reachable: false, detail: `HTTP 503 from ${backend.url}` });
  });
});
