/**
 * kill -9, again and again under mixed traffic: of the gateway, of a backend, of all of them at once. Now and then
 * the gateway dies once more while it starts, or is stopped decently in between, or a backend misbehaves at the
 * same time. What it takes for granted is what kill -9 leaves: everything that was written. See power-cut.ts for
 * what it does not take.
 */
import type { Random } from "../../../src/core/random.ts";
import { BACKEND_MODES } from "../../backends/backend.ts";
import { MqttMachine } from "../../machines/mqtt-machine.ts";
import { SteadySubscriber } from "../../machines/steady-subscriber.ts";
import { judge } from "../../oracle.ts";
import { Traffic } from "../traffic.ts";
import type { Trial, TrialContext } from "../trial.ts";

/** Readings of each machine between two kills. */
const BURST = 10;
/** Within this after its birth, a gateway is still starting. */
const START_MS = 900;
/** How far into the traffic a kill comes, beyond the acknowledgement that it waits for. */
const KILL_MS_SPREAD = 10;
const HTTP_MODES = BACKEND_MODES.filter((mode) => mode !== "reject-one");
/** Not those in which a broker itself takes many in flight out of their order when it changes its mind. */
const MQTT_MODES = HTTP_MODES.filter((mode) => mode !== "slow" && mode !== "busy");
/** One cycle in so many has backends that misbehave beside being killed. */
const MISBEHAVING_ONE_IN = 2;

const VICTIMS = ["gateway", "gateway", "backend", "both"] as const;

export const kill: Trial = {
  name: "kill",
  about:
    "Kills the gateway, its backends, or all of them with SIGKILL in the midst of traffic over MQTT and HTTP, also while it starts.",
  promise:
    "What was acknowledged reaches each backend once in effect and in its machine's order, and subscribers as their QoS promises; the accounts balance.",
  needs: [],
  async run(context) {
    const { random } = context;
    const traffic = await Traffic.start(context, { backends: "processes" });
    const subscribers: SteadySubscriber[] = [];
    const killed = { gateway: 0, backend: 0, both: 0, starting: 0 };
    let cycles = 0;
    try {
      for (const qos of [1, 2] as const) subscribers.push(await subscribe(traffic, context, qos));
      while (context.another(cycles) && traffic.findings.length === 0 && !traffic.givenUp) {
        const misbehaving = random.below(MISBEHAVING_ONE_IN) === 0;
        const modes = misbehaving
          ? [pick(random, HTTP_MODES), pick(random, MQTT_MODES)]
          : (["ok", "ok"] as const);
        for (const [at, backend] of traffic.backends.entries()) backend.setMode(modes[at]!);
        const victim = pick(random, VICTIMS);
        killed[victim]++;
        if (!(await killInTraffic(traffic, victim, random, () => killed.starting++))) break;
        cycles++;
      }
      context.say("waiting until everything has arrived");
      traffic.rig.fleet.burst(BURST);
      const figures = await traffic.judge();
      for (const [at, subscriber] of subscribers.entries())
        await judgeSubscriber(traffic, subscriber, at + 1);
      const { gateway, backend, both, starting } = killed;
      return {
        cycles,
        figures: {
          ...figures,
          killsOfGateway: gateway,
          killsOfBackend: backend,
          killsOfAll: both,
          killsWhileStarting: starting,
        },
        findings: traffic.findings,
      };
    } finally {
      for (const subscriber of subscribers) subscriber.stop();
      await traffic.stop();
    }
  },
};

/** In the midst of traffic. Of the gateways killed, one in five dies once more before it is up. */
async function killInTraffic(
  traffic: Traffic,
  victim: (typeof VICTIMS)[number],
  random: Random,
  onStarting: () => void,
): Promise<boolean> {
  const { rig, gateway } = traffic;
  const { machines } = rig.fleet;
  const enough = traffic.acked + 1 + random.below(BURST * machines.length);
  rig.fleet.burst(BURST);
  if (!(await traffic.until(() => traffic.acked >= enough))) {
    traffic.findings.push("machines get no acknowledgements");
    return false;
  }
  await traffic.pause(random.below(KILL_MS_SPREAD));
  const dying: Promise<unknown>[] = [];
  if (victim !== "backend") dying.push(rig.killGateway());
  const backends =
    victim === "gateway" ? [] : traffic.backends.filter(() => victim === "both" || random.below(2) === 0);
  for (const backend of backends) dying.push(backend.goAway());
  await Promise.all(dying);
  if (victim !== "backend" && random.below(5) === 0) {
    onStarting();
    const starting = gateway.start().catch(() => {});
    await traffic.pause(random.unit() * START_MS);
    await gateway.kill();
    await starting;
  }
  const back = Promise.all(backends.map((backend) => backend.comeBack()));
  const started = await traffic.startAgain();
  await back;
  return started;
}

async function subscribe(traffic: Traffic, { clock }: TrialContext, qos: 1 | 2): Promise<SteadySubscriber> {
  return SteadySubscriber.start({
    clientId: `screen-${qos}`,
    filter: "plant/#",
    qos,
    address: () => traffic.gateway.address("tcp"),
    clock,
  });
}

/** At QoS 1 a message may come twice where its acknowledgement was lost; at QoS 2 once. None is lost, and order kept. */
async function judgeSubscriber(traffic: Traffic, subscriber: SteadySubscriber, qos: number): Promise<void> {
  const { machines, ledger } = traffic.rig.fleet;
  // Subscribers are sent what came over MQTT; what is handed in over HTTP is for flows alone.
  const overMqtt = new Set(
    machines.filter((each) => each instanceof MqttMachine).map(({ device }) => device),
  );
  const sent = ledger.entries().filter(({ device }) => overMqtt.has(device));
  const verdict = () => judge({ sent, arrivals: subscriber.arrivals() });
  await traffic.until(() => verdict().counts.lost === 0);
  const underQos2 = new Set(sent.flatMap(({ id, qos: sentQos }) => (sentQos === 2 ? id : [])));
  const now = verdict();
  const findings = now.findings.filter(
    ({ kind, id }) => kind !== "doubled" || (qos === 2 && underQos2.has(id)),
  );
  traffic.blame({ ...now, findings }, `, at a subscriber under QoS ${qos}`);
}

function pick<T>(random: Random, from: readonly T[]): T {
  return from[random.below(from.length)]!;
}
