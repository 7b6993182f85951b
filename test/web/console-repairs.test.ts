import { describe, expect, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { accessComplaints, sharedBrowser } from "../support/browser.ts";
import { capability } from "../support/capabilities.ts";
import { arrivalsOf, eventually, FLOW, Journey, reading, shared, startBackend } from "../support/journey.ts";

const chromium = capability("chromium");
const open = sharedBrowser();
const backend = new HttpBackend({ mode: "reject-one" });

const gateway = shared(async () => {
  if (!chromium.present) return null as unknown as Journey;
  const { url } = await startBackend(backend);
  const targets = { backend: { type: "http", url } };
  return Journey.start({ config: { targets, flows: { orders: FLOW } } });
});

async function publish(device: string, payloads: readonly string[]): Promise<void> {
  const client = await gateway().client(device);
  for (const payload of payloads) await client.publish({ topic: `plant/${device}`, payload, qos: 1 });
  await client.disconnect();
}

const poisoned = (device: string, n: number) => reading(device, n, { part: "poison" });

const deadLetters = async () => (await gateway().flow("orders")).dead;

async function opened(hash = "") {
  const known = await open();
  await known.page.goto(`${gateway().http}/${hash}`);
  await known.page.locator(".head .state").waitFor();
  return known;
}

describe.skipIf(!chromium.present)("repairs on the operator's page", () => {
  test("lets an operator edit a dead letter, sees what its target would say before, and delivers it so", async () => {
    const before = await deadLetters();
    await publish("lathe-4", [poisoned("lathe-4", 1)]);
    await eventually("it is dead", async () => (await deadLetters()) === before + 1);
    const { page, complaints } = await opened("#/messages?device=lathe-4");
    await page.getByRole("row", { name: "lathe-4" }).first().click();
    const delivery = page.getByRole("region", { name: "Flow orders" });
    await delivery.getByRole("button", { name: "Edit" }).click();
    const dialog = page.getByRole("dialog");
    const text = dialog.getByLabel("Payload, to be edited");
    await text.fill((await text.inputValue()).replace("poison", "plate"));
    await dialog.getByRole("button", { name: "Dry run" }).click();
    await dialog.getByText("Target backend could send it: payload would be another one.").waitFor();
    expect(await accessComplaints(page)).toEqual([]);
    const put = dialog.getByRole("button", { name: "Put back as edited" });
    // Without a reason it does nothing, and says so.
    await put.click({ force: true });
    await dialog.getByText("First say: why it is edited.").waitFor();
    await dialog.getByLabel("Why it is edited").fill("wrong part scanned");
    await put.click();
    await dialog.getByText("Put back in line with another payload").waitFor();
    await dialog.getByRole("button", { name: "Close" }).click();
    await delivery.getByText("Delivered to backend").waitFor();
    await delivery.getByText("because: wrong part scanned").waitFor();
    const [accepted, given] = await delivery.locator(".side-by-side pre").allInnerTexts();
    expect([accepted, given].map((each) => each!.includes("poison"))).toEqual([true, false]);
    expect(arrivalsOf(backend, "lathe-4-1").map(({ taken }) => taken)).toEqual([false, true]);
    expect(backend.requests.at(-1)!.body.toString()).toContain("plate");
    expect(complaints).toEqual([]);
  });

  test("discards with a reason and after its figures were told, and leaves the others", async () => {
    backend.script = ({ body }, response) => {
      if (!body.includes('"saw-5"')) return false;
      response.writeHead(422, { "content-type": "application/json" }).end(`{"title":"test cut"}`);
      return true;
    };
    const others = await deadLetters();
    await publish(
      "saw-5",
      [1, 2, 3].map((n) => reading("saw-5", n, { device: "saw-5" })),
    );
    await eventually("they are dead", async () => (await deadLetters()) === others + 3);
    const { page, complaints } = await opened("#/dead");
    const group = page.locator("table.groups tbody tr").filter({ hasText: "test cut" });
    await group.getByRole("button", { name: "Discard" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText("3 dead letters and 0 held deliveries").waitFor();
    await dialog.getByLabel("Why they are given up").fill("cut for a test");
    await dialog.getByRole("button", { name: "Discard" }).click();
    await dialog.getByText("3 discarded, on record with your reason.").waitFor();
    const { discarded, dead } = await gateway().flow("orders");
    expect({ discarded, dead }).toEqual({ discarded: 3, dead: others });
    expect(complaints).toEqual([]);
  });

  test("puts many back as a job at a rate, and finds it again after being loaded anew", async () => {
    const device = "mill-6";
    const before = await deadLetters();
    await publish(
      device,
      [1, 2, 3, 4, 5, 6].map((n) => poisoned(device, n)),
    );
    await eventually("they are dead", async () => (await deadLetters()) === before + 6);
    const { page, complaints } = await opened("#/dead");
    await page.getByRole("button", { name: "At a rate, as a job" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText(`${before + 6} deliveries`).waitFor();
    // Slow enough to be paused before it is over.
    await dialog.getByLabel("At most so many a second").fill("0.5");
    await dialog.getByRole("button", { name: "Begin the job" }).click();
    await dialog.getByText("has begun").waitFor();
    await dialog.getByRole("button", { name: "Close" }).click();
    const job = page.getByRole("listitem", { name: /^Job \d+$/ }).first();
    await job.getByRole("button", { name: "Pause" }).click();
    await dialog.getByRole("button", { name: "Pause the job" }).click();
    await dialog.getByText("It is paused.").waitFor();
    await page.reload();
    await job.getByText("paused").waitFor();
    await page.keyboard.press("j");
    await page.getByRole("heading", { name: "Jobs", level: 1 }).waitFor();
    await job.getByRole("button", { name: "Cancel" }).click();
    await dialog.getByRole("button", { name: "Cancel the job" }).click();
    await dialog.getByText("It is cancelled.").waitFor();
    await dialog.getByRole("button", { name: "Close" }).click();
    await job.getByText("cancelled").waitFor();

    backend.setMode("ok");
    await page.keyboard.press("l");
    await page.getByRole("button", { name: "At a rate, as a job" }).click();
    await dialog.getByLabel("At most so many a second").fill("500");
    await dialog.getByRole("button", { name: "Begin the job" }).click();
    await dialog.getByText("has begun").waitFor();
    await dialog.getByRole("button", { name: "Close" }).click();
    await page.keyboard.press("j");
    await job.getByText("finished").waitFor();
    await eventually("all are delivered", async () => (await deadLetters()) === 0);
    backend.setMode("reject-one");
    expect(complaints).toEqual([]);
  });

  test("pauses a flow with a reason that stays to be read, and lets it go on", async () => {
    const { page, complaints } = await opened();
    const flow = page.locator(".flow").filter({ hasText: "orders" });
    await flow.getByRole("button", { name: "Pause" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Why it is paused").fill("MES is migrated");
    await dialog.getByRole("button", { name: "Pause" }).click();
    await dialog.getByText("Flow orders is paused.").waitFor();
    await dialog.getByRole("button", { name: "Close" }).click();
    await flow.getByText(/Flow orders is paused by local since .*: MES is migrated/).waitFor();
    await publish("press-8", [reading("press-8", 1)]);
    expect((await gateway().flow("orders")).waiting).toBe(1);
    await flow.getByRole("button", { name: "Resume" }).click();
    await dialog.getByRole("button", { name: "Resume" }).click();
    await dialog.getByText("Flow orders goes on.").waitFor();
    await gateway().drained();
    expect(complaints).toEqual([]);
  });
});
