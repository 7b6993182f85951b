import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silentLogger } from "../../src/core/logger.ts";
import { Reader } from "../../src/queue/reader.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { StoreBuilder } from "../support/store-builder.ts";

let built: StoreBuilder;
let reader: Reader | undefined;
const clock = new ManualClock();

beforeEach(() => {
  built = new StoreBuilder();
});

afterEach(async () => {
  await reader?.stop();
  reader = undefined;
  built.remove();
});

async function startReader(threadEntry?: URL): Promise<Reader> {
  reader = new Reader({ dataDir: built.dataDir, clock, logger: silentLogger, threadEntry });
  await reader.start();
  return reader;
}

function fill(deliveries: number): void {
  built.many(() => {
    for (let i = 0; i < deliveries; i++)
      built.message({ device: `d${i % 50}`, payload: "", deliveries: [{ flow: "mes" }] });
  });
}

describe("the reader", () => {
  it("answers from its own thread with what has been committed since", async () => {
    const asking = await startReader();
    expect((await asking.query("overview", { steadyNowMs: 0 })).flows).toEqual([]);
    built.message({ deliveries: [{ flow: "mes" }] });
    const { flows } = await asking.query("overview", { steadyNowMs: 0 });
    expect(flows[0]).toMatchObject({ flow: "mes", waiting: 1 });
  });

  it("leaves the main thread free while a slow question runs", async () => {
    fill(21_000);
    const asking = await startReader();
    let turns = 0;
    let asked = true;
    const spin = () => {
      turns += 1;
      if (asked) setImmediate(spin);
    };
    spin();
    const audit = await asking.query("audit", {});
    asked = false;
    expect(audit.deliveriesRead).toBe(21_000);
    expect(turns).toBeGreaterThan(20);
  });

  it("answers other questions while an audit is under way", async () => {
    fill(21_000);
    const asking = await startReader();
    const order: string[] = [];
    const audit = asking.query("audit", {}).then((result) => order.push(`audit ${result.balanced}`));
    await asking.query("overview", { steadyNowMs: 0 }).then(() => order.push("overview"));
    await audit;
    expect(order).toEqual(["overview", "audit true"]);
  });

  it("runs one audit for all who ask at the same time", async () => {
    fill(1000);
    const asking = await startReader();
    const audits = await Promise.all([asking.query("audit", {}), asking.query("audit", {})]);
    expect(audits.map(({ balanced }) => balanced)).toEqual([true, true]);
  });

  it("gives back what a question throws, and goes on", async () => {
    const asking = await startReader();
    await expect(asking.query("deadLetters", { after: "nonsense" })).rejects.toMatchObject({
      code: "HF_INTERNAL",
      message: expect.stringContaining("not a cursor"),
    });
    await expect(asking.query("deadLetters", {})).resolves.toMatchObject({ total: 0 });
  });

  it("does not start without a store, and says which file it looked for", async () => {
    const dataDir = `${built.dataDir}/none`;
    const elsewhere = new Reader({ dataDir, clock, logger: silentLogger });
    await expect(elsewhere.start()).rejects.toMatchObject({
      code: "HF_NOT_FOUND",
      message: expect.stringContaining("none/store.db"),
    });
    await elsewhere.stop();
  });

  it("fails what was asked of a thread that died, and starts another, but not at once", async () => {
    const asking = await startReader(new URL("../support/dying-reader-thread.ts", import.meta.url));
    const died = { code: "HF_INTERNAL", message: expect.stringContaining("stopped (exit code 1)") };
    await expect(asking.query("failing", {})).rejects.toMatchObject(died);
    await expect(asking.query("failing", {})).rejects.toMatchObject({
      message: expect.stringContaining("has just stopped"),
    });
    clock.advance(1000);
    // Another thread was started, and died of the question in its turn.
    await expect(asking.query("failing", {})).rejects.toMatchObject(died);
  });

  it("leaves nobody waiting when it stops during an audit, and takes no questions afterwards", async () => {
    fill(21_000);
    const asking = await startReader();
    // It may have come to its end just before; what must not happen is that it is never settled.
    const audit = asking.query("audit", {}).then(
      () => "answered",
      (error: { code: string }) => error.code,
    );
    await asking.stop();
    expect(await audit).toMatch(/^(answered|HF_INTERNAL)$/);
    await expect(asking.query("failing", {})).rejects.toMatchObject({ code: "HF_GATEWAY_DOWN" });
  });
});
