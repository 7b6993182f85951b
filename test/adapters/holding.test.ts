import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Holding, type HoldingOptions } from "../../src/adapters/holding.ts";
import { readingsMessage } from "../../src/adapters/readings.ts";
import { silentLogger } from "../../src/core/logger.ts";
import type { Draft, Receipt } from "../../src/intake/draft.ts";
import { ManualClock } from "../support/manual-clock.ts";

/** An intake that takes when it is told to, in the order of the calls; what is offered before that waits. */
class Gate {
  readonly taken: Draft[] = [];
  readonly #waiting: (() => void)[] = [];
  #open = true;
  answer: (draft: Draft) => Receipt = ({ producerId }) => {
    return { kind: "stored", id: producerId!, seq: 1, flows: 1, late: false };
  };
  failure: Error | null = null;

  accept(draft: Draft, signal?: AbortSignal): Promise<Receipt> {
    return new Promise((resolve, reject) => {
      this.#waiting.push(() => {
        if (signal?.aborted || this.failure) return reject(this.failure ?? signal?.reason);
        this.taken.push(draft);
        resolve(this.answer(draft));
      });
      this.#take();
    });
  }

  shut(): void {
    this.#open = false;
  }

  open(): void {
    this.#open = true;
    this.#take();
  }

  #take(): void {
    if (this.#open) for (const take of this.#waiting.splice(0)) take();
  }

  get messages() {
    return this.taken.map(({ payload }) => readingsMessage.parse(JSON.parse(payload.toString())));
  }
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

function rig(more: Partial<HoldingOptions> = {}) {
  const gate = new Gate();
  const clock = new ManualClock();
  const holding = new Holding({
    source: { device: "press-7", source: "modbus", boot: "boot-1" },
    messagesMax: 4,
    keep: "newest",
    gapTopic: "press-7/gap",
    intake: gate,
    clock,
    logger: silentLogger,
    ...more,
  });
  const submit = (value: number) =>
    holding.submit("press-7/fast", {
      kind: "poll",
      group: "fast",
      atMs: clock.wallMs(),
      readings: [
        { signal: "x", value, unit: null, quality: "good", reason: null, producedAtMs: clock.wallMs() },
      ],
    });
  return { gate, clock, holding, submit };
}

/** The numbers a consumer sees, with gaps as ranges. */
const told = (gate: Gate) =>
  gate.messages.map((message) =>
    message.kind === "gap"
      ? `${message.fromSequence}-${message.sequence} (${message.count})`
      : message.sequence,
  );

