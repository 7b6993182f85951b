/**
 * A store has one gateway. A second start on it is refused, says who holds it, and changes nothing for the first;
 * a gateway that was killed leaves no lock behind.
 */
import { describe, expect, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { capability } from "../support/capabilities.ts";
import { finished, startCli } from "../support/cli-process.ts";
import { effects, Journey, reading, shared, startBackend } from "../support/journey.ts";

async function publish(journey: Journey, n: number): Promise<void> {
  const client = await journey.client("press");
  await client.publish({ topic: "plant/press", payload: reading("press", n), qos: 1 });
  await client.disconnect();
}

describe("a second gateway on the same store", () => {
  const backend = new HttpBackend();
  const made = shared(async () => {
    const { url } = await startBackend(backend);
    const options = { config: { targets: { backend: { type: "http", url } } } };
    return { first: await Journey.start(options), options };
  });

  test("is refused with the holder's process id and exit code 75, and the first is unharmed", async () => {
    const { first } = made();
    await publish(first, 1);
    const { configFile, dataDir, pid } = first.process;
    const args = ["run", "--config", configFile, "--data", dataDir];
    const [spoken, json] = await Promise.all(
      [args, [...args, "--json"]].map((each) => finished(startCli(each, { cwd: first.dir }))),
    );
    expect(spoken).toMatchObject({ code: 75, stdout: "" });
    expect(spoken!.stderr).toContain(`in use by process ${pid}, running since `);
    expect(spoken!.stderr).toContain("what to do: Only one gateway may own a data folder.");
    expect(json!.code).toBe(75);
    expect(JSON.parse(json!.stdout).error).toMatchObject({ code: "HF_STORE_LOCKED", details: { pid } });
    await publish(first, 2);
    await first.drained();
    expect(effects(backend)).toEqual(["press-1", "press-2"]);
    // It is still the one whom the command line finds.
    expect(await first.cli("health")).toMatchObject({ code: 0 });
    expect(await first.audited()).toMatchObject({ state: "balanced" });
  });

  test.skipIf(!capability("wide").present)("that takes no lock is found out: it is not refused", async () => {
    const { first, options } = made();
    const saboteur = await Journey.start({ ...options, dataDir: first.process.dataDir, fault: "no-lock" });
    expect(saboteur.process.up && first.process.up).toBe(true);
  });

  test.skipIf(!capability("wide").present)("is let in at once where the first was killed", async () => {
    const { first, options } = made();
    await first.process.kill();
    const second = await Journey.start({ ...options, dataDir: first.process.dataDir });
    await publish(second, 3);
    await second.drained();
    expect(effects(backend)).toContain("press-3");
  });
});
