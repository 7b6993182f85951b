import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { embeddedConfig } from "../../simulators/embedded-config.ts";
import {
  addExpectations,
  checkExpectations,
  EXPECTABLE,
  type Expectable,
  FLOW_FIGURES,
  type FlowFigure,
} from "../../simulators/expectations.ts";
import { Fleet } from "../../simulators/machines/fleet.ts";
import { meansFor, WiredFleet } from "../../simulators/machines/wired-fleet.ts";
import { missingMeans } from "../../simulators/run-scenario.ts";
import { BACKEND_URL_VARIABLE, QUESTIONS, scenarioSchema } from "../../simulators/scenario.ts";
import { listScenarios, loadScenario, loadTogether } from "../../simulators/scenario-library.ts";
import { configSchema } from "../../src/config.ts";
import { systemClock } from "../../src/core/clock.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-scenario-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function load(text: string) {
  writeFileSync(join(folder, "s.yaml"), text);
  return loadScenario("s.yaml", folder, {});
}

const FOUND = Object.fromEntries(EXPECTABLE.map((what) => [what, 0])) as Record<Expectable, number | null>;

describe("a scenario", () => {
  test.for(listScenarios().map(({ name }) => name))(
    "%s is valid, and so is its gateway's config",
    async (name, { skip }) => {
      const { scenario } = loadScenario(name, folder, {});
      expect(scenario.about.length).toBeGreaterThan(40);
      expect(scenario.title).not.toBe("");
      // As the gateway would read it, with the backend's address put in.
      for (const { missing } of missingMeans(scenario)) skip(missing);
      const wired = new WiredFleet(scenario, 1, systemClock);
      onTestFinished(() => wired.silence());
      // The others' addresses are right before they are there.
      await Promise.all(wired.plcs().map((plc) => plc.start()));
      const text = JSON.stringify(embeddedConfig(scenario, wired.config())).replaceAll(
        BACKEND_URL_VARIABLE,
        `${scenario.backend.type}://127.0.0.1:9`,
      );
      expect(configSchema.safeParse(JSON.parse(text)).error?.issues ?? []).toEqual([]);
    },
  );

  test("expects that nothing is lost, doubled or out of order where it says nothing of it", () => {
    const { scenario } = load("machines: [{ count: 2 }]\n");
    expect(scenario.expect).toMatchObject({ lost: 0, doubled: 0, outOfOrder: 0, dead: 0 });
    expect(scenario.backend.type).toBe("http");
  });

  test("is refused with file, line, column and what was probably meant", () => {
    expect(() => load("machines:\n  - { count: 2, ratte: 5 }\n")).toThrow(
      /s\.yaml:2:17: machines\[0\]\.ratte: unknown key `ratte`; did you mean `rate`\?/,
    );
    expect(() =>
      load("machines: [{}]\ntimeline:\n  - { at: 1s, do: backend-mode, mode: sulking }\n"),
    ).toThrow(/s\.yaml:3:39: timeline\[0\]\.mode: found "sulking"; allowed is/);
    expect(() => load("machines: [{}]\nduration: soon\n")).toThrow(
      /s\.yaml:2:11: duration: .*duration such as/,
    );
    expect(() => loadScenario("none.yaml", folder, {})).toThrow("there is no file");
  });

  test("lays its fragment over the gateway's config key by key", () => {
    const { scenario } = load(
      `machines: [{}]\ngateway: { config: { flows: { all: { ttl: 5s } }, targets: { backend: { url: '${BACKEND_URL_VARIABLE}/in' } } } }\n`,
    );
    expect(embeddedConfig(scenario)).toMatchObject({
      flows: { all: { from: "plant/#", to: "backend", ttl: "5s" } },
      targets: { backend: { type: "http", url: `${BACKEND_URL_VARIABLE}/in` } },
    });
  });
});

