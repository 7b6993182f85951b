/** When a message is late, and what its flow makes of it. */
import { describe, expect, it } from "vitest";
import type { Draft } from "../../src/intake/draft.ts";
import { intakeRig, type Raw, seqOf } from "../support/intake-rig.ts";

const { clock, shared, makeIntake } = intakeRig();

describe("lateness", () => {
  const identities = [{ topics: "#", producedAt: { pointer: "/at", unit: "ms" } }];
  const producedBefore = (ms: number) => ({
    payload: Buffer.from(JSON.stringify({ at: clock.wallMs() - ms })),
  });

  async function lateOn(flow: Raw, more: Record<string, Raw> = {}) {
    const made = await makeIntake({
      identities,
      flows: { main: { from: "#", lateAfter: "1m", ...flow }, ...more },
    });
    const on = async (draft: Partial<Draft>) => made.deliveries(await seqOf(made.accept(draft)));
    return Object.assign(on, { flow: `${made.prefix}main` });
  }

  it("begins after lateAfter, and marks what is delivered all the same", async () => {
    const on = await lateOn({});
    expect(await on(producedBefore(60_000))).toMatchObject([{ state: "waiting", late: 0 }]);
    expect(await on(producedBefore(60_001))).toMatchObject([{ state: "waiting", late: 1 }]);
  });

  it("sets aside or leaves out, with how late it was, and counts it", async () => {
    const dead = await lateOn({ late: "dead" });
    expect(await dead(producedBefore(3_600_000))).toMatchObject([
      { state: "dead", late: 1, reason: "late by 1h" },
    ]);
    const drop = await lateOn({ late: "drop" });
    expect(await drop(producedBefore(120_000))).toMatchObject([
      { state: "discarded", late: 1, reason: "late by 2m" },
    ]);
    expect(await drop(producedBefore(0))).toMatchObject([{ state: "waiting", late: 0 }]);
    const late = shared().value("SELECT n FROM tally WHERE flow = ? AND what = 'late'", drop.flow);
    expect(late).toBe(1);
  });

  it("diverts to another flow, once, also where that flow takes the message anyway", async () => {
    const divert = { late: "divert", divertTo: "slow" };
    const apart = await lateOn(divert, { slow: { from: "nothing/#", orderBy: "topic" } });
    expect(await apart(producedBefore(120_000))).toEqual([
      { flow: "slow", key: "plant/press-7", state: "waiting", late: 1, reason: null },
    ]);
    expect(await apart(producedBefore(0))).toMatchObject([{ flow: "main", late: 0 }]);
    const both = await lateOn(divert, { slow: { from: "#" } });
    expect(await both(producedBefore(120_000))).toMatchObject([{ flow: "slow", late: 1 }]);
    expect((await both(producedBefore(0))).map(({ flow }) => flow)).toEqual(["main", "slow"]);
  });

  it("is not known of a message without a time, or with one that is none", async () => {
    const on = await lateOn({ late: "drop" });
    for (const payload of ["{}", "not json", '{"at":"yesterday"}', '{"at":1e300}', '{"at":null}']) {
      expect(await on({ payload: Buffer.from(payload) }), payload).toMatchObject([
        { state: "waiting", late: 0 },
      ]);
    }
    expect(await on({ producedAtMs: Number.NaN })).toMatchObject([{ late: 0 }]);
  });

  it("is not decided by a gateway that does not know the time itself", async () => {
    const on = await lateOn({ late: "drop" });
    const nowMs = clock.wallMs();
    const draft = producedBefore(3_600_000);
    clock.setWallMs(Date.UTC(1970, 0, 2));
    const untimed = await on(draft);
    clock.setWallMs(nowMs);
    expect(untimed).toMatchObject([{ state: "waiting", late: 0 }]);
    expect(await on(draft)).toMatchObject([{ state: "discarded" }]);
  });

  it("is not decided where a clock is plainly wrong: the device's, never set, or the gateway's, years ahead", async () => {
    const on = await lateOn({ late: "drop" });
    expect(await on({ payload: Buffer.from('{"at":300000}') })).toMatchObject([
      { state: "waiting", late: 0 },
    ]);
    const nowMs = clock.wallMs();
    const draft = producedBefore(0);
    clock.setWallMs(nowMs + 10 * 365 * 86_400_000);
    const ahead = await on(draft);
    clock.setWallMs(nowMs);
    expect(ahead).toMatchObject([{ state: "waiting", late: 0 }]);
    expect(await on(producedBefore(300 * 86_400_000))).toMatchObject([{ state: "discarded" }]);
  });

  it.each([
    ["iso", '"2026-06-01T11:00:00Z"', Date.UTC(2026, 5, 1, 11)],
    ["iso", '"2026-06-01T13:00:00+02:00"', Date.UTC(2026, 5, 1, 11)],
    ["iso", "1780000000000", null],
    ["s", "1780311600.25", 1_780_311_600_250],
    ["ms", "1780311600250.4", 1_780_311_600_250],
    ["ms", '"1780311600250"', null],
  ])("reads a time in %s: %s", async (unit, text, expected) => {
    const { accept, store } = await makeIntake({
      identities: [{ topics: "#", producedAt: { pointer: "/at", unit } }],
    });
    const seq = await seqOf(accept({ payload: Buffer.from(`{"at":${text}}`) }));
    expect(store.value("SELECT produced_at FROM messages WHERE seq = ?", seq)).toBe(expected);
  });

  it("takes a door's fraction of a millisecond without harm to the store", async () => {
    const { accept, store } = await makeIntake();
    const seq = await seqOf(accept({ producedAtMs: 1_780_311_600_250.75 }));
    expect(store.value("SELECT produced_at FROM messages WHERE seq = ?", seq)).toBe(1_780_311_600_251);
  });
});

it("the books balance after all of this", () => {
  expect(shared().audit().mismatches).toEqual([]);
});
