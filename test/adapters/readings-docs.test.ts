import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { readingsMessage } from "../../src/adapters/readings.ts";

const DOCS = join(import.meta.dirname, "../../docs");
/** Set to write it anew from the schemas, instead of complaining that it is old. */
const WRITE = process.env.HOLDFAST_WRITE_DOCS === "1";

describe("docs/readings.schema.json", () => {
  const file = join(DOCS, "readings.schema.json");

  it("is the schema of what adapters send (HOLDFAST_WRITE_DOCS=1 writes it anew)", () => {
    const schema = { title: "A message of a device that Holdfast reads", ...z.toJSONSchema(readingsMessage) };
    const text = `${JSON.stringify(schema, null, 2)}\n`;
    if (WRITE) writeFileSync(file, text);
    else expect(JSON.parse(readFileSync(file, "utf8"))).toEqual(JSON.parse(text));
  });
});

describe("docs/modbus.md", () => {
  const text = readFileSync(join(DOCS, "modbus.md"), "utf8");

  it("shows messages that are such messages", () => {
    const shown = [...text.matchAll(/```json\n([\s\S]*?)```/g)].map(([, json]) => JSON.parse(json!));
    expect(shown.map((message) => readingsMessage.parse(message).kind)).toEqual(["poll", "gap"]);
  });
});
