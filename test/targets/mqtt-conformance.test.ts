import { BACKEND_MODES } from "../../simulators/backends/backend.ts";
import { mqttBench } from "./benches.ts";
import { describeTarget } from "./conformance.ts";

describeTarget("mqtt 3.1.1, QoS 1", () => mqttBench());
describeTarget("mqtt 3.1.1, QoS 2", () => mqttBench({ qos: 2 }), [
  "wellBehaved",
  "commitThenDrop",
  "answersLost",
  "chaos",
]);
// A broker that refuses single messages for a while (`busy`) breaks the order of what is in flight behind
// them, unless one is in flight at a time; so the one without it and the other with it.
const CALM = BACKEND_MODES.filter((mode) => mode !== "busy");
describeTarget("mqtt 5, QoS 1", () => mqttBench({ protocol: 5 }, {}, CALM), [
  "wellBehaved",
  "resend",
  "commitThenDrop",
  "poison",
  "switchedOff",
  "chaos",
]);
describeTarget(
  "mqtt 5, QoS 2, one in flight per lane",
  () => mqttBench({ protocol: 5, qos: 2, inFlightPerLane: 1 }),
  ["wellBehaved", "busy", "commitThenSilent", "poison", "halfOpen", "chaosAgain"],
);
