/** The negative control: adapters that lie, each held against the scenario that has to catch it. */
import { describe, expect, it } from "vitest";
import { modbusTcpBench } from "./benches.ts";
import type { AdapterBench } from "./conformance.ts";
import { describeLiars, problemsWith } from "./liars.ts";

describeLiars("Modbus", modbusTcpBench);

describe("the conformance suite, alone, catches an adapter that", () => {
  it("keeps what it hears", { timeout: 30_000 }, async () => {
    const kept: Buffer[] = [];
    const keeping = (bench: AdapterBench): AdapterBench => ({
      ...bench,
      one: {
        ...bench.one,
        flood(bytes) {
          kept.push(Buffer.alloc(bytes, 1));
          return bench.one.flood(bytes);
        },
      },
    });
    expect(await problemsWith(modbusTcpBench, "flood", keeping)).toEqual([
      expect.stringMatching(/bytes more are in use after each$/),
    ]);
    expect(kept).toHaveLength(3);
  });
});
