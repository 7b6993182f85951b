/** Every adapter keeps the promises of src/adapters/adapter.ts. */
import { describe } from "vitest";
import { capability } from "../support/capabilities.ts";
import { askedScaleBench, modbusRtuBench, modbusTcpBench, talkingScaleBench } from "./benches.ts";
import { describeAdapter, type ScenarioName } from "./conformance.ts";

const pty = capability("pty");

/** Where another bench of the same adapter runs them all, those in which the two differ; all of them with --long. */
const some = (...names: readonly ScenarioName[]) => (capability("long").present ? undefined : names);

describeAdapter("Modbus TCP", modbusTcpBench);

describe.skipIf(!pty.present)("on serial lines", () => {
  describeAdapter("Modbus RTU", modbusRtuBench, some("startsAlone", "deadNeighbour", "garbage", "comesBack"));
  describeAdapter("serial, asking,", askedScaleBench);
  describeAdapter(
    "serial, listening,",
    talkingScaleBench,
    some("evidence", "garbage", "comesBack", "stopping"),
  );
});
