/** The options of the `http` target. */
import { z } from "zod";
import { tlsSchema } from "../core/tls.ts";
import { duration, secret, size } from "../core/units.ts";
import { PAYLOAD_FORMS } from "./envelope.ts";
import { webhookKey } from "./http-auth.ts";
import { template } from "./template.ts";

const headerName = z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, "expected the name of an HTTP header");
const headerValue = z
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

const authSchema = z.discriminatedUnion("type", [
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

const httpUrl = (what: string, placeholders: boolean) =>
  template(placeholders ? undefined : [])
    .superRefine((text, context) => {
      const problem = urlProblem(text);
      if (problem) context.addIssue({ code: "custom", message: problem, input: text });
    })
    .describe(what);

/** Why `text` is no URL to send to, or null where it is one. Placeholders stand behind the host only. */
function urlProblem(text: string): string | null {
  const origin = /^https?:\/\/[^/?#]*/i.exec(text)?.[0];
  if (!origin) return "expected a URL that starts with http:// or https://";
  if (origin.includes("{")) return "placeholders may stand in the path and the query, not in the host";
  if (!URL.canParse(origin)) return "expected a URL such as https://backend.example/messages";
  const url = new URL(origin);
  if (url.username || url.password) return "a URL is printed in logs: put the credentials under auth";
  return text.includes("#") ? "a fragment (#…) is never sent" : null;
}

export const httpTargetSchema = z
  .strictObject({
    type: z.literal("http"),
    url: httpUrl(
      "Where messages go; `{device}`, `{topic}`, `{flow}`, `{gateway}` and `{id}` may stand in the path and the query.",
      true,
    ),
    method: z.enum(["POST", "PUT", "PATCH"]).prefault("POST").describe("The HTTP method."),
    headers: z
      .record(headerName, headerValue)
      .prefault({})
      .superRefine((headers, context) => {
        for (const name of Object.keys(headers)) {
          const problem = headerProblem(name);
          if (problem) context.addIssue({ code: "custom", message: problem, path: [name], input: name });
        }
      })
      .describe("Headers to send with each request, besides those of the message."),
    auth: authSchema.optional().describe("How to prove who we are."),
    sign: z
      .strictObject({
        secret: secret()
          .refine((text) => webhookKey(text) !== null, "expected whsec_ and 24 to 64 bytes in base64")
          .describe("The shared secret, whsec_…."),
      })
      .optional()
      .describe("Sign each request by Standard Webhooks (webhook-id, webhook-timestamp, webhook-signature)."),
    batch: z
      .enum(["none", "json", "ndjson"])
      .prefault("none")
      .describe("One message per request, or many as a JSON array or as lines of JSON."),
    payload: z
      .enum(PAYLOAD_FORMS)
      .optional()
      .describe(
        "The body: the payload as it is, our JSON envelope, or a CloudEvent. Default: raw for single messages, envelope for batches.",
      ),
    contentType: headerValue
      .min(1)
      .prefault("application/octet-stream")
      .describe("The media type of raw payloads whose own is not known."),
    batchMax: z
      .int()
      .min(1)
      .max(10_000)
      .prefault(100)
      .describe("The most messages in one request (batch: json, ndjson)."),
    batchBytesMax: size({ min: 1, max: 256 * 2 ** 20 })
      .prefault("1MiB")
      .describe("About the most payload bytes in one request; a single larger message still goes."),
    connections: z.int().min(1).max(256).prefault(4).describe("The most requests at the same time."),
    connectTimeout: duration({ min: 1, max: 600_000 })
      .prefault("10s")
      .describe("How long a connection may take."),
    requestTimeout: duration({ min: 1, max: 3_600_000 })
      .prefault("30s")
      .describe("How long an answer may take; after it, the message's fate at the backend is unknown."),
    responseBytesMax: size({ min: 1, max: 64 * 2 ** 20 })
      .prefault("1MiB")
      .describe("The most of an answer that is read."),
    idempotent: z
      .boolean()
      .prefault(true)
      .describe("The backend makes a message that it gets twice under one Idempotency-Key once in effect."),
    conflict: z
      .enum(["retry", "delivered", "reject"])
      .prefault("retry")
      .describe("What 409 says: still at work on it, has it already, or will never take it."),
    probeUrl: httpUrl(
      "Asked with GET to learn whether the backend is well; default: HEAD on the URL itself.",
      false,
    ).optional(),
    hasUrl: httpUrl(
      "Asked with GET whether the backend has a message: 200 for yes, 404 for no. Needs `{id}`.",
      true,
    )
      .refine((text) => text.includes("{id}"), "expected {id} in it")
      .optional(),
    tls: tlsSchema.optional().describe("For https."),
  })
  .superRefine((config, context) => {
    if (config.batch !== "none" && config.payload === "raw") {
      context.addIssue({
        code: "custom",
        path: ["payload"],
        message: "a batch needs envelope or cloudevents",
        input: "raw",
      });
    }
    if (config.batch !== "none" && /\{(device|topic|id|flow)\}/.test(config.url)) {
      context.addIssue({
        code: "custom",
        path: ["url"],
        message: "one request carries many messages: only {gateway} may stand in the URL of a batch",
        input: config.url,
      });
    }
    if (config.hasUrl && originOf(config.hasUrl) !== originOf(config.url)) {
      context.addIssue({
        code: "custom",
        path: ["hasUrl"],
        message: "expected the same host as in url",
        input: config.hasUrl,
      });
    }
    if (config.probeUrl && originOf(config.probeUrl) !== originOf(config.url)) {
      context.addIssue({
        code: "custom",
        path: ["probeUrl"],
        message: "expected the same host as in url",
        input: config.probeUrl,
      });
    }
  });
export type HttpTargetConfig = z.output<typeof httpTargetSchema>;

export function originOf(url: string): string {
  const origin = /^https?:\/\/[^/?#]*/i.exec(url)?.[0] ?? "";
  return URL.canParse(origin) ? new URL(origin).origin : "";
}
