/** How the page looks, in any colours and on any window, and what it may run. */
import { expect, onTestFinished, test } from "vitest";
import { accessComplaints, overflow } from "../../support/browser.ts";
import { capability } from "../../support/capabilities.ts";
import { WebRig } from "../../support/web-rig.ts";
import { type Desk, PATIENCE, SCREENS } from "./desk.ts";

const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true };

export function itLooksWell(desk: Desk): void {
  // To look with axe-core is what takes time: in one theme by default.
  test.each<[string, object, readonly string[]]>([
    ["light", { colorScheme: "light" as const }, SCREENS],
    [
      "dark, on a phone",
      { colorScheme: "dark" as const, ...PHONE },
      capability("wide").present ? SCREENS : [],
    ],
  ])("has no fault that axe-core finds, and fits its window: %s", async (name, options, looked) => {
    await desk.deadLetterOf(`look-${name.slice(0, 4)}`);
    const { page, complaints } = await desk.opened("", options);
    for (const screen of SCREENS) {
      await page.evaluate(`location.hash = "#/${screen}"`);
      await page.locator(`nav [aria-current=page][href$=${screen}]`).waitFor();
      if (screen === "dead" || screen === "messages") await page.getByRole("grid").waitFor();
      const faults = looked.includes(screen) ? await accessComplaints(page) : [];
      expect({ screen, faults, over: await overflow(page) }).toEqual({ screen, faults: [], over: 0 });
    }
    await page.evaluate('location.hash = "#/messages/calm-1:none"');
    await page.getByText("there is no message calm-1:none").waitFor();
    // The refusal that was just asked for is the browser's to note.
    expect(complaints.filter((each) => !each.includes("404"))).toEqual([]);

    // Both would be noticed.
    await page.evaluate(`document.querySelector("main").insertAdjacentHTML("beforeend", "<img src='/assets/x'><div class=wide>-</div>");
      document.querySelector(".wide").style.width = "3000px"`);
    expect(await accessComplaints(page, "main > img")).toContain("image-alt: img");
    expect(await overflow(page)).toBeGreaterThan(0);
  });

  test("follows the system's colours until told otherwise, and remembers", async () => {
    const { page } = await desk.opened("", { colorScheme: "dark" });
    const paper = () => page.evaluate("getComputedStyle(document.documentElement).backgroundColor");
    const dark = await paper();
    await page.getByLabel("Colours").selectOption("light");
    const light = await paper();
    expect(light).not.toBe(dark);
    await page.reload();
    await page.locator(".head .state").waitFor();
    expect(await paper()).toBe(light);
    await page.getByLabel("Colours").selectOption("system");
    expect(await paper()).toBe(dark);
  });

  test("may run no script but its own", async () => {
    const { page, complaints } = await desk.opened();
    await page.evaluate(() => {
      const { document } = globalThis as unknown as { document: { createElement(name: string): never } };
      const script = document.createElement("script") as { textContent: string };
      script.textContent = "globalThis.foreign = true";
      (document as unknown as { body: { append(child: unknown): void } }).body.append(script);
    });
    await expect.poll(() => complaints.join(), PATIENCE).toContain("Content Security Policy");
    expect(await page.evaluate("globalThis.foreign")).toBeUndefined();
  });

  test("draws only what is in sight of a list, however long", async () => {
    const letters = capability("long").present ? 100_000 : 4000;
    const rig = new WebRig((store) =>
      store.many(() => {
        for (let n = 0; n < letters; n++) {
          store.message({
            device: `d-${n % 50}`,
            deliveries: [{ flow: "mes", state: "dead", reason: "HTTP 422" }],
          });
        }
      }),
    );
    await rig.start();
    onTestFinished(() => rig.stop());
    const { page } = await desk.open();
    await page.goto(`${rig.web.url()}/#/dead`);
    const grid = page.getByRole("grid");
    await grid.waitFor();
    expect(await grid.getAttribute("aria-rowcount")).toBe(String(letters + 1));
    await grid.locator("[aria-rowindex='2']").focus();
    const read = async () =>
      Number((await page.getByText("read, the newest").innerText()).split(" ")[0]!.replaceAll(",", ""));
    for (let pages = 1; pages < 5; pages++) {
      const before = await read();
      await page.keyboard.press("End");
      await expect.poll(read, PATIENCE).toBeGreaterThan(before);
      expect(await page.getByRole("row").count()).toBeLessThan(100);
    }
    // The whole line is where the keyboard led, and not a blank.
    expect(await page.evaluate("document.activeElement.innerText")).toContain("HTTP 422");
  });
}