describe("what a device has to say", () => {
  it("goes to intake at once, numbered, under (device, boot, sequence)", async () => {
    const { gate, holding, submit } = rig();
    for (const value of [10, 20]) submit(value);
    await settle();
    expect(
      gate.taken.map(({ device, source, producerId, topic }) => [device, source, producerId, topic]),
    ).toEqual([
      ["press-7", "modbus", "boot-1.1", "press-7/fast"],
      ["press-7", "modbus", "boot-1.2", "press-7/fast"],
    ]);
    expect(gate.messages[1]).toMatchObject({ kind: "poll", sequence: 2, readings: { x: { value: 20 } } });
    expect(holding.figures()).toMatchObject({ made: 2, stored: 2, storedSequence: 2, held: 0, missed: 0 });
  });

  it("waits in its order while the store takes nothing", async () => {
    const { gate, holding, submit } = rig();
    gate.shut();
    for (const value of [1, 2, 3]) submit(value);
    await settle();
    expect(holding.figures()).toMatchObject({ made: 3, stored: 0, storedSequence: 0, held: 3 });
    gate.open();
    await settle();
    expect(told(gate)).toEqual([1, 2, 3]);
    expect(holding.figures()).toMatchObject({ stored: 3, held: 0, missed: 0 });
  });

  it("is settled in order, when it is stored and not before", async () => {
    const settled: number[] = [];
    const { gate, submit } = rig({ onSettled: (sequence) => settled.push(sequence) });
    gate.shut();
    expect([submit(1), submit(2)]).toEqual([1, 2]);
    await settle();
    expect(settled).toEqual([]);
    gate.open();
    await settle();
    expect(settled).toEqual([1, 2]);
  });

  it("is missing without a count where it never left the machine, at its place in the order", async () => {
    const { gate, clock, holding, submit } = rig();
    submit(1);
    holding.submitGap("the machine forgot", clock.wallMs() - 1000, clock.wallMs());
    submit(2);
    await settle();
    expect(told(gate)).toEqual([1, "2-2 (null)", 3]);
    expect(gate.messages[1]).toMatchObject({
      reason: "the machine forgot",
      from: "2026-06-01T11:59:59.000Z",
      to: "2026-06-01T12:00:00.000Z",
    });
  });

  it("is one gap where it is missing for several reasons, however often, and no number is left out", async () => {
    const { gate, clock, holding, submit } = rig();
    gate.shut();
    for (let n = 0; n < 50; n++) {
      submit(n);
      holding.submitGap(n % 2 === 0 ? "one" : "the other", clock.wallMs(), clock.wallMs());
    }
    expect(holding.figures()).toMatchObject({ made: 100, held: 4, missed: 46 });
    gate.open();
    for (let n = 0; n < 10; n++) await settle();
    let next = 1;
    for (const message of gate.messages) {
      expect(message.kind === "gap" ? message.fromSequence : message.sequence).toBe(next);
      next = message.sequence + 1;
    }
    expect(next).toBe(101);
    expect(gate.messages.length).toBeLessThan(12);
    const said = gate.messages.flatMap((message) => (message.kind === "gap" ? message.reason : [])).join();
    for (const reason of ["one", "the other", "more came than may be held"]) expect(said).toContain(reason);
  });

  it("beyond the limit the oldest gives way to the newest, and a gap record stands in its place", async () => {
    let forgotten = 0;
    const { gate, clock, holding, submit } = rig({ onGivenUp: () => (forgotten += 1) });
    gate.shut();
    for (let value = 1; value <= 10; value++) {
      submit(value);
      clock.advance(1000);
    }
    // Two are with intake already and cannot be taken back.
    expect(holding.figures()).toMatchObject({ made: 10, held: 4, missed: 6 });
    expect(forgotten).toBe(6);
    gate.open();
    await settle();
    await settle();
    expect(told(gate)).toEqual([1, 2, "3-8 (6)", 9, 10]);
    const gap = gate.messages[2]!;
    expect(gap).toMatchObject({
      kind: "gap",
      device: "press-7",
      boot: "boot-1",
      from: "2026-06-01T12:00:02.000Z",
      to: "2026-06-01T12:00:07.000Z",
      reason: expect.stringContaining("store"),
    });
    expect(gate.taken[2]).toMatchObject({ topic: "press-7/gap", producerId: "boot-1.8" });
    expect(holding.figures()).toMatchObject({ held: 0, missed: 6, storedSequence: 10 });
  });

  it("beyond the limit the newest gives way, where that is the policy", async () => {
    const { gate, submit } = rig({ keep: "oldest" });
    gate.shut();
    for (let value = 1; value <= 10; value++) submit(value);
    gate.open();
    await settle();
    await settle();
    submit(11);
    await settle();
    expect(told(gate)).toEqual([1, 2, 3, 4, "5-10 (6)", 11]);
  });

  it("leaves no number out and tells none twice, whenever the store takes and refuses", async () => {
    const steps = fc.array(fc.constantFrom("submit", "submit", "submit", "shut", "open"), { maxLength: 80 });
    const policy = fc.constantFrom("newest" as const, "oldest" as const);
    await fc.assert(
      fc.asyncProperty(steps, policy, fc.integer({ min: 1, max: 9 }), async (row, keep, messagesMax) => {
        const { gate, holding, submit } = rig({ keep, messagesMax });
        for (const step of row) {
          if (step === "submit") submit(1);
          else gate[step]();
          if (step === "open") await settle();
          expect(holding.figures().held).toBeLessThanOrEqual(messagesMax);
        }
        gate.open();
        for (let n = 0; n < 20 && holding.figures().storedSequence < holding.figures().made; n++)
          await settle();
        let next = 1;
        for (const message of gate.messages) {
          const from = message.kind === "gap" ? message.fromSequence : message.sequence;
          expect(from).toBe(next);
          if (message.kind === "gap") expect(message.count).toBe(message.sequence - from + 1);
          next = message.sequence + 1;
        }
        expect(next).toBe(holding.figures().made + 1);
      }),
      { numRuns: 60 },
    );
  });

  it("that intake refuses for good is counted and does not hold up the rest", async () => {
    const { gate, holding, submit } = rig();
    gate.answer = () => ({ kind: "refused", code: "HF_UNROUTED", reason: "no flow takes its topic" });
    submit(1);
    submit(2);
    await settle();
    expect(holding.figures()).toMatchObject({ refused: 2, stored: 0, held: 0 });
  });

  it("ends with a store that has failed for good", async () => {
    const { gate, holding, submit } = rig();
    gate.failure = new Error("EIO");
    submit(1);
    await settle();
    submit(2);
    await settle();
    expect(holding.figures()).toMatchObject({ stored: 0, held: 0, storedSequence: 0 });
  });

  it("is waited for at a stop, for a while", async () => {
    const { gate, clock, holding, submit } = rig();
    gate.shut();
    submit(1);
    let stopped = false;
    const stopping = holding.stop().then(() => {
      stopped = true;
    });
    await clock.advanceAsync(500);
    expect(stopped).toBe(false);
    gate.open();
    await stopping;
    expect(gate.taken).toHaveLength(1);

    const other = rig();
    other.gate.shut();
    other.submit(1);
    const giving = other.holding.stop();
    await other.clock.advanceAsync(5000);
    await giving;
    other.gate.open();
    await settle();
    expect(other.gate.taken).toHaveLength(0);
  });
});
