import { once } from "node:events";
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { createServer } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { silentLogger } from "../../src/core/logger.ts";
import { webSchema } from "../../src/web/schema.ts";
import { Web } from "../../src/web/web.ts";
import { SCRIPTED_MOVING } from "../support/scripted-moving.ts";
import { WebRig } from "../support/web-rig.ts";

const asked = async () => {
  throw new Error("nobody repairs here");
};
const NO_REPAIRS = {
  repairs: {
    discard: asked,
    markDelivered: asked,
    probe: asked,
    corrections: { edit: asked, check: asked },
  },
  pauses: { all: [], pause: asked, resume: asked },
};

let rig: WebRig | undefined;

async function start(...options: ConstructorParameters<typeof WebRig>): Promise<WebRig> {
  rig = new WebRig(...options);
  return rig.start();
}

afterEach(async () => {
  await rig?.stop();
  rig = undefined;
});

/** fetch() sets Host and Origin by itself; here they are as said. */
async function ask(
  started: WebRig,
  headers: Record<string, string>,
  { method = "GET", path = "/livez", body = "" } = {},
): Promise<{ status: number; body: string }> {
  const { host, port } = started.web.address();
  const sent: ClientRequest = request({ host, port, method, path, headers, agent: false });
  sent.end(body);
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  response.setEncoding("utf8");
  let text = "";
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode!, body: text };
}

async function json<T>(response: Response | Promise<Response>): Promise<T> {
  return (await (await response).json()) as T;
}

type DeadPage = { letters: unknown[]; total: number; next: string | null };

describe("probes", () => {
  it("are green, with the boot of the gateway that answers", async () => {
    const started = await start();
    const alive = await started.get("/livez");
    expect([alive.status, await alive.json()]).toEqual([200, { status: "ok" }]);
    expect(alive.headers.get("holdfast-boot")).toBe("boot-1");
    const ready = await started.get("/readyz");
    expect([ready.status, await ready.json()]).toEqual([200, { status: "ok", verdict: "ok", problems: [] }]);
  });

  it("stay green while a backend is away, and name it", async () => {
    const started = await start();
    const reason = "ECONNREFUSED";
    started.targets.set("mes-http", {
      circuit: { state: "open", sinceMs: 1, failures: 9, reason, probeAtMs: 0 },
      lastDeliveredAtMs: null,
      lastProbeOkAtMs: null,
      lastError: reason,
      lanesDelayed: 0,
      lanesHeld: 0,
      callsInFlight: 0,
      canBeAsked: false,
    });
    await started.look();
    expect((await started.get("/livez")).status).toBe(200);
    const ready = await started.get("/readyz");
    expect(ready.status).toBe(200);
    expect(await ready.json()).toMatchObject({
      verdict: "attention",
      problems: [{ key: "target-down:mes-http" }],
    });
  });

  it("say not ready while the store takes nothing, and are ready again when it does", async () => {
    const started = await start();
    for (const state of [
      { kind: "full", sinceMs: 0 },
      { kind: "failed", error: new Error("EIO") },
    ] as const) {
      started.store.state = state;
      await started.look();
      expect((await started.get("/livez")).status).toBe(200);
      const ready = await started.get("/readyz");
      expect([ready.status, (await json<{ verdict: string }>(ready)).verdict]).toEqual([503, "alarm"]);
    }
    started.store.state = { kind: "ok" };
    await started.look();
    expect((await started.get("/readyz")).status).toBe(200);
  });

  it("show the metrics as Prometheus reads them", async () => {
    const started = await start((store) => store.message({ deliveries: [{ flow: "mes" }] }));
    const response = await started.get("/metrics");
    expect(response.headers.get("content-type")).toContain("text/plain; version=0.0.4");
    expect(await response.text()).toContain('holdfast_deliveries{flow="mes",state="waiting"} 1\n');
  });
});

