/** What a switch that restarts does: every machine loses its connection at once, and all come back at once. */
import { Plant } from "../plant.ts";
import type { Trial } from "../trial.ts";

const MACHINES = 120;
const UP_MS = { min: 300, spread: 900 };
/** A machine that cannot come back within this is not served. */
const BACK_MS_MAX = 30_000;
const LOOK_MS = 20;

export const storm: Trial = {
  name: "storm",
  about: `Breaks the connections of ${MACHINES} machines at the same moment, so that all come back at the same moment.`,
  promise: `All machines are back within ${BACK_MS_MAX / 1000} s each time; nothing acknowledged is lost, doubled or out of order.`,
  needs: [],
  async run(context) {
    const { clock, random, signal } = context;
    const plant = await Plant.start(context, {
      machines: [
        { name: "sensor", count: MACHINES - 20, rate: 1, qos: 1, loseAck: 0.02 },
        { name: "press", count: 20, rate: 5, qos: 2, withholdPubrel: 0.02, republish: 0.02 },
      ],
    });
    const { fleet } = plant.rig;
    let cycles = 0;
    let backMsMax = 0;
    const allBack = async (what: string) => {
      const fromMs = clock.monoMs();
      while (fleet.up < MACHINES && !signal.aborted) {
        const tookMs = clock.monoMs() - fromMs;
        if (tookMs > BACK_MS_MAX) {
          plant.findings.push(
            `${what}: ${MACHINES - fleet.up} machines are not back after ${BACK_MS_MAX / 1000} s`,
          );
          return;
        }
        await plant.pause(LOOK_MS);
      }
      backMsMax = Math.max(backMsMax, clock.monoMs() - fromMs);
    };
    try {
      await allBack("at the start");
      while (context.another(cycles) && !signal.aborted) {
        fleet.storm();
        await allBack(`storm ${cycles + 1}`);
        cycles++;
        await plant.pause(UP_MS.min + random.below(UP_MS.spread));
      }
      context.say("waiting until everything has arrived");
      const figures = await plant.judge();
      return { cycles, figures: { ...figures, backMsMax: Math.round(backMsMax) }, findings: plant.findings };
    } finally {
      await plant.stop();
    }
  },
};
