/**
 * Acknowledged means stored: whatever a machine was answered for arrives, once in effect and in its order, though
 * the gateway is killed again and again at random moments, also while it starts, and its backends misbehave. It
 * arrives at the backends, and at subscribers with persistent sessions as their QoS promises.
 *
 * Machines under QoS 1 and 2 send again with DUP=1 what had no answer. They declare no ids of their own, so the
 * gateway has nothing but packet ids to know a repetition by.
 */
import { describe, expect, onTestFinished, test } from "vitest";
import { BACKEND_MODES } from "../../simulators/backends/backend.ts";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { MqttBackend } from "../../simulators/backends/mqtt-backend.ts";
import { machineGroupSchema } from "../../simulators/machines/fleet.ts";
import type { Sent } from "../../simulators/machines/ledger.ts";
import { judge, type Verdict } from "../../simulators/oracle.ts";
import { Rig } from "../../simulators/rig.ts";
import { systemClock } from "../../src/core/clock.ts";
import { type Random, seededRandom } from "../../src/core/random.ts";
import { capability } from "../support/capabilities.ts";
import { eventually, FLOW, Journey, startBackend } from "../support/journey.ts";
import { SteadySubscriber } from "../support/steady-subscriber.ts";
import { readRows } from "../support/test-store.ts";

/** They make readings when they are told to, so that a slow start of the gateway piles up none. */
const MACHINES = [
  { name: "press", count: 3, rate: 0, qos: 1, dup: 0.05, loseAck: 0.01 },
  { name: "oven", count: 2, rate: 0, qos: 2, dup: 0.05, loseAck: 0.01, withholdPubrel: 0.01 },
  { name: "packer", count: 1, rate: 0, qos: { 1: 1, 2: 1 } },
].map((group) => machineGroupSchema.parse(group));

const KILLS_MIN = 6;
const HTTP_MODES = BACKEND_MODES.filter((mode) => mode !== "reject-one");
/** Not those in which a broker itself takes many in flight out of their order when it changes its mind. */
const MQTT_MODES = HTTP_MODES.filter((mode) => mode !== "slow" && mode !== "busy");
/** Readings of each machine between two kills. */
const BURST = 10;
/** Within this after its birth, a gateway is still starting. */
const START_MS = 400;
const SETTLE_MS_MAX = 60_000;
const LOST_AFTER_MS = 2_000;

interface Tortured {
  readonly journey: Journey;
  readonly rig: Rig;
  /** By the oracle, for each backend. */
  readonly verdicts: readonly Verdict[];
  /** By the QoS of their subscription. */
  readonly subscribers: Readonly<Record<1 | 2, SteadySubscriber>>;
}

interface Torture {
  readonly kills: number;
  /** No more kills after this long, but for the first few: a start takes its time on a small machine. */
  readonly withinMs?: number;
  readonly seed: number;
  readonly fault?: string;
  readonly kill?: typeof killInTraffic;
  /** The backends are away until the last kill is over. */
  readonly away?: boolean;
}

