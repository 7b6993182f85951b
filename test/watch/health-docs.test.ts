import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Metrics } from "../../src/watch/metrics.ts";
import { PROBLEM_SEVERITY } from "../../src/watch/problems.ts";
import { ScriptedJobs } from "../support/scripted-jobs.ts";
import { BUILT_AT_MS } from "../support/store-builder.ts";
import { flow, Health, overview, target } from "./health-facts.ts";

const page = readFileSync(new URL("../../docs/health.md", import.meta.url), "utf8");

describe("docs/health.md", () => {
  it("has every kind of problem, with its severity", () => {
    for (const [kind, severity] of Object.entries(PROBLEM_SEVERITY)) {
      expect(page).toContain(`| \`${kind}\` | ${severity} |`);
    }
  });

  it("has every metric of ours, and none that there is not", async () => {
    const metrics = new Metrics({ version: "0.1.0" });
    const circuit = { state: "open", sinceMs: 0, failures: 1, reason: "", probeAtMs: 0 } as const;
    const targets = new Map([["mes", target({ circuit, lastDeliveredAtMs: BUILT_AT_MS })]]);
    const result = {
      balanced: true,
      mismatches: [],
      mismatchesTotal: 0,
      deliveriesRead: 0,
      messagesCounted: 0,
    };
    metrics.refresh({
      report: { ...new Health().after(0, { targets }), devices: { online: 0, clientsOnline: 0 } },
      overview: overview([flow("mes")]),
      targets,
      audit: { result, atWallMs: 0, tookMs: 0 },
      jobs: new ScriptedJobs(),
      monoMs: 0,
    });
    const text = await metrics.registry.metrics();
    const real = [...text.matchAll(/^# TYPE (holdfast_\w+) /gm)].map(([, name]) => name);
    const told = [...page.matchAll(/`(holdfast_\w+)`/g)].map(([, name]) => name);
    expect(new Set(told)).toEqual(new Set(real));
  });

  it("has every field of the report that is published", () => {
    const report = new Health().after(0);
    for (const field of Object.keys(report)) expect(page).toContain(`"${field}":`);
    for (const part of [report.store, report.accounting, report.targets[0]!, report.flows[0]!]) {
      for (const field of Object.keys(part)) expect(page).toContain(`"${field}":`);
    }
  });
});
