/** Edit, discard, jobs and pauses. */
import { expect, test } from "vitest";
import { accessComplaints } from "../../support/browser.ts";
import { arrivalsOf, eventually, reading } from "../../support/journey.ts";
import { type Desk, poisoned } from "./desk.ts";

export function theyRepair(desk: Desk): void {
  test("lets an operator edit a dead letter, sees what its target would say before, and delivers it so", async () => {
    const before = await desk.deadLetters();
    await desk.publish("lathe-4", [poisoned("lathe-4", 1)]);
    await eventually("it is dead", async () => (await desk.deadLetters()) === before + 1);
    const { page, complaints } = await desk.opened("#/messages?device=lathe-4");
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
    expect(arrivalsOf(desk.backend, "lathe-4-1").map(({ taken }) => taken)).toEqual([false, true]);
    expect(desk.backend.requests.at(-1)!.body.toString()).toContain("plate");
    expect(complaints).toEqual([]);
  });

  test("discards with a reason and after its figures were told, and leaves the others", async () => {
    desk.backend.script = ({ body }, response) => {
      if (!body.includes('"saw-5"')) return false;
      response.writeHead(422, { "content-type": "application/json" }).end(`{"title":"test cut"}`);
      return true;
    };
    const { dead: others, discarded: earlier } = await desk.gateway().flow("orders");
    await desk.publish(
      "saw-5",
      [1, 2, 3].map((n) => reading("saw-5", n, { device: "saw-5" })),
    );
    await eventually("they are dead", async () => (await desk.deadLetters()) === others + 3);
    const { page, complaints } = await desk.opened("#/dead");
    const group = page.locator("table.groups tbody tr").filter({ hasText: "test cut" });
    await group.getByRole("button", { name: "Discard" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText("3 dead letters and 0 held deliveries").waitFor();
    await dialog.getByLabel("Why they are given up").fill("cut for a test");
    await dialog.getByRole("button", { name: "Discard" }).click();
    await dialog.getByText("3 discarded, on record with your reason.").waitFor();
    const { discarded, dead } = await desk.gateway().flow("orders");
    expect({ discarded, dead }).toEqual({ discarded: earlier + 3, dead: others });
    expect(complaints).toEqual([]);
  });

  test("puts many back as a job at a rate, and finds it again after being loaded anew", async () => {
    const device = "mill-6";
    const before = await desk.deadLetters();
    await desk.publish(
      device,
      [1, 2, 3, 4, 5, 6].map((n) => poisoned(device, n)),
    );
    await eventually("they are dead", async () => (await desk.deadLetters()) === before + 6);
    const { page, complaints } = await desk.opened("#/dead?flow=orders");
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

    desk.backend.setMode("ok");
    await page.evaluate('location.hash = "#/dead?flow=orders"');
    await page.getByRole("button", { name: "At a rate, as a job" }).click();
    await dialog.getByLabel("At most so many a second").fill("500");
    await dialog.getByRole("button", { name: "Begin the job" }).click();
    await dialog.getByText("has begun").waitFor();
    await dialog.getByRole("button", { name: "Close" }).click();
    await page.keyboard.press("j");
    await job.getByText("finished").waitFor();
    await eventually("all are delivered", async () => (await desk.deadLetters()) === 0);
    desk.backend.setMode("reject-one");
    expect(complaints).toEqual([]);
  });

  test("pauses a flow with a reason that stays to be read, and lets it go on", async () => {
    const { page, complaints } = await desk.opened();
    const flow = page.locator(".flow").filter({ hasText: "orders" });
    const { waiting } = await desk.gateway().flow("orders");
    await flow.getByRole("button", { name: "Pause" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Why it is paused").fill("MES is migrated");
    await dialog.getByRole("button", { name: "Pause" }).click();
    await dialog.getByText("Flow orders is paused.").waitFor();
    await dialog.getByRole("button", { name: "Close" }).click();
    await flow.getByText(/Flow orders is paused by local since .*: MES is migrated/).waitFor();
    await desk.publish("press-8", [reading("press-8", 1)]);
    expect((await desk.gateway().flow("orders")).waiting).toBe(waiting + 1);
    await flow.getByRole("button", { name: "Resume" }).click();
    await dialog.getByRole("button", { name: "Resume" }).click();
    await dialog.getByText("Flow orders goes on.").waitFor();
    await eventually("it goes on", async () => (await desk.gateway().flow("orders")).waiting === waiting);
    expect(complaints).toEqual([]);
  });
}
