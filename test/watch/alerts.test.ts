import { describe, expect, it } from "vitest";
import { type Alert, Alerts, type Happening } from "../../src/watch/alerts.ts";
import type { Facts } from "../../src/watch/health.ts";
import { notifySchema } from "../../src/watch/schema.ts";
import { BUILT_AT_MS } from "../support/store-builder.ts";
import { flow, GIB, Health, oldest, overview, target } from "./health-facts.ts";

const MINUTE = 60_000;
const DOWN = new Map([
  [
    "mes",
    target({
      circuit: { state: "open", sinceMs: BUILT_AT_MS, failures: 1, reason: "refused", probeAtMs: 0 },
    }),
  ],
]);
let probes = 0;
/** It has just answered a probe. */
const healthy = () => new Map([["mes", target({ lastProbeOkAtMs: BUILT_AT_MS + 1e9 + ++probes })]]);
const backlog = (ageMs: number) => ({
  overview: overview([flow("mes", { waiting: 3, oldest: oldest(1, ageMs) })]),
});

/** Reports a minute apart or so, and what they make of them. */
class Moments {
  readonly #health = new Health();
  readonly #alerts: Alerts;
  #nowMs: number;
  #ids = 0;

  constructor(rules: object = {}, taken: { raised?: Alert[]; nowMs?: number; settledMs?: number } = {}) {
    this.#nowMs = taken.nowMs ?? 0;
    this.#alerts = new Alerts({
      rules: notifySchema.parse({ rules }).rules,
      raised: taken.raised ?? [],
      settledSteadyMs: taken.settledMs ?? 0,
      newId: () => `alert-${++this.#ids}`,
    });
  }

  after(ms: number, changed: Partial<Facts> = {}): string[] {
    this.#nowMs += ms;
    const report = this.#health.after(ms, changed);
    return this.#alerts.look(report, this.#nowMs, this.#health.wallMs).map(inWords);
  }

  get raised(): Alert[] {
    return this.#alerts.raised();
  }
}

const inWords = ({ event, alert }: Happening) => `${event} ${alert.key}`;

describe("an alert", () => {
  it("is raised when it has been so for long enough, and resolved when it has been over for long enough", () => {
    const moments = new Moments({ targets: { for: "5m", clearAfter: "2m" } });
    expect(moments.after(0, { targets: DOWN })).toEqual([]);
    expect(moments.after(4 * MINUTE)).toEqual([]);
    expect(moments.after(MINUTE)).toEqual(["raised target-down:mes"]);
    expect(moments.after(MINUTE)).toEqual([]);
    expect(moments.after(MINUTE, { targets: healthy() })).toEqual([]);
    expect(moments.after(MINUTE, { targets: healthy() })).toEqual([]);
    expect(moments.after(MINUTE, { targets: healthy() })).toEqual(["resolved target-down:mes"]);
    expect(moments.after(60 * MINUTE)).toEqual([]);
  });

  it("is not raised by what is over sooner", () => {
    const moments = new Moments({ targets: { for: "5m" } });
    for (let n = 0; n < 10; n++) {
      expect(moments.after(4 * MINUTE, { targets: DOWN })).toEqual([]);
      expect(moments.after(MINUTE, { targets: healthy() })).toEqual([]);
    }
  });

  it("is one alert, however often it comes and goes within clearAfter", () => {
    const storm = (clearAfter: string) => {
      const moments = new Moments({ targets: { for: "0s", clearAfter } });
      const told: string[] = [];
      for (let n = 0; n < 20; n++) {
        told.push(
          ...moments.after(MINUTE, { targets: DOWN }),
          ...moments.after(MINUTE, { targets: healthy() }),
        );
      }
      return told;
    };
    expect(storm("3m")).toEqual(["raised target-down:mes"]);
    // The same without hysteresis, to see that it is what keeps the peace.
    expect(storm("0s").length).toBe(40);
  });

  it("is told again while it lasts, and never where that is switched off", () => {
    const moments = new Moments({ targets: { for: "0s", remindEvery: "1h" } });
    const told = [moments.after(0, { targets: DOWN })];
    for (let n = 0; n < 6; n++) told.push(moments.after(30 * MINUTE));
    expect(told.flat()).toEqual([
      "raised target-down:mes",
      "reminder target-down:mes",
      "reminder target-down:mes",
      "reminder target-down:mes",
    ]);
    const silent = new Moments({ targets: { for: "0s", remindEvery: "0s" } });
    silent.after(0, { targets: DOWN });
    expect(silent.after(10_000 * MINUTE)).toEqual([]);
  });

  it("of a figure begins above one threshold and ends below another", () => {
    const moments = new Moments({
      backlog: { above: "15m", clearAt: "5m", for: "0s", clearAfter: "0s" },
      targets: { enabled: false },
      flows: { enabled: false },
    });
    expect(moments.after(0, backlog(14 * MINUTE))).toEqual([]);
    expect(moments.after(MINUTE, backlog(16 * MINUTE))).toEqual(["raised backlog:mes"]);
    for (const ageMs of [14, 6, 14, 6]) expect(moments.after(MINUTE, backlog(ageMs * MINUTE))).toEqual([]);
    expect(moments.after(MINUTE, backlog(5 * MINUTE))).toEqual(["resolved backlog:mes"]);
    // Between the two it is not raised anew.
    expect(moments.after(MINUTE, backlog(10 * MINUTE))).toEqual([]);
  });

  it("is raised for each sort that the rules know", () => {
    const moments = new Moments({
      backlog: { for: "0s" },
      disk: { for: "0s" },
      clock: { for: "0s" },
      targets: { for: "0s" },
      devices: { for: "0s" },
      channels: { for: "0s" },
    });
    const mismatch = {
      check: "rows",
      flow: "mes",
      what: "",
      expected: 1,
      found: 0,
      sentence: "one is gone",
    } as const;
    const result = {
      balanced: false,
      mismatches: [mismatch],
      mismatchesTotal: 1,
      deliveriesRead: 0,
      messagesCounted: 0,
    };
    const forgotten = {
      id: "e-1",
      state: "held",
      selection: { states: "all" },
      who: "anna",
      reason: null,
      atMs: 0,
      ageMs: 1e9,
      messages: 1,
    } as const;
    const figures = { dead: 1, waiting: 1, oldest: oldest(1, 3_600_000) };
    const facts: Partial<Facts> = {
      targets: DOWN,
      overview: { ...overview([flow("mes", figures)]), exports: [forgotten] },
      audit: { result, atWallMs: 0, tookMs: 0 },
      disk: { freeBytes: GIB / 4, walBytes: 0 },
      clockTrusted: false,
      store: { kind: "full", sinceMs: 0 },
      channels: [{ channel: "phone", sinceMs: 0, reason: "refused", waiting: 1 }],
    };
    expect(moments.after(0, facts).sort()).toEqual([
      "raised accounting-mismatch",
      "raised backlog:mes",
      "raised clock-untrusted",
      "raised deadLetters:mes",
      "raised disk",
      "raised export-held:e-1",
      "raised notify-failing:phone",
      "raised store-full",
      "raised target-down:mes",
    ]);
  });

  it("is only of those that its rule is about", () => {
    const now = (rule: object) =>
      new Moments({ targets: { for: "0s", ...rule } }).after(0, { targets: DOWN }).length;
    expect([now({}), now({ only: ["mes"] }), now({ only: ["erp"] })]).toEqual([1, 1, 0]);
    expect([now({ except: ["mes"] }), now({ enabled: false })]).toEqual([0, 0]);
  });
});

