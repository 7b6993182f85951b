import { describe, expect, it } from "vitest";
import type { Audit } from "../../src/queue/queries-audit.ts";
import { BUILT_AT_MS } from "../support/store-builder.ts";
import { flow, GIB, Health, oldest, overview, target } from "./health-facts.ts";

const mes = (facts: Parameters<typeof target>[0]) => ({ targets: new Map([["mes", target(facts)]]) });
const rows = (figures: Parameters<typeof flow>[1]) => ({ overview: overview([flow("mes", figures)]) });

describe("a target", () => {
  it("is unproven after a start, because nothing is known of it", () => {
    const report = new Health().after(0);
    expect(report.targets[0]).toMatchObject({ target: "mes", state: "unproven", evidenceAgeMs: null });
    expect(report.verdict).toBe("ok");
  });

  it("is not healthy because its circuit is closed and calls are in flight: nothing has been delivered", () => {
    const health = new Health();
    const open = { waiting: 5, sending: 3, accepted: 8, oldest: oldest(1, 0) };
    for (let s = 0; s < 30; s++) {
      const figures = { ...open, oldest: oldest(1, s * 1000) };
      const { targets } = health.after(1000, { ...mes({ callsInFlight: 1 }), ...rows(figures) });
      expect(targets[0]!.state).toBe("unproven");
    }
    const report = health.after(1000, rows({ ...open, oldest: oldest(1, 31_000) }));
    expect(report.targets[0]!.state).toBe("stalled");
    expect(report.flows[0]!.state).toBe("stalled");
    expect(report.problems.map(({ key }) => key)).toEqual(["target-stalled:mes", "flow-stalled:mes"]);
    expect(report.verdict).toBe("attention");
  });

  it("is healthy for as long as a delivery, or an answered probe, is not older than provenWithin", () => {
    const health = new Health();
    health.after(0);
    const delivered = mes({ lastDeliveredAtMs: health.wallMs + 1000 });
    expect(health.after(1000, delivered).targets[0]).toMatchObject({ state: "healthy", evidenceAgeMs: 0 });
    expect(health.after(59_000).targets[0]!.state).toBe("healthy");
    expect(health.after(1000).targets[0]!.state).toBe("unproven");
    const probed = mes({ lastProbeOkAtMs: health.wallMs });
    expect(health.after(1000, probed).targets[0]!.state).toBe("healthy");
  });

  it("is down while its circuit is open or half-open, with since when, why, and the next try", () => {
    const health = new Health();
    health.after(0, mes({ lastDeliveredAtMs: health.wallMs }));
    const sinceMs = health.wallMs;
    const reason = "ECONNREFUSED 127.0.0.1:1884";
    const open = { state: "open", sinceMs, failures: 2, reason, probeAtMs: 13_000 } as const;
    const away = { waiting: 7, accepted: 7, oldest: oldest(1, 90_000) };
    const report = health.after(1000, { ...mes({ circuit: open }), ...rows(away) });
    expect(report.targets[0]).toMatchObject({
      state: "down",
      downSinceMs: sinceMs,
      lastError: reason,
      nextTryInMs: 12_000,
    });
    expect(report.problems).toEqual([
      expect.objectContaining({
        key: "target-down:mes",
        sentence: `target mes is away: ${reason}; 7 messages are stored here and wait`,
      }),
    ]);
    const trying = { state: "half-open", sinceMs, failures: 2, reason } as const;
    expect(health.after(1000, mes({ circuit: trying })).targets[0]).toMatchObject({
      state: "down",
      nextTryInMs: 0,
    });
  });

  it("is healthy while it drains a backlog that is hours old", () => {
    const health = new Health();
    for (let s = 0; s < 100; s++) {
      const report = health.after(1000, {
        ...mes({ lastDeliveredAtMs: health.wallMs + 1000 }),
        ...rows({ waiting: 5000 - s, delivered: s, accepted: 5000, oldest: oldest(s, 7_200_000) }),
      });
      if (s > 0) expect(report.targets[0]!.state).toBe("healthy");
      expect(report.problems).toEqual([]);
    }
  });

  it("does not look proven by a clock that was set back, nor unproven by one that was set forward", () => {
    const health = new Health();
    const dateMs = health.wallMs;
    health.after(0, mes({ lastDeliveredAtMs: dateMs }));
    const tenYearsMs = 10 * 365 * 86_400_000;
    expect(health.after(1000, { wallMs: dateMs + tenYearsMs }).targets[0]!.state).toBe("healthy");
    expect(health.after(60_000, { wallMs: dateMs - tenYearsMs }).targets[0]!.state).toBe("unproven");
  });
});

