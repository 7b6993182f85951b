/** The OPC UA adapter keeps the promises of src/adapters/adapter.ts, and is held against the suite's liars. */
import { afterAll, beforeAll, describe } from "vitest";
import { OpcuaServer } from "../../../simulators/machines/opcua-server.ts";
import { loadLibrary } from "../../../src/adapters/opcua/library.ts";
import { capability } from "../../support/capabilities.ts";
import { describeAdapter } from "../conformance.ts";
import { describeLiars } from "../liars.ts";
import { opcuaBench } from "./bench.ts";

const stack = capability("opcua-server");
/** The stack is heavy, and a small machine takes its time to load it. */
const START_MS_MAX = 120_000;

let server: OpcuaServer;
beforeAll(async () => {
  if (!stack.present) return;
  server = await new OpcuaServer().start();
  await loadLibrary();
}, START_MS_MAX);
afterAll(() => server?.stop());

describe.skipIf(!stack.present)("with the OPC UA stack", () => {
  describeAdapter("OPC UA", () => opcuaBench(server));
  // One about the machine, one about the store; all of them where there is time.
  describeLiars(
    "OPC UA",
    () => opcuaBench(server),
    capability("long").present
      ? undefined
      : capability("wide").present
        ? ["calls a value good that it could not read", "says nothing of what was missed"]
        : ["says nothing of what was missed"],
  );
});
