/** Proving who we are to an HTTP backend. */
import { createHmac } from "node:crypto";

export type HttpAuth =
  | { readonly type: "bearer"; readonly token: string }
  | { readonly type: "basic"; readonly username: string; readonly password: string }
  | { readonly type: "header"; readonly name: string; readonly value: string };

/** The one header that `auth` asks for, as [name, value]. */
export function authHeader(auth: HttpAuth): [string, string] {
  switch (auth.type) {
    case "bearer":
      return ["authorization", `Bearer ${auth.token.trim()}`];
    case "basic": {
      // RFC 7617, section 2: user:password in UTF-8, base64.
      const credentials = Buffer.from(`${auth.username}:${auth.password}`).toString("base64");
      return ["authorization", `Basic ${credentials}`];
    }
    case "header":
      return [auth.name.toLowerCase(), auth.value.trim()];
  }
}

/** The key in a Standard Webhooks secret (`whsec_` and 24 to 64 bytes in base64), or null where it is none. */
export function webhookKey(secret: string): Buffer | null {
  const match = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(secret.trim());
  if (!match) return null;
  const key = Buffer.from(match[1]!, "base64");
  return key.length >= 24 && key.length <= 64 ? key : null;
}

/**
 * Headers of a signed request. The signature covers id, time and body, so that none can be exchanged.
 * `id` is the Idempotency-Key, the same at every try; the time is that of the try.
 * Source: Standard Webhooks specification, section "Signature scheme".
 */
export function webhookHeaders(key: Buffer, id: string, wallMs: number, body: Buffer): [string, string][] {
  const seconds = Math.floor(wallMs / 1000);
  const digest = createHmac("sha256", key).update(`${id}.${seconds}.`).update(body).digest("base64");
  return [
    ["webhook-id", id],
    ["webhook-timestamp", String(seconds)],
    ["webhook-signature", `v1,${digest}`],
  ];
}
