/**
 * Who may ask. The door is open on loopback alone and has no tokens yet, so its only visitors should be
 * programs on this machine. A browser on this machine can be made to come here by any web page:
 *
 * - by DNS rebinding, under a name of the attacker's that suddenly means 127.0.0.1: the Host header then
 *   carries that name. So only loopback names are answered.
 * - by a form or script of another origin, which can send though not read: the Origin header (and
 *   Sec-Fetch-Site) then tells. So what does not come from here is refused, whatever the method.
 */
import type { IncomingHttpHeaders } from "node:http";
import { HoldfastError } from "../core/errors.ts";
import { isLoopback } from "./schema.ts";

/** Throws HF_FORBIDDEN for a request that did not come from a program, or a page, of this machine. */
export function guardOrigin(headers: IncomingHttpHeaders): void {
  const host = headers.host ?? "";
  if (!isLoopback(hostName(host))) {
    throw new HoldfastError("HF_FORBIDDEN", `the request is for the host ${shown(host)}`, { host });
  }
  const { origin } = headers;
  if (origin !== undefined && origin !== `http://${host}`) {
    throw new HoldfastError("HF_FORBIDDEN", `the request comes from a page of ${shown(origin)}`, { origin });
  }
  const site = headers["sec-fetch-site"];
  if (site === "cross-site" || site === "same-site") {
    throw new HoldfastError("HF_FORBIDDEN", "the request comes from a page of another origin", { site });
  }
}

/** `127.0.0.1:8080` → `127.0.0.1`, `[::1]:8080` → `::1`. */
function hostName(host: string): string {
  const bracketed = /^\[([^\]]*)\](:\d+)?$/.exec(host);
  return (bracketed ? bracketed[1]! : host.replace(/:\d+$/, "")).toLowerCase();
}

function shown(text: string): string {
  return text === "" ? "(none)" : JSON.stringify(text.slice(0, 100));
}
