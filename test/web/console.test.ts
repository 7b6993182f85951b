/**
 * The operator's page in a real browser, before a real gateway with a backend that rejects what has poison in it.
 * Each test has devices of its own.
 */
import { readFileSync, writeFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { describe, expect, onTestFinished, test } from "vitest";
import { parse, stringify } from "yaml";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { count } from "../../src/core/plain-words.ts";
import { createToken } from "../../src/web/tokens.ts";
import { accessComplaints, overflow, sharedBrowser } from "../support/browser.ts";
import { capability } from "../support/capabilities.ts";
import {
  arrivalsOf,
  eventually,
  FLOW,
  Journey,
  reading,
  type Status,
  shared,
  startBackend,
} from "../support/journey.ts";
import { WebRig } from "../support/web-rig.ts";

const SCREENS = ["overview", "messages", "dead", "jobs", "devices", "commands", "activity"] as const;
const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true };

const chromium = capability("chromium");
const open = sharedBrowser();
const backend = new HttpBackend({ mode: "reject-one" });

const gateway = shared(async () => {
  if (!chromium.present) return null as unknown as Journey;
  const { url } = await startBackend(backend);
  const targets = { backend: { type: "http", url } };
  const journey = await Journey.start({ config: { targets, flows: { orders: FLOW } } });
  await publish("calm-1", [reading("calm-1", 1), poisoned("calm-1", 2), reading("calm-1", 3)], journey);
  await eventually("the poison is dead", async () => (await journey.flow("orders")).dead === 1);
  return journey;
});

async function publish(device: string, payloads: readonly string[], journey = gateway()): Promise<void> {
  const client = await journey.client(device);
  for (const payload of payloads) await client.publish({ topic: `plant/${device}`, payload, qos: 1 });
  await client.disconnect();
}

const poisoned = (device: string, n: number) => reading(device, n, { part: "poison" });

const deadLetters = async () => (await gateway().flow("orders")).dead;

async function opened(hash = "", options = {}) {
  const known = await open(options);
  await known.page.goto(`${gateway().http}/${hash}`);
  await known.page.locator(".head .state").waitFor();
  return known;
}

