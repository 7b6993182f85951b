/**
 * A real browser for the operator's page: one chromium for a file of tests, a page of its own for each test, and a
 * record of whatever the page complained of meanwhile (errors, and what its content policy forbade).
 */
import { spawnSync } from "node:child_process";
import { globSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, onTestFinished } from "vitest";
import { capability } from "./capabilities.ts";

const ROOT = join(import.meta.dirname, "../..");
const WAIT_MS = 20_000;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export interface OpenPage {
  readonly page: Page;
  /** Errors of the page and of its policy, as the browser words them. */
  readonly complaints: readonly string[];
}

/** Builds the page and starts the browser, before the tests of a file; ends it after them. */
export function sharedBrowser(): (options?: BrowserContextOptions) => Promise<OpenPage> {
  const { present, path } = capability("chromium");
  let browser: Browser | undefined;
  beforeAll(async () => {
    if (!present) return;
    buildConsole();
    browser = await chromium.launch({ executablePath: path, args: ["--no-sandbox", "--disable-gpu"] });
  });
  afterAll(() => browser?.close());
  return async (options = {}) => {
    const context = await browser!.newContext({ reducedMotion: "reduce", ...options });
    onTestFinished(() => context.close());
    const page = await context.newPage();
    page.setDefaultTimeout(WAIT_MS);
    const complaints: string[] = [];
    page.on("pageerror", ({ message }) => complaints.push(message));
    page.on("console", (said) => {
      // That a gateway which was killed does not answer is what the page is there to say.
      if (
        said.type() === "error" &&
        !/ERR_CONNECTION|ERR_EMPTY_RESPONSE|ERR_SOCKET|ERR_INCOMPLETE/.test(said.text())
      ) {
        complaints.push(said.text());
      }
    });
    return { page, complaints };
  };
}

/** What the launcher does before the tests: makes the page where its sources are newer than what was built. */
export function buildConsole(): void {
  const built = statSync(join(ROOT, "src/web/console/dist/console.html"), { throwIfNoEntry: false });
  const sources = globSync(["src/web/console/*", "src/core/*.ts", "tools/build-console.ts"], { cwd: ROOT });
  const changed = sources
    .map((name) => statSync(join(ROOT, name)))
    .filter((each) => each.isFile() && each.mtimeMs > (built?.mtimeMs ?? 0));
  if (built && changed.length === 0) return;
  spawnBuild();
}

function spawnBuild(): void {
  const built = spawnSync(process.execPath, [join(ROOT, "tools/build-console.ts")], { encoding: "utf8" });
  if (built.status !== 0) throw new Error(`the page could not be built: ${built.stdout}${built.stderr}`);
}

/** What axe-core finds wrong in it, a line each: the rule and where. */
export async function accessComplaints(page: Page, within = "html"): Promise<string[]> {
  // From outside the page, so that its content policy need not allow it.
  await page.evaluate(AXE);
  return page.evaluate(async (part) => {
    const { axe } = globalThis as unknown as {
      axe: { run(part: string): Promise<{ violations: { id: string; nodes: { target: string[] }[] }[] }> };
    };
    const { violations } = await axe.run(part);
    return violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.join(" ")}`));
  }, within);
}

/** By how many pixels the page is wider than its window. */
export function overflow(page: Page): Promise<number> {
  return page.evaluate("document.documentElement.scrollWidth - innerWidth") as Promise<number>;
}
