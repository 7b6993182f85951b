import { describe, expect, it } from "vitest";
import { z } from "zod";
import { safeParse } from "../../src/core/safe-parse.ts";

/** As JSON has it: nothing can be compared with such a thing. */
const ODD = JSON.parse('{"valueOf": 1, "toString": 1}');
const schema = z.strictObject({ topic: z.string().min(1), tags: z.array(z.string()).max(3).default([]) });

describe("what came from outside", () => {
  it("is what its schema says", () => {
    expect(safeParse(schema, { topic: "a" })).toEqual({ success: true, data: { topic: "a", tags: [] } });
  });

  it.each([
    ["a text", { topic: { length: ODD } }, "topic"],
    ["a text, in an array", { topic: { length: [ODD] } }, "topic"],
    ["a list", { topic: "a", tags: { length: ODD } }, "tags"],
  ])("is told by its place where something with an odd length stands for %s", (_, value, place) => {
    expect(() => schema.safeParse(value)).toThrow(TypeError);
    const { error } = safeParse(schema, value);
    expect(error!.issues).toEqual([
      expect.objectContaining({ code: "invalid_type", path: [place] }),
      ...error!.issues.slice(1),
    ]);
  });

  it("is refused where nothing else is wrong with it", () => {
    const either = z.union([z.looseObject({ a: z.literal(1) }), z.string().min(1)]);
    expect(safeParse(z.string().min(1).or(z.looseObject({})), { length: ODD }).success).toBe(false);
    expect(safeParse(either, { a: 1, length: 3 }).success).toBe(true);
  });

  it("does not hide a schema that throws by itself", () => {
    const broken = z.string().refine((text) => (text as unknown as { no: () => boolean }).no());
    expect(() => safeParse(broken, "a")).toThrow(TypeError);
  });
});
