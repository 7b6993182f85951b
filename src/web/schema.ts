/** Options of the HTTP door. */
import { z } from "zod";

/** Names and addresses that lead nowhere but to this machine. */
const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1)$/;

export function isLoopback(host: string): boolean {
  return LOOPBACK.test(host);
}

export const webSchema = z.strictObject({
  host: z
    .string()
    .refine(isLoopback, {
      message:
        "the HTTP door has no tokens in this version, so it opens on loopback only: use 127.0.0.1 or ::1",
    })
    .default("127.0.0.1")
    .describe("Address to listen on. Loopback only: there are no tokens in this version."),
  port: z
    .int()
    .min(0)
    .max(65_535)
    .default(8080)
    .describe("Port to listen on; 0 picks a free one, which the start-up line names."),
});

export type WebConfig = z.output<typeof webSchema>;
