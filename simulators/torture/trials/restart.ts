/** The decent end, again and again under traffic: what an update or a reboot does to a gateway. */
import { Plant } from "../plant.ts";
import type { Trial } from "../trial.ts";

/** Between a start and the next stop, and between that and the next start. */
const UP_MS = { min: 150, spread: 600 };
const DOWN_MS_SPREAD = 200;
/** One stop in so many falls into an outage of the backend. */
const OUTAGE_ONE_IN = 4;

export const restart: Trial = {
  name: "restart",
  about: "Stops the gateway with SIGTERM in the midst of traffic and starts it again on the same store.",
  promise:
    "Each stop ends with exit code 0; nothing acknowledged is lost, doubled or out of order, and machines get an answer for all they send.",
  needs: [],
  async run(context) {
    const { clock, random } = context;
    const plant = await Plant.start(context, {
      machines: [
        { name: "press", count: 4, rate: 40, qos: { 0: 1, 1: 6, 2: 3 }, loseAck: 0.01 },
        { name: "oven", count: 2, rate: 20, qos: 2, dup: 0.02, republish: 0.02, withholdPubrel: 0.02 },
      ],
      config: { relay: { drainTimeout: "2s" } },
    });
    let cycles = 0;
    let stopMsMax = 0;
    let startMsMax = 0;
    try {
      while (context.another(cycles) && !context.signal.aborted) {
        await plant.pause(UP_MS.min + random.below(UP_MS.spread));
        const outage = random.below(OUTAGE_ONE_IN) === 0;
        if (outage) await plant.rig.backendAway();
        const stopAtMs = clock.monoMs();
        const how = await plant.gateway.stop();
        stopMsMax = Math.max(stopMsMax, clock.monoMs() - stopAtMs);
        if (how !== "with exit code 0" && !context.signal.aborted) {
          plant.findings.push(`stop ${cycles + 1} ended ${how}`);
        }
        await plant.pause(random.below(DOWN_MS_SPREAD));
        const startAtMs = clock.monoMs();
        await plant.rig.startGateway();
        startMsMax = Math.max(startMsMax, clock.monoMs() - startAtMs);
        if (outage) await plant.rig.backendBack();
        cycles++;
      }
      context.say("waiting until everything has arrived");
      const figures = await plant.judge();
      return {
        cycles,
        figures: { ...figures, stopMsMax: Math.round(stopMsMax), startMsMax: Math.round(startMsMax) },
        findings: plant.findings,
      };
    } finally {
      await plant.stop();
    }
  },
};
