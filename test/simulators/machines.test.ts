import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { behaviourSchema, readings } from "../../simulators/machines/behaviour.ts";
import { Fleet, machineGroupSchema } from "../../simulators/machines/fleet.ts";
import { judge } from "../../simulators/oracle.ts";
import { systemClock } from "../../src/core/clock.ts";
import { seededRandom } from "../../src/core/random.ts";
import { type Noted, type RecordingBroker, recordingBroker } from "./recording-broker.ts";

const SETTLE_MS = 8_000;

let broker: RecordingBroker;
let fleet: Fleet | undefined;

beforeEach(async () => {
  broker = await recordingBroker();
});
afterEach(async () => {
  await fleet?.stop();
  await broker.stop();
});

function startFleet(...groups: object[]): Fleet {
  fleet = new Fleet({
    groups: groups.map((group) => machineGroupSchema.parse(group)),
    seed: 1,
    run: "test",
    clock: systemClock,
    address: () => ({ host: "127.0.0.1", port: broker.port }),
  });
  fleet.start();
  return fleet;
}

/** Lets each machine make its `messages`, and waits for all answers. */
async function runOut(fleet: Fleet, messages: number): Promise<void> {
  const made = () => fleet.ledger.sent >= messages;
  await broker.until(made);
  fleet.silence();
  expect(await fleet.settle(SETTLE_MS)).toBe(true);
}

const idOf = (noted: Noted) => (JSON.parse(noted.payload) as { id: string }).id;
const bare = { rate: 0, burst: { every: "20ms", size: 10 } };

describe("readings", () => {
  const make = (seed: number, more: object = {}) =>
    readings({
      behaviour: behaviourSchema.parse({
        qos: { 0: 1, 1: 1, 2: 1 },
        dup: 0.2,
        payloadBytes: { min: 0, max: 400 },
        ...more,
      }),
      device: "press-01",
      run: "r",
      random: seededRandom(seed),
      wallMs: () => Date.UTC(2026, 5, 1),
    });

  test("are the same for the same seed, mishaps included, and others for another", () => {
    const run = (seed: number) => {
      const next = make(seed);
      return Array.from({ length: 50 }, () => next()).map(({ payload, ...rest }) => ({
        ...rest,
        text: String(payload),
      }));
    };
    expect(run(5)).toEqual(run(5));
    expect(run(5)).not.toEqual(run(6));
  });

  test("carry id, device, number and time in their payload, and are as large as asked", () => {
    const next = make(1, { payloadBytes: 300 });
    next();
    const reading = next();
    expect(reading.payload.length).toBe(300);
    expect(JSON.parse(String(reading.payload))).toMatchObject({
      id: "press-01-r-2",
      device: "press-01",
      n: 2,
      producedAt: "2026-06-01T00:00:00.000Z",
    });
    expect(reading.topic).toBe("plant/press-01/temperature");
  });

  test("carry the time of a wrong clock, and of the moment they were taken where they are late", () => {
    expect(make(1, { clock: "1970" })().producedAtMs).toBeLessThan(Date.UTC(1970, 0, 2));
    expect(make(1, { clock: { ahead: "1h" } })().producedAtMs).toBe(Date.UTC(2026, 5, 1, 1));
    const late = make(1, { late: { chance: 1, by: "10m" } })().producedAtMs;
    expect(Date.UTC(2026, 5, 1) - late).toBeGreaterThan(0);
    expect(Date.UTC(2026, 5, 1) - late).toBeLessThanOrEqual(600_000);
  });
});

describe("a simulated machine", () => {
  test("publishes all its readings in their order and knows each acknowledgement", async () => {
    const fleet = startFleet({ ...bare, count: 2, messages: 40, qos: { 0: 1, 1: 2, 2: 2 } });
    await runOut(fleet, 80);
    const sent = fleet.ledger.entries();
    const verdict = judge({ sent, arrivals: broker.noted.map((noted) => ({ ...noted, effect: true })) });
    expect(verdict.findings).toEqual([]);
    expect(verdict.figures).toMatchObject({ sent: 80, arrived: 80, repeatsSent: 0 });
    expect(sent.every((entry) => (entry.ackedAtMs !== null) === entry.qos > 0)).toBe(true);
  });

  test("whose acknowledgement got lost sends again with DUP under the same packet id", async () => {
    const fleet = startFleet({ ...bare, messages: 30, qos: { 0: 0, 1: 1, 2: 1 }, loseAck: 0.2 });
    await runOut(fleet, 30);
    const again = broker.noted.filter((noted) => noted.dup);
    expect(again.length).toBeGreaterThan(0);
    for (const copy of again) {
      const first = broker.noted.find((noted) => idOf(noted) === idOf(copy))!;
      expect(first.messageId).toBe(copy.messageId);
    }
    expect(fleet.ledger.acked).toBe(30);
    expect(fleet.machines[0]!.connects).toBeGreaterThan(1);
  });

  test("with a clean session sends again as a new message, and uses packet ids again", async () => {
    const fleet = startFleet({ ...bare, messages: 30, session: "clean", loseAck: 0.2 });
    await runOut(fleet, 30);
    expect(broker.noted.some((noted) => noted.dup)).toBe(false);
    expect(fleet.ledger.repeats).toBeGreaterThan(0);
    const idsUnderOne = new Set(broker.noted.filter((noted) => noted.messageId === 1).map(idOf));
    expect(idsUnderOne.size).toBeGreaterThan(1);
  });

  test("sends with DUP at once, and publishes again after the acknowledgement, where its behaviour says so", async () => {
    const fleet = startFleet({ ...bare, messages: 40, dup: 0.3, republish: 0.3 });
    await runOut(fleet, 40);
    const dups = broker.noted.filter((noted) => noted.dup).length;
    expect(dups).toBeGreaterThan(0);
    expect(broker.noted.length - dups).toBeGreaterThan(40);
    expect(fleet.ledger.repeats).toBe(broker.noted.length - 40);
  });

  test("finishes QoS 2 handshakes that were broken before PUBREL", async () => {
    const fleet = startFleet({ ...bare, messages: 20, qos: 2, withholdPubrel: 0.3 });
    await runOut(fleet, 20);
    expect(new Set(broker.noted.map(idOf)).size).toBe(20);
    expect(fleet.machines[0]!.connects).toBeGreaterThan(1);
  });

  test("keeps its readings while nobody listens, through a storm and a broken broker", async () => {
    const fleet = startFleet({ ...bare, count: 3, messages: 50 });
    await broker.until((noted) => noted.length > 20);
    fleet.storm();
    await broker.until((noted) => noted.length > 60);
    broker.cutAll();
    await runOut(fleet, 150);
    expect(new Set(broker.noted.map(idOf)).size).toBe(150);
    expect(fleet.ledger.acked).toBe(150);
  });
});
