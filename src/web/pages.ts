/**
 * The operator's page, as files: what `tools/build-console.ts` made of console/ is in console/dist/, beside this
 * module in a checkout and in a release alike.
 *
 * Nothing of it is kept in memory: each answer is read from disk, already compressed, and a browser that has it
 * is told so. Names of assets carry a digest of what is in them, so those are kept for good; the page itself is
 * asked for each time. Where it was not built the gateway runs all the same, and `/` says how to get it.
 *
 * The page may load nothing but its own files and talk to nobody but this gateway: no inline script, no eval,
 * no frame around it.
 */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { extname, join } from "node:path";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { HoldfastError } from "../core/errors.ts";

export const CONSOLE_FOLDER = join(import.meta.dirname, "console/dist");

const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "form-action 'none'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** What the build makes: no folders, nothing hidden. */
const ASSET_NAME = /^[\w-]+(\.[\w-]+)+$/;

/** As a browser that takes it would like it best. */
const ENCODINGS = [
  { coding: "br", suffix: ".br" },
  { coding: "gzip", suffix: ".gz" },
] as const;

const NOT_BUILT = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Holdfast: the console is not built</title>
<h1>The gateway runs; its console is not built here</h1>
<p>In a checkout, run <code>./holdfast --help</code> once as a user who may write there: it brings what the page
is built with and builds it, and says what went wrong where it cannot. Then load this page again; the gateway need
not be started anew.</p>
<p>Without the page, everything is at hand on the command line: <code>./holdfast status</code>,
<code>messages show</code>, <code>dead list</code>, <code>dead retry</code>. The <a href="/v1/status">figures</a>
are here too.</p>
`;

export function addPages(app: FastifyInstance, folder = CONSOLE_FOLDER): void {
  app.get("/", async (request, reply) => {
    pageHeaders(reply);
    if (await sendFile(request, reply, join(folder, "console.html"), "no-cache")) return reply;
    return reply.code(404).type(TYPES[".html"]!).send(NOT_BUILT);
  });

  app.get<{ Params: { name: string } }>("/assets/:name", async (request, reply) => {
    const { name } = request.params;
    const kept = "public, max-age=31536000, immutable";
    const known = ASSET_NAME.test(name) && TYPES[extname(name)];
    if (known && (await sendFile(request, reply, join(folder, "assets", name), kept))) return reply;
    throw new HoldfastError("HF_NOT_FOUND", `the console has no file ${name}`, { name });
  });
}

function pageHeaders(reply: FastifyReply): void {
  reply.headers({
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
  });
}

/** False where there is no such file. */
async function sendFile(
  request: FastifyRequest,
  reply: FastifyReply,
  file: string,
  cacheControl: string,
): Promise<boolean> {
  const accepted = String(request.headers["accept-encoding"] ?? "");
  const wanted = ENCODINGS.filter(({ coding }) => accepted.includes(coding));
  for (const { coding, suffix } of [...wanted, { coding: null, suffix: "" }]) {
    const found = await stat(file + suffix).catch(() => null);
    if (!found?.isFile()) continue;
    const etag = `"${found.size.toString(36)}-${Math.trunc(found.mtimeMs).toString(36)}${suffix}"`;
    reply.headers({ "cache-control": cacheControl, etag, vary: "accept-encoding" });
    if (request.headers["if-none-match"] === etag) {
      reply.code(304).send();
      return true;
    }
    reply.type(TYPES[extname(file)]!).header("content-length", found.size);
    if (coding) reply.header("content-encoding", coding);
    reply.send(createReadStream(file + suffix));
    return true;
  }
  return false;
}
