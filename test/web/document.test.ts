import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { z } from "zod";
import { commandFlow, commandTopic } from "../../src/core/command-message.ts";
import type { Operation } from "../../src/web/operation.ts";
import { problemShape } from "../../src/web/problem.ts";
import { OPERATIONS } from "../../src/web/routes.ts";
import { createToken } from "../../src/web/tokens.ts";
import { EXPORT_ID, FILE, LINE, RECEIPT, rowsOfMoving } from "../support/scripted-moving.ts";
import { WebRig } from "../support/web-rig.ts";

let rig: WebRig;
let token: string;

beforeAll(async () => {
  rig = new WebRig((store) => {
    store.flow("mes", { from: "plant/#", to: "mes-http" });
    const { seq } = store.message({
      id: "press-7:1",
      payload: '{"n":1}',
      headers: { a: "b" },
      deliveries: [{ flow: "mes", attempts: 1, reason: "HTTP 503", dueAt: 9 }],
    });
    store.history(seq, "retry", "HTTP 503");
    store.message({
      payload: Buffer.from([0xff, 0]),
      deliveries: [{ flow: "mes", state: "dead", reason: "x" }],
    });
    store.message({ deliveries: [{ flow: "mes", state: "unknown" }] });
    store.message({});
    const command = commandFlow("press-7");
    store.flow(command, { from: `${command}/#`, to: command });
    const sent = store.message({
      // As the rig's intake calls what it takes.
      id: "new",
      device: "press-7",
      topic: commandTopic("press-7", "speed"),
      payload: '{"signal":"speed","value":40,"preconditions":[],"onUnknown":"hold","answerWithinMs":1}',
      headers: { by: "anna", reason: "shift change" },
      deliveries: [{ flow: command, state: "delivered", reason: "read back" }],
    });
    store.history(sent.seq, "duplicate", "it came again");
    store.db
      .prepare(
        `INSERT INTO audit_trail (at, steady_at, event, command, device, signal, value, door, by, detail)
         VALUES (1, 1, 'queued', 'new', 'press-7', 'speed', '40', 'http', 'anna', 'shift change')`,
      )
      .run();
    const act = store.db.prepare(
      "INSERT INTO acts (at, who, what, detail, reason) VALUES (1, 'anna', ?, ?, 'x')",
    );
    act.run("retryDead", '{"all":true,"redriven":1}');
    store.db.exec(
      `INSERT INTO jobs (kind, state, selection, rate, who, until_seq, started_at, updated_at)
       VALUES ('replay', 'paused', '{"flow":"mes","named":2}', 50, 'anna', 3, 1, 1)`,
    );
    rowsOfMoving(store.db);
    act.run("retryDead", '{"flow":"mes","redriven":2}');
  });
  rig.targets.set("mes-http", {
    circuit: { state: "open", sinceMs: 1, failures: 9, reason: "ECONNREFUSED", probeAtMs: 0 },
    lastDeliveredAtMs: null,
    lastProbeOkAtMs: null,
    lastError: "ECONNREFUSED",
    lanesDelayed: 1,
    lanesHeld: 0,
    callsInFlight: 0,
    canBeAsked: false,
  });
  await rig.start();
  const made = { name: "anna", role: "admin", expiresAtMs: null, nowMs: 0 } as const;
  token = createToken(rig.built.dataDir, made).token;
  await rig.clock.advanceAsync(2000);
  await rig.look();
  await rig.look();
});

afterAll(() => rig.stop());

interface Example {
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  readonly status?: number;
}

