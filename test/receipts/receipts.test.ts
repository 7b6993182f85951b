/** What receipts tell and how many they follow, without a broker and a store; test/journeys has both. */
import { describe, expect, it, onTestFinished } from "vitest";
import { silentLogger } from "../../src/core/logger.ts";
import type { FlowState } from "../../src/queue/queries-receipts.ts";
import type { Querying } from "../../src/queue/reader.ts";
import { Receipts } from "../../src/receipts/receipts.ts";
import { receiptsSchema } from "../../src/receipts/schema.ts";
import { ManualClock } from "../support/manual-clock.ts";

interface Told {
  readonly device: string;
  readonly messageId: string;
  readonly state: string;
}

async function rig(options: object) {
  const clock = new ManualClock();
  const config = receiptsSchema.parse({ devices: ["press-7"], ...options });
  const told: Told[] = [];
  const counted = { leftOut: 0 };
  /** What each message is now, by sequence. */
  const states = new Map<number, FlowState["state"]>();
  const query = async (name: string, { seqs = [] }: { seqs?: readonly number[] }) =>
    name === "openMessages"
      ? []
      : seqs.map((seq) => ({ seq, flows: [{ flow: "mes", state: states.get(seq), reason: null }] }));
  const receipts = new Receipts({
    config,
    gateway: "edge-1",
    reader: { query } as unknown as Querying,
    send: (device, _topic, payload) => {
      const said = JSON.parse(payload.toString()) as { receipts: Omit<Told, "device">[] };
      for (const { messageId, state } of said.receipts) told.push({ device, messageId, state });
    },
    onLeftOut: () => {
      counted.leftOut += 1;
    },
    clock,
    logger: silentLogger,
  });
  onTestFinished(() => receipts.stop());
  await receipts.start();
  const door = receipts.listening({
    async accept({ device }) {
      const seq = states.size + 1;
      states.set(seq, "waiting");
      return { kind: "stored", id: `${device}:${seq}`, seq, flows: 1, late: false };
    },
  });
  const accept = (device: string) =>
    door.accept({ device, source: "mqtt", topic: "t", payload: Buffer.alloc(0), qos: 1 });
  return { clock, told, counted, states, accept };
}

describe("receipts", () => {
  it("say what became of a message when it has changed, and to nobody whom the config does not name", async () => {
    const { clock, told, states, accept } = await rig({});
    await accept("press-7");
    await accept("press-8");
    await clock.advanceAsync(1500);
    expect(told).toEqual([{ device: "press-7", messageId: "press-7:1", state: "stored" }]);
    states.set(1, "delivered");
    states.set(2, "delivered");
    await clock.advanceAsync(1500);
    expect(told.slice(1)).toEqual([{ device: "press-7", messageId: "press-7:1", state: "delivered" }]);
  });

  it("follow at most so many, let the oldest go, and count those", async () => {
    const { clock, told, counted, accept } = await rig({ followedMax: 3 });
    for (let n = 0; n < 5; n++) await accept("press-7");
    await clock.advanceAsync(500);
    expect(told.map(({ messageId }) => messageId)).toEqual(["press-7:3", "press-7:4", "press-7:5"]);
    expect(counted.leftOut).toBe(2);
    const roomy = await rig({ followedMax: 5 });
    for (let n = 0; n < 5; n++) await roomy.accept("press-7");
    await roomy.clock.advanceAsync(500);
    expect([roomy.told.length, roomy.counted.leftOut]).toEqual([5, 0]);
  });
});
