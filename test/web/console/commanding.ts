/** Telling devices what to do, and knowing what came of it; and what can be asked of a backend. */
import { expect, test } from "vitest";
import type { CommandRow } from "../../../src/queue/queries-commands.ts";
import { accessComplaints } from "../../support/browser.ts";
import { type Desk, PATIENCE, press } from "./desk.ts";
import { idOf } from "./truth.ts";

export function theyCommand(desk: Desk): void {
  const listed = async () => {
    const answer = await fetch(`${desk.gateway().http}/v1/commands`);
    return ((await answer.json()) as { commands: CommandRow[] }).commands;
  };

  test("tells a device what to do after it has said what will happen, and tells what came of it", async () => {
    // What was lost holds up its device until somebody has said what came of it.
    const { page, complaints } = await desk.opened("#/commands");
    await page.getByRole("button", { name: "It was done …" }).click();
    await page.getByRole("dialog").getByLabel(/^Why/).fill("it stepped: seen");
    await press(page, "It was done");
    await page.getByText("It is on record as done.").waitFor();
    await press(page, "Close");

    await page.evaluate('location.hash = "#/devices"');
    await page.getByRole("link", { name: "Tell it what to do packer-1" }).click();
    const form = page.getByRole("region", { name: "Tell a device what to do" });
    const send = form.getByRole("button", { name: "Send" });
    await form.getByText("Not now: it needs a number first.").waitFor();
    await form.getByLabel("To (packs/min, 0 to 120)").fill("70");
    await form.getByLabel("Why").fill("small packs");
    await send.click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText("If it cannot be sent within 1 min, it expires").waitFor();
    expect(await accessComplaints(page)).toEqual([]);
    await press(page, "Send the command");
    await dialog.getByText("It is on disk, and on its way.").waitFor();
    await press(page, "Close");
    await form.getByText("It was done, and seen to be done.").waitFor();
    expect(desk.packer.executions.at(-1)).toMatchObject({ signal: "speed", value: 70 });
    expect((await listed())[0]).toMatchObject({ state: "verified", reason: "small packs", value: 70 });

    // What it does not take is refused by the rule's name, and nothing was stored.
    const before = (await listed()).length;
    await form.getByLabel("To (packs/min, 0 to 120)").fill("121");
    await send.click();
    await press(page, "Send the command");
    await dialog.getByText("devices.packer-1.commands.signals.speed.max").waitFor();
    await press(page, "Close");
    expect((await listed()).length).toBe(before);
    expect(complaints.filter((each) => !each.includes("422"))).toEqual([]);
  });

  test("knows before a first try which backends can be asked for a lost answer, and asks one", async () => {
    const { dataDir } = desk.gateway().process;
    const { page } = await desk.opened(`#/messages/${idOf(dataDir, "lossy-1-1")}`);
    const named = (flow: string) => page.getByRole("region", { name: `Flow ${flow}` });
    await named("lossy").getByText("Ask the backend: not now: lossy has no address to be asked at").waitFor();
    const button = named("lossy").getByRole("button", { name: "Ask the backend" });
    expect(await button.getAttribute("aria-disabled")).toBe("true");

    await page.evaluate(`location.hash = "#/messages/${idOf(dataDir, "asked-1-1")}"`);
    await named("asked").getByRole("button", { name: "Ask the backend" }).click();
    await press(page, "Ask");
    await expect.poll(() => page.getByRole("dialog").innerText(), PATIENCE).toContain("asked has it not");
    await press(page, "Close");
    await page.getByText("asked by local").first().waitFor();
  });

  test("says what is raised, who is told, what they answered, and sends a test", async () => {
    const { page, complaints } = await desk.opened("#/notifications");
    await page.getByText(/Attention.*dead letter/).waitFor();
    const rules = page.getByRole("region", { name: "What is told", exact: true });
    await rules.getByRole("row", { name: /^deadLetters.*more than 0, at once.*panel$/ }).waitFor();
    await rules.getByRole("row", { name: /^targets.*switched off$/ }).waitFor();
    await page.getByText(/panel told:.*dead letter/).waitFor();
    const channels = page.getByRole("region", { name: "Who is told" });
    for (const [channel, answer] of [
      ["panel", "panel took it."],
      ["phone", "phone did not take it:"],
    ] as const) {
      await channels.getByRole("button", { name: `Test … channel ${channel}` }).click();
      await press(page, "Send a test");
      await page.getByText(answer).waitFor();
      await press(page, "Close");
    }
    expect(complaints).toEqual([]);
  });
}
