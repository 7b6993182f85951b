/**
 * Holds what came from outside against a schema. The same as the schema's own `safeParse`, but for one thing: zod measures
 * the `length` of whatever has one, before it counts that it is no text; and in JSON that may be anything, down to
 * `{"length": {"valueOf": 1, "toString": 1}}`, which nothing can be compared with. That is no defect of ours, but
 * a value of the wrong kind, and is told as one.
 */
import { type core, z } from "zod";

export function safeParse<T extends core.$ZodType>(
  schema: T,
  value: unknown,
  params?: core.ParseContext<core.$ZodIssue>,
): z.ZodSafeParseResult<core.output<T>> {
  try {
    return z.safeParse(schema, value, params);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const parsed = z.safeParse(schema, measurable(value), params);
    if (!parsed.success) return parsed;
    const message = "has a length that is no number";
    const issue = { code: "custom" as const, path: [], message, input: value };
    return { success: false, error: new z.ZodError([issue]) as z.ZodError<core.output<T>> };
  }
}

/** A copy without any `length` that is no number; in its place there is none. */
function measurable(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(measurable);
  const kept = Object.entries(value).filter(([key, each]) => key !== "length" || typeof each === "number");
  return Object.fromEntries(kept.map(([key, each]) => [key, measurable(each)]));
}
