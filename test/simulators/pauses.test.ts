import { describe, expect, it } from "vitest";
import { lookAtPauses } from "../../simulators/torture/pauses.ts";

/** Pauses one after the other, and a jump in the midst of each of the last `jumps`. */
function look(lengthsMs: readonly number[], jumps: number) {
  let atMs = 0;
  const gaps = lengthsMs.map((ms) => {
    const fromMs = atMs;
    atMs += ms;
    return { fromMs, toMs: atMs };
  });
  const jumpsMs = jumps === 0 ? [] : gaps.slice(-jumps).map(({ fromMs }) => fromMs + 1);
  return lookAtPauses({ pauseMs: 500, gaps, jumpsMs, down: [], acksMs: [5, 5, 5] }).findings;
}

const times = (count: number, ms: number) => Array.from({ length: count }, () => ms);

describe("pauses that a backend asked for", () => {
  it("may last a tenth longer, and a try", () => {
    expect(look(times(20, 560), 4)).toEqual([]);
    expect(look(times(20, 570), 0)).toEqual([
      expect.stringMatching(/^delayed: pauses of 500 ms last 570 ms/),
    ]);
  });

  it("are not delayed by a jump where the machine delays all of them as much", () => {
    expect(look([...times(20, 560), ...times(4, 600)], 4)).toEqual([]);
  });

  it("are delayed by a jump where those with one are longer than the others", () => {
    expect(look([...times(20, 505), ...times(4, 570)], 4)).toEqual([
      expect.stringMatching(/^delayed: pauses with a jump in them .* last 570 ms .*without one 505 ms$/),
    ]);
    expect(look([...times(20, 560), ...times(4, 640)], 4)).toHaveLength(1);
  });

  it("are too early where one is", () => {
    expect(look([...times(20, 505), 480], 0)).toEqual([expect.stringMatching(/^too early/)]);
  });
});
