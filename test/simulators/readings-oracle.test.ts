import { describe, expect, test } from "vitest";
import { bootKey, judgeReadings, type ReadingsInput } from "../../simulators/readings-oracle.ts";

interface Said {
  readonly device?: string;
  readonly boot?: string;
  readonly effect?: boolean;
  readonly name?: string;
  readonly quality?: string;
  readonly gapFrom?: number;
}

function message(sequence: number, said: Said = {}) {
  const { device = "boiler", boot = "one", effect = true, name = device, quality = "good", gapFrom } = said;
  const head = { device, boot, sequence };
  const readings = { name: { value: quality === "good" ? name : null, quality } };
  const body =
    gapFrom === undefined
      ? { kind: "poll", ...head, readings }
      : { kind: "gap", ...head, fromSequence: gapFrom, count: sequence - gapFrom + 1 };
  return { topic: `plant/${device}`, payload: JSON.stringify(body), effect };
}

function judged(arrivals: ReadingsInput["arrivals"], more: Partial<ReadingsInput> = {}) {
  const devices = ["boiler", "mixer"];
  const isTrue = (device: string, signal: string, value: unknown) => signal !== "name" || value === device;
  return judgeReadings({ arrivals, devices, cursors: new Map(), isTrue, ...more });
}
const kinds = (...given: Parameters<typeof judged>) => judged(...given).findings.map(({ kind }) => kind);

describe("the oracle for readings", () => {
  test("finds nothing where each boot's numbers are there, once and in order", () => {
    const good = judged([
      message(1),
      message(1, { device: "mixer" }),
      message(4, { gapFrom: 2 }),
      message(5, { quality: "stale" }),
      message(5, { effect: false }),
      message(1, { boot: "two" }),
    ]);
    expect(good).toEqual({
      findings: [],
      accounted: {},
      arrived: 5,
      suppressed: 1,
      gaps: 3,
      notGood: 1,
      missing: [],
    });
  });

  test.each<[string, ReturnType<typeof message>[], string]>([
    ["a hole", [message(1), message(3)], "lost"],
    ["one that took effect twice", [message(1), message(2), message(1)], "doubled"],
    ["one after a younger one", [message(1), message(3), message(2)], "outOfOrder"],
    [
      "one of an older boot after a younger's",
      [message(1), message(1, { boot: "two" }), message(2)],
      "outOfOrder",
    ],
    ["another machine's value", [message(1, { name: "mixer" })], "altered"],
    ["a machine that is none", [message(1, { device: "ghost", name: "ghost" })], "stranger"],
  ])("finds %s", (_, arrivals, kind) => {
    expect(kinds(arrivals)).toEqual([kind]);
  });

  test("finds what the gateway called stored and that is not there, unless the gateway says where it is", () => {
    const cursors = new Map([[bootKey("boiler", "one"), 3]]);
    const arrivals = [message(1), message(2)];
    expect(judged(arrivals, { cursors })).toMatchObject({
      findings: [{ kind: "lost", id: "boiler:one.3", device: "boiler" }],
      missing: ["boiler:one.3"],
    });
    const accounted = new Map([["boiler:one.3", "dead"]]);
    expect(judged(arrivals, { cursors, accounted })).toMatchObject({ findings: [], accounted: { dead: 1 } });
  });

  test("looks at each flow's lanes by themselves", () => {
    const by = (flow: string, sequence: number) => ({ ...message(sequence), flow });
    expect(kinds([by("a", 2), by("b", 1)])).toEqual([]);
    expect(kinds([message(2), message(1)], { orderBy: "none" })).toEqual([]);
  });

  test("leaves other messages to the other oracle", () => {
    const other = { topic: "a", payload: '{"id":"x"}', effect: true };
    expect(judged([other, { ...other, payload: "no json" }])).toMatchObject({ findings: [], arrived: 0 });
  });
});
