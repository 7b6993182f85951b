import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { embeddedConfig } from "../../simulators/embedded-config.ts";
import {
  BACKEND_URL_VARIABLE,
  checkExpectations,
  listScenarios,
  loadScenario,
  scenarioSchema,
} from "../../simulators/scenario.ts";
import { configSchema } from "../../src/config.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-scenario-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function load(text: string) {
  writeFileSync(join(folder, "s.yaml"), text);
  return loadScenario("s.yaml", folder, {});
}

const FOUND = {
  lost: 0,
  doubled: 0,
  outOfOrder: 0,
  altered: 0,
  stranger: 0,
  undelivered: 0,
  arrived: 10,
  repeatsSent: 0,
  duplicates: null,
  suppressedByBackend: 0,
  dead: 0,
  expired: 0,
  late: 0,
};

describe("a scenario", () => {
  test.each(listScenarios().map(({ name }) => name))(
    "%s is valid, and so is its gateway's config",
    (name) => {
      const { scenario } = loadScenario(name, folder, {});
      expect(scenario.about.length).toBeGreaterThan(40);
      // As the gateway would read it, with the backend's address put in.
      const text = JSON.stringify(embeddedConfig(scenario)).replaceAll(
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

describe("expectations", () => {
  const expectOf = (expect: object) => scenarioSchema.parse({ machines: [{}], expect }).expect;

  test("hold numbers and ranges against what was found", () => {
    const met = (expected: object, found: object) =>
      checkExpectations(expectOf(expected), { ...FOUND, ...found }).every((each) => each.met !== false);
    expect(met({}, {})).toBe(true);
    expect(met({}, { lost: 1 })).toBe(false);
    expect(met({}, { dead: 1 })).toBe(false);
    expect(met({ dead: { min: 1, max: 3 } }, { dead: 2 })).toBe(true);
    expect(met({ dead: { min: 1, max: 3 } }, { dead: 4 })).toBe(false);
    expect(met({ arrived: { min: 11 } }, {})).toBe(false);
  });

  test("are neither met nor missed where the figure is not to be had", () => {
    const [checked] = checkExpectations(expectOf({ duplicates: { min: 1 } }), FOUND).filter(
      ({ what }) => what === "duplicates",
    );
    expect(checked).toMatchObject({ met: null, wanted: "≥ 1" });
  });
});
