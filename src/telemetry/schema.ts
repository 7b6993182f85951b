/** Options of what is told to a collector of traces. */
import { z } from "zod";
import { authSchema, headersSchema, urlProblem } from "../core/http-options.ts";
import { tlsSchema } from "../core/tls.ts";
import { duration, size } from "../core/units.ts";

const tracesSchema = z.strictObject({
  endpoint: z
    .string()
    .superRefine((text, context) => {
      const problem = text.includes("{") ? "expected a URL without placeholders" : urlProblem(text);
      if (problem) context.addIssue({ code: "custom", message: problem, input: text });
    })
    .describe(
      "Where a collector takes OTLP over HTTP, such as http://127.0.0.1:4318; /v1/traces is added where it does not end so.",
    ),
  sampleRatio: z
    .number()
    .min(0)
    .max(1)
    .default(1)
    .describe(
      "The share of messages that are traced, of those whose producer says nothing; a traceparent decides by its own flag.",
    ),
  messagesPerSecondMax: z
    .int()
    .min(1)
    .max(100_000)
    .default(200)
    .describe(
      "At most so many messages a second are traced on their way in, and so many tries on their way out; further ones are carried without.",
    ),
  acrossQueue: z
    .enum(["link", "join"])
    .default("link")
    .describe(
      "A try to deliver begins a trace of its own, with a link to the message's; or it joins the message's trace, which then lasts as long as the message waits.",
    ),
  linksMax: z
    .int()
    .min(1)
    .max(1000)
    .default(128)
    .describe("The span of a batch links to at most so many of its messages; the rest are counted."),
  serviceName: z.string().min(1).max(200).default("holdfast").describe("`service.name` of every span."),
  attributes: z
    .record(z.string().min(1).max(200), z.string().max(200))
    .prefault({})
    .describe("More of the resource, such as `deployment.environment.name: line-3`."),
  headers: headersSchema.describe("Headers to send with every request."),
  auth: authSchema.optional().describe("How to prove who we are to the collector."),
  tls: tlsSchema.optional().describe("TLS for an https endpoint."),
  compression: z.enum(["gzip", "none"]).default("gzip").describe("How requests are compressed."),
  interval: duration({ min: 50, max: 3_600_000 })
    .prefault("5s")
    .describe("How long spans are gathered before they are sent together."),
  batchBytesMax: size({ min: 1024, max: 16 * 2 ** 20 })
    .prefault("512KiB")
    .describe("They are sent sooner where they come to this much."),
  queueBytesMax: size({ min: 1024, max: 2 ** 30 })
    .prefault("8MiB")
    .describe(
      "At most so much waits for the collector, in memory; beyond it the oldest are dropped, and counted.",
    ),
  timeout: duration({ min: 100, max: 300_000 })
    .prefault("10s")
    .describe("How long the collector may take for an answer."),
  stopTimeout: duration({ max: 60_000 })
    .prefault("2s")
    .describe("How long a stop waits for the collector to take what is left."),
});

export const telemetrySchema = z.strictObject({
  traces: tracesSchema
    .optional()
    .describe("Traces by OpenTelemetry, sent to a collector; without it nothing is traced."),
});

export type TracesConfig = z.output<typeof tracesSchema>;
