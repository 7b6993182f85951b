/** What is asked for, by whatever door: its shape, and how it is read. Pure. */
import { hash } from "node:crypto";
import { z } from "zod";
import { COMPARISONS, type CommandValue, type Comparison, type Precondition } from "../core/command.ts";
import { UNKNOWN_POLICIES } from "../core/command-message.ts";
import { NAME_BYTES_MAX, REASON_CHARS_MAX } from "../core/limits.ts";
import { safeParse } from "../core/safe-parse.ts";
import { duration } from "../core/units.ts";

const TEXT_CHARS_MAX = 1024;
const PRECONDITIONS_MAX = 8;

const value = z.union([z.boolean(), z.number(), z.string().max(TEXT_CHARS_MAX), z.null()]);
const name = z.string().min(1).max(NAME_BYTES_MAX);

/** `pressure < 3`, `mode = "auto"`, `ready = true`. */
const CONDITION = /^\s*(?<signal>[^<>=!]*[^<>=!\s])\s*(?<is><=|>=|!=|==|<|>|=)\s*(?<value>\S(?:.*\S)?)\s*$/su;

const precondition = z.union([
  z.strictObject({ signal: name, is: z.enum(COMPARISONS), value }),
  z
    .string()
    .max(TEXT_CHARS_MAX)
    .transform((text, context): Precondition => {
      const found = CONDITION.exec(text)?.groups as { signal: string; is: string; value: string } | undefined;
      if (!found) {
        context.addIssue({
          code: "custom",
          message: 'expected a condition such as "pressure < 3"',
          input: text,
        });
        return z.NEVER;
      }
      const is = (found.is === "==" ? "=" : found.is) as Comparison;
      return { signal: found.signal, is, value: literal(found.value) };
    }),
]);

/** A JSON value where it is one, else the text as it stands. */
function literal(text: string): CommandValue {
  const parsed = safeParse(value, jsonOr(text, undefined));
  return parsed.success ? parsed.data : text;
}

function jsonOr<T>(text: string, other: T): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return other;
  }
}

export const commandRequestSchema = z.strictObject({
  device: name,
  signal: name,
  /** Absent for a signal that takes none. */
  value: value.default(null),
  ttl: duration({ min: 1000 }).optional(),
  expiresAt: z.iso.datetime({ offset: true }).optional(),
  preconditions: z
    .union([precondition.transform((one) => [one]), z.array(precondition).max(PRECONDITIONS_MAX)])
    .default([]),
  onUnknown: z.enum(UNKNOWN_POLICIES).optional(),
  reason: z.string().min(1).max(REASON_CHARS_MAX).optional(),
});
export type CommandRequest = z.output<typeof commandRequestSchema>;

/** Two requests with the same are the same request. */
export function fingerprintOf(request: CommandRequest): string {
  const { device, signal, value: asked, ttl, expiresAt, preconditions, onUnknown, reason } = request;
  const conditions = preconditions.map((each) => [each.signal, each.is, each.value]);
  const said = [device, signal, asked, ttl, expiresAt, conditions, onUnknown, reason];
  return hash("sha256", JSON.stringify(said), "hex").slice(0, 32);
}