describe("machines on wires in a scenario", () => {
  const LINES = `plcs: [{ name: boiler }, { name: drive, line: rtu }]
instruments: [{ name: scale }]
timeline:
  - { at: 1s, do: unplug }
`;

  test("are named by the events that concern them, and by no others", () => {
    expect(() => load(LINES)).not.toThrow();
    expect(() => load(`${LINES}  - { at: 2s, do: unplug, group: boiler }\n`)).toThrow(
      /s\.yaml:5:34: timeline\[1\]\.group: `boiler` is on no serial line; there is drive, scale/,
    );
    expect(() => load(`${LINES}  - { at: 2s, do: instrument-fault, fault: spoilt, group: drive }\n`)).toThrow(
      /there is no group `drive`; there is scale/,
    );
    expect(() => load("plcs: [{ name: a }]\nopcua: [{ name: a }]\n")).toThrow(
      /s\.yaml:2:17: opcua\[0\]\.name: two groups are called `a`/,
    );
  });

  test("need what serial lines and OPC UA need, and nothing where there are none", () => {
    const needs = (text: string) => meansFor(load(text).scenario);
    expect(needs("plcs: [{}]\n")).toEqual([]);
    expect(needs(LINES)).toEqual(["pty"]);
    expect(needs("instruments: [{ kind: nmea }]\nopcua: [{}]\n")).toEqual(["pty", "opcua-server"]);
  });

  test("are told of in words", () => {
    const { scenario } = load(
      "plcs: [{ count: 3 }]\ninstruments: [{ kind: nmea }, { name: b }]\nopcua: [{}]\n",
    );
    const wired = new WiredFleet(scenario, 1, systemClock);
    onTestFinished(() => wired.silence());
    expect(wired.inWords).toBe("3 PLCs, an NMEA talker, a scale, an OPC UA server");
  });
});

