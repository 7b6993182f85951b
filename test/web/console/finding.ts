/** Somebody looks for what failed, sees why, and puts it back. */
import { expect, test } from "vitest";
import { arrivalsOf, eventually, reading } from "../../support/journey.ts";
import { type Desk, PATIENCE, poisoned } from "./desk.ts";

export function theyFind(desk: Desk): void {
  test("lets an operator find a failed message by its device, see why, mend the backend, and retry it", async () => {
    await desk.publish("press-7", [poisoned("press-7", 1), reading("press-7", 2)]);
    const { page, complaints } = await desk.opened("#/messages");
    await page.getByLabel("Device", { exact: true }).fill("press-7");
    await page.getByLabel("State").selectOption("dead");
    await page.getByRole("button", { name: "Search" }).click();
    await page.getByRole("row", { name: "press-7" }).first().click();

    const delivery = page.getByRole("region", { name: "Flow orders" });
    await delivery.getByText("HTTP 422: there is poison in it").waitFor();
    expect(await delivery.innerText()).toContain("Set aside");
    expect(await page.locator("pre.payload").innerText()).toContain('"part": "poison"');
    await page.getByRole("button", { name: "Hex" }).click();
    expect(await page.locator("pre.payload").innerText()).toMatch(/^00000000 {2}7b 22/);

    desk.backend.setMode("ok");
    await delivery.getByRole("button", { name: "Retry" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Retry" }).click();
    await page.getByText("1 put back in line").waitFor();
    await page.getByRole("button", { name: "Close" }).click();
    await delivery.getByText("Delivered to backend").waitFor();
    await page.getByText("Put back in line by a person").waitFor();
    desk.backend.setMode("reject-one");

    expect(arrivalsOf(desk.backend, "press-7-1").map(({ taken }) => taken)).toEqual([false, true]);
    // What is done cannot be done again, and the page says why.
    await delivery.getByText("Not now: it is delivered.").waitFor();
    expect(complaints).toEqual([]);
  });

  test("puts back a group of dead letters, and no other", async () => {
    const before = await desk.deadLetters();
    await desk.publish(
      "oven-2",
      Array.from({ length: 30 }, (_, n) => poisoned("oven-2", n)),
    );
    await eventually("all are dead", async () => (await desk.deadLetters()) === before + 30);
    desk.backend.script = ({ body }, response) => {
      if (!body.includes('"drill-9"')) return false;
      response.writeHead(422, { "content-type": "application/json" }).end(`{"title":"unknown part"}`);
      return true;
    };
    await desk.publish("drill-9", [reading("drill-9", 1, { device: "drill-9" })]);
    await eventually("the other is dead too", async () => (await desk.deadLetters()) === before + 31);

    const { page } = await desk.opened("#/dead");
    const group = page.locator("table.groups tbody tr").filter({ hasText: "poison" });
    await expect.poll(() => group.locator("td").first().innerText(), PATIENCE).toBe(String(before + 30));
    desk.backend.setMode("ok");
    await group.getByRole("button", { name: "Retry" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Retry" }).click();
    await page.getByText(`${before + 30} put back in line`).waitFor();
    await page.getByRole("button", { name: "Close" }).click();
    await group.waitFor({ state: "detached" });
    await page.getByRole("link", { name: "HTTP 422: unknown part" }).waitFor();
    await eventually("one is left", async () => (await desk.deadLetters()) === 1);
    desk.backend.setMode("reject-one");
  });

  test("is worked by the keyboard alone", async () => {
    const { page } = await desk.opened();
    await page.keyboard.press("l");
    await page.getByRole("heading", { name: "Dead letters", level: 1 }).waitFor();
    expect(await page.evaluate("document.activeElement.tagName")).toBe("H1");
    const first = page.getByRole("grid").locator("[aria-rowindex='2']");
    await first.focus();
    await page.keyboard.press("Space");
    await page.getByRole("button", { name: "Retry chosen (1)" }).waitFor();
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Home");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: /^Message / }).waitFor();
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
    await page.keyboard.press("Escape");
    await page.keyboard.press("m");
    await page.getByRole("heading", { name: "Messages", level: 1 }).waitFor();
    await page.keyboard.press("/");
    expect(await page.evaluate("document.activeElement.type")).toBe("search");
  });
}