describe("what is not known", () => {
  it("is not over: neither while the store cannot be read, nor while nothing shows that a target is back", () => {
    const moments = new Moments({
      deadLetters: { for: "0s", clearAfter: "0s" },
      targets: { for: "0s", clearAfter: "0s" },
    });
    const dead = overview([flow("mes", { dead: 1 })]);
    expect(moments.after(0, { overview: dead, targets: DOWN })).toHaveLength(2);
    expect(moments.after(MINUTE, { overview: null, blind: "the reader does not answer" })).toEqual([
      "raised blind",
    ]);
    const unproven = new Map([["mes", target()]]);
    expect(moments.after(MINUTE, { overview: dead, blind: null, targets: unproven })).toEqual([]);
    expect(moments.after(6 * MINUTE, { targets: healthy() }).sort()).toEqual([
      "resolved blind",
      "resolved target-down:mes",
    ]);
    expect(moments.after(MINUTE, { overview: overview([flow("mes")]) })).toEqual([
      "resolved deadLetters:mes",
    ]);
  });
});

describe("after a restart", () => {
  const before = new Moments({ targets: { for: "0s" } });
  before.after(0, { targets: DOWN });
  const raised = before.raised;
  const later = { raised, nowMs: MINUTE, settledMs: 3 * MINUTE };

  it("an alert that is still so is not raised again, and one that is over is resolved, once it is sure", () => {
    const still = new Moments({ targets: { for: "0s", clearAfter: "1m" } }, later);
    expect(still.after(0, { targets: healthy() })).toEqual([]);
    expect(still.after(MINUTE, { targets: DOWN })).toEqual([]);
    expect(still.raised[0]!.id).toBe(raised[0]!.id);
    const over = new Moments({ targets: { for: "0s", clearAfter: "0s" } }, later);
    expect(over.after(MINUTE, { targets: healthy() })).toEqual([]);
    expect(over.after(MINUTE, { targets: healthy() })).toEqual(["resolved target-down:mes"]);
  });

  it("without what the earlier run left it would be raised a second time", () => {
    const forgetful = new Moments({ targets: { for: "0s" } }, { nowMs: MINUTE });
    expect(forgetful.after(0, { targets: DOWN })).toEqual(["raised target-down:mes"]);
  });

  it("one whose rule was switched off is resolved", () => {
    const off = new Moments({ targets: { enabled: false, clearAfter: "0s" } }, { raised, nowMs: MINUTE });
    expect(off.after(MINUTE, { targets: DOWN })).toEqual(["resolved target-down:mes"]);
  });
});
