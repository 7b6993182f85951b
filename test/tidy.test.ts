/**
 * Style that is executable. Each check is a function over files, and each is first shown a file that it must
 * complain about, so that a check which sees nothing any more fails here.
 */
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import {
  codeComplaints,
  LINES_AIM,
  LINES_MAX,
  leftoverComplaints,
  lengthComplaints,
  lengthOf,
  nameComplaints,
  TIME_EXCEPTIONS,
  timeComplaints,
} from "./tidy/code-habits.ts";
import {
  linkComplaints,
  machineComplaints,
  unmentionedConfigs,
  versionComplaints,
} from "./tidy/documents.ts";
import {
  cycleComplaints,
  EXCEPTIONS,
  type Exception,
  importComplaints,
  libraryComplaints,
  orphanComplaints,
  weightComplaints,
} from "./tidy/import-map.ts";
import { parseSource, ROOT, readTree, type TextFile } from "./tidy/source-tree.ts";

const tree = readTree();
const sources = tree.filter((file) => /\.tsx?$/.test(file.path)).map(parseSource);
const shipped = sources.filter((file) => /^(src|simulators)\//.test(file.path));
const manifest = JSON.parse(tree.find((file) => file.path === "package.json")?.text ?? "{}");

const source = (path: string, text: string) => parseSource({ path, text });

/** Where the operator's page begins, which console.html names. */
const PAGE_ENTRY = "src/web/console/main.tsx";

/** Programs may take a while on a small machine with a full run beside them. */
const PROGRAM_MS_MAX = 180_000;

describe("the import map", () => {
  it("is kept by every file, and every exception in it is needed", () => {
    const used = new Set<Exception>();
    expect(sources.flatMap((file) => importComplaints(file, used))).toEqual([]);
    expect(EXCEPTIONS.filter((each) => !used.has(each)).map((each) => each.why)).toEqual([]);
  });

  it.each([
    ["a target that sees the queue", "src/targets/http.ts", 'import type { Row } from "../queue/queue.ts";'],
    ["core that imports a room", "src/core/message.ts", 'export * from "../intake/draft.ts";'],
    ["the queue that looks right", "src/queue/queue.ts", 'await import("../relay/relay.ts");'],
    [
      "a worker's file in another room",
      "src/web/web.ts",
      'new URL("../targets/x-thread.ts", import.meta.url);',
    ],
    ["a type named in place", "src/intake/intake.ts", 'let x: import("../relay/relay.ts").Relay;'],
    ["a room that imports the root", "src/web/web.ts", 'import { Gateway } from "../gateway.ts";'],
    ["the product that imports its tests", "src/main.ts", 'import { x } from "../test/support/x.ts";'],
    ["a simulator that imports a room", "simulators/x.ts", 'import { B } from "../src/broker/broker.ts";'],
    [
      "another command that runs simulators",
      "src/cli/status.ts",
      'import { F } from "../../simulators/f.ts";',
    ],
    ["the gateway that imports the cli", "src/gateway.ts", 'import { run } from "./cli/run.ts";'],
    ["an import over several lines", "src/targets/a.ts", 'import {\n  a,\n  // b\n} from "../relay/a.ts";'],
    ["a name without its ending", "src/core/a.ts", 'import { b } from "./b";'],
  ])("does not allow %s", (_, path, text) => {
    expect(importComplaints(source(path, text))).toHaveLength(1);
  });

  it("allows what it should, and is not fooled by text that looks like an import", () => {
    const text = [
      'import { systemClock } from "../core/clock.ts";',
      'import type { Lease } from "../queue/queue.ts";',
      'import { thread } from "./thread.ts";',
      '// import { x } from "../web/web.ts";',
      `const s = 'import { x } from "../web/web.ts"';`,
    ].join("\n");
    expect(importComplaints(source("src/relay/relay.ts", text))).toEqual([]);
  });

  it("has no circles between rooms", () => {
    expect(cycleComplaints(sources.filter((file) => file.path.startsWith("src/")))).toEqual([]);
    const circle = [
      source("src/a/a.ts", 'import { b } from "../b/b.ts";'),
      source("src/b/b.ts", 'import type { c } from "../c/c.ts";'),
      source("src/c/c.ts", 'import { a } from "../a/a.ts";'),
    ];
    expect(cycleComplaints(circle)).toEqual(["rooms import each other: a → b → c → a"]);
    expect(cycleComplaints(circle.slice(0, 2))).toEqual([]);
  });

  it("keeps the store's threads light", () => {
    expect(weightComplaints(shipped)).toEqual([]);
    const heavy = [
      source("src/queue/a.ts", 'import { sum } from "../core/b.ts";'),
      source(
        "src/core/b.ts",
        'import type { T } from "fastify";\nimport { z } from "zod";\nexport { c } from "./c.ts";',
      ),
      source("src/core/c.ts", 'import { type D, type E } from "mqtt";\nconst later = import("yaml");'),
    ];
    expect(weightComplaints(heavy, ["src/queue/a.ts"])).toEqual(["src/queue/a.ts → src/core/b.ts loads zod"]);
  });

  it("declares every library, and leaves some to one room", () => {
    expect(sources.flatMap((file) => libraryComplaints(file, manifest))).toEqual([]);
    const declared = { dependencies: { aedes: "1.0.0" }, devDependencies: { vitest: "5.0.0" } };
    const complaints = (path: string, text: string) => libraryComplaints(source(path, text), declared);
    expect(complaints("src/web/a.ts", 'import { Aedes } from "aedes";')).toHaveLength(1);
    expect(complaints("src/broker/a.ts", 'import { Aedes } from "aedes";')).toEqual([]);
    expect(complaints("simulators/a.ts", 'import { it } from "vitest";')).toHaveLength(1);
    expect(complaints("test/a.ts", 'import { it } from "vitest/node";')).toEqual([]);
    expect(complaints("test/a.ts", 'import x from "@some/where/deep";')).toHaveLength(1);
    expect(complaints("src/core/a.ts", 'import { join } from "path";')).toHaveLength(1);
  });
});

describe("files", () => {
  it("are all used", () => {
    expect(orphanComplaints(sources, ["src/main.ts", PAGE_ENTRY], (path) => path.startsWith("src/"))).toEqual(
      [],
    );
    const entries = sources.map((file) => file.path).filter((path) => path.endsWith(".test.ts"));
    expect(
      orphanComplaints(
        sources,
        [
          "src/main.ts",
          PAGE_ENTRY,
          "simulators/backends/main.ts",
          "test/run.ts",
          "test/bench/run.ts",
          ...entries,
        ],
        (path) => /^(simulators|test)\//.test(path),
      ),
    ).toEqual([]);
  });

  it("that nothing uses are found, also in twos", () => {
    const files = [
      source("src/main.ts", 'import "./a.ts"; new URL("./b-thread.ts", import.meta.url);'),
      source("src/a.ts", "new URL(`./e-thread.$" + "{ending}`, import.meta.url);"),
      source("src/b-thread.ts", ""),
      source("src/e-thread.ts", ""),
      source("src/c.ts", 'import "./d.ts";'),
      source("src/d.ts", 'import "./c.ts";'),
    ];
    expect(orphanComplaints(files, ["src/main.ts"], () => true)).toEqual([
      "src/c.ts: nothing uses this file",
      "src/d.ts: nothing uses this file",
    ]);
  });

  it("in tools/ are called from somewhere", () => {
    const callers = tree.filter((file) => /^(holdfast|package\.json|Dockerfile|\.ci\/run)$/.test(file.path));
    const idle = tree.filter(
      ({ path }) => /^tools\/[^/]+$/.test(path) && !callers.some(({ text }) => text.includes(path)),
    );
    expect(idle.map((file) => file.path)).toEqual([]);
  });

  it(`have ${LINES_MAX} lines at most`, () => {
    expect(sources.flatMap(lengthComplaints)).toEqual([]);
    expect(lengthComplaints({ path: "src/a.ts", text: "\n".repeat(LINES_MAX) })).toEqual([]);
    expect(lengthComplaints({ path: "src/a.ts", text: "\n".repeat(LINES_MAX + 1) })).toHaveLength(1);
    const long = shipped.filter((file) => lengthOf(file) > LINES_AIM);
    if (long.length > 0) {
      console.warn(
        `over ${LINES_AIM} lines: ${long.map((file) => `${file.path} ${lengthOf(file)}`).join(", ")}`,
      );
    }
  });

  it("have names that say something", () => {
    expect(tree.flatMap(nameComplaints)).toEqual([]);
    const complaints = (path: string) => nameComplaints({ path, text: "" });
    for (const path of ["src/queue/index.ts", "src/utils/time.ts", "src/web/Server.ts", "test/a_b.test.ts"]) {
      expect(complaints(path)).toHaveLength(1);
    }
    expect(complaints("src/queue/migrations/001-spine.sql")).toEqual([]);
    expect(complaints("test/broker/session-store.test.ts")).toEqual([]);
  });
});

describe("the code", () => {
  it("takes time and chance as parameters", () => {
    const used = new Set<string>();
    expect(sources.flatMap((file) => timeComplaints(file, used))).toEqual([]);
    expect(TIME_EXCEPTIONS.filter((each) => !used.has(`${each.file} ${each.what}`))).toEqual([]);
  });

  it.each([
    "Date.now();",
    "run({ now: Date.now });",
    "globalThis.performance.now();",
    "new Date();",
    "Math.random();",
    "setTimeout(f, 1);",
    "globalThis.setInterval(f, 1);",
    "process.hrtime.bigint();",
    "fetch(url, { signal: AbortSignal.timeout(5) });",
    'import { setTimeout as wait } from "node:timers/promises";',
  ])("may not say %s", (text) => {
    expect(timeComplaints(source("src/relay/a.ts", text)).length).toBeGreaterThan(0);
    expect(timeComplaints(source("src/core/clock.ts", text))).toEqual([]);
  });

  it("may speak of time where none is read", () => {
    const text = "new Date(wallMs); clearTimeout(t); clock.now(); // Date.now()\nsocket.setTimeout;";
    expect(timeComplaints(source("src/relay/a.ts", text))).toEqual([]);
  });

  it("has nothing left over", () => {
    expect(
      tree.filter((file) => !file.path.endsWith("package-lock.json")).flatMap(leftoverComplaints),
    ).toEqual([]);
    for (const word of [`TO${"DO"}`, `FIX${"ME"}`, `XX${"X"}`]) {
      expect(leftoverComplaints({ path: "a.md", text: `one\n// ${word}: two` })).toEqual([
        `a.md:2: left over: ${word}`,
      ]);
    }
  });

  it("keeps to the habits of exports, printing and tests", () => {
    expect(sources.flatMap(codeComplaints)).toEqual([]);
  });

  it.each([
    ["src/queue/a.ts", "debugger;"],
    ["src/queue/a.ts", "export default 1;"],
    ["src/queue/a.ts", 'console.log("here");'],
    ["src/web/a.ts", "schema.of.safeParse(body);"],
    ["test/queue/a.test.ts", 'it.only("a", () => {});'],
    ["test/queue/a.test.ts", 'describe.skip("a", () => {});'],
    ["test/queue/a.test.ts", 'it.concurrent.skip.each([1])("a", () => {});'],
    ["test/queue/a.test.ts", 'it.todo("a");'],
    ["test/queue/a.test.ts", 'describe.skipIf(process.platform === "linux")("a", () => {});'],
  ])("may not have in %s: %s", (path, text) => {
    expect(codeComplaints(source(path, text)).length).toBeGreaterThan(0);
  });

  it("may skip what the machine cannot do, and print from the cli", () => {
    const test = 'const a = capability("root"); describe.skipIf(!a.present)("a", () => { list.only; });';
    expect(codeComplaints(source("test/queue/a.test.ts", test))).toEqual([]);
    expect(codeComplaints(source("src/cli/a.ts", 'console.log("here");'))).toEqual([]);
  });
});

describe("documents and manifests", () => {
  const page = (path: string, text: string): TextFile => ({ path, text });

  it("link to what is there", () => {
    expect(tree.flatMap((file) => linkComplaints(file, tree))).toEqual([]);
    const pages = [
      page(
        "docs/a.md",
        "[b](b.md#two-words) [root](../README.md) [docs](../docs) [web](https://example.org)",
      ),
      page("docs/b.md", "# Two words\n```\n[c](c.md)\n```\n"),
      page("README.md", "[gone](docs/c.md) [gone](docs/b.md#three) [gone](#here)"),
    ];
    expect(pages.map((each) => linkComplaints(each, pages).length)).toEqual([0, 0, 3]);
  });

  it("mention every configuration", () => {
    expect(unmentionedConfigs(tree)).toEqual([]);
    const config = page("config/cold-store.yaml", "");
    expect(unmentionedConfigs([config, page("README.md", "")])).toHaveLength(1);
    expect(unmentionedConfigs([config, page("README.md", "see config/cold-store.yaml")])).toEqual([]);
  });

  it("say nothing of the machine they were written on", () => {
    expect(tree.flatMap(machineComplaints)).toEqual([]);
    for (const text of [`cd /${"work"}/x`, `https://registry.${"npmjs"}.org`, `"${"resolved"}": "x"`]) {
      expect(machineComplaints(page("docs/a.md", text))).toHaveLength(1);
    }
    expect(machineComplaints(page("docs/a.md", "see src/work/a.ts"))).toEqual([]);
  });

  it("name exact versions", () => {
    expect(tree.flatMap(versionComplaints)).toEqual([]);
    const text = JSON.stringify({
      dependencies: { a: "^1.0.0", b: "1.0.0" },
      devDependencies: { c: "latest" },
    });
    expect(versionComplaints(page("package.json", text))).toHaveLength(2);
  });
});

describe("programs", () => {
  const node = (script: string, ...args: string[]) => {
    const ran = spawnSync(process.execPath, [`${ROOT}/node_modules/${script}`, ...args], {
      cwd: ROOT,
      encoding: "utf8",
      maxBuffer: 2 ** 26,
    });
    return ran.status === 0 ? "" : `${ran.stdout}\n${ran.stderr}`;
  };

  it("find nothing to say: Biome", { timeout: PROGRAM_MS_MAX }, () => {
    expect(node("@biomejs/biome/bin/biome", "check", "--max-diagnostics=200", ".")).toBe("");
  });

  it("find nothing to say: the TypeScript compiler", { timeout: PROGRAM_MS_MAX }, () => {
    // With what it knows from the last time. Its four checkers at once do much of their work four times over, and
    // other tests want the cores.
    const check = (config: string, known: string) => {
      const options = ["--noEmit", "--checkers", "1", "--incremental", "--tsBuildInfoFile", known];
      return node("typescript/bin/tsc", "-p", config, ...options);
    };
    expect(check(".", "node_modules/.cache/types.tsbuildinfo")).toBe("");
    expect(check("src/web/console", "node_modules/.cache/console-types.tsbuildinfo")).toBe("");
  });
});
