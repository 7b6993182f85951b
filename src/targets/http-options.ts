/** The options of the `http` target. */
import { z } from "zod";
import {
  authSchema,
  headersSchema,
  headerValue,
  originOf,
  signSchema,
  urlProblem,
} from "../core/http-options.ts";
import { tlsSchema } from "../core/tls.ts";
import { duration, size } from "../core/units.ts";
import { PAYLOAD_FORMS } from "./envelope.ts";
import { template } from "./template.ts";

const httpUrl = (what: string, placeholders: boolean) =>
  template(placeholders ? undefined : [])
    .superRefine((text, context) => {
      const problem = urlProblem(text);
      if (problem) context.addIssue({ code: "custom", message: problem, input: text });
    })
    .describe(what);

export const httpTargetSchema = z
  .strictObject({
    type: z.literal("http"),
    url: httpUrl(
      "Where messages go; `{device}`, `{topic}`, `{flow}`, `{gateway}` and `{id}` may stand in the path and the query.",
      true,
    ),
    method: z.enum(["POST", "PUT", "PATCH"]).prefault("POST").describe("The HTTP method."),
    headers: headersSchema.describe("Headers to send with each request, besides those of the message."),
    auth: authSchema.optional().describe("How to prove who we are."),
    sign: signSchema,
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