describe("a flow", () => {
  const healthy = (health: Health) => mes({ lastDeliveredAtMs: health.wallMs });

  it("is held, and its target healthy, when one lane is stuck while others go on", () => {
    const health = new Health();
    let report = health.after(0);
    for (let s = 0; s <= 40; s++) {
      report = health.after(1000, {
        ...healthy(health),
        ...rows({ waiting: 3, delivered: s, accepted: s + 3, oldest: oldest(1, s * 1000) }),
      });
    }
    expect(report.flows[0]!.state).toBe("held");
    expect(report.targets[0]!.state).toBe("healthy");
    expect(report.problems.map(({ key }) => key)).toEqual(["flow-held:mes"]);
  });

  it("is exporting, and not stalled, when an export keeps here all that waits", () => {
    const health = new Health();
    const kept = { waiting: 3, held: 2, accepted: 3, oldest: oldest(1, 0), oldestFree: null };
    let report = health.after(0, rows(kept));
    expect(report.flows[0]!.state).toBe("exporting");
    for (const ageMs of [20_000, 40_000, 60_000]) {
      report = health.after(20_000, rows({ ...kept, oldest: oldest(1, ageMs) }));
    }
    expect(report).toMatchObject({
      verdict: "ok",
      flows: [{ state: "exporting" }],
      targets: [{ state: "unproven" }],
    });
  });

  it("is stalled, whatever an export keeps here, when another lane is", () => {
    const health = new Health();
    const figures = (ageMs: number) =>
      rows({
        waiting: 3,
        held: 2,
        accepted: 3,
        oldest: oldest(1, ageMs + 5000),
        oldestFree: oldest(2, ageMs),
      });
    health.after(0, figures(0));
    const report = health.after(40_000, figures(40_000));
    expect(report.flows[0]!.state).toBe("stalled");
    expect(report.problems.map(({ sentence }) => sentence)).toContain(
      "flow mes is stalled at message message-2 of press-7",
    );
  });

  it("is not flowing because something was delivered in an earlier run, but because something is now", () => {
    const health = new Health();
    const before = { delivered: 7, waiting: 2, accepted: 9, oldest: oldest(8, 1000) };
    expect(health.after(0, rows(before)).flows[0]!.state).toBe("waiting");
    expect(health.after(1000, rows(before)).flows[0]!.state).toBe("waiting");
    const now = { delivered: 9, accepted: 9 };
    expect(health.after(1000, rows(now)).flows[0]!.state).toBe("flowing");
    expect(health.after(30_000).flows[0]!.state).toBe("idle");
  });

  it("is stalled although messages expire, are dropped as late, or are dead on arrival", () => {
    const health = new Health();
    let report = health.after(0);
    for (let s = 0; s <= 40; s++) {
      const figures = { waiting: 1, expired: s, discarded: s, dead: s, accepted: 3 * s + 1 };
      report = health.after(1000, {
        ...healthy(health),
        ...rows({ ...figures, oldest: oldest(1, s * 1000) }),
      });
    }
    expect(report.flows[0]!.state).toBe("stalled");
  });

  it("is not stalled by a backlog left from the last run before it had the time to move", () => {
    const health = new Health();
    const backlog = rows({ waiting: 9, accepted: 9, oldest: oldest(1, 3_600_000) });
    expect(health.after(0, backlog).flows[0]!.state).toBe("waiting");
    expect(health.after(29_000).flows[0]!.state).toBe("waiting");
    expect(health.after(1000).flows[0]!.state).toBe("stalled");
  });

  it.each([
    [
      { kind: "flow", name: "mes", sinceMs: null, who: "config", reason: "x" },
      "flow mes is paused by the config: ",
    ],
    [
      { kind: "target", name: "mes", sinceMs: 1, who: "anna", reason: "migrated" },
      "flow mes is paused, as target mes is, by anna (migrated): ",
    ],
  ] as const)(
    "is paused where somebody says so, and that is a problem when its messages are old",
    (pause, sentence) => {
      const health = new Health();
      const young = health.after(0, {
        pauses: [pause],
        ...rows({ waiting: 1, accepted: 1, oldest: oldest(1, 1000) }),
      });
      expect([young.flows[0]!.state, young.verdict, young.pauses]).toEqual(["paused", "ok", [pause]]);
      const report = health.after(99_000, rows({ waiting: 1, accepted: 1, oldest: oldest(1, 99_000) }));
      expect(report.flows[0]!.state).toBe("paused");
      expect(report.targets[0]!.state).not.toBe("stalled");
      expect(report.problems).toMatchObject([
        {
          key: "flow-paused:mes",
          severity: "attention",
          sentence: `${sentence}1 message waits, for longer than 30s`,
        },
      ]);
    },
  );

  it("is not called stalled where its oldest message is of a device that is paused", () => {
    const old = oldest(1, 99_000);
    const pause = {
      kind: "device",
      name: old.device,
      sinceMs: 1,
      who: "anna",
      reason: "sends nonsense",
    } as const;
    const problemsWith = (pauses: (typeof pause)[]) => {
      const health = new Health();
      health.after(0, { pauses, ...rows({ waiting: 1, accepted: 1, oldest: old }) });
      return health.after(99_000).problems.map(({ kind, sentence }) => `${kind}: ${sentence}`);
    };
    expect(problemsWith([pause])).toContain(
      `flow-paused: flow mes holds what device ${old.device} has sent, which is paused by anna (sends nonsense)`,
    );
    expect(problemsWith([]).join()).toContain("flow-stalled");
    expect(problemsWith([pause]).join()).not.toContain("flow-stalled");
  });

  it("is pointed out when it has dead letters, or unknowns that stay", () => {
    const health = new Health();
    const figures = rows({ unknown: 1, dead: 2, accepted: 3 });
    expect(health.after(0, figures).problems.map(({ key }) => key)).toEqual(["dead-letters:mes"]);
    expect(health.after(30_000).problems.map(({ key }) => key)).toEqual([
      "dead-letters:mes",
      "unknown-waiting:mes",
    ]);
  });

  it("is pointed out when it waits and is not in the config any more", () => {
    const report = new Health().after(0, { overview: overview([flow("old", { waiting: 4, accepted: 4 })]) });
    expect(report.problems[0]).toMatchObject({
      key: "flow-unconfigured:old",
      sentence: "4 messages wait in flow old, which is not in the config any more",
    });
  });
});

