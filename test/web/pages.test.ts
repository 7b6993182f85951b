/** The operator's page as files over HTTP: from disk, compressed beforehand, under a strict policy, or not built. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import Fastify, { type FastifyInstance } from "fastify";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { addPages, CONSOLE_FOLDER } from "../../src/web/pages.ts";
import { buildConsole } from "../support/browser.ts";

let folder: string;
let app: FastifyInstance;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-pages-"));
  app = Fastify();
  addPages(app, folder);
});

afterEach(async () => {
  await app.close();
  rmSync(folder, { recursive: true, force: true });
});

function build(): void {
  mkdirSync(join(folder, "assets"));
  writeFileSync(join(folder, "console.html"), "<!doctype html>here");
  writeFileSync(join(folder, "assets/a-1.js"), "plain");
  writeFileSync(join(folder, "assets/a-1.js.gz"), gzipSync("plain"));
  writeFileSync(join(folder, "secret.js"), "secret");
}

const get = (url: string, headers: Record<string, string> = {}) => app.inject({ url, headers });

describe("the page's files", () => {
  it("come with a policy that allows no script but its own", async () => {
    build();
    const { statusCode, headers, body } = await get("/");
    expect({ statusCode, body }).toEqual({ statusCode: 200, body: "<!doctype html>here" });
    const policy = String(headers["content-security-policy"]);
    expect(policy).toContain("default-src 'none'; script-src 'self'");
    expect(policy).not.toContain("unsafe");
    expect(headers["cache-control"]).toBe("no-cache");
  });

  it("come compressed to who takes that, and not again to who has them", async () => {
    build();
    const plain = await get("/assets/a-1.js");
    expect(plain.body).toBe("plain");
    const packed = await get("/assets/a-1.js", { "accept-encoding": "gzip, br" });
    expect(packed.headers).toMatchObject({ "content-encoding": "gzip", vary: "accept-encoding" });
    expect(packed.headers["cache-control"]).toContain("immutable");
    expect(packed.headers.etag).not.toBe(plain.headers.etag);
    const again = await get("/assets/a-1.js", { "if-none-match": String(plain.headers.etag) });
    expect([again.statusCode, again.body]).toEqual([304, ""]);
  });

  it.each([
    "/assets/../secret.js",
    "/assets/..%2fsecret.js",
    "/assets/%2e%2e%2fsecret.js",
    "/assets/.hidden",
    "/assets/none.js",
    "/assets/a-1.js%00",
  ])("are no way to others: %s", async (path) => {
    build();
    expect((await get(path)).statusCode).not.toBe(200);
  });

  it("are replaced by a word on how to get them where they were not built, and found once they are", async () => {
    const missing = await get("/");
    expect(missing.statusCode).toBe(404);
    expect(missing.body).toContain("The gateway runs; its console is not built here");
    build();
    expect((await get("/")).statusCode).toBe(200);
  });
});

describe("the page as built", () => {
  it("is loaded with less than 150 KB", () => {
    buildConsole();
    const packed = readdirSync(CONSOLE_FOLDER, { recursive: true, encoding: "utf8" }).filter((name) =>
      name.endsWith(".gz"),
    );
    expect(packed.length).toBeGreaterThan(2);
    const bytes = packed.reduce((sum, name) => sum + statSync(join(CONSOLE_FOLDER, name)).size, 0);
    expect(bytes).toBeLessThan(150_000);
    expect(bytes).toBeGreaterThan(20_000);
  });
});