/** Every message goes to a backend by HTTP and to another by MQTT. */
async function torture(options: Torture): Promise<Tortured> {
  const { kills, seed, fault, kill = killInTraffic, away, withinMs = Number.POSITIVE_INFINITY } = options;
  const http = await startBackend(new HttpBackend());
  const mqtt = await startBackend(new MqttBackend());
  const targets = {
    http: { type: "http", url: http.url, requestTimeout: "300ms" },
    mqtt: { type: "mqtt", url: mqtt.url, protocol: 5, idempotent: true, ackTimeout: "300ms" },
  };
  const flows = { http: { ...FLOW, to: "http" }, mqtt: { ...FLOW, to: "mqtt" } };
  const journey = new Journey({ fault, config: { targets, flows } });
  const rig = new Rig({
    machines: MACHINES,
    seed,
    backend: http.backend,
    arrivals: http.backend,
    gateway: journey.process,
    clock: systemClock,
  });
  onTestFinished(() => rig.stop());
  const backends = away ? [http.backend, mqtt.backend] : [];
  for (const backend of backends) await backend.goAway();
  await rig.start();
  const subscribers = {
    1: await SteadySubscriber.start(journey.process, "screen-1", "plant/#", 1),
    2: await SteadySubscriber.start(journey.process, "screen-2", "plant/#", 2),
  };
  rig.fleet.start();
  const random = seededRandom(seed);
  const untilMs = performance.now() + withinMs;
  for (let n = 1; n <= kills && (n <= KILLS_MIN || performance.now() < untilMs); n++) {
    if (!fault) {
      http.backend.setMode(HTTP_MODES[random.below(HTTP_MODES.length)]!);
      mqtt.backend.setMode(MQTT_MODES[random.below(MQTT_MODES.length)]!);
    }
    await kill(rig, journey, random);
  }
  for (const { backend } of [http, mqtt]) backend.setMode("ok");
  for (const backend of backends) await backend.comeBack();
  rig.fleet.burst(BURST);
  rig.fleet.silence();
  expect(await rig.fleet.settle(SETTLE_MS_MAX), "every machine has its answers").toBe(true);
  // What was lost while the backends were away will not come however long one waits.
  await rig.drain(away ? LOST_AFTER_MS : SETTLE_MS_MAX);
  const sent = rig.fleet.ledger.entries();
  const verdicts = [await rig.verdict(), judge({ sent, arrivals: mqtt.backend.arrivals() })];
  return { journey, rig, verdicts, subscribers };
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

/** When machines have been answered for more than the store's file holds: others see only what is committed. */
async function killWhileUncommitted(rig: Rig, { process }: Journey): Promise<void> {
  await eventually("more is acknowledged than is stored", async () => {
    rig.fleet.burst(1);
    await rig.fleet.settle(SETTLE_MS_MAX);
    return rig.fleet.ledger.acked > readRows(process.dataDir, "SELECT 1 FROM messages").length;
  });
  await rig.killGateway();
  await rig.startGateway();
}

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function expectPromiseKept({ journey, rig, verdicts, subscribers }: Tortured): Promise<void> {
  const { ledger } = rig.fleet;
  for (const { findings } of verdicts) expect(findings).toEqual([]);
  // It would prove nothing if nothing had been sent twice.
  expect(ledger.acked).toBeGreaterThan(50);
  expect(ledger.repeats).toBeGreaterThan(5);
  const figures = await journey.figures();
  expect(figures).toMatchObject({ balanced: true, open: 0, dead: 0, expired: 0, evicted: 0, discarded: 0 });
  expect(figures.duplicates).toBeGreaterThan(0);
  // One message for each reading, and all of them over there.
  const { arrived } = verdicts[0]!.figures;
  expect(figures).toMatchObject({ accepted: arrived, delivered: 2 * arrived });
  expect(await journey.audited()).toMatchObject({ state: "balanced", mismatches: [] });
  await expectSubscribersServed(ledger.entries(), subscribers);
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

const long = capability("long");

describe("what was acknowledged survives kill -9 at random moments", () => {
  test("up to twenty times", async () => {
    await expectPromiseKept(await torture({ kills: 20, withinMs: 18_000, seed: 1 }));
  });

  test.skipIf(!long.present)("a thousand times", { timeout: 3 * 3_600_000 }, async () => {
    for (let round = 0; round < 20; round++) {
      await expectPromiseKept(await torture({ kills: 50, seed: 1000 + round }));
    }
  });

  test("and a gateway that answers before it commits is found out", async () => {
    const fault = { fault: "early-ack", kill: killWhileUncommitted, away: true };
    const { verdicts } = await torture({ ...fault, kills: 1, seed: 3 });
    for (const { counts } of verdicts) expect(counts.lost).toBeGreaterThan(0);
  });

  test("and a gateway that knows no duplicates is found out", async () => {
    const { verdicts } = await torture({ kills: 1, seed: 4, fault: "no-dedupe" });
    for (const { counts } of verdicts) {
      expect(counts.doubled).toBeGreaterThan(0);
      expect(counts.lost).toBe(0);
    }
  });
});
