/** Options of the HTTP door. */
import { z } from "zod";
import { filePath } from "../core/units.ts";

/** Names and addresses that lead nowhere but to this machine. */
const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1)$/;

export function isLoopback(host: string): boolean {
  return LOOPBACK.test(host);
}

const limitsSchema = z.strictObject({
  requestsPerSecond: z
    .int()
    .min(1)
    .max(100_000)
    .default(1000)
    .describe(
      "Requests of one address; above this they are answered with 429. The local command line is free.",
    ),
  failedLoginsPerMinute: z
    .int()
    .min(1)
    .max(10_000)
    .default(10)
    .describe(
      "Wrong tokens of one address; above this they are answered with 429. A right one always works.",
    ),
  streams: z
    .int()
    .min(1)
    .max(1000)
    .default(16)
    .describe("Clients that may follow changes (`/v1/stream`) at a time."),
});

export const webSchema = z.strictObject({
  host: z
    .string()
    .min(1)
    .default("127.0.0.1")
    .describe(
      "Address to listen on. Anything but 127.0.0.1, ::1 or localhost needs a token in the data folder (`holdfast token create`), or the gateway does not start.",
    ),
  port: z
    .int()
    .min(0)
    .max(65_535)
    .default(8080)
    .describe("Port to listen on; 0 picks a free one, which the start-up line names."),
  names: z
    .array(z.string().regex(/^[A-Za-z0-9.-]+$/, "expected a host name without a port"))
    .default([])
    .describe(
      "Names under which others reach this door. Requests under another name are refused (DNS rebinding); addresses need no entry.",
    ),
  tls: z
    .strictObject({
      cert: filePath().describe("PEM file with the certificate and its chain."),
      key: filePath().describe("PEM file with the certificate's private key."),
    })
    .optional()
    .describe("HTTPS instead of HTTP. Without it tokens cross the network in the clear."),
  limits: limitsSchema.prefault({}).describe("What one client may take up."),
});

export type WebConfig = z.output<typeof webSchema>;
