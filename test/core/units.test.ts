import { describe, expect, it } from "vitest";
import {
  duration,
  formatBytes,
  formatDuration,
  parseBytes,
  parseDurationMs,
  size,
} from "../../src/core/units.ts";

describe("a duration", () => {
  it.each([
    ["500ms", 500],
    ["15s", 15_000],
    ["1.5s", 1500],
    ["10m", 600_000],
    ["24h", 86_400_000],
    ["7d", 604_800_000],
    [" 1 h ", 3_600_000],
    ["0s", 0],
  ])("%j is %d ms", (text, ms) => {
    expect(parseDurationMs(text)).toBe(ms);
  });

  it.each(["", "5", "s", "-1s", "1 hour", "1S", "1h30m", "1e3s", "١s", "1.s", "constructor", "1toString"])(
    "%j is none",
    (text) => {
      expect(parseDurationMs(text)).toBeNull();
    },
  );

  it("is told in the largest unit that keeps it whole", () => {
    const told = [0, 1, 999, 1000, 1500, 60_000, 90_000, 3_600_000, 86_400_000, 90_000_000].map(
      formatDuration,
    );
    expect(told).toEqual(["0ms", "1ms", "999ms", "1s", "1500ms", "1m", "90s", "1h", "1d", "25h"]);
  });

  it("in a config may be text or a bare number of ms, within its range", () => {
    const schema = duration({ min: 100, max: 1000 }).prefault("1s");
    expect(schema.parse(undefined)).toBe(1000);
    expect(schema.parse("250ms")).toBe(250);
    expect(schema.parse(250)).toBe(250);
    for (const wrong of ["50ms", "2s", 99, 1001, "soon", Number.NaN, Number.POSITIVE_INFINITY, null, true]) {
      expect(schema.safeParse(wrong).success, String(wrong)).toBe(false);
    }
    expect(schema.safeParse("2s").error!.issues[0]!.message).toBe("expected a duration from 100ms to 1s");
    expect(schema.safeParse("soon").error!.issues[0]!.message).toContain("such as 500ms");
  });
});

describe("a size", () => {
  it.each([
    ["512B", 512],
    ["1kB", 1000],
    ["1KiB", 1024],
    ["64MiB", 67_108_864],
    ["10GB", 1e10],
    ["4GiB", 4 * 2 ** 30],
    ["1TiB", 2 ** 40],
  ])("%j is %d bytes", (text, bytes) => {
    expect(parseBytes(text)).toBe(bytes);
  });

  it.each(["64MB ytes", "1KB", "1mb", "1Mi", "10"])("%j is none", (text) => {
    expect(parseBytes(text)).toBeNull();
  });

  it("is told for people", () => {
    expect([0, 1023, 1024, 1536, 2 ** 20, 5 * 2 ** 30].map(formatBytes)).toEqual([
      "0 B",
      "1023 B",
      "1.0 KiB",
      "1.5 KiB",
      "1.0 MiB",
      "5.0 GiB",
    ]);
  });

  it("in a config has its range", () => {
    expect(size({ min: 1024 }).parse("1KiB")).toBe(1024);
    expect(size({ min: 1024 }).safeParse("1000B").error!.issues[0]!.message).toBe(
      "expected a size at least 1.0 KiB",
    );
  });
});
