import { describe, expect, it } from "vitest";
import { z } from "zod";
import { REDACTED, redact, withoutPassword } from "../../src/core/redact.ts";
import { secret } from "../../src/core/units.ts";

const auth = z.union([
  z.strictObject({ bearer: secret().describe("A token.") }),
  z.strictObject({ user: z.string(), password: secret().nullable().default(null) }),
]);
const schema = z.strictObject({
  name: z.string(),
  users: z.array(z.strictObject({ name: z.string(), password: secret() })).optional(),
  targets: z
    .record(
      z.string(),
      z.discriminatedUnion("type", [
        z.strictObject({ type: z.literal("a"), auth: auth.optional(), key: z.string() }),
        z.strictObject({ type: z.literal("b"), headers: z.record(z.string(), secret()), key: secret() }),
      ]),
    )
    .optional(),
  whole: z.strictObject({ x: z.string() }).meta({ secret: true }).optional(),
  either: z.union([z.int(), secret()]).optional(),
});

const value = {
  name: "visible",
  users: [{ name: "joe", password: "s3cret-1" }],
  targets: {
    one: { type: "a", auth: { bearer: "s3cret-2" }, key: "visible too" },
    two: { type: "a", auth: { user: "ann", password: "s3cret-3" }, key: "visible too" },
    three: { type: "b", headers: { "X-Key": "s3cret-4" }, key: "s3cret-5" },
    four: { type: "a", auth: { user: "ann", password: null }, key: "visible too" },
  },
  whole: { x: "s3cret-6" },
  either: "s3cret-7",
};

describe("redaction", () => {
  it("leaves out every secret, behind wrappers, unions, lists and maps, and nothing else", () => {
    expect(redact(schema, value)).toEqual({
      name: "visible",
      users: [{ name: "joe", password: REDACTED }],
      targets: {
        one: { type: "a", auth: { bearer: REDACTED }, key: "visible too" },
        two: { type: "a", auth: { user: "ann", password: REDACTED }, key: "visible too" },
        three: { type: "b", headers: { "X-Key": REDACTED }, key: REDACTED },
        four: { type: "a", auth: { user: "ann", password: null }, key: "visible too" },
      },
      whole: REDACTED,
      either: REDACTED,
    });
  });

  it("changes nothing in the value itself", () => {
    const before = structuredClone(value);
    redact(schema, value);
    expect(value).toEqual(before);
  });

  it("prints what a schema does not mark (negative control)", () => {
    const unmarked = z.strictObject({ password: z.string() });
    expect(redact(unmarked, { password: "s3cret" })).toEqual({ password: "s3cret" });
  });

  it("leaves out what the caller knows to be a secret", () => {
    const result = redact(schema, value, (path) => path.join(".") === "targets.one.key");
    expect(result).toMatchObject({ targets: { one: { key: REDACTED }, two: { key: "visible too" } } });
  });

  it("leaves out the password of an address wherever it stands", () => {
    const address = { ...value, name: "mqtts://joe:p%40ss@host:8883/x" };
    expect(redact(schema, address)).toMatchObject({ name: `mqtts://joe:${REDACTED}@host:8883/x` });
    expect(withoutPassword("see http://host:80/a@b and mqtt://joe@host")).toBe(
      "see http://host:80/a@b and mqtt://joe@host",
    );
    expect(withoutPassword("a://u:p@h, b://:q@h")).toBe("a://u:(redacted)@h, b://:(redacted)@h");
  });
});
