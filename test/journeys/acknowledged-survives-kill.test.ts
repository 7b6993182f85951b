/**
 * Acknowledged means stored: whatever a machine was answered for arrives, once in effect and in its order, though
 * the gateway is killed again and again at random moments, also while it starts. It arrives at the backend, and at
 * subscribers with persistent sessions as their QoS promises.
 *
 * Machines under QoS 1 and 2 send again with DUP=1 what had no answer. They declare no ids of their own, so the
 * gateway has nothing but packet ids to know a repetition by.
 */
import { describe, expect, onTestFinished, test } from "vitest";
import type { Backend } from "../../simulators/backends/backend.ts";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { MqttBackend } from "../../simulators/backends/mqtt-backend.ts";
import { machineGroupSchema } from "../../simulators/machines/fleet.ts";
import type { Sent } from "../../simulators/machines/ledger.ts";
import { judge, type Verdict } from "../../simulators/oracle.ts";
import { Rig } from "../../simulators/rig.ts";
import { systemClock } from "../../src/core/clock.ts";
import { type Random, seededRandom } from "../../src/core/random.ts";
import { capability } from "../support/capabilities.ts";
import { eventually, Journey, type JourneyOptions, startBackend } from "../support/journey.ts";
import { SteadySubscriber } from "../support/steady-subscriber.ts";
import { readRows } from "../support/test-store.ts";

/** They make readings when they are told to, so that a slow start of the gateway piles up none. */
const MACHINES = [
  { name: "press", count: 3, rate: 0, qos: 1, dup: 0.05, loseAck: 0.01 },
  { name: "oven", count: 2, rate: 0, qos: 2, dup: 0.05, loseAck: 0.01, withholdPubrel: 0.01 },
  { name: "packer", count: 1, rate: 0, qos: { 1: 1, 2: 1 } },
].map((group) => machineGroupSchema.parse(group));

/** Readings of each machine between two kills. */
const BURST = 10;
/** Within this after its birth, a gateway is still starting. */
const START_MS = 400;
const SETTLE_MS_MAX = 60_000;
const LOST_AFTER_MS = 5_000;

interface Tortured {
  readonly journey: Journey;
  readonly rig: Rig;
  readonly verdict: Verdict;
  /** By the QoS of their subscription. */
  readonly subscribers: Readonly<Record<1 | 2, SteadySubscriber>>;
}

interface Torture {
  readonly backend: Backend;
  readonly target: JourneyOptions["config"];
  readonly kills: number;
  readonly seed: number;
  readonly fault?: string;
  /** The backend is away until the last kill is over. */
  readonly away?: boolean;
  readonly kill?: typeof killInTraffic;
}

async function torture(options: Torture): Promise<Tortured> {
  const { backend, target, kills, seed, fault, away, kill = killInTraffic } = options;
  const { url } = await startBackend(backend);
  const journey = new Journey({ fault, config: { targets: { backend: { ...target, url } } } });
  const rig = new Rig({
    machines: MACHINES,
    seed,
    backend,
    arrivals: backend,
    gateway: journey.process,
    clock: systemClock,
  });
  onTestFinished(() => rig.stop());
  const random = seededRandom(seed);
  if (away) await rig.backendAway();
  await rig.start();
  const subscribers = {
    1: await SteadySubscriber.start(journey.process, "screen-1", "plant/#", 1),
    2: await SteadySubscriber.start(journey.process, "screen-2", "plant/#", 2),
  };
  rig.fleet.start();
  for (let n = 1; n <= kills; n++) await kill(rig, journey, random);
  if (away) await rig.backendBack();
  rig.fleet.silence();
  expect(await rig.fleet.settle(SETTLE_MS_MAX), "every machine has its answers").toBe(true);
  // What a gateway with a fault has lost will not come however long one waits.
  await rig.drain(fault ? LOST_AFTER_MS : SETTLE_MS_MAX);
  return { journey, rig, verdict: await rig.verdict(), subscribers };
}

/** In the midst of traffic. One in five dies once more before it is up; one in five is stopped decently instead. */
async function killInTraffic(rig: Rig, { process }: Journey, random: Random): Promise<void> {
  const { ledger, machines } = rig.fleet;
  const enough = ledger.acked + 1 + random.below(BURST * machines.length);
  rig.fleet.burst(BURST);
  await eventually("machines have acknowledgements", () => ledger.acked >= enough);
  await wait(random.below(10));
  const fate = random.below(5);
  if (fate === 1) await rig.stopGateway();
  else await rig.killGateway();
  if (fate === 0) {
    const starting = process.start().catch(() => {});
    await wait(random.unit() * START_MS);
    await process.kill();
    await starting;
  }
  await rig.startGateway();
}

