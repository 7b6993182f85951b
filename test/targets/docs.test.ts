/** docs/targets.md, held against the schemas and against what the code decides. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { Outcome } from "../../src/core/outcome.ts";
import { fileTargetSchema } from "../../src/targets/file-options.ts";
import { httpTargetSchema } from "../../src/targets/http-options.ts";
import { httpOutcome } from "../../src/targets/http-outcome.ts";
import { mqttTargetSchema } from "../../src/targets/mqtt-options.ts";
import { mqttOutcome } from "../../src/targets/mqtt-outcome.ts";

const docs = readFileSync(new URL("../../docs/targets.md", import.meta.url), "utf8");

/** The text under `## title`. */
function section(title: string): string {
  return docs.split(/^## /m).find((part) => part.startsWith(`${title}\n`)) ?? "";
}

/** Rows of the table whose head begins with `head`, as cells. */
function rowsUnder(title: string, head: string): string[][] {
  const lines = section(title).split("\n");
  const start = lines.findIndex((line) => line.startsWith(`| ${head} |`));
  const rows: string[][] = [];
  for (const line of lines.slice(start + 2)) {
    if (!line.startsWith("|")) break;
    rows.push(
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  }
  expect(rows.length, head).toBeGreaterThan(1);
  return rows;
}

const written = (outcome: Outcome) => (outcome.kind === "retry" ? `retry, ${outcome.fault}` : outcome.kind);

describe("docs/targets.md", () => {
  it.each([
    ["mqtt", mqttTargetSchema],
    ["http", httpTargetSchema],
    ["file", fileTargetSchema],
  ])("lists every option of %s, and none that does not exist", (title, schema) => {
    const listed = rowsUnder(title, "option").flatMap(([cell]) =>
      [...cell!.matchAll(/`(\w+)`/g)].map((match) => match[1]),
    );
    expect(listed.toSorted()).toEqual(
      Object.keys(schema.shape)
        .filter((name) => name !== "type")
        .toSorted(),
    );
  });

  it("says of each HTTP status what the code decides", () => {
    const facts = { urlFromMessage: false, amidSuccesses: false, conflict: "retry" } as const;
    let statuses = 0;
    for (const [answer, request, item] of rowsUnder("http", "HTTP answer")) {
      for (const [text, last] of answer!.matchAll(/\d{3}(?:–(\d{3}))?/g)) {
        const first = Number(text.slice(0, 3));
        for (let status = first; status <= Number(last ?? first); status++) {
          statuses++;
          const [bare] = request!.split(" (");
          expect(written(httpOutcome({ status }, { ...facts, of: "request" })), `${status}`).toBe(bare);
          expect(written(httpOutcome({ status }, { ...facts, of: "item" })), `${status} of one`).toBe(item);
        }
      }
    }
    expect(statuses).toBeGreaterThan(200);
  });

  it("says of each MQTT 5 reason code what the code decides", () => {
    let codes = 0;
    for (const [answer, outcome] of rowsUnder("mqtt", "MQTT 5 reason code")) {
      for (const [, hex] of answer!.matchAll(/0x([0-9A-F]{2})/g)) {
        codes++;
        expect(written(mqttOutcome(Number.parseInt(hex!, 16))), `0x${hex}`).toBe(outcome);
      }
    }
    expect(codes).toBe(16);
  });
});
