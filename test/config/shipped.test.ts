import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { configSchema, jsonSchema, loadConfig, printable, SHIPPED_CONFIG } from "../../src/config.ts";
import { bareSchemas, childSchemas, defOf, type Schema, schemaMeta } from "../../src/core/schema-walk.ts";
import { capability } from "../support/capabilities.ts";

const CONFIGS = join(import.meta.dirname, "../../config");
/** A config that needs a library says so where that is missing, as it should (test/adapters/opcua/missing.test.ts). */
const opcua = capability("opcua-server");
const files = readdirSync(CONFIGS).filter(
  (name) => name.endsWith(".yaml") && (name !== "opcua.yaml" || opcua.present),
);

async function loadText(text: string) {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-shipped-"));
  try {
    const path = join(folder, "holdfast.yaml");
    writeFileSync(path, text);
    return (await loadConfig({ path, env: {}, cwd: folder })).config;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe("the configs that come with Holdfast", () => {
  it("are the default and one for each of several scenarios", () => {
    expect(files).toContain("gateway.yaml");
    expect(files.length).toBeGreaterThan(4);
  });

  it.skipIf(!opcua.present)("are looked at with the libraries that they need", () => {
    expect(files).toContain("opcua.yaml");
  });

  it.each(files)("%s is good, in an empty environment", async (name) => {
    const { config } = await loadConfig({ path: join(CONFIGS, name), env: {}, cwd: CONFIGS });
    expect(Object.keys(config.flows).length).toBeGreaterThan(0);
  });

  it.each(files.filter((name) => name !== "gateway.yaml"))(
    "%s says nothing that is the default anyway, but for what it is about",
    async (name) => {
      // What is written out must make a difference, or somebody reads it as a recommendation.
      const written = parse(readFileSync(join(CONFIGS, name), "utf8")) as Record<string, unknown>;
      const { config } = await loadConfig({ path: join(CONFIGS, name), env: {}, cwd: CONFIGS });
      const empty = await loadText("");
      for (const section of Object.keys(written)) {
        expect(config[section as keyof typeof config], section).not.toEqual(
          empty[section as keyof typeof empty],
        );
      }
    },
  );

  it("the default one differs in nothing from an empty one", async () => {
    const { config } = await loadConfig({ path: SHIPPED_CONFIG, env: {}, cwd: CONFIGS });
    expect(config).toEqual(await loadText(""));
  });

  it.each(files.filter((name) => name !== "secured.yaml"))("%s reads the same once printed", async (name) => {
    const { config } = await loadConfig({ path: join(CONFIGS, name), env: {}, cwd: CONFIGS });
    const shown = printable(config);
    expect(printable(await loadText(JSON.stringify(shown)))).toEqual(shown);
  });
});

describe("the schema", () => {
  /** Every key below a place, with the schemas it has there. */
  function* keysBelow(schema: Schema, path: string): Generator<[string, Schema]> {
    for (const bare of bareSchemas(schema)) {
      const { type, shape } = defOf(bare);
      const keys = type === "object" ? Object.keys(shape!) : /^(record|array)$/.test(type) ? ["*"] : [];
      for (const key of keys) {
        for (const child of childSchemas(bare, key)) {
          if (type === "object") yield [`${path}.${key}`, child];
          yield* keysBelow(child, `${path}.${key}`);
        }
      }
    }
  }

  it("says of every key what it means", () => {
    const all = [...keysBelow(configSchema, "")];
    expect(all.length).toBeGreaterThan(100);
    const mute = all.filter(([path, schema]) => !path.endsWith(".type") && !schemaMeta(schema).description);
    expect(mute.map(([path]) => path)).toEqual([]);
  });

  it("as JSON Schema knows the same keys, takes no others, and tells ranges in words where it has none", () => {
    const schema = jsonSchema() as { properties: Record<string, never>; additionalProperties: boolean };
    expect(Object.keys(schema.properties)).toEqual(Object.keys(configSchema.shape));
    expect(schema.additionalProperties).toBe(false);
    expect(schema).not.toHaveProperty("required");
    expect(schema.properties).toMatchObject({
      queue: {
        properties: {
          bytesMax: { default: "4GiB", description: expect.stringContaining("(a size, at least 4") },
        },
      },
      log: { properties: { level: { enum: expect.arrayContaining(["info"]) } } },
      targets: { additionalProperties: { oneOf: expect.any(Array) } },
    });
    expect(JSON.stringify(schema)).not.toMatch(/"(quantity|limits|filePath|secret)":(true|"a )/);
  });
});
