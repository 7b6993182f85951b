/** Which flows take a message. */
import { describe, expect, it } from "vitest";
import { FlowMatcher, flowSchema, makeFlow } from "../../src/core/flow.ts";
import { parseJson } from "../../src/core/json-pointer.ts";

type Raw = Record<string, unknown>;
const flow = (name: string, raw: Raw) => makeFlow(name, flowSchema.parse({ to: "backend", ...raw }));

function taken(flows: Record<string, Raw>, topic: string, payload = "{}"): string[] {
  const matcher = new FlowMatcher(Object.entries(flows).map(([name, raw]) => flow(name, raw)));
  return matcher.match(topic, () => parseJson(Buffer.from(payload))).map(({ name }) => name);
}

describe("a flow takes a message", () => {
  it("whose topic fits one of its filters, and in the order of the config", () => {
    const flows = {
      all: { from: "#" },
      presses: { from: ["press/+", "hammer/#"] },
      one: { from: "press/7" },
    };
    expect(taken(flows, "press/7")).toEqual(["all", "presses", "one"]);
    expect(taken(flows, "hammer/1/2")).toEqual(["all", "presses"]);
    expect(taken(flows, "$SYS/x")).toEqual([]);
  });

  it("once, although several of its filters fit", () => {
    expect(taken({ presses: { from: ["press/#", "press/7"] } }, "press/7")).toEqual(["presses"]);
  });

  it.each<[string, Raw, string, boolean]>([
    ["exists", { pointer: "/a", exists: true }, '{"a":null}', true],
    ["exists", { pointer: "/a", exists: true }, '{"b":1}', false],
    ["does not exist", { pointer: "/a", exists: false }, '{"b":1}', true],
    ["does not exist", { pointer: "/a", exists: false }, '{"a":null}', false],
    ["equals", { pointer: "/a", equals: "x" }, '{"a":"x"}', true],
    ["equals, in its type", { pointer: "/a", equals: 1 }, '{"a":"1"}', false],
    ["equals null", { pointer: "/a", equals: null }, '{"a":null}', true],
    ["equals null, which nothing is not", { pointer: "/a", equals: null }, "{}", false],
    ["in", { pointer: "/a", in: [1, "two", true] }, '{"a":"two"}', true],
    ["in", { pointer: "/a", in: [1, "two", true] }, '{"a":2}', false],
    ["above", { pointer: "/a", above: 10 }, '{"a":10.5}', true],
    ["above, not at", { pointer: "/a", above: 10 }, '{"a":10}', false],
    ["below", { pointer: "/a", below: 10 }, '{"a":-1}', true],
    ["above and below", { pointer: "/a", above: 1, below: 3 }, '{"a":2}', true],
    ["above and below", { pointer: "/a", above: 1, below: 3 }, '{"a":3}', false],
    ["a number, not text that looks like one", { pointer: "/a", above: 1 }, '{"a":"5"}', false],
    ["the whole payload", { pointer: "", equals: 5 }, "5", true],
    ["deep inside", { pointer: "/a/0/b", equals: true }, '{"a":[{"b":true}]}', true],
    ["a payload that is no JSON", { pointer: "/a", exists: true }, "not json", false],
  ])("whose value %s: %j with %s is %s", (_, when, payload, fits) => {
    expect(taken({ some: { from: "#", when } }, "t", payload)).toEqual(fits ? ["some"] : []);
  });

  it("by each message's own payload, though their topic is the same", () => {
    const matcher = new FlowMatcher([flow("some", { from: "#", when: { pointer: "/a", equals: 1 } })]);
    const match = (payload: string) => matcher.match("t", () => parseJson(Buffer.from(payload))).length;
    expect([match('{"a":1}'), match('{"a":2}'), match('{"a":1}')]).toEqual([1, 0, 1]);
  });

  it("without looking into a payload that no flow asks about", () => {
    const matcher = new FlowMatcher([
      flow("all", { from: "#" }),
      flow("other", { from: "x", when: { pointer: "/a", exists: true } }),
    ]);
    const never = () => {
      throw new Error("the payload was read");
    };
    expect(matcher.match("t", never).map(({ name }) => name)).toEqual(["all"]);
  });

  it("for any number of topics", () => {
    const matcher = new FlowMatcher([flow("presses", { from: "press/+" })]);
    for (let at = 0; at < 25_000; at++) {
      expect(matcher.match(`press/${at}`, () => undefined)).toHaveLength(1);
    }
    expect(matcher.match("hammer/1", () => undefined)).toEqual([]);
  });
});

describe("a flow's hash", () => {
  it("is the same for the same options, and another for others", () => {
    const hash = (raw: Raw) => flow("some", raw).hash;
    expect(hash({ from: "#" })).toBe(hash({ from: "#", orderBy: "device" }));
    const others = [{ from: "#" }, { from: "a" }, { from: "#", orderBy: "topic" }, { from: "#", ttl: "1h" }];
    expect(new Set(others.map(hash)).size).toBe(others.length);
  });
});

describe("a flow's options", () => {
  it.each<[string, Raw]>([
    ["a filter that is none", { from: "a/#/b" }],
    ["no filter", { from: [] }],
    ["a condition that tests nothing", { from: "#", when: { pointer: "/a" } }],
    ["a pointer without its slash", { from: "#", when: { pointer: "a", exists: true } }],
    ["delays the wrong way round", { from: "#", retry: { delayMin: "10s", delayMax: "1s" } }],
    ["a key that there is not", { from: "#", tto: "x" }],
    ["no tries at all", { from: "#", retry: { attemptsMax: 0 } }],
  ])("refuse %s", (_, raw) => {
    expect(flowSchema.safeParse({ to: "backend", ...raw }).success).toBe(false);
  });
});