describe("the API", () => {
  it("answers the six questions in one status, in figures that agree with the store", async () => {
    const started = await start((store) => {
      store.flow("mes", { from: "plant/#", to: "mes-http" });
      store.message({ deliveries: [{ flow: "mes", attempts: 1, reason: "HTTP 503", dueAt: 9 }] });
      store.message({ deliveries: [{ flow: "mes", state: "dead", reason: "HTTP 422" }] });
    });
    const status = await json<{ asOfMs: number }>(started.get("/v1/status"));
    expect(status).toMatchObject({
      flows: [{ flow: "mes", waiting: 1, dead: 1, accepted: 2, target: "mes-http", from: ["plant/#"] }],
      door: { accepted: 2 },
      devices: { devices: [{ device: "press-7", open: 1 }] },
      failing: { dead: { count: 1, groups: [{ reason: "HTTP 422" }] } },
      retrying: { count: 1, groups: [{ reason: "HTTP 503", attemptsMax: 1 }] },
      health: { gateway: "line-3", verdict: "attention", flows: [{ flow: "mes" }] },
    });
    expect(status.asOfMs).toBe(started.clock.wallMs());
  });

  it("tells the whole history of a message, whatever its id is made of", async () => {
    const id = "press/7:ä 4711%";
    const started = await start((store) => {
      const { seq } = store.message({ id, deliveries: [{ flow: "mes" }] });
      store.history(seq, "duplicate", "came again");
    });
    const response = await started.get(`/v1/messages/${encodeURIComponent(id)}`);
    expect(await response.json()).toMatchObject({
      message: { id, device: "press-7" },
      deliveries: [{ flow: "mes", state: "waiting" }],
      history: [{ kind: "duplicate", detail: "came again" }],
    });
  });

  it("pages through dead letters", async () => {
    const started = await start((store) => {
      for (let i = 0; i < 5; i++) store.message({ deliveries: [{ flow: "mes", state: "dead" }] });
    });
    const first = await json<DeadPage>(started.get("/v1/dead?limit=3&flow=mes"));
    expect([first.letters.length, first.total]).toEqual([3, 5]);
    const rest = await json<DeadPage>(started.get(`/v1/dead?limit=3&flow=mes&after=${first.next}`));
    expect([rest.letters.length, rest.next]).toEqual([2, null]);
  });

  it("hands a retry to the relay, with a bound", async () => {
    const started = await start();
    started.redrive = () => 2;
    const response = await started.post("/v1/dead/retry", { flow: "mes", ids: ["a", "b"] });
    expect(await response.json()).toEqual({ redriven: 2, next: null, left: [] });
    await started.post("/v1/dead/retry", { all: true, limit: 5000 });
    expect(started.redriven).toEqual([{ flow: "mes", ids: ["a", "b"], limit: 1000 }, { limit: 5000 }]);
  });
});

describe("errors over HTTP", () => {
  it.each([
    ["/v1/messages/nowhere", 404, "HF_NOT_FOUND"],
    ["/v1/elsewhere", 404, "HF_REQUEST"],
    ["/v1/dead?limit=1001", 400, "HF_REQUEST"],
    ["/v1/dead?limit=many", 400, "HF_REQUEST"],
    ["/v1/dead?after=x", 400, "HF_REQUEST"],
    ["/v1/dead?flwo=mes", 400, "HF_REQUEST"],
    [`/v1/messages/${"x".repeat(257)}`, 400, "HF_REQUEST"],
  ])("%s is a problem with status %i and code %s", async (path, status, code) => {
    const started = await start();
    const response = await started.get(path);
    expect(response.status).toBe(status);
    expect(response.headers.get("content-type")).toContain("application/problem+json");
    expect(await response.json()).toMatchObject({
      type: `urn:holdfast:error:${code}`,
      status,
      code,
      title: expect.any(String),
      detail: expect.any(String),
      hint: expect.any(String),
    });
  });

  it.each([
    [{}, "body: expected ids, flow"],
    [{ ids: [] }, "body.ids"],
    [{ all: false }, "body.all"],
    [{ flow: "mes", limit: 100_000 }, "body.limit"],
    [{ flow: "mes", because: "x" }, "because"],
  ])("a retry with %j changes nothing and says what is wrong", async (body, words) => {
    const started = await start();
    const response = await started.post("/v1/dead/retry", body);
    expect(response.status).toBe(400);
    expect((await json<{ detail: string }>(response)).detail).toContain(words);
    expect(started.redriven).toEqual([]);
  });

  it("tells nothing of an unexpected error but that the log has it", async () => {
    const started = await start();
    started.redrive = () => {
      throw new Error("password is hunter2");
    };
    const response = await started.post("/v1/dead/retry", { all: true });
    expect(response.status).toBe(500);
    const text = await response.text();
    expect(JSON.parse(text).code).toBe("HF_INTERNAL");
    expect(text).not.toContain("hunter2");
  });

  it("refuses a body that is too large, no JSON, or of another type", async () => {
    const started = await start();
    const path = "/v1/dead/retry";
    expect((await started.post(path, { ids: ["x".repeat(600_000)] })).status).toBe(413);
    const host = `127.0.0.1:${started.web.address().port}`;
    const json = { host, "content-type": "application/json" };
    expect((await ask(started, json, { method: "POST", path, body: "{" })).status).toBe(400);
    const form = { host, "content-type": "text/plain" };
    const sent = await ask(started, form, { method: "POST", path, body: '{"all":true}' });
    expect([sent.status, JSON.parse(sent.body).code]).toEqual([415, "HF_REQUEST"]);
    expect(started.redriven).toEqual([]);
  });
});