describe("scenarios together", () => {
  const write = (name: string, text: string) => writeFileSync(join(folder, name), text);
  const together = (...names: string[]) => loadTogether(names, { cwd: folder, env: {} });

  test("have all machines with seeds of their own, all events, and expectations that add up", () => {
    write(
      "a.yaml",
      `seed: 5
duration: 2s
machines: [{ name: press, count: 2 }]
plcs: [{ name: boiler }]
instruments: [{ name: scale }]
gateway: { config: { flows: { all: { ttl: 5s } } } }
timeline: [{ at: 1s, do: burst, size: 3 }, { at: 1s, do: backend-away }]
expect: { dead: 3, duplicates: { min: 2 } }
`,
    );
    write(
      "b.yaml",
      `seed: 9
duration: 4s
machines: [{ name: press }, { name: oven }]
plcs: [{ name: boiler }]
instruments: [{ name: scale }]
gateway: { config: { flows: { all: { lateAfter: 1s } } } }
timeline: [{ at: 1s, do: machines-offline, group: press }, { at: 2s, do: plc-restart }, { at: 3s, do: unplug }]
expect: { dead: { min: 1 } }
`,
    );
    const { scenario, name } = together("a.yaml", "b.yaml");
    expect(name).toBe("a + b");
    expect(scenario.machines.map((group) => group.name)).toEqual(["a-press", "b-press", "oven"]);
    expect(scenario.gateway.config).toEqual({ flows: { all: { ttl: "5s", lateAfter: "1s" } } });
    expect(scenario.plcs.map((group) => group.name)).toEqual(["a-boiler", "b-boiler"]);
    expect(scenario.timeline.map((event) => [event.do, "group" in event ? event.group : null])).toEqual([
      ["burst", ["a-press"]],
      ["backend-away", null],
      ["machines-offline", ["b-press"]],
      ["plc-restart", ["b-boiler"]],
      ["unplug", ["b-boiler", "b-scale"]],
    ]);
    expect(scenario.duration).toBe(4000);
    expect(scenario.expect).toMatchObject({ dead: { min: 4 }, duplicates: { min: 2 }, lost: 0 });
    const fleetOf = (machines: typeof scenario.machines, seed: number) =>
      new Fleet({
        groups: machines,
        seed,
        run: "r",
        clock: systemClock,
        address: () => ({ host: "", port: 1 }),
      });
    const seeds = (fleet: Fleet) => fleet.machines.map((machine) => machine.seed);
    const alone = (file: string) => {
      const { scenario: own } = loadScenario(file, folder, {});
      return seeds(fleetOf(own.machines, own.seed));
    };
    expect(seeds(fleetOf(scenario.machines, 1))).toEqual([...alone("a.yaml"), ...alone("b.yaml")]);
  });

  test("that want different things of the gateway are refused with both places", () => {
    write("a.yaml", "machines: [{ name: a }]\ngateway: { config: { flows: { all: { ttl: 5s } } } }\n");
    write("b.yaml", "machines: [{ name: b }]\n\ngateway: { config: { flows: { all: { ttl: 9s } } } }\n");
    expect(() => together("a.yaml", "b.yaml")).toThrow(
      /b\.yaml:3:43: gateway\.config\.flows\.all\.ttl: found "9s", and "5s" at .*a\.yaml:2:43/,
    );
    write("c.yaml", "machines: [{ name: c }]\nbackend: { type: mqtt }\n");
    write("d.yaml", "machines: [{ name: d }]\nbackend: { type: file }\n");
    expect(() => together("c.yaml", "d.yaml")).toThrow(
      /d\.yaml:2:18: backend\.type: found "file", and "mqtt"/,
    );
    expect(() => together("a.yaml", "a.yaml")).toThrow("named twice");
  });

  test("can be named in a file, whose own words stand for the whole", () => {
    write("a.yaml", "duration: 2s\nmachines: [{ name: press }]\nexpect: { dead: 3, late: { min: 1 } }\n");
    write("all.yaml", "with: [a.yaml, backend-away]\nduration: 9s\nexpect: { dead: { min: 1 } }\n");
    const { scenario } = loadScenario("all.yaml", folder, {});
    expect(scenario.machines.map((group) => group.name)).toEqual(["a-press", "backend-away-press"]);
    expect(scenario).toMatchObject({ duration: 9000, expect: { dead: { min: 1 }, late: { min: 1 } } });
    write("one.yaml", "with: [two.yaml]\nmachines: [{ name: one }]\n");
    write("two.yaml", "with: [one.yaml]\nmachines: [{ name: two }]\n");
    expect(() => loadScenario("one.yaml", folder, {})).toThrow("circle: one.yaml → two.yaml → one.yaml");
  });

  test("with one seed given differ from each other, and are the same again", () => {
    write("a.yaml", "machines: [{ name: a }]\n");
    write("b.yaml", "machines: [{ name: b }]\n");
    const seeded = (seed: number) => {
      const names = ["a.yaml", "b.yaml"];
      return loadTogether(names, { cwd: folder, env: {}, seed }).scenario.machines.map((group) => group.seed);
    };
    expect(seeded(7)).toEqual(seeded(7));
    expect(new Set([...seeded(7), seeded(9)[0]]).size).toBe(3);
  });
});

describe("a scenario's machines and events", () => {
  test("are refused where they name what is not there", () => {
    expect(() => load("machines: [{}]\ntimeline: [{ at: 1s, do: burst, size: 1, group: oven }]\n")).toThrow(
      /s\.yaml:2:49: timeline\[0\]\.group: there is no group `oven`; there is machine/,
    );
    expect(() => load("machines: [{}, {}]\n")).toThrow(/s\.yaml:1:16: .*two groups are called `machine`/);
    expect(() => load("seed: 1\n")).toThrow(/needs machines/);
    expect(() => loadScenario("bakcend-away", folder, {})).toThrow("did you mean `backend-away`?");
  });
});