describe("the gateway", () => {
  const audit = (result: Partial<Audit>) => ({
    audit: {
      atWallMs: 1,
      tookMs: 2,
      result: {
        balanced: true,
        mismatches: [],
        mismatchesTotal: 0,
        deliveriesRead: 0,
        messagesCounted: 0,
        ...result,
      },
    },
  });

  it("does not call its accounts balanced before they were checked", () => {
    const health = new Health();
    expect(health.after(0).accounting.state).toBe("unchecked");
    expect(health.after(0, audit({})).accounting).toMatchObject({ state: "balanced", checkedAtMs: 1 });
  });

  it("alarms when messages are not accounted for", () => {
    const sentence = "flow mes counts 3 delivered, of which 0 were pruned, but the store holds 2";
    const mismatch = {
      check: "rows",
      flow: "mes",
      what: "delivered",
      expected: 3,
      found: 2,
      sentence,
    } as const;
    const report = new Health().after(
      0,
      audit({ balanced: false, mismatches: [mismatch], mismatchesTotal: 1 }),
    );
    expect(report.verdict).toBe("alarm");
    expect(report.accounting).toMatchObject({ state: "mismatch", mismatches: [sentence] });
    expect(report.problems[0]).toMatchObject({ key: "accounting-mismatch", severity: "alarm" });
  });

  it("is blocked while the store is full and failed when it has failed, both alarms", () => {
    const health = new Health();
    const full = health.after(0, { store: { kind: "full", sinceMs: 0 } });
    expect([full.state, full.verdict, full.store.state]).toEqual(["blocked", "alarm", "full"]);
    expect(health.after(0, { store: { kind: "ok" } })).toMatchObject({ state: "running", verdict: "ok" });
    const failed = health.after(0, { store: { kind: "failed", error: new Error("EIO") } });
    expect([failed.state, failed.problems[0]!.key]).toEqual(["failed", "store-failed"]);
  });

  it("says that it does not know, rather than what it knew, when the store cannot be read", () => {
    const report = new Health().after(0, { overview: null, blind: "SQLITE_BUSY" });
    expect(report.flows[0]!.figures).toBeNull();
    expect(report.store.usedBytes).toBeNull();
    expect(report.problems[0]).toMatchObject({ key: "blind" });
    expect(report.verdict).toBe("attention");
  });

  it("points out a wall clock that is not set and a disk that is nearly full", () => {
    const report = new Health().after(0, {
      clockTrusted: false,
      disk: { freeBytes: GIB / 8, walBytes: 0 },
    });
    expect(report.problems.map(({ key }) => key)).toEqual(["disk-low", "clock-untrusted"]);
  });

  it("remembers since when a problem has been there, and forgets it when it ends", () => {
    const health = new Health();
    const beganMs = health.wallMs + 1000;
    expect(health.after(1000, rows({ dead: 1, accepted: 1 })).problems[0]!.sinceMs).toBe(beganMs);
    expect(health.after(5000, rows({ dead: 2, accepted: 2 })).problems[0]!.sinceMs).toBe(beganMs);
    health.after(1000, rows({ accepted: 2, delivered: 2 }));
    expect(health.after(1000, rows({ dead: 1, accepted: 1 })).problems[0]!.sinceMs).toBe(beganMs + 7000);
  });
});

