/**
 * Where a request comes from. A browser can be made to come here by any web page:
 *
 * - by DNS rebinding, under a name of the attacker's that suddenly means this machine: the Host header then
 *   carries that name. So only loopback names, the names of `web.names`, and where the door is open to others plain
 *   addresses are answered.
 * - by a form or script of another origin, which can send though not read: the Origin header (and
 *   Sec-Fetch-Site) then tells. So what does not come from here is refused, whatever the method, but for a link that a
 *   person follows.
 */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { isIP } from "node:net";
import { HoldfastError } from "../core/errors.ts";
import { isLoopback, type WebConfig } from "./schema.ts";

/** Throws HF_FORBIDDEN for a request that was meant for another, or comes from another's page. */
export function guardOrigin(
  { method, headers }: Pick<IncomingMessage, "method" | "headers">,
  config: Pick<WebConfig, "host" | "names" | "tls">,
): void {
  const host = headers.host ?? "";
  if (!isOurs(hostName(host), config)) {
    throw new HoldfastError("HF_FORBIDDEN", `the request is for the host ${shown(host)}`, { host });
  }
  const { origin } = headers;
  if (origin !== undefined && origin !== `${config.tls ? "https" : "http"}://${host}`) {
    throw new HoldfastError("HF_FORBIDDEN", `the request comes from a page of ${shown(origin)}`, { origin });
  }
  const site = headers["sec-fetch-site"];
  if ((site === "cross-site" || site === "same-site") && !(method === "GET" && followsLink(headers))) {
    throw new HoldfastError("HF_FORBIDDEN", "the request comes from a page of another origin", { site });
  }
}

/** A person goes there, as from a mail; not in a frame. The page that the link is on sees nothing of it. */
function followsLink(headers: IncomingHttpHeaders): boolean {
  return headers["sec-fetch-mode"] === "navigate" && headers["sec-fetch-dest"] === "document";
}

function isOurs(name: string, { host, names }: Pick<WebConfig, "host" | "names">): boolean {
  if (isLoopback(name) || names.some((each) => each.toLowerCase() === name)) return true;
  return !isLoopback(host) && isIP(name) !== 0;
}

/** `127.0.0.1:8080` → `127.0.0.1`, `[::1]:8080` → `::1`. */
function hostName(host: string): string {
  const bracketed = /^\[([^\]]*)\](:\d+)?$/.exec(host);
  return (bracketed ? bracketed[1]! : host.replace(/:\d+$/, "")).toLowerCase();
}

function shown(text: string): string {
  return text === "" ? "(none)" : JSON.stringify(text.slice(0, 100));
}