describe.skipIf(!chromium.present)("the operator's page", () => {
  test("lets an operator find a failed message by its device, see why, mend the backend, and retry it", async () => {
    await publish("press-7", [poisoned("press-7", 1), reading("press-7", 2)]);
    const { page, complaints } = await opened("#/messages");
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

    backend.setMode("ok");
    await delivery.getByRole("button", { name: "Retry" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Retry" }).click();
    await page.getByText("1 put back in line").waitFor();
    await page.getByRole("button", { name: "Close" }).click();
    await delivery.getByText("Delivered to backend").waitFor();
    await page.getByText("Put back in line by a person").waitFor();
    backend.setMode("reject-one");

    expect(arrivalsOf(backend, "press-7-1").map(({ taken }) => taken)).toEqual([false, true]);
    // What is done cannot be done again, and the page says why.
    await delivery.getByText("Not now: it is delivered.").waitFor();
    expect(complaints).toEqual([]);
  });

  test("puts back a group of dead letters, and no other", async () => {
    const before = await deadLetters();
    await publish(
      "oven-2",
      Array.from({ length: 30 }, (_, n) => poisoned("oven-2", n)),
    );
    await eventually("all are dead", async () => (await deadLetters()) === before + 30);
    backend.script = ({ body }, response) => {
      if (!body.includes('"drill-9"')) return false;
      response.writeHead(422, { "content-type": "application/json" }).end(`{"title":"unknown part"}`);
      return true;
    };
    await publish("drill-9", [reading("drill-9", 1, { device: "drill-9" })]);
    await eventually("the other is dead too", async () => (await deadLetters()) === before + 31);

    const { page } = await opened("#/dead");
    const group = page.locator("table.groups tbody tr").filter({ hasText: "poison" });
    await expect.poll(() => group.locator("td").first().innerText()).toBe(String(before + 30));
    backend.setMode("ok");
    await group.getByRole("button", { name: "Retry" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Retry" }).click();
    await page.getByText(`${before + 30} put back in line`).waitFor();
    await page.getByRole("button", { name: "Close" }).click();
    await group.waitFor({ state: "detached" });
    await page.getByRole("link", { name: "HTTP 422: unknown part" }).waitFor();
    await eventually("one is left", async () => (await deadLetters()) === 1);
    backend.setMode("reject-one");
  });

  test("shows the figures that the API tells", async () => {
    await publish("scale-3", [reading("scale-3", 1), poisoned("scale-3", 2)]);
    await gateway().drained();
    const { page } = await opened();
    const status = await gateway().status();
    await eventually("the page agrees", async () => (await shownFigures(page)).door === status.door.accepted);
    const shown = await shownFigures(page);
    expect(shown).toEqual(figuresOf(status));
    // The comparison would notice a figure that is not so.
    const [flow] = status.flows;
    expect(shown).not.toEqual(figuresOf({ ...status, flows: [{ ...flow!, dead: flow!.dead + 1 }] }));
  });

  test("survives a restart of the gateway without being loaded again, and says so", async () => {
    const { page, complaints } = await opened("#/dead");
    await page.evaluate("globalThis.loadedOnce = true");
    // The same port the second time: a page knows no other.
    const { port } = new URL(gateway().http);
    const { configFile } = gateway().process;
    const config = parse(readFileSync(configFile, "utf8"));
    writeFileSync(configFile, stringify({ ...config, web: { port: Number(port) } }));
    await gateway().process.kill();
    await page.getByText("does not answer this page since").waitFor();
    await page.getByText("Not now: the gateway does not answer.").first().waitFor();
    await gateway().process.start();
    await page.getByText("The gateway was restarted; this page is connected again.").waitFor();
    expect(await page.getByText("does not answer this page since").count()).toBe(0);
    expect(await page.evaluate("globalThis.loadedOnce")).toBe(true);
    expect(complaints).toEqual([]);
  });

  test("is worked by the keyboard alone", async () => {
    const { page } = await opened();
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

  // On a phone the screens are the same but for their layout and colours: axe-core looks at the fullest of them.
  test.each([
    ["light", { colorScheme: "light" as const }, SCREENS],
    ["dark, on a phone", { colorScheme: "dark" as const, ...PHONE }, ["overview", "dead"]],
  ])("has no fault that axe-core finds, and fits its window: %s", async (_, options, looked) => {
    const { page, complaints } = await opened("", options);
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
    expect(await accessComplaints(page)).toContain("image-alt: img");
    expect(await overflow(page)).toBeGreaterThan(0);
  });

  test("follows the system's colours until told otherwise, and remembers", async () => {
    const { page } = await opened("", { colorScheme: "dark" });
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
    const { page, complaints } = await opened();
    await page.evaluate(() => {
      const { document } = globalThis as unknown as { document: { createElement(name: string): never } };
      const script = document.createElement("script") as { textContent: string };
      script.textContent = "globalThis.foreign = true";
      (document as unknown as { body: { append(child: unknown): void } }).body.append(script);
    });
    await expect.poll(() => complaints.join()).toContain("Content Security Policy");
    expect(await page.evaluate("globalThis.foreign")).toBeUndefined();
  });
  test("draws only what is in sight of a list, however long", async () => {
    const letters = capability("long").present ? 100_000 : 20_000;
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
    const { page } = await open();
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
      await expect.poll(read).toBeGreaterThan(before);
      expect(await page.getByRole("row").count()).toBeLessThan(100);
    }
    // The whole line is where the keyboard led, and not a blank.
    expect(await page.evaluate("document.activeElement.innerText")).toContain("HTTP 422");
  });

  test("asks for a token where there are tokens, and offers only what its role allows", async () => {
    const { dataDir } = gateway().process;
    const make = (name: "view" | "operate") =>
      createToken(dataDir, { name, role: name, expiresAtMs: null, nowMs: 0 }).token;
    const { page, complaints } = await opened("#/dead");
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
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    await enter(tokens.operate);
    const row = page.locator("table.groups tbody tr").first();
    await row.getByRole("button", { name: "Retry" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Retry" }).click();
    await page.getByText("put back in line, in order").waitFor();
    // What a browser notes of each refusal; nothing else.
    expect(complaints.filter((each) => !each.includes("401"))).toEqual([]);
  });
});

/** What the overview says, by its words. */
async function shownFigures(page: Page) {
  const pairs = await page
    .locator(".small-figures > div")
    .evaluateAll((rows) => rows.map((row) => row.textContent));
  const numberOf = (name: string) => {
    const found = pairs.find((pair) => pair.startsWith(name));
    return found === undefined ? 0 : Number(found.slice(name.length).replaceAll(",", ""));
  };
  const failing = await page.locator(".question", { hasText: "failing" }).locator(".figure").innerText();
  return {
    door: numberOf("messages taken"),
    accepted: numberOf("accepted by flows"),
    delivered: numberOf("+ delivered"),
    waiting: numberOf("= waiting"),
    dead: numberOf("+ dead"),
    failing: failing.split(" ")[0],
  };
}

function figuresOf({ door, flows }: Pick<Status, "door" | "flows">) {
  const sum = (what: "accepted" | "delivered" | "waiting" | "dead") =>
    flows.reduce((total, flow) => total + flow[what], 0);
  return {
    door: door.accepted,
    accepted: sum("accepted"),
    delivered: sum("delivered"),
    waiting: sum("waiting"),
    dead: sum("dead"),
    failing: count(sum("dead")),
  };
}