/** One request for each operation, whose answer is held against what the document says of it. */
const EXAMPLES: Record<string, Example> = {
  isAlive: { path: "/livez" },
  isReady: { path: "/readyz" },
  getMetrics: { path: "/metrics" },
  getStatus: { path: "/v1/status" },
  getAccounting: { path: "/v1/accounting" },
  getHistory: { path: "/v1/history" },
  listEvents: { path: "/v1/events" },
  followChanges: { path: "/v1/stream" },
  handIn: { path: "/v1/messages", body: { topic: "plant/x", payload: { n: 1 } } },
  searchMessages: { path: "/v1/messages?device=press-7&limit=2" },
  getMessage: { path: "/v1/messages/press-7%3A1" },
  getPayload: { path: "/v1/messages/press-7%3A1/payload" },
  searchDeliveries: { path: "/v1/deliveries?state=dead" },
  listFlows: { path: "/v1/flows" },
  getFlow: { path: "/v1/flows/mes" },
  getLedger: { path: "/v1/flows/mes/ledger?limit=2" },
  reconcile: { path: "/v1/reconcile?flow=mes", body: { ids: ["press-7:1", "nobody"] } },
  listTargets: { path: "/v1/targets" },
  listDevices: { path: "/v1/devices" },
  getDevice: { path: "/v1/devices/press-7" },
  listPauses: { path: "/v1/pauses" },
  pause: { path: "/v1/pause", body: { kind: "device", name: "press-7", reason: "sends nonsense" } },
  resume: { path: "/v1/resume", body: { kind: "device", name: "press-7" } },
  listDead: { path: "/v1/dead" },
  retryDead: { path: "/v1/dead/retry", body: { all: true } },
  discardDead: { path: "/v1/dead/discard", body: { group: "HTTP 422", reason: "a test part" } },
  checkDead: { path: "/v1/dead/check", body: { id: "x" } },
  editDead: { path: "/v1/dead/edit", body: { id: "x", set: [{ pointer: "/n", value: 2 }], reason: "typo" } },
  markDelivered: { path: "/v1/unknown/delivered", body: { ids: ["x"], evidence: "order 4711" } },
  probeUnknown: { path: "/v1/unknown/probe", body: { id: "x" } },
  listJobs: { path: "/v1/jobs" },
  estimateJob: { path: "/v1/jobs/estimate", body: { kind: "replay", flow: "mes", into: "archive" } },
  beginJob: { path: "/v1/jobs", body: { kind: "redrive", all: true, rate: 50 } },
  getJob: { path: "/v1/jobs/1" },
  pauseJob: { path: "/v1/jobs/1/pause", body: {} },
  resumeJob: { path: "/v1/jobs/1/resume", body: { reason: "after lunch" } },
  cancelJob: { path: "/v1/jobs/1/cancel", body: {} },
  listExports: { path: "/v1/exports" },
  estimateExport: { path: "/v1/exports/estimate", body: { flow: "mes" } },
  beginExport: { path: "/v1/exports", body: { flow: "mes", states: "open", reason: "box 3 is replaced" } },
  getExport: { path: `/v1/exports/${EXPORT_ID}` },
  holdExport: { path: `/v1/exports/${EXPORT_ID}/hold`, body: {} },
  sealExport: { path: `/v1/exports/${EXPORT_ID}/seal`, body: {} },
  getExportFile: { path: `/v1/exports/${EXPORT_ID}/file` },
  finishExport: { path: "/v1/exports/finish", body: { receipt: RECEIPT } },
  cancelExport: { path: `/v1/exports/${EXPORT_ID}/cancel`, body: { reason: "it was repaired" } },
  listImports: { path: "/v1/imports" },
  checkImport: { path: "/v1/imports/check", body: { ...FILE, ids: ["press-7:1"] } },
  beginImport: { path: "/v1/imports", body: FILE },
  takeLines: { path: `/v1/imports/${EXPORT_ID}/lines`, body: { from: 0, lines: [LINE] } },
  takeEdits: { path: `/v1/imports/${EXPORT_ID}/edits`, body: { from: 0, lines: [LINE], reason: "typo" } },
  finishImport: { path: `/v1/imports/${EXPORT_ID}/finish`, body: {} },
  listCommandable: { path: "/v1/commandable" },
  sendCommand: { path: "/v1/commands", body: { device: "press-7", signal: "speed", value: 40 } },
  listCommands: { path: "/v1/commands?device=press-7" },
  showCommand: { path: "/v1/commands/new" },
  cancelCommand: { path: "/v1/commands/new/cancel", body: { reason: "not today" } },
  deleteCommand: { path: "/v1/commands/new" },
  resolveCommand: { path: "/v1/commands/new/resolve", body: { done: true, reason: "seen" } },
  listAuditTrail: { path: "/v1/audit" },
  listNotifications: { path: "/v1/notifications" },
  testNotification: { path: "/v1/notifications/test", body: { channel: "phone", reason: "new number" } },
  listActs: { path: "/v1/acts?limit=1" },
  getSession: { path: "/v1/session" },
  login: {
    path: "/v1/session",
    body: {
      get token() {
        return token;
      },
    },
  },
  logout: { path: "/v1/session" },
  listTokens: { path: "/v1/tokens" },
  createToken: { path: "/v1/tokens", body: { name: "line-4", role: "view" } },
  revokeToken: { path: "/v1/tokens/revoke", body: { token: "line-4", reason: "not used" } },
  getDocument: { path: "/v1/openapi.json" },
};

