import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { z } from "zod";
import { exportLine } from "../../src/core/export-file.ts";

const FILE = join(import.meta.dirname, "../../docs/export.schema.json");

it("docs/export.schema.json is the schema of an export's lines (HOLDFAST_WRITE_DOCS=1 writes it anew)", () => {
  const schema = { title: "A line of an export of Holdfast", ...z.toJSONSchema(exportLine) };
  const text = `${JSON.stringify(schema, null, 2)}\n`;
  if (process.env.HOLDFAST_WRITE_DOCS === "1") writeFileSync(FILE, text);
  else expect(JSON.parse(readFileSync(FILE, "utf8"))).toEqual(JSON.parse(text));
});
