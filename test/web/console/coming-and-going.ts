/** A gateway that goes and comes back, and who may look at it. */
import { readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { createToken, revokeToken } from "../../../src/web/tokens.ts";
import { accessComplaints } from "../../support/browser.ts";
import { reading } from "../../support/journey.ts";
import { type Desk, PATIENCE } from "./desk.ts";

/** Long enough for some questions to be asked, if somebody asks once a second. */
const WATCHED_MS = 3500;

export function itComesAndGoes(desk: Desk): void {
  test("is told what changes rather than ask for it, and asks where nobody tells it", async () => {
    const asked = { told: 0, untold: 0 };
    const shown = { told: await desk.open(), untold: await desk.open() };
    await shown.untold.page.route("**/v1/stream*", (route) => route.abort());
    const told = shown.told.page
      .waitForResponse((response) => response.url().includes("/v1/stream"))
      .catch(() => {});
    for (const which of ["told", "untold"] as const) {
      const { page } = shown[which];
      await page.goto(desk.gateway().http);
      await page.locator(".head .state").waitFor();
      page.on("request", (request) => {
        if (request.url().endsWith("/v1/status")) asked[which] += 1;
      });
    }
    await told;
    const { untold } = asked;
    await expect.poll(() => asked.untold - untold, PATIENCE).toBeGreaterThan(2);
    const before = asked.told;
    await shown.told.page.waitForTimeout(WATCHED_MS);
    expect(asked.told - before).toBeLessThan(3);
    // Both see what comes.
    const { door } = await desk.gateway().status();
    await desk.publish("told-1", [reading("told-1", 1)]);
    for (const { page } of Object.values(shown)) {
      const taken = page.locator(".devices-box .small-figures > div", { hasText: "messages taken" });
      await taken.getByText(String(door.accepted + 1)).waitFor();
    }
  });

  test("survives a restart of the gateway without being loaded again, and says so", async () => {
    const { page, complaints } = await desk.opened("#/dead");
    await page.evaluate("globalThis.loadedOnce = true");
    // The same port the second time: a page knows no other.
    const { port } = new URL(desk.gateway().http);
    const { configFile } = desk.gateway().process;
    const config = parse(readFileSync(configFile, "utf8"));
    writeFileSync(configFile, stringify({ ...config, web: { port: Number(port) } }));
    await desk.gateway().process.kill();
    await page.getByText("does not answer this page since").waitFor();
    await page.getByText("Not now: the gateway does not answer.").first().waitFor();
    await desk.gateway().process.start();
    await page.getByText("The gateway was restarted; this page is connected again.").waitFor();
    expect(await page.getByText("does not answer this page since").count()).toBe(0);
    expect(await page.evaluate("globalThis.loadedOnce")).toBe(true);
    expect(complaints).toEqual([]);
  });

  test("asks for a token where there are tokens, and offers only what its role allows", async () => {
    const { dataDir } = desk.gateway().process;
    const make = (name: "view" | "operate") =>
      createToken(dataDir, { name, role: name, expiresAtMs: null, nowMs: 0 }).token;
    const { page, complaints } = await desk.opened("#/dead");
    const tokens = { view: make("view"), operate: make("operate") };
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    expect(await accessComplaints(page)).toEqual([]);
    const enter = async (token: string) => {
      await page.getByLabel("Token", { exact: true }).fill(token);
      await page.getByRole("button", { name: "Enter" }).click();
    };
    await enter(`${tokens.view.slice(0, -3)}abc`);
    await page.getByRole("alert").filter({ hasText: /token/i }).waitFor();
    await enter(tokens.view);
    await page.getByText("it needs a token with the role operate, and view has view").first().waitFor();
    await page.evaluate('location.hash = "#/commands"');
    const form = page.getByRole("region", { name: "Tell a device what to do" });
    await form.getByText("it needs a token with the role operate, and view has view").waitFor();
    // An end that nobody on the page asked for is told.
    revokeToken(dataDir, "view");
    await page.getByText("The session of view has ended").waitFor();
    await enter(tokens.operate);
    await page.evaluate('location.hash = "#/dead"');
    const row = page.locator("table.groups tbody tr").first();
    await row.getByRole("button", { name: "Retry" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Retry" }).click();
    await page.getByText("put back in line, in order").waitFor();
    await page.getByRole("dialog").getByRole("button", { name: "Close" }).click();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    expect(await page.getByText("has ended").count()).toBe(0);
    // What a browser notes of each refusal; nothing else.
    expect(complaints.filter((each) => !each.includes("401"))).toEqual([]);
  });
}
