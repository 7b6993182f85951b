/**
 * Makes the release, in dist/ or in the folder given: JavaScript for every TypeScript file of src/ and
 * simulators/, and beside it, in the same places, what they read at run time. So a path relative to a module
 * means the same in both. The operator's page goes with it as it is built. What was in the folder before is removed.
 */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, rmSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";

const ROOT = join(import.meta.dirname, "..");
const release = resolve(process.argv[2] ?? join(ROOT, "dist"));

rmSync(release, { recursive: true, force: true });

const compiler = join(ROOT, "node_modules/typescript/bin/tsc");
const compiled = spawnSync(process.execPath, [compiler, "-p", "tsconfig.build.json", "--outDir", release], {
  cwd: ROOT,
  stdio: "inherit",
});
if (compiled.status !== 0) process.exit(1);

/** The operator's page is shipped as built, without what it is built of. */
const isPageSource = (path: string) => path.startsWith("src/web/console");
const isLeftOut = (path: string) => path.endsWith(".ts") || basename(path) === "node_modules";

for (const part of ["src", "simulators", "config", "extras", "package.json"]) {
  cpSync(join(ROOT, part), join(release, part), {
    recursive: true,
    filter: (path) => !isLeftOut(path) && !isPageSource(relative(ROOT, path)),
  });
}

const pagePlace = join(release, "src/web/console/dist");
mkdirSync(dirname(pagePlace), { recursive: true });
const page = spawnSync(process.execPath, [join(ROOT, "tools/build-console.ts"), pagePlace], {
  stdio: "inherit",
});
if (page.status !== 0) process.exit(1);
