/** A gateway that goes and comes back, and who may look at it. */
import { readFileSync, writeFileSync } from "node:fs";
import { expect, onTestFinished, test } from "vitest";
import { parse, stringify } from "yaml";
import { createToken, revokeToken } from "../../../src/web/tokens.ts";
import { accessComplaints } from "../../support/browser.ts";
import { WebRig } from "../../support/web-rig.ts";
import { type Desk, PATIENCE } from "./desk.ts";

const IDLE = {
  lanesDelayed: 0,
  lanesHeld: 0,
  callsInFlight: 0,
  canBeAsked: false,
  lastDeliveredAtMs: null,
  lastProbeOkAtMs: null,
};

export function itComesAndGoes(desk: Desk): void {
  test("is told what changes rather than ask for it, and asks where nobody tells it", async () => {
    // A gateway in which nothing happens by itself.
    const rig = await new WebRig().start();
    onTestFinished(() => rig.stop());
    const asked = { told: 0, untold: 0 };
    const shown = { told: await desk.open(), untold: await desk.open() };
    await shown.untold.page.route("**/v1/stream*", (route) => route.abort());
    for (const which of ["told", "untold"] as const) {
      const { page } = shown[which];
      await page.clock.install();
      await page.goto(rig.web.url());
      await page.locator(".head .state").waitFor();
      await page.clock.pauseAt((await page.evaluate<number>("Date.now()")) + 1000);
      page.on("request", (request) => {
        if (request.url().endsWith("/v1/status")) asked[which] += 1;
      });
    }
    // The same seconds for both, however long those take: one that asked as often would stay as far ahead as it is.
    const aSecondLater = async () => {
      for (const { page } of Object.values(shown)) await page.clock.runFor(1000);
      return asked.untold - asked.told;
    };
    await expect.poll(aSecondLater, { ...PATIENCE, timeout: 50_000 }).toBeGreaterThan(9);
    for (const { page } of Object.values(shown)) await page.clock.resume();
    const circuit = { state: "open", sinceMs: 1, failures: 1, reason: "ECONNREFUSED", probeAtMs: 0 } as const;
    rig.targets.set("mes-http", { ...IDLE, circuit, lastError: "ECONNREFUSED" });
    await rig.look();
    for (const { page } of Object.values(shown)) {
      await page.getByText("mes-http has not answered").first().waitFor();
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
    await desk.deadLetterOf("gate-1");
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
