import { describe, expect, test } from "vitest";
import { payloadDigest, type Sent } from "../../simulators/machines/ledger.ts";
import { judge, type OracleArrival } from "../../simulators/oracle.ts";

/** A run in which nothing went wrong: two devices, five messages each, all acknowledged, all arrived. */
function goodRun() {
  const sent: Sent[] = [];
  for (let n = 1; n <= 5; n++) for (const device of ["press", "oven"]) sent.push(message(device, n));
  return { sent, arrivals: sent.map(arrivalOf) };
}

function message(device: string, n: number, change: Partial<Sent> = {}): Sent {
  const id = `${device}-${n}`;
  return {
    id,
    device,
    n,
    topic: `plant/${device}`,
    qos: 1,
    retain: false,
    bytes: 40,
    digest: payloadDigest(payload(id)),
    producedAtMs: 0,
    poison: false,
    copies: 1,
    firstSentAtMs: n,
    ackedAtMs: n + 5,
    ...change,
  };
}

const payload = (id: string) => JSON.stringify({ id, value: 1 });
const arrivalOf = (sent: Sent): OracleArrival => ({
  topic: sent.topic,
  payload: payload(sent.id),
  effect: true,
});

describe("the oracle", () => {
  test("finds nothing in a run where every message arrived once and in order", () => {
    const verdict = judge(goodRun());
    expect(verdict.findings).toEqual([]);
    expect(verdict.kept).toBe(true);
    expect(verdict.figures).toMatchObject({ sent: 10, acked: 10, arrived: 10, repeatsSent: 0 });
  });

  test("names an acknowledged message that never arrived", () => {
    const { sent, arrivals } = goodRun();
    const verdict = judge({ sent, arrivals: arrivals.filter((a) => !String(a.payload).includes("oven-3")) });
    expect(verdict.kept).toBe(false);
    expect(verdict.counts).toMatchObject({ lost: 1, doubled: 0, outOfOrder: 0 });
    expect(verdict.findings[0]).toMatchObject({ kind: "lost", id: "oven-3", device: "oven" });
  });

  test("names a message that took effect twice, also where the copies were far apart", () => {
    const { sent, arrivals } = goodRun();
    const verdict = judge({ sent, arrivals: [...arrivals, arrivals[0]!] });
    expect(verdict.counts).toMatchObject({ lost: 0, doubled: 1, outOfOrder: 0 });
    expect(verdict.findings[0]).toMatchObject({ kind: "doubled", id: "press-1" });
  });

  test("names a message that took effect after a younger one of its device", () => {
    const { sent, arrivals } = goodRun();
    const [first, ...rest] = arrivals;
    const verdict = judge({ sent, arrivals: [...rest, first!] });
    expect(verdict.counts).toMatchObject({ lost: 0, doubled: 0, outOfOrder: 1 });
    expect(verdict.findings[0]).toMatchObject({ kind: "outOfOrder", id: "press-1", device: "press" });
    expect(verdict.findings[0]!.detail).toContain("press-5");
  });

  test("names a message whose payload changed on the way, but not one whose JSON is spaced differently", () => {
    const { sent, arrivals } = goodRun();
    arrivals[0] = { ...arrivals[0]!, payload: '{"id":"press-1","value":2}' };
    arrivals[1] = { ...arrivals[1]!, payload: '{ "id": "oven-1", "value": 1 }' };
    const verdict = judge({ sent, arrivals });
    expect(verdict.findings.map(({ kind, id }) => [kind, id])).toEqual([["altered", "press-1"]]);
  });

  test("names an arrival that no machine sent", () => {
    const { sent, arrivals } = goodRun();
    const verdict = judge({ sent, arrivals: [...arrivals, { topic: "x", payload: "noise", effect: true }] });
    expect(verdict.findings.map(({ kind }) => kind)).toEqual(["stranger"]);
  });

  test("does not blame what the backend itself threw away under the same id", () => {
    const { sent, arrivals } = goodRun();
    const verdict = judge({ sent, arrivals: [...arrivals, { ...arrivals[0]!, effect: false }] });
    expect(verdict.kept).toBe(true);
    expect(verdict.figures.suppressedByBackend).toBe(1);
  });

  test("does not count what the backend refused", () => {
    const { sent, arrivals } = goodRun();
    const refused = { ...arrivals.at(-1)!, taken: false, effect: false };
    const verdict = judge({ sent, arrivals: [...arrivals.slice(0, -1), refused] });
    expect(verdict.findings.map(({ kind, id }) => [kind, id])).toEqual([["lost", "oven-5"]]);
    expect(verdict.figures.suppressedByBackend).toBe(0);
  });

  test("takes an unacknowledged message either way", () => {
    const { sent, arrivals } = goodRun();
    const absent = message("press", 6, { ackedAtMs: null });
    const present = message("oven", 6, { ackedAtMs: null });
    const verdict = judge({ sent: [...sent, absent, present], arrivals: [...arrivals, arrivalOf(present)] });
    expect(verdict.kept).toBe(true);
    expect(verdict.figures.unackedButArrived).toBe(1);
  });

  test("counts a missing QoS 0 message without blame, and blames a doubled one", () => {
    const { sent, arrivals } = goodRun();
    const absent = message("press", 6, { qos: 0, ackedAtMs: null });
    const twice = message("oven", 6, { qos: 0, ackedAtMs: null });
    const verdict = judge({
      sent: [...sent, absent, twice],
      arrivals: [...arrivals, arrivalOf(twice), arrivalOf(twice)],
    });
    expect(verdict.figures.qos0Missing).toBe(1);
    expect(verdict.findings.map(({ kind, id }) => [kind, id])).toEqual([["doubled", "oven-6"]]);
  });

  test("counts what the gateway accounts for as dead instead of calling it lost", () => {
    const { sent, arrivals } = goodRun();
    const verdict = judge({
      sent,
      arrivals: arrivals.filter((a) => !String(a.payload).includes("oven-3")),
      accounted: new Map([["oven-3", "dead"]]),
    });
    expect(verdict.kept).toBe(true);
    expect(verdict.figures.accounted).toEqual({ dead: 1 });
  });

  test("asks for order only within the flow's order key", () => {
    const sent = [message("press", 1, { topic: "a" }), message("press", 2, { topic: "b" })];
    const arrivals = sent.map(arrivalOf).reverse();
    expect(judge({ sent, arrivals, orderBy: "device" }).counts.outOfOrder).toBe(1);
    expect(judge({ sent, arrivals, orderBy: "topic" }).counts.outOfOrder).toBe(0);
    expect(judge({ sent, arrivals, orderBy: "none" }).counts.outOfOrder).toBe(0);
  });
});
