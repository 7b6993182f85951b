import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { exitCodes } from "../../src/cli/failure.ts";
import { configSchema } from "../../src/config.ts";
import { ERRORS } from "../../src/core/errors.ts";
import { schemaTables } from "../../src/core/schema-tables.ts";

const DOCS = join(import.meta.dirname, "../../docs");

/** Set to write the reference anew from the schemas, instead of complaining that it is old. */
const WRITE = process.env.HOLDFAST_WRITE_DOCS === "1";

describe("docs/configuration.md", () => {
  const file = join(DOCS, "configuration.md");
  const BEGIN = "<!-- reference: made from the schemas, do not edit -->\n";
  const END = "<!-- end of reference -->";

  it("has the reference as the schemas have it (HOLDFAST_WRITE_DOCS=1 writes it anew)", () => {
    const text = readFileSync(file, "utf8");
    const [head, rest] = text.split(BEGIN);
    const [reference, tail] = rest!.split(END);
    const wanted = `\n${schemaTables(configSchema)}\n`;
    if (WRITE) writeFileSync(file, head + BEGIN + wanted + END + tail);
    else expect(reference).toBe(wanted);
  });
});

describe("docs/errors.md", () => {
  const text = readFileSync(join(DOCS, "errors.md"), "utf8");
  const sections = new Map(
    text
      .split(/^## /m)
      .slice(1)
      .map((section) => [section.slice(0, section.indexOf("\n")), section]),
  );

  it("has one section for each error, in the catalogue's order, and none besides", () => {
    expect([...sections.keys()]).toEqual(["Exit codes", ...Object.keys(ERRORS)]);
  });

  it.each(Object.entries(ERRORS))(
    "says of %s its exit code and what to do, in the catalogue's words",
    (code, kind) => {
      const section = sections.get(code)!;
      expect(section).toContain(`Exit code ${kind.exitCode}`);
      expect(section.split("\n")).toContain(`> ${kind.hint}`);
    },
  );

  it("has the table of exit codes as the command line prints it", () => {
    const rows = [...sections.get("Exit codes")!.matchAll(/^\| (\d+) \| (.*) \|$/gm)].map(
      ([, code, meaning]) => {
        return { code: Number(code), meaning: meaning!.replaceAll("`", "").replace(/; for run: .*/, "") };
      },
    );
    expect(rows).toEqual(exitCodes());
  });
});
