import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import type { Role } from "../../src/web/callers.ts";
import { createToken, revokeToken, TOKENS_FILE } from "../../src/web/tokens.ts";
import { WebRig } from "../support/web-rig.ts";

let rig: WebRig;

afterEach(() => rig.stop());

/** With a token of each role, the name being the role. */
async function guarded(config: Record<string, unknown> = {}, { expiresAtMs = null as number | null } = {}) {
  rig = new WebRig((store) => store.message({ deliveries: [{ flow: "mes", state: "dead" }] }), config);
  const token = (role: Role) =>
    createToken(rig.built.dataDir, { name: role, role, expiresAtMs, nowMs: 0 }).token;
  const tokens = { view: token("view"), operate: token("operate"), admin: token("admin") };
  await rig.start();
  return tokens;
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

async function ask(
  path: string,
  headers: Record<string, string> = {},
  { method = "GET", body }: { method?: string; body?: unknown } = {},
): Promise<{ status: number; code: string | undefined; body: Record<string, unknown>; headers: Headers }> {
  const response = await fetch(rig.web.url() + path, {
    method,
    headers: { ...headers, ...(body === undefined ? {} : { "content-type": "application/json" }) },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const answer = response.headers.get("content-type")?.includes("json")
    ? ((await response.json()) as Record<string, unknown>)
    : {};
  return {
    status: response.status,
    code: answer.code as string | undefined,
    body: answer,
    headers: response.headers,
  };
}

const retry = { method: "POST", body: { all: true } };

describe("without a token", () => {
  it("programs on this machine may do everything, until there is one", async () => {
    rig = await new WebRig().start();
    expect((await ask("/v1/session")).body).toEqual({ name: "local", role: "admin", tokensExist: false });
    expect((await ask("/v1/dead/retry", {}, retry)).status).toBe(200);
    createToken(rig.built.dataDir, { name: "a", role: "view", expiresAtMs: null, nowMs: 0 });
    await rig.clock.advanceAsync(1000);
    expect((await ask("/v1/dead/retry", {}, retry)).code).toBe("HF_UNAUTHENTICATED");
    expect(rig.redriven).toHaveLength(1);
  });

  it("nobody looks inside where there are tokens, and probes go on", async () => {
    await guarded();
    for (const path of [
      "/v1/status",
      "/metrics",
      "/v1/messages",
      "/v1/openapi.json",
      "/v1/messages/1/payload",
    ]) {
      const { status, code, headers } = await ask(path);
      expect([path, status, code]).toEqual([path, 401, "HF_UNAUTHENTICATED"]);
      expect(headers.get("www-authenticate")).toContain("Bearer");
    }
    rig.store.state = { kind: "full", sinceMs: 0 };
    await rig.look();
    expect((await ask("/livez")).status).toBe(200);
    expect((await ask("/readyz")).body).toMatchObject({ status: "blocked", problems: [] });
    expect((await ask("/v1/session")).body).toEqual({ name: "nobody", role: null, tokensExist: true });
  });
});

describe("with a token", () => {
  it("each may do what its role says", async () => {
    const { view, operate, admin } = await guarded();
    for (const token of [view, operate, admin]) {
      expect((await ask("/v1/status", bearer(token))).status).toBe(200);
      expect((await ask("/readyz", bearer(token))).body.problems).not.toEqual([]);
    }
    const refused = await ask("/v1/dead/retry", bearer(view), retry);
    expect([refused.status, refused.code]).toEqual([403, "HF_ROLE"]);
    expect(rig.redriven).toHaveLength(0);
    for (const token of [operate, admin]) {
      expect((await ask("/v1/dead/retry", bearer(token), retry)).status).toBe(200);
    }
    expect(rig.acts.map(({ who }) => who)).toEqual(["operate", "admin"]);
  });

  it("what is not one of them gets nobody in", async () => {
    const { view } = await guarded();
    const [, id] = view.split("_");
    const changed = view.slice(0, -1) + (view.endsWith("A") ? "B" : "A");
    for (const wrong of [changed, `hf_${id}_`, "hf_", view.slice(3), "", `${view}x`, "null"]) {
      expect([wrong, (await ask("/v1/status", bearer(wrong))).status]).toEqual([wrong, 401]);
    }
    expect((await ask("/v1/status", { authorization: `Basic ${view}` })).status).toBe(401);
  });

  it("an administrator makes and takes back others from afar, on record; nobody else may look", async () => {
    const { operate, admin } = await guarded();
    const make = (headers: Record<string, string>, name = "line-4", more = {}) =>
      ask("/v1/tokens", headers, { method: "POST", body: { name, role: "view", expires: "2d", ...more } });
    expect((await ask("/v1/tokens", bearer(operate))).code).toBe("HF_ROLE");
    expect((await make(bearer(operate))).code).toBe("HF_ROLE");
    const made = await make(bearer(admin));
    expect([made.status, made.body.name, made.body.role]).toEqual([201, "line-4", "view"]);
    expect(made.body.expiresAtMs).toBe(rig.clock.wallMs() + 2 * 86_400_000);
    const { token, id } = made.body as { token: string; id: string };
    expect((await ask("/v1/devices", bearer(token))).status).toBe(200);
    expect((await make(bearer(admin))).code).toBe("HF_TOKEN_EXISTS");
    expect((await make(bearer(admin), "../etc")).code).toBe("HF_REQUEST");
    const commands = ["packer-*/speed"];
    expect((await make(bearer(admin), "mes", { commands })).code).toBe("HF_REQUEST");
    const limited = await make(bearer(admin), "mes", { commands, role: "operate" });
    expect([limited.status, limited.body.commands]).toEqual([201, commands]);
    const listed = (await ask("/v1/tokens", bearer(admin))).body.tokens as Record<string, unknown>[];
    expect(listed.map(({ name }) => name)).toEqual(["view", "operate", "admin", "line-4", "mes"]);
    expect(JSON.stringify(listed)).not.toMatch(/sha256|hf_/);
    const revoke = (body: unknown) => ask("/v1/tokens/revoke", bearer(admin), { method: "POST", body });
    expect((await revoke({ token: id })).code).toBe("HF_REQUEST");
    expect((await revoke({ token: "nobody", reason: "x" })).code).toBe("HF_NOT_FOUND");
    expect((await revoke({ token: id, reason: "it was in a screenshot" })).status).toBe(200);
    // At once, not within a second.
    expect((await ask("/v1/devices", bearer(token))).status).toBe(401);
    expect(rig.acts.map(({ who, what, reason }) => ({ who, what, reason }))).toEqual([
      { who: "admin", what: "createToken", reason: null },
      { who: "admin", what: "createToken", reason: null },
      { who: "admin", what: "revokeToken", reason: "it was in a screenshot" },
    ]);
  });

  it("it ends when it expires, and within a second when it is revoked", async () => {
    rig = new WebRig();
    const nowMs = rig.clock.wallMs();
    const make = (name: string, expiresAtMs: number | null) =>
      createToken(rig.built.dataDir, { name, role: "view", expiresAtMs, nowMs }).token;
    const [short, long] = [make("short", nowMs + 60_000), make("long", null)];
    await rig.start();
    const states = async () => [
      (await ask("/v1/devices", bearer(short))).status,
      (await ask("/v1/devices", bearer(long))).status,
    ];
    expect(await states()).toEqual([200, 200]);
    await rig.clock.advanceAsync(60_000);
    expect(await states()).toEqual([401, 200]);
    revokeToken(rig.built.dataDir, "long");
    await rig.clock.advanceAsync(1000);
    expect(await states()).toEqual([401, 401]);
    // The one that has expired still says that a token is needed.
    expect((await ask("/v1/devices")).status).toBe(401);
  });

  it("is kept as a digest alone, for the owner's eyes; a file that cannot be read lets nobody in", async () => {
    const { admin } = await guarded();
    const file = join(rig.built.dataDir, TOKENS_FILE);
    expect(readFileSync(file, "utf8")).not.toContain(admin.split("_")[2]);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    writeFileSync(file, "{");
    await rig.clock.advanceAsync(1000);
    expect((await ask("/v1/devices", bearer(admin))).status).toBe(401);
    expect((await ask("/v1/devices")).status).toBe(401);
    expect((await ask("/v1/devices", bearer(localKey()))).status).toBe(200);
  });

  it("wrong ones are answered more slowly from some pace on, and a right one always works", async () => {
    const { view } = await guarded({ limits: { failedLoginsPerMinute: 3 } });
    for (let i = 0; i < 3; i++) expect((await ask("/v1/status", bearer("x"))).status).toBe(401);
    const { status, code, headers } = await ask("/v1/session", {}, { method: "POST", body: { token: "x" } });
    expect([status, code, headers.get("retry-after")]).toEqual([429, "HF_TOO_MANY", "20"]);
    expect((await ask("/v1/status", bearer(view))).status).toBe(200);
    await rig.clock.advanceAsync(20_000);
    expect((await ask("/v1/status", bearer("x"))).status).toBe(401);
  });

  it("nobody asks faster than web.limits allows, but for the local command line", async () => {
    const { view } = await guarded({ limits: { requestsPerSecond: 2 } });
    const statuses: number[] = [];
    for (let i = 0; i < 5; i++) statuses.push((await ask("/v1/devices", bearer(view))).status);
    expect(statuses).toEqual([200, 200, 200, 200, 429]);
    expect((await ask("/v1/devices", bearer(localKey()))).status).toBe(200);
  });
});

function localKey(): string {
  return readFileSync(join(rig.built.dataDir, "local.token"), "utf8").trim();
}

describe("the local command line", () => {
  it("gets in with a key that this run keeps for the owner of the data folder, and takes away", async () => {
    await guarded();
    const key = localKey();
    expect(statSync(join(rig.built.dataDir, "local.token")).mode & 0o777).toBe(0o600);
    expect((await ask("/v1/session", bearer(key))).body).toMatchObject({ name: "local", role: "admin" });
    await rig.web.stop();
    expect(() => localKey()).toThrow("ENOENT");
  });
});

describe("a page's session", () => {
  async function login(token: string): Promise<string> {
    const { status, headers, body } = await ask("/v1/session", {}, { method: "POST", body: { token } });
    expect([status, body.tokensExist]).toEqual([200, true]);
    const cookie = headers.get("set-cookie")!;
    expect(cookie).toMatch(/^holdfast_session=\S+; HttpOnly; SameSite=Strict; Path=\/; Expires=/);
    return cookie.split(";")[0]!;
  }

  it("is a cookie that does what its token does, and more than look only with the page's header", async () => {
    const { operate, view } = await guarded();
    const cookie = await login(operate);
    expect((await ask("/v1/session", { cookie })).body).toMatchObject({ name: "operate", role: "operate" });
    expect((await ask("/v1/status", { cookie: `a=b; ${cookie}` })).status).toBe(200);
    expect((await ask("/v1/dead/retry", { cookie }, retry)).code).toBe("HF_FORBIDDEN");
    expect(rig.redriven).toHaveLength(0);
    expect((await ask("/v1/dead/retry", { cookie, "holdfast-page": "1" }, retry)).status).toBe(200);
    const viewer = await login(view);
    expect((await ask("/v1/dead/retry", { cookie: viewer, "holdfast-page": "1" }, retry)).code).toBe(
      "HF_ROLE",
    );
  });

  it("ends after half a day, and with its token; one that was changed is none", async () => {
    const { admin, view } = await guarded();
    const [cookie, other] = [await login(admin), await login(view)];
    const later = cookie.replace(/\.(\d+)\./, (_, ms) => `.${Number(ms) + 1}.`);
    const borrowed = cookie.replace(/=[0-9a-f]+/, other.match(/=[0-9a-f]+/)![0]);
    for (const forged of [later, borrowed, cookie.slice(0, -2), "holdfast_session="]) {
      expect((await ask("/v1/status", { cookie: forged })).status).toBe(401);
    }
    revokeToken(rig.built.dataDir, "view");
    await rig.clock.advanceAsync(1000);
    expect((await ask("/v1/status", { cookie: other })).status).toBe(401);
    expect((await ask("/v1/status", { cookie })).status).toBe(200);
    await rig.clock.advanceAsync(12 * 3_600_000);
    expect((await ask("/v1/status", { cookie })).status).toBe(401);
  });

  it("outlives a restart of the gateway, and is taken back by a logout", async () => {
    const { admin } = await guarded();
    const cookie = await login(admin);
    await rig.restartWeb();
    expect((await ask("/v1/status", { cookie })).status).toBe(200);
    const { headers } = await ask("/v1/session", { cookie, "holdfast-page": "1" }, { method: "DELETE" });
    expect(headers.get("set-cookie")).toMatch(/^holdfast_session=; .*Expires=Thu, 01 Jan 1970/);
  });
});

describe("a door that others reach", () => {
  it("opens once there is a token, and answers to its addresses and to the names it was given", async () => {
    const { view } = await guarded({ host: "0.0.0.0", names: ["gateway.plant.example"] });
    expect(rig.web.url()).toMatch(/^http:\/\/127\.0\.0\.1:/);
    const from = (host: string) => rig.askAs(host, "/v1/devices", bearer(view));
    expect(await from("192.0.2.7:8080")).toBe(200);
    expect(await from("gateway.plant.example:8080")).toBe(200);
    expect(await from("Gateway.Plant.Example")).toBe(200);
    expect(await from("rebound.example")).toBe(403);
    expect((await ask("/v1/devices")).status).toBe(401);
    // Nor when the last token is gone: nobody is let in for want of tokens.
    for (const name of ["view", "operate", "admin"]) revokeToken(rig.built.dataDir, name);
    await rig.clock.advanceAsync(1000);
    expect((await ask("/v1/devices")).status).toBe(401);
  });
});