/** When machines have been answered for more than the store's file holds: its reader sees what is committed. */
async function killWhileUncommitted(rig: Rig, { process }: Journey): Promise<void> {
  await eventually("more is acknowledged than is stored", async () => {
    rig.fleet.burst(1);
    await rig.fleet.settle(SETTLE_MS_MAX);
    const [row] = readRows<{ stored: number }>(process.dataDir, "SELECT count(*) AS stored FROM messages");
    return rig.fleet.ledger.acked > row!.stored;
  });
  await rig.killGateway();
  await rig.startGateway();
}

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function expectPromiseKept({ journey, rig, verdict, subscribers }: Tortured): Promise<void> {
  expect(verdict.findings).toEqual([]);
  // It would prove nothing if nothing had been sent twice.
  expect(verdict.figures.acked).toBeGreaterThan(50);
  expect(verdict.figures.repeatsSent).toBeGreaterThan(5);
  const figures = await journey.figures();
  expect(figures).toMatchObject({ balanced: true, open: 0, dead: 0, expired: 0, evicted: 0, discarded: 0 });
  expect(figures.duplicates).toBeGreaterThan(0);
  // One message for each reading, and all of them over there.
  expect(figures).toMatchObject({ accepted: verdict.figures.arrived, delivered: verdict.figures.arrived });
  expect(await journey.audited()).toMatchObject({ state: "balanced", mismatches: [] });
  await expectSubscribersServed(rig.fleet.ledger.entries(), subscribers);
  await rig.stop();
}

/** At QoS 1 a message may come twice where its acknowledgement was lost; at QoS 2 once. Lost is none, and order kept. */
async function expectSubscribersServed(
  sent: readonly Sent[],
  subscribers: Tortured["subscribers"],
): Promise<void> {
  const all = Object.values(subscribers);
  await eventually("subscribers have what they are owed", () =>
    all.every((subscriber) => judge({ sent, arrivals: subscriber.arrivals() }).counts.lost === 0),
  );
  for (const subscriber of all) {
    const { counts } = judge({ sent, arrivals: subscriber.arrivals() });
    expect(counts).toMatchObject({ lost: 0, outOfOrder: 0, altered: 0, stranger: 0 });
  }
  const underQos2 = new Set(sent.flatMap(({ id, qos }) => (qos === 2 ? id : [])));
  const { findings } = judge({ sent, arrivals: subscribers[2].arrivals() });
  expect(findings.filter(({ id }) => underQos2.has(id))).toEqual([]);
}

const http = () => ({ backend: new HttpBackend(), target: { type: "http" } });
const mqtt = () => ({ backend: new MqttBackend(), target: { type: "mqtt", protocol: 5, idempotent: true } });

describe("what was acknowledged survives kill -9 at random moments", () => {
  test("on its way to an HTTP backend", async () => {
    await expectPromiseKept(await torture({ ...http(), kills: 10, seed: 1 }));
  });

  test("on its way to an MQTT backend", async () => {
    await expectPromiseKept(await torture({ ...mqtt(), kills: 10, seed: 2 }));
  });

  test("and a gateway that answers before it commits is found out", async () => {
    const fault = { fault: "early-ack", away: true, kill: killWhileUncommitted };
    const { verdict } = await torture({ ...http(), ...fault, kills: 1, seed: 3 });
    expect(verdict.counts.lost).toBeGreaterThan(0);
  });

  test("and a gateway that knows no duplicates is found out", async () => {
    const { verdict } = await torture({ ...http(), kills: 1, seed: 4, fault: "no-dedupe" });
    expect(verdict.counts.doubled).toBeGreaterThan(0);
    expect(verdict.counts.lost).toBe(0);
  });
});

const long = capability("long");

describe.skipIf(!long.present)("what was acknowledged survives kill -9 a thousand times", () => {
  test.each([
    { name: "HTTP", make: http },
    { name: "MQTT", make: mqtt },
  ])("on its way to an $name backend", { timeout: 3_600_000 }, async ({ make }) => {
    for (let round = 0; round < 10; round++) {
      await expectPromiseKept(await torture({ ...make(), kills: 50, seed: 1000 + round }));
    }
  });
});