describe("who may ask", () => {
  it.each(["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])("a program that asks for %s", async (name) => {
    const started = await start();
    const { status } = await ask(started, { host: `${name}:${started.web.address().port}` });
    expect(status).toBe(200);
  });

  it.each(["rebound.example", "127.0.0.1.example.com", "169.254.1.1", "[::2]", "localhost.evil"])(
    "nobody by the name %j, which DNS may have turned to this machine",
    async (host) => {
      const started = await start();
      const { status, body } = await ask(started, { host });
      expect(status).toBe(403);
      expect(JSON.parse(body).code).toBe("HF_FORBIDDEN");
    },
  );

  it("no page of another origin, not even with a retry that needs no answer", async () => {
    const started = await start();
    const host = `127.0.0.1:${started.web.address().port}`;
    const attack = { method: "POST", path: "/v1/dead/retry", body: '{"all":true}' };
    const json = { host, "content-type": "application/json" };
    const attacks: Record<string, string>[] = [
      { origin: "https://evil.example" },
      { origin: "null" },
      { origin: `http://127.0.0.1:${started.web.address().port + 1}` },
      { "sec-fetch-site": "cross-site" },
    ];
    for (const evil of attacks) {
      expect((await ask(started, { ...json, ...evil }, attack)).status).toBe(403);
    }
    expect(started.redriven).toEqual([]);
    const own = { ...json, origin: `http://${host}`, "sec-fetch-site": "same-origin" };
    expect((await ask(started, own, attack)).status).toBe(200);
  });

  it("a person who follows a link from another page gets there; what that page fetches or frames does not", async () => {
    const started = await start();
    const host = `127.0.0.1:${started.web.address().port}`;
    const from = (mode: string, dest: string) => {
      return { host, "sec-fetch-site": "cross-site", "sec-fetch-mode": mode, "sec-fetch-dest": dest };
    };
    const status = { path: "/v1/status" };
    expect((await ask(started, from("navigate", "document"), status)).status).toBe(200);
    expect((await ask(started, from("navigate", "iframe"), status)).status).toBe(403);
    expect((await ask(started, from("no-cors", "image"), status)).status).toBe(403);
    // A form of that page navigates as well.
    const form = { method: "POST", path: "/v1/dead/retry", body: "all=true" };
    expect((await ask(started, from("navigate", "document"), form)).status).toBe(403);
  });
});

describe("opening the door", () => {
  it("names the port that is in use, and how to change it", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as { port: number };
    const started = new WebRig();
    const web = new Web({ ...optionsOf(started), config: webSchema.parse({ port }) });
    await expect(web.start()).rejects.toMatchObject({
      code: "HF_PORT_IN_USE",
      message: `another program already listens on 127.0.0.1:${port} (web.port)`,
      hint: expect.stringContaining("port 0"),
    });
    await web.stop();
    other.close();
    await started.stop();
  });

  it("is refused on an address that others can reach while there is no token, with what to do", async () => {
    const started = new WebRig();
    const web = new Web({ ...optionsOf(started), config: webSchema.parse({ host: "0.0.0.0", port: 0 }) });
    await expect(web.start()).rejects.toMatchObject({
      code: "HF_OPEN_DOOR",
      message: expect.stringContaining("there is no token in"),
    });
    await web.stop();
    await started.stop();
  });

  it("stops while a client keeps its connection open", async () => {
    const started = await start();
    await (await started.get("/livez")).text();
    await started.web.stop();
    await expect(started.get("/livez")).rejects.toThrow();
  });
});

function optionsOf(started: WebRig) {
  return {
    boot: "boot-1",
    dataDir: started.built.dataDir,
    watch: started.watch,
    reader: { query: () => Promise.reject(new Error("not asked")) },
    steadyMs: () => 0,
    intake: { accept: () => Promise.reject(new Error("not asked")) },
    storeIsFull: () => false,
    act: async () => {},
    redrive: async () => ({ redriven: 0 }),
    ...NO_REPAIRS,
    moving: SCRIPTED_MOVING,
    jobs: started.jobs,
    clock: started.clock,
    logger: silentLogger,
  };
}
