/** Every figure shown agrees with the store, whoever shows it. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Status, scratchFolder } from "../../support/journey.ts";
import { type Desk, PATIENCE } from "./desk.ts";
import {
  commandsOfStore,
  figuresOfPage,
  figuresOfStatus,
  figuresOfStore,
  heldOfMetrics,
  idOf,
  lettersOfStore,
  storyOfAnswer,
  storyOfPage,
  storyOfStore,
} from "./truth.ts";

export function itSaysWhatIsSo(desk: Desk): void {
  test("answers the six questions as the API, the command line and the store itself do", async () => {
    const journey = desk.gateway();
    const { dataDir } = journey.process;
    await repairSome(desk);
    const json = async (...args: string[]) => JSON.parse((await journey.cli(...args, "--json")).stdout);

    const truth = figuresOfStore(dataDir);
    // Nothing is left out of the comparison.
    const states = new Set(Object.keys(truth.states).map((key) => key.split(" ").at(-1)));
    expect([...states].sort()).toEqual(
      "accepted dead delivered discarded evicted expired replayed sending unknown waiting".split(" "),
    );
    expect(truth.paused).toEqual(["device calm-1", "flow quiet", "target away"]);
    expect(truth.held).toEqual({ far: 2 });
    // The gateway looks at itself once a second.
    await expect.poll(async () => figuresOfStatus(await journey.status()), PATIENCE).toEqual(truth);
    expect(figuresOfStatus((await json("status")) as Status)).toEqual(truth);
    expect(heldOfMetrics(await (await fetch(`${journey.http}/metrics`)).text())).toEqual(truth.held);
    const asked = (await (await fetch(`${journey.http}/v1/flows`)).json()) as Pick<Status, "flows">;
    expect(asked.flows.map(({ held }) => held).filter((n) => n > 0)).toEqual([2]);
    const { page, complaints } = await desk.opened();
    await expect.poll(() => figuresOfPage(page), PATIENCE).toEqual(truth);

    for (const name of ["calm-1-1", "calm-1-2", "calm-1-4", "lossy-1-1", "again-1-1"]) {
      const id = idOf(dataDir, name);
      const story = storyOfStore(dataDir, id);
      expect(storyOfAnswer(await journey.message(id))).toEqual(story);
      expect(storyOfAnswer(await json("messages", "show", id))).toEqual(story);
      expect(await storyOfPage(page, id)).toEqual(story);
    }

    const letters = lettersOfStore(dataDir);
    const { letters: listed } = await json("dead", "list");
    expect(listed.map(({ id }: { id: string }) => id)).toEqual(letters);
    const { messages } = await json("messages", "list", "--state", "dead");
    expect(messages.map(({ id }: { id: string }) => id)).toEqual(letters);
    await page.evaluate('location.hash = "#/dead"');
    const boxes = page.getByRole("grid").getByRole("checkbox");
    await expect.poll(() => boxes.count(), PATIENCE).toBe(letters.length);
    const named = await boxes.evaluateAll((all) => all.map((each) => each.getAttribute("aria-label")));
    expect(named).toEqual(letters.map((id) => `Choose ${id}`));

    const commands = commandsOfStore(dataDir);
    expect(commands.map(([, , state]) => state)).toEqual(["unknown", "verified"]);
    const briefs = (answer: unknown) =>
      (answer as { commands: { signal: string; value: unknown; state: string }[] }).commands.map(
        ({ signal, value, state }) => [signal, value, state],
      );
    expect(briefs(await (await fetch(`${journey.http}/v1/commands`)).json())).toEqual(commands);
    expect(briefs(await json("command", "list"))).toEqual(commands);
    await page.evaluate('location.hash = "#/commands"');
    const rows = page.locator("table.found tbody tr");
    await expect.poll(() => rows.count(), PATIENCE).toBe(commands.length);
    const shown = await rows.evaluateAll((all) =>
      all.map((row) => [
        row.children[2]!.firstChild!.textContent,
        row.children[2]!.querySelector("b")?.textContent ?? "null",
        row.querySelector(".state")!.textContent,
      ]),
    );
    expect(shown).toEqual(commands.map(([signal, value, state]) => [signal, String(value), state]));
    expect(complaints).toEqual([]);
    expect((await journey.audited()).state).toBe("balanced");
  });

  test("would be caught showing a figure that is not so", async () => {
    const truth = figuresOfStore(desk.gateway().process.dataDir);
    const { page } = await desk.open();
    await page.route("**/v1/status", async (route) => {
      const response = await route.fetch();
      const status = (await response.json()) as Status;
      const flows = status.flows.map((flow) => ({
        ...flow,
        evicted: flow.evicted + Number(flow.flow === "orders"),
      }));
      await route.fulfill({ response, json: { ...status, flows } });
    });
    await page.goto(desk.gateway().http);
    await page.locator(".head .state").waitFor();
    const shown = await figuresOfPage(page);
    const evicted = truth.states["orders evicted"]! + 1;
    expect(shown).toEqual({ ...truth, states: { ...truth.states, "orders evicted": evicted } });
    expect(shown).not.toEqual(truth);
  });
}

/** An edit, a discard, a replay, an export, and pauses of each kind. */
async function repairSome({ gateway, publish }: Desk): Promise<void> {
  const journey = gateway();
  const id = (name: string) => idOf(journey.process.dataDir, name);
  const cli = async (...args: string[]) => expect(await journey.cli(...args)).toMatchObject({ code: 0 });
  await publish("calm-2", [JSON.stringify({ id: "calm-2-1", part: "poison" })]);
  await cli("messages", "replay", "--flow", "orders", "--device", "calm-1", "--rate", "100/s");
  await cli("export", join(scratchFolder(), "far.jsonl"), "--flow", "far", "--reason", "box b takes these");
  await cli("pause", "target", "away", "--reason", "it is moved");
  await cli("pause", "device", "calm-1", "--reason", "it is measured");
  await cli("dead", "edit", id("calm-1-2"), "--set", "/part=plate", "--reason", "wrong part");
  await cli("dead", "discard", id("calm-1-4"), "--reason", "a test part");
}
