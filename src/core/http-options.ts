/** Options of whatever sends over HTTP: where to, who we are, what is sent with each request. */
import { z } from "zod";
import { webhookKey } from "./http-auth.ts";
import { secret } from "./units.ts";

const headerName = z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, "expected the name of an HTTP header");
export const headerValue = z
  .string()
  .regex(/^[\t\x20-\x7e\x80-\xff]*$/, "expected text that fits into one HTTP header line");

/** Headers that the target itself or the protocol decides on. */
const HEADERS_OURS =
  /^(content-length|transfer-encoding|connection|host|expect|idempotency-key|holdfast-.*|webhook-.*)$/i;

/** Secrets: `headers` is printed, `auth` is not. */
const HEADERS_SECRET = /^(authorization|proxy-authorization|cookie)$/i;

function headerProblem(name: string): string | null {
  if (HEADERS_OURS.test(name)) return `${name} is set by Holdfast itself`;
  return HEADERS_SECRET.test(name) ? `${name} is a secret and would be printed: use auth` : null;
}

export const authSchema = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("bearer"),
    token: secret().describe("Sent as `Authorization: Bearer …`."),
  }),
  z.strictObject({
    type: z.literal("basic"),
    username: z.string().min(1).describe("The user."),
    password: secret().describe("The user's password."),
  }),
  z.strictObject({
    type: z.literal("header"),
    name: headerName.describe("The header's name, such as X-Api-Key."),
    value: secret().describe("The header's value."),
  }),
]);

/** Headers that a request always carries. */
export const headersSchema = z
  .record(headerName, headerValue)
  .prefault({})
  .superRefine((headers, context) => {
    for (const name of Object.keys(headers)) {
      const problem = headerProblem(name);
      if (problem) context.addIssue({ code: "custom", message: problem, path: [name], input: name });
    }
  });

export const signSchema = z
  .strictObject({
    secret: secret()
      .refine((text) => webhookKey(text) !== null, "expected whsec_ and 24 to 64 bytes in base64")
      .describe("The shared secret, whsec_…."),
  })
  .optional()
  .describe("Sign each request by Standard Webhooks (webhook-id, webhook-timestamp, webhook-signature).");

/** Why `text` is no URL to send to, or null where it is one. Placeholders stand behind the host only. */
export function urlProblem(text: string): string | null {
  const origin = /^https?:\/\/[^/?#]*/i.exec(text)?.[0];
  if (!origin) return "expected a URL that starts with http:// or https://";
  if (origin.includes("{")) return "placeholders may stand in the path and the query, not in the host";
  if (!URL.canParse(origin)) return "expected a URL such as https://backend.example/messages";
  const url = new URL(origin);
  if (url.username || url.password) return "a URL is printed in logs: put the credentials under auth";
  return text.includes("#") ? "a fragment (#…) is never sent" : null;
}

export function originOf(url: string): string {
  const origin = /^https?:\/\/[^/?#]*/i.exec(url)?.[0] ?? "";
  return URL.canParse(origin) ? new URL(origin).origin : "";
}