function ask({ path, body, headers = {} }: Example, method: string): Promise<Response> {
  return fetch(rig.web.url() + path, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
}

/** What is not as the shape says; a field that the shape does not know counts too. */
function complaint(shape: z.ZodType, answer: unknown): string | null {
  const parsed = shape.safeParse(answer);
  if (!parsed.success) return JSON.stringify(parsed.error.issues);
  const [known, told] = [parsed.data, answer].map((value) => JSON.stringify(sorted(value)));
  return known === told ? null : `the document says ${known}, the answer ${told}`;
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, each]) => [key, sorted(each)]),
  );
}

interface Document {
  readonly openapi: string;
  readonly paths: Record<string, Record<string, { operationId: string; responses: Record<string, unknown> }>>;
}

describe("the document", () => {
  it("has every operation that there is, each under a name of its own, with its problems", async () => {
    const document = (await (await ask({ path: "/v1/openapi.json" }, "GET")).json()) as Document;
    expect(document.openapi).toBe("3.1.0");
    const told = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, { operationId, responses }]) => {
        expect(responses).toHaveProperty("default");
        return `${method} ${path} ${operationId}`;
      }),
    );
    const known = OPERATIONS.map(
      ({ method, path, name }) => `${method.toLowerCase()} ${path.replace(/:(\w+)/g, "{$1}")} ${name}`,
    );
    expect(told.sort()).toEqual(known.sort());
    expect(new Set(OPERATIONS.map(({ name }) => name)).size).toBe(OPERATIONS.length);
    expect(Object.keys(EXAMPLES).sort()).toEqual(OPERATIONS.map(({ name }) => name).sort());
  });

  it("leaves no route out, since they are made in one place", () => {
    const folder = new URL("../../src/web/", import.meta.url);
    const files = readdirSync(folder).filter((file) => file.endsWith(".ts"));
    const makers = files.filter((file) =>
      /\bapp\.(route|get|post|put|delete|all)\b/.test(readFileSync(new URL(file, folder), "utf8")),
    );
    // Files of the page are no part of the API.
    expect(makers).toEqual(["operation.ts", "pages.ts"]);
  });

  it.each(OPERATIONS.map((each) => [each.name, each] as const))(
    "says of %s what it answers",
    async (name, of: Operation) => {
      const example = EXAMPLES[name]!;
      const response = await ask(example, of.method);
      expect(response.status).toBe(example.status ?? of.status ?? 200);
      const type = response.headers.get("content-type") ?? "";
      if (typeof of.answer === "string") {
        expect(type).toContain(name === "getPayload" ? "/" : of.answer);
        if (name === "followChanges") await response.body!.cancel();
        else await response.arrayBuffer();
        return;
      }
      const shape = of.also?.[response.status] ?? of.answer;
      expect(complaint(shape(), await response.json())).toBeNull();
    },
  );

  it("says of a problem what it looks like, and would notice an answer that is not as it says", async () => {
    const problem = await (await ask({ path: "/v1/messages/nowhere" }, "GET")).json();
    expect(complaint(problemShape(), problem)).toBeNull();
    expect(complaint(problemShape(), { ...(problem as object), extra: 1 })).toContain("extra");
    expect(complaint(problemShape(), { ...(problem as object), status: "404" })).toContain("status");
  });
});
