import { describe, expect, it } from "vitest";
import type { FlowFigures, Overview } from "../../src/queue/queries-flows.ts";
import { HISTORY_BYTES, HISTORY_SPANS, History } from "../../src/watch/history.ts";
import { ManualClock } from "../support/manual-clock.ts";

const flow = (figures: Partial<FlowFigures>) =>
  ({
    flow: "mes",
    waiting: 0,
    sending: 0,
    unknown: 0,
    dead: 0,
    delivered: 0,
    replayed: 0,
    oldest: null,
    ...figures,
  }) as FlowFigures;

const overview = (accepted: number, figures: Partial<FlowFigures> = {}): Overview => ({
  flows: [flow(figures)],
  door: { accepted, duplicates: 0, unrouted: 0, dropped: 0, refused: 0 },
  bytes: { file: 0, free: 0 },
  boot: null,
  salvages: [],
  exports: [],
});

function watched() {
  const clock = new ManualClock();
  const history = new History(clock);
  const look = (afterMs: number, seen: Overview) => {
    clock.advance(afterMs);
    history.look(seen);
  };
  return { clock, history, look };
}

describe("the history of figures", () => {
  it("says for each step what was counted in it, and how things stood at its end", () => {
    const { history, look } = watched();
    look(0, overview(100, { delivered: 90, waiting: 10 }));
    history.committed(4);
    history.committed(8);
    history.delivered(250);
    history.failed();
    look(5_000, overview(130, { delivered: 95, waiting: 30 }));
    look(5_000, overview(160, { delivered: 140, waiting: 18, sending: 2, dead: 1 }));
    look(10_000, overview(160, { delivered: 160 }));
    const { columns, agoMs, stepMs } = history.view("hour");
    expect(stepMs).toBe(10_000);
    expect(agoMs).toEqual([10_000, 0]);
    expect(columns).toMatchObject({
      accepted: [60, 0],
      delivered: [50, 20],
      failedTries: [1, 0],
      waiting: [20, 0],
      dead: [1, 0],
      commitMsMean: [6, null],
      commitMsMax: [8, null],
      deliveryMsMean: [250, null],
    });
    expect(history.view("day").columns.accepted).toEqual([]);
  });

  it("makes one longer step of the time in which nothing could be read, and says so", () => {
    const { history, look } = watched();
    look(0, overview(0));
    look(35_000, overview(70));
    expect(history.view("hour").columns).toMatchObject({ accepted: [70], forMs: [35_000] });
  });

  it("is not folded over itself by a wall clock that jumps", () => {
    const { clock, history, look } = watched();
    look(0, overview(0));
    look(10_000, overview(1));
    clock.setWallMs(clock.wallMs() - 86_400_000);
    look(10_000, overview(2));
    expect(history.view("hour").agoMs).toEqual([10_000, 0]);
  });

  it("keeps the newest steps and takes no more memory than it says", () => {
    const { history, look } = watched();
    const { steps } = HISTORY_SPANS.hour;
    for (let n = 0; n <= steps + 5; n++) look(10_000, overview(n));
    const { accepted } = history.view("hour").columns;
    expect(accepted).toHaveLength(steps);
    expect(history.view("hour").agoMs[0]).toBe((steps - 1) * 10_000);
    expect(HISTORY_BYTES).toBeLessThan(300_000);
  });
});
