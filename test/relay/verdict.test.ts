/** The pure parts: what an outcome means, how long a delay is, and how a circuit changes. */
import { describe, expect, it } from "vitest";
import { flowSchema, makeFlow } from "../../src/core/flow.ts";
import { delivered, notSent, reject, retryMessage, retryTarget, unknown } from "../../src/core/outcome.ts";
import { type Random, seededRandom } from "../../src/core/random.ts";
import type { ClaimedDelivery } from "../../src/queue/requests.ts";
import { backoffMs, PAUSE_MS_MAX, pauseMs } from "../../src/relay/backoff.ts";
import {
  type Circuit,
  circuitFailed,
  circuitProbed,
  circuitSucceeded,
  failuresNext,
} from "../../src/relay/circuit.ts";
import { verdict } from "../../src/relay/verdict.ts";

const fixed = (unit: number): Random => ({ below: () => 0, unit: () => unit, fill: () => {} });

describe("a verdict", () => {
  const flow = makeFlow("outbox", flowSchema.parse({ from: "#", to: "backend", retry: { attemptsMax: 3 } }));

  function judge(
    outcome: Parameters<typeof verdict>[1],
    delivery: Partial<ClaimedDelivery> = {},
    context: { othersAnswered?: boolean } = {},
  ) {
    const claimed = {
      lane: 4,
      attempts: 0,
      late: false,
      resend: false,
      wasUnknown: false,
      steadyAtMs: 0,
      message: { seq: 9 },
      ...delivery,
    } as ClaimedDelivery;
    return verdict(claimed, outcome, {
      flow,
      steadyMs: 1000,
      random: fixed(1),
      othersAnswered: false,
      ...context,
    });
  }

  it.each([
    [
      "delivered at the first try needs no words",
      judge(delivered()),
      { state: "delivered", attempts: 1, note: null },
    ],
    [
      "delivered after others is told",
      judge(delivered(), { attempts: 2 }),
      { attempts: 3, note: "delivered" },
    ],
    [
      "delivered as a resend is told, and is none any more",
      judge(delivered(), { resend: true }),
      { note: "delivered", resend: false },
    ],
    ["delivered with a word keeps it", judge(delivered("202")), { reason: "202" }],
    [
      "rejected is dead",
      judge(reject("422")),
      { state: "dead", attempts: 1, reason: "422", note: "dead", dueAtMs: null },
    ],
    [
      "not taken waits, charged",
      judge(retryMessage("423")),
      { state: "waiting", attempts: 1, dueAtMs: 2000, note: "retry" },
    ],
    [
      "not taken again waits longer",
      judge(retryMessage("423"), { attempts: 1 }),
      { attempts: 2, dueAtMs: 3000 },
    ],
    [
      "not taken for the last time is dead",
      judge(retryMessage("423"), { attempts: 2 }),
      { state: "dead", attempts: 3, dueAtMs: null },
    ],
    ["a longer pause asked for counts", judge(retryMessage("429", 90_000)), { dueAtMs: 91_000 }],
    ["a shorter one does not", judge(retryMessage("429", 1)), { dueAtMs: 2000 }],
    ["a pause is stored in whole ms", judge(retryMessage("429", 90_000.2)), { dueAtMs: 91_001 }],
    [
      "an outage charges nothing",
      judge(retryTarget("503")),
      { state: "waiting", attempts: 0, dueAtMs: null, note: "outage" },
    ],
    [
      "not sent says nothing",
      judge(notSent),
      { state: "waiting", attempts: 0, dueAtMs: null, note: null, reason: null },
    ],
    [
      "a lost answer is unknown",
      judge(unknown("timeout")),
      { state: "unknown", attempts: 0, resend: true, dueAtMs: 2000 },
    ],
    [
      "a lost answer amid others is charged",
      judge(unknown("timeout"), {}, { othersAnswered: true }),
      { state: "unknown", attempts: 1 },
    ],
    [
      "lost answers amid others end, and what is dead may be there",
      judge(unknown("timeout"), { attempts: 2 }, { othersAnswered: true }),
      { state: "dead", attempts: 3, resend: true },
    ],
    [
      "an outage leaves what is unknown unknown, due at once",
      judge(retryTarget("503"), { wasUnknown: true, resend: true }),
      { state: "unknown", resend: true, dueAtMs: 0 },
    ],
    [
      "not taken now does not unsay that it may be there",
      judge(retryMessage("423"), { wasUnknown: true, resend: true }),
      { state: "unknown", resend: true },
    ],
  ])("%s", (_, settlement, expected) => {
    expect(settlement).toMatchObject({ lane: 4, seq: 9, ...expected });
  });

  it("keeps reasons short", () => {
    expect(judge(reject("x".repeat(10_000))).reason).toHaveLength(500);
  });
});

describe("a delay", () => {
  it("doubles with each failure up to its limit", () => {
    const delays = [1, 2, 3, 4, 5, 6, 100, 10_000].map((failures) =>
      backoffMs(failures, 1000, 20_000, fixed(1)),
    );
    expect(delays).toEqual([1000, 2000, 4000, 8000, 16_000, 20_000, 20_000, 20_000]);
  });

  it("is drawn from its whole range, never nothing, and in whole ms", () => {
    const random = seededRandom(7);
    const delays = Array.from({ length: 2000 }, () => backoffMs(3, 1000, 60_000, random));
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(400);
    expect(Math.min(...delays)).toBeLessThan(450);
    expect(Math.max(...delays)).toBeLessThanOrEqual(4000);
    expect(Math.max(...delays)).toBeGreaterThan(3950);
    expect(delays.every(Number.isInteger)).toBe(true);
  });

  it.each([
    [undefined, 0],
    [0, 0],
    [-5, 0],
    [Number.NaN, 0],
    [0.2, 1],
    [1500, 1500],
    [1e300, PAUSE_MS_MAX],
    [Number.POSITIVE_INFINITY, PAUSE_MS_MAX],
  ])("that a backend asks for, %s, is %d", (asked, ms) => {
    expect(pauseMs(asked)).toBe(ms);
  });
});

describe("a circuit", () => {
  const closed: Circuit = { state: "closed", sinceMs: 5 };
  const failed = (circuit: Circuit, wallMs = 10) =>
    circuitFailed(circuit, { reason: "away", wallMs, probeAtMs: 99 });

  it("opens with the first failure, and remembers since when over the following ones", () => {
    const open = failed(closed);
    expect(open).toEqual({ state: "open", sinceMs: 10, failures: 1, reason: "away", probeAtMs: 99 });
    expect(failed(open, 20)).toMatchObject({ state: "open", sinceMs: 10, failures: 2 });
    expect(failed(circuitProbed(open), 30)).toMatchObject({ state: "open", sinceMs: 10, failures: 2 });
    expect([closed, open, failed(open)].map(failuresNext)).toEqual([1, 2, 3]);
  });

  it("is half-open after an answered probe, and only a success closes it", () => {
    const half = circuitProbed(failed(closed));
    expect(half).toEqual({ state: "half-open", sinceMs: 10, failures: 1, reason: "away" });
    expect(circuitSucceeded(half, 50)).toEqual({ state: "closed", sinceMs: 50 });
  });

  it("that is closed takes neither for news", () => {
    expect(circuitProbed(closed)).toBe(closed);
    expect(circuitSucceeded(closed, 50)).toBe(closed);
  });
});