describe("the library", () => {
  const loaded = listScenarios().map(({ name }) => loadScenario(name, folder, {}));
  const docs = readFileSync(new URL("../../docs/simulators.md", import.meta.url), "utf8");

  test("has an answer to each question, and each scenario begins by saying why", () => {
    for (const question of QUESTIONS) {
      expect(loaded.filter(({ scenario }) => scenario.question === question).length).toBeGreaterThan(3);
    }
    for (const { file } of loaded) {
      const head = /^(#.*\n)+/.exec(readFileSync(file, "utf8"))?.[0] ?? "";
      expect(head, file).toContain("Why it must end like this:");
    }
  });

  test("stands in docs/simulators.md as it is: every sentence with its scenario, and no other", () => {
    const rows = [...docs.matchAll(/^\| `([a-z0-9-]+)` \| (.+) \|$/gm)].map(([, name, title]) => [
      name,
      title,
    ]);
    const titles = new Map(loaded.map(({ name, scenario }) => [name, scenario.title]));
    const inDocs = rows.filter(([name]) => titles.has(name!) || /^(twice|late|never)-/.test(name!));
    expect(Object.fromEntries(inDocs)).toEqual(Object.fromEntries(titles));
  });
});

describe("expectations", () => {
  const expectOf = (expect: object) => scenarioSchema.parse({ machines: [{}], expect }).expect;

  test("hold numbers and ranges against what was found", () => {
    const met = (expected: object, found: object) =>
      checkExpectations(expectOf(expected), { figures: { ...FOUND, arrived: 10, ...found } }).every(
        (each) => each.met !== false,
      );
    expect(met({}, {})).toBe(true);
    expect(met({}, { lost: 1 })).toBe(false);
    expect(met({}, { dead: 1 })).toBe(false);
    expect(met({ dead: { min: 1, max: 3 } }, { dead: 2 })).toBe(true);
    expect(met({ dead: { min: 1, max: 3 } }, { dead: 4 })).toBe(false);
    expect(met({ arrived: { min: 11 } }, {})).toBe(false);
  });

  test("add up, but for those of which the largest counts", () => {
    const sum = (...all: object[]) => addExpectations(all.map(expectOf));
    expect(sum({ dead: 3 }, { dead: { min: 1, max: 2 } }, {}).dead).toEqual({ min: 4, max: 5 });
    expect(sum({ charged: 0 }, { charged: 2 }).charged).toBe(2);
    expect(sum({ ackSlowestMs: { min: 5 } }, {}).ackSlowestMs).toEqual({ min: 5 });
    expect(sum({}, {}).charged).toBeUndefined();
    const archive = (amount: unknown) => ({ flows: { archive: { delivered: amount } } });
    expect(sum(archive(2), archive({ min: 1 }), {}).flows.archive!.delivered).toEqual({ min: 3 });
    expect(sum({ deadFor: { late: 2 } }, { deadFor: { late: 3 } }, {}).deadFor).toEqual({ late: 5 });
  });

  test("are neither met nor missed where the figure is not to be had", () => {
    const figures = { ...FOUND, duplicates: null };
    const [checked] = checkExpectations(expectOf({ duplicates: { min: 1 } }), { figures }).filter(
      ({ what }) => what === "duplicates",
    );
    expect(checked).toMatchObject({ met: null, wanted: "≥ 1" });
  });

  test("hold the figures of a flow, and the reasons of dead letters", () => {
    const none = Object.fromEntries(FLOW_FIGURES.map((figure) => [figure, 0])) as Record<FlowFigure, number>;
    const found = {
      figures: { ...FOUND, dead: 3 },
      flows: { archive: { ...none, delivered: 4 } },
      reasons: [
        { reason: "HTTP 422: poison", count: 2 },
        { reason: "late by 3s", count: 1 },
      ],
    };
    const met = (expected: object) =>
      checkExpectations(expectOf({ dead: 3, ...expected }), found).every((each) => each.met === true);
    expect(met({ flows: { archive: { delivered: 4 } }, deadFor: { "HTTP 422": 2, late: 1 } })).toBe(true);
    expect(met({ flows: { archive: { delivered: 5 } } })).toBe(false);
    expect(met({ flows: { other: { delivered: { min: 1 } } } })).toBe(false);
    expect(met({ deadFor: { "HTTP 422": 3 } })).toBe(false);
  });
});
