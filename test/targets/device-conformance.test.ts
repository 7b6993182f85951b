import { systemClock } from "../../src/core/clock.ts";
import { DeviceTarget } from "../../src/targets/device.ts";
import type { Target, TargetDelivery } from "../../src/targets/target.ts";
import { FakeDevice } from "../support/fake-device.ts";
import { type Bench, describeTarget } from "./conformance.ts";

const HASTY_MS = 100;
const PATIENT_MS = 5000;

/** The suite's messages as commands: what stands in `n` is the value. */
function asCommand(delivery: TargetDelivery): TargetDelivery {
  const { n, word } = JSON.parse(delivery.message.payload.toString());
  const value = word === "poison" ? word : n;
  const order = { signal: "speed", value, preconditions: [], onUnknown: "retry", answerWithinMs: PATIENT_MS };
  return { ...delivery, message: { ...delivery.message, payload: Buffer.from(JSON.stringify(order)) } };
}

async function deviceBench(): Promise<Bench> {
  let patienceMs = PATIENT_MS;
  const device = new FakeDevice({
    get patienceMs() {
      return patienceMs;
    },
  });
  return {
    backend: device,
    link: null,
    modes: ["ok", "slow", "silent", "drop", "commit-then-silent", "commit-then-drop", "reject-one"],
    canReject: true,
    async createTarget(patience) {
      patienceMs = patience === "hasty" ? HASTY_MS : PATIENT_MS;
      const target = new DeviceTarget({
        device: "press-7",
        commanded: device,
        presence: () => ({ reachable: !device.away, detail: device.away ? "it does not answer" : "online" }),
        oneAtATime: true,
        clock: systemClock,
      });
      await target.start();
      return new Proxy(target, {
        get(of, name) {
          if (name === "deliver") {
            return (batch: readonly TargetDelivery[], signal: AbortSignal) =>
              of.deliver(batch.map(asCommand), signal);
          }
          const member = Reflect.get(of, name, of) as unknown;
          return typeof member === "function" ? member.bind(of) : member;
        },
      }) as Target;
    },
    async dispose() {},
  };
}

describeTarget("device", deviceBench, [
  "wellBehaved",
  "resend",
  "slow",
  "silent",
  "drop",
  "commitThenSilent",
  "commitThenDrop",
  "poison",
  "switchedOff",
  "abort",
  "stopping",
  "chaos",
  "chaosAgain",
]);
