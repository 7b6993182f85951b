import { describe, expect, it } from "vitest";
import {
  type HttpFacts,
  httpOutcome,
  RETRY_AFTER_MS_MAX,
  retryAfterMs,
} from "../../src/targets/http-outcome.ts";

const FACTS: HttpFacts = { of: "request", urlFromMessage: false, amidSuccesses: false, conflict: "retry" };

const kindOf = (status: number, facts: Partial<HttpFacts> = {}) => {
  const outcome = httpOutcome({ status }, { ...FACTS, ...facts });
  return outcome.kind === "retry" ? `retry ${outcome.fault}` : outcome.kind;
};

describe("an HTTP answer", () => {
  it("is delivered for every 2xx and for nothing else", () => {
    for (let status = 200; status < 600; status++) {
      expect(kindOf(status) === "delivered", String(status)).toBe(status < 300);
    }
  });

  it("never says retry where a gateway lost the backend's answer", () => {
    for (const status of [502, 504, 520, 524]) expect(kindOf(status)).toBe("unknown");
  });

  it("is the target's fault where a wrong line in the config would cause it, so that nothing is lost", () => {
    for (const status of [301, 302, 307, 308, 401, 403, 404, 405, 410])
      expect(kindOf(status)).toBe("retry target");
  });

  it("is about the message where the URL was made from it", () => {
    expect(kindOf(404, { urlFromMessage: true })).toBe("reject");
    expect(kindOf(401, { urlFromMessage: true })).toBe("retry target");
  });

  it("counts a 500 against the message only while the backend takes others", () => {
    expect(kindOf(500)).toBe("retry target");
    expect(kindOf(500, { amidSuccesses: true })).toBe("retry message");
  });

  it("reads 409 as the config says", () => {
    expect(kindOf(409)).toBe("retry message");
    expect(kindOf(409, { conflict: "delivered" })).toBe("delivered");
    expect(kindOf(409, { conflict: "reject" })).toBe("reject");
  });

  it("concerns one message only where it is the result of one in a batch", () => {
    for (let status = 200; status < 600; status++)
      expect(kindOf(status, { of: "item" })).not.toBe("retry target");
  });

  it("carries the backend's words and the wait it asks for", () => {
    expect(httpOutcome({ status: 429, retryAfterMs: 5000, says: "slow down" }, FACTS)).toEqual({
      kind: "retry",
      fault: "target",
      reason: "HTTP 429: slow down",
      retryAfterMs: 5000,
    });
  });
});

describe("Retry-After", () => {
  const nowMs = Date.UTC(2026, 6, 1, 8, 0, 0);

  it("is read as seconds or as an HTTP date", () => {
    expect(retryAfterMs("30", { wallMs: nowMs })).toBe(30_000);
    expect(retryAfterMs("Wed, 01 Jul 2026 08:01:00 GMT", { wallMs: nowMs })).toBe(60_000);
  });

  it("as a date is counted by the backend's clock, not by one of ours that is years off", () => {
    const date = "Wed, 01 Jul 2026 08:00:00 GMT";
    for (const wallMs of [0, nowMs, Date.UTC(2036, 6, 1)]) {
      expect(retryAfterMs("Wed, 01 Jul 2026 08:00:20 GMT", { date, wallMs })).toBe(20_000);
    }
    expect(retryAfterMs("Wed, 01 Jul 2026 08:00:20 GMT", { wallMs: 0 })).toBeUndefined();
    expect(retryAfterMs("30", { wallMs: 0 })).toBe(30_000);
  });

  it("in the past means now, and in a year means a day", () => {
    expect(retryAfterMs("Wed, 01 Jul 2020 08:01:00 GMT", { wallMs: nowMs })).toBe(0);
    expect(retryAfterMs("31536000", { wallMs: nowMs })).toBe(RETRY_AFTER_MS_MAX);
  });

  it("is left out where it is neither", () => {
    for (const header of [undefined, "", "soon", "1.5", "-3"])
      expect(retryAfterMs(header, { wallMs: nowMs })).toBeUndefined();
  });
});
