import { describe, expect, it } from "vitest";
import { requestPath } from "../../src/targets/http-request.ts";
import { Template, templateProblem } from "../../src/targets/template.ts";

const values = { topic: "plant/press-4/é", device: "press-4", gateway: "edge-1", flow: "all", id: "1?2" };

describe("a template", () => {
  it("fills in what it knows and refuses what it does not", () => {
    expect(new Template("up/{gateway}/{topic}").render(values, (value) => value)).toBe(
      "up/edge-1/plant/press-4/é",
    );
    expect(templateProblem("up/{machine}")).toMatch(/\{machine\} is not known here; known: \{topic\}/);
    expect(templateProblem("up/{topic")).toMatch(/brace/);
    expect(() => new Template("{nope}")).toThrow(/not known/);
  });
});

describe("a URL made from a message", () => {
  const pathFor = (url: string, changes: Partial<typeof values> = {}) =>
    requestPath(new Template(url), { ...values, ...changes });

  it("encodes values so that they stay within their place", () => {
    expect(pathFor("http://b/m/{topic}?id={id}")).toEqual({ path: "/m/plant%2Fpress-4%2F%C3%A9?id=1%3F2" });
  });

  it("is refused where a value would climb to another path", () => {
    for (const device of ["..", "."])
      expect(pathFor("http://b/m/{device}/x", { device })).toHaveProperty("problem");
    expect(pathFor("http://b/m/.{device}", { device: "." })).toHaveProperty("problem");
    expect(pathFor("http://b/m/{device}", { device: "%2e%2e" })).toEqual({ path: "/m/%252e%252e" });
  });
});
