import { describe, expect, it } from "vitest";
import { z } from "zod";
import { createTarget } from "../../src/targets/create.ts";
import { targetSchema } from "../../src/targets/schema.ts";
import { makeContext, tempFolder } from "./deliveries.ts";

const problemsOf = (config: unknown) => {
  const result = targetSchema.safeParse(config);
  return result.success
    ? []
    : result.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
};

describe("the targets' schema", () => {
  it("needs no more than a type and an address", () => {
    expect(problemsOf({ type: "mqtt", url: "mqtt://127.0.0.1" })).toEqual([]);
    expect(problemsOf({ type: "http", url: "https://backend.example/in" })).toEqual([]);
    expect(problemsOf({ type: "file" })).toEqual([]);
  });

  it("tells a backend that is not built in from one that does not exist", () => {
    expect(problemsOf({ type: "kafka" })[0]).toMatch(/not built into this version.*mqtt, http, file/);
    expect(problemsOf({ type: "htpp" })[0]).toMatch(
      /no target type "htpp"; expected one of mqtt, http, file/,
    );
    expect(problemsOf({})[0]).toMatch(/expected a type/);
  });

  it("refuses credentials in a URL, where logs would print them", () => {
    expect(problemsOf({ type: "mqtt", url: "mqtt://me:secret@broker" })[0]).toMatch(/username and password/);
    expect(problemsOf({ type: "http", url: "https://me:secret@backend/in" })[0]).toMatch(/under auth/);
  });

  it("refuses what could not be carried out", () => {
    expect(problemsOf({ type: "mqtt", url: "mqtt://b", qos: 0 })).toHaveLength(1);
    expect(problemsOf({ type: "mqtt", url: "mqtt://b", topic: "up/#" })[0]).toMatch(/wildcard/);
    expect(problemsOf({ type: "http", url: "http://{device}.example/" })[0]).toMatch(/not in the host/);
    expect(problemsOf({ type: "http", url: "http://b/", batch: "json", payload: "raw" })[0]).toMatch(
      /envelope or cloudevents/,
    );
    expect(problemsOf({ type: "http", url: "http://b/{device}", batch: "ndjson" })[0]).toMatch(
      /many messages/,
    );
    expect(problemsOf({ type: "http", url: "http://b/", headers: { "Idempotency-Key": "x" } })[0]).toMatch(
      /set by Holdfast/,
    );
    expect(problemsOf({ type: "http", url: "http://b/", headers: { Authorization: "x" } })[0]).toMatch(
      /use auth/,
    );
    expect(problemsOf({ type: "http", url: "http://b/", sign: { secret: "whsec_short" } })[0]).toMatch(
      /24 to 64 bytes/,
    );
    expect(problemsOf({ type: "http", url: "http://b/", hasUrl: "http://b/has" })[0]).toMatch(/\{id\}/);
    expect(problemsOf({ type: "file", fodler: "x" })[0]).toMatch(/fodler/);
  });

  it("can be written as JSON Schema for editors", () => {
    const schema = JSON.stringify(z.toJSONSchema(targetSchema, { io: "input", unrepresentable: "any" }));
    for (const name of ["ackTimeout", "hasUrl", "rotateBytes"]) expect(schema).toContain(name);
  });
});

describe("createTarget", () => {
  it("makes each type, and says which it cannot make", () => {
    const context = makeContext({ dataDir: tempFolder() });
    const make = (config: object) => createTarget(targetSchema.parse(config), context);
    expect(make({ type: "mqtt", url: "mqtt://127.0.0.1:1" }).type).toBe("mqtt");
    expect(make({ type: "http", url: "http://127.0.0.1:1/" }).type).toBe("http");
    expect(make({ type: "file" }).type).toBe("file");
    expect(() => createTarget({ type: "kafka" } as never, context)).toThrow(
      /target upstream: .*kafka.*not built into/,
    );
  });
});
