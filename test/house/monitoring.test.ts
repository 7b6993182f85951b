/** What watches a gateway from outside asks for figures that it has, and points to help that exists. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { parse } from "yaml";
import { configSchema } from "../../src/config.ts";
import { Gateway } from "../../src/gateway.ts";
import { scratchFolder } from "../support/test-store.ts";

const ROOT = join(import.meta.dirname, "../..");
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly annotations: { readonly summary: string; readonly runbook: string };
}
const rules = (
  parse(read("deploy/monitoring/alerts.yaml")) as { groups: { rules: Rule[] }[] }
).groups.flatMap((group) => group.rules);
const dashboard = JSON.parse(read("deploy/monitoring/dashboard.json")) as {
  panels: { title: string; targets: { expr: string }[] }[];
};

/** `name` → its label names, as a gateway that has seen everything tells them. */
const known = new Map<string, Set<string>>();

/** Labels that the scrape adds, and those of histograms. */
const ADDED = ["instance", "job", "le"];

/** Figures and labels of an expression that no gateway has. */
function strange(expr: string): string[] {
  const found: string[] = [];
  for (const [, name = "", labels = ""] of expr.matchAll(
    /\b((?:holdfast|nodejs|process)_\w+)(?:\{([^}]*)\})?/g,
  )) {
    const has = known.get(name);
    if (!has) found.push(name);
    else {
      for (const [, label = ""] of labels.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)) {
        if (!has.has(label) && !ADDED.includes(label)) found.push(`${name}{${label}}`);
      }
    }
  }
  return found;
}

describe("monitoring", () => {
  beforeAll(async () => {
    const free = { host: "127.0.0.1", port: 0 };
    const config = configSchema.parse({
      gateway: { name: "box" },
      broker: { listeners: [{ type: "tcp", ...free }] },
      web: free,
    });
    const gateway = new Gateway({ config, dataDir: scratchFolder((cleanUp) => void cleanUp) });
    await gateway.start();
    try {
      const door = gateway.addresses().find(({ kind }) => kind === "http")!;
      const base = `http://${door.host}:${door.port}`;
      const told = await vi.waitUntil(
        async () => {
          const text = await (await fetch(`${base}/metrics`)).text();
          return text.includes("holdfast_accounting_mismatches") && text;
        },
        { timeout: 15_000, interval: 100 },
      );
      for (const line of told.split("\n")) {
        const [, help, name = "", labels = ""] = /^(?:# TYPE (\w+)|(\w+)(?:\{(.*)\})?) /.exec(line) ?? [];
        const names = known.get(help ?? name) ?? new Set();
        known.set(help ?? name, names);
        for (const [, label = ""] of labels.matchAll(/(\w+)="/g)) names.add(label);
      }
      // A counter that has counted nothing yet has no line that would tell its labels.
      known.set("holdfast_outcomes_total", new Set(["target", "outcome"]));
    } finally {
      await gateway.stop();
    }
  });

  test.each(rules.map((rule) => [rule.alert, rule] as const))("%s asks for what there is", (_, { expr }) => {
    expect(strange(expr)).toEqual([]);
  });

  test("every panel asks for what there is", () => {
    expect(dashboard.panels.length).toBeGreaterThan(10);
    for (const { title, targets } of dashboard.panels) {
      for (const { expr } of targets) expect(strange(expr), title).toEqual([]);
    }
  });

  test("a figure or a label that no gateway has would be noticed", () => {
    expect(strange("rate(holdfast_delivered_total[5m]) > 0")).toEqual(["holdfast_delivered_total"]);
    expect(strange('holdfast_deliveries{device="a",flow="b"}')).toEqual(["holdfast_deliveries{device}"]);
  });

  test("every alert leads to a section of the runbook", () => {
    const sections = [...read("docs/operations.md").matchAll(/^## (.*)$/gm)].map(
      ([, title = ""]) => `docs/operations.md#${title.toLowerCase().replaceAll(" ", "-")}`,
    );
    for (const { alert, annotations } of rules) {
      expect(sections, alert).toContain(annotations.runbook);
      expect(annotations.summary, alert).toContain("$labels.instance");
    }
  });
});
