import { describe, expect, it } from "vitest";
import { BUILT_AT_MS } from "../support/store-builder.ts";
import { Health } from "./health-facts.ts";

describe("a device that is read", () => {
  const device = (state: string) => ({
    devices: [
      {
        device: "plc",
        where: "10.0.0.5:502 unit 1",
        state,
        lastAnswerAtMs: BUILT_AT_MS,
        lastError: "timeout: none",
      },
    ],
  });
  const silent = (health: Health, afterMs: number, state: string) =>
    health.after(afterMs, device(state)).problems.map(({ key }) => key);

  it("is a problem once it has been silent for deviceSilentAfter, and until it has answered for as long", () => {
    const health = new Health();
    expect(silent(health, 0, "online")).toEqual([]);
    expect(silent(health, 1000, "offline")).toEqual([]);
    expect(silent(health, 29_999, "offline")).toEqual([]);
    expect(silent(health, 1, "offline")).toEqual(["device-silent:plc"]);
    expect(health.after(0).problems[0]).toMatchObject({
      severity: "attention",
      subject: "plc",
      sentence: `device plc (10.0.0.5:502 unit 1) has not answered since ${new Date(BUILT_AT_MS).toISOString()}: timeout: none`,
    });
    // It comes and goes: one problem, not three.
    expect(silent(health, 1000, "failing")).toEqual(["device-silent:plc"]);
    expect(silent(health, 20_000, "offline")).toEqual(["device-silent:plc"]);
    expect(silent(health, 1000, "online")).toEqual(["device-silent:plc"]);
    expect(silent(health, 30_000, "online")).toEqual([]);
  });

  it("is a problem of another kind where it answers and refuses for so long, and none by turns", () => {
    const health = new Health();
    expect(silent(health, 0, "failing")).toEqual([]);
    expect(silent(health, 29_999, "failing")).toEqual([]);
    expect(silent(health, 1, "failing")).toEqual(["device-failing:plc"]);
    expect(health.after(0).problems[0]).toMatchObject({
      severity: "attention",
      subject: "plc",
      sentence: expect.stringMatching(/^device plc \(.*\) answers, and refuses .*: timeout: none$/),
    });
    expect(silent(health, 1000, "online")).toEqual(["device-failing:plc"]);
    // Silence says more.
    expect(silent(health, 1000, "offline")).toEqual(["device-failing:plc"]);
    expect(silent(health, 30_000, "offline")).toEqual(["device-silent:plc"]);
    expect(silent(health, 1000, "online")).toEqual(["device-silent:plc"]);
    expect(silent(health, 30_000, "online")).toEqual([]);
    for (let n = 0; n < 5; n++) {
      expect(silent(health, 20_000, "failing")).toEqual([]);
      expect(silent(health, 20_000, "online")).toEqual([]);
    }
  });

  it("is none where it misses an answer now and then", () => {
    const health = new Health();
    for (let n = 0; n < 5; n++) {
      expect(silent(health, 20_000, "offline")).toEqual([]);
      expect(silent(health, 20_000, "online")).toEqual([]);
    }
  });
});
