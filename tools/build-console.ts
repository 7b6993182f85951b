/**
 * Builds the operator's page: src/web/console/ with Vite, into its dist/ or into the folder given, each file also compressed beforehand,
 * so that serving it costs the gateway neither memory nor time. Takes about a second.
 *
 * The page is made aside and put in place whole: a gateway that serves it meanwhile serves the old one or the
 * new one, and of two builds at once the later stands.
 */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const ROOT = join(import.meta.dirname, "..");
const CONSOLE = join(ROOT, "src/web/console");
const CACHE = join(ROOT, "node_modules/.cache");
const place = resolve(process.argv[2] ?? join(CONSOLE, "dist"));

// Under another word for it, as tests have, the script would carry where each of its lines came from: half as much again.
process.env.NODE_ENV = "production";
const { build } = await import("vite").catch((error) => {
  process.stderr.write(
    `the operator's page is built with Vite, which is not installed here: ${error.message}\n`,
  );
  process.exit(1);
});

mkdirSync(CACHE, { recursive: true });
const made = mkdtempSync(join(CACHE, "console-"));
try {
  await build({
    root: CONSOLE,
    configFile: false,
    logLevel: "warn",
    oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
    build: {
      outDir: made,
      // On a busy box a build is slow, and that is nobody's news.
      rolldownOptions: { input: join(CONSOLE, "console.html"), checks: { pluginTimings: false } },
      emptyOutDir: true,
      // One script and one style sheet: a box on a slow link answers few requests better than many.
      cssCodeSplit: false,
      modulePreload: false,
      // Data: addresses would need a looser policy than the page has.
      assetsInlineLimit: 0,
    },
  });
  compressIn(made);
  // A folder made aside is its maker's alone, and the gateway may run as somebody else.
  chmodSync(made, 0o755);
  putInPlace();
} finally {
  rmSync(made, { recursive: true, force: true });
}

/** A folder cannot take the place of another that holds something, so what was there steps aside first. */
function putInPlace(): void {
  const aside = `${made}-before`;
  if (existsSync(place)) renameSync(place, aside);
  renameSync(made, place);
  rmSync(aside, { recursive: true, force: true });
}

function compressIn(folder: string): void {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
  for (const file of names.map((name) => join(folder, name)).filter((each) => statSync(each).isFile())) {
    const bytes = readFileSync(file);
    writeFileSync(`${file}.gz`, gzipSync(bytes, { level: 9 }));
    writeFileSync(
      `${file}.br`,
      brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } }),
    );
  }
}
