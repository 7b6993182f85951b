/**
 * A gateway with a fault on its outer side: what it takes from the clock and from backends. Runs in place of
 * src/main.ts, with its arguments. HOLDFAST_TEST_FAULT says which fault:
 *
 *   ages-by-wall-clock     ages, deadlines and delays are counted on the wall clock
 *   unknown-is-delivered   a lost answer is taken for a yes
 *   outage-is-charged      a backend that is away is tried as if it were there, and each try counts
 */
import { systemClock } from "../../src/core/clock.ts";
import { delivered } from "../../src/core/outcome.ts";
import { Breaker } from "../../src/relay/breaker.ts";
import { HttpTarget } from "../../src/targets/http.ts";
import { MqttTarget } from "../../src/targets/mqtt.ts";

const fault = process.env.HOLDFAST_TEST_FAULT ?? "";

if (fault === "ages-by-wall-clock") {
  const { after } = systemClock;
  const beganMs = systemClock.wallMs();
  Object.assign(systemClock, {
    monoMs: () => systemClock.wallMs() - beganMs,
    /** A timer that looks at the wall clock now and then. */
    after(delayMs: number, fn: () => void) {
      const dueMs = systemClock.wallMs() + delayMs;
      let timer = after(0, () => {});
      const look = () => {
        const leftMs = dueMs - systemClock.wallMs();
        timer = leftMs <= 0 ? after(0, fn) : after(Math.min(leftMs, 10), look);
      };
      look();
      return { cancel: () => timer.cancel() };
    },
  });
} else if (fault === "unknown-is-delivered") {
  for (const { prototype } of [HttpTarget, MqttTarget]) {
    const { deliver } = prototype;
    prototype.deliver = async function (this: HttpTarget & MqttTarget, batch, signal) {
      const outcomes = await deliver.call(this, batch, signal);
      return outcomes.map((outcome) => (outcome.kind === "unknown" ? delivered("so it is hoped") : outcome));
    };
  }
} else if (fault === "outage-is-charged") {
  Breaker.prototype.answeredSince = () => true;
  Object.defineProperty(Breaker.prototype, "callsMax", { get: () => 2 });
} else if (fault !== "none") {
  throw new Error(`there is no fault named ${fault}`);
}

await import("../../src/main.ts");