describe("an export that somebody has forgotten", () => {
  const id = "0f8f7f5e-8f5e-4b8e-9f0e-1c2d3e4f5a6b";
  const selection = { states: "all" } as const;
  const held = { id, selection, who: "anna", reason: "box a is replaced", atMs: BUILT_AT_MS, messages: 7 };
  const said = (ageMs: number, state: "holding" | "held" | "moved" | "cancelled" = "held") => {
    const exports = [{ ...held, state, ageMs }];
    return new Health().after(0, { overview: { ...overview([flow("mes")]), exports } }).problems;
  };

  it("is told after `exportHeldAfter`, and what ends it", () => {
    expect(said(24 * 3_600_000 - 1)).toEqual([]);
    expect(said(24 * 3_600_000)).toMatchObject([
      { key: `export-held:${id}`, kind: "export-held", severity: "attention", subject: id },
    ]);
    const [{ sentence } = { sentence: "" }] = said(24 * 3_600_000);
    expect(sentence).toContain(
      `export ${id} by anna (box a is replaced) holds messages back for longer than 1d`,
    );
    expect(sentence).toContain("holdfast export finish RECEIPT");
    expect(sentence).toContain(`holdfast export cancel ${id} --reason`);
  });

  it.each([
    ["holding", `holdfast export fetch ${id} FILE`],
    ["moved", "holdfast export finish RECEIPT, once more"],
    ["cancelled", `holdfast export cancel ${id} --reason …, once more`],
  ] as const)("is told how to go on with one that is %s and was broken off", (state, command) => {
    expect(said(1e9, state)[0]!.sentence).toContain(command);
  });
});
