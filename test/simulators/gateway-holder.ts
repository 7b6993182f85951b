/** Starts a gateway, says its process id, and holds it until it is killed itself; for a test of what is left then. */
import { stringify } from "yaml";
import { embeddedConfig } from "../../simulators/embedded-config.ts";
import { GatewayProcess } from "../../simulators/gateway-process.ts";
import { scenarioSchema } from "../../simulators/scenario.ts";

const scenario = scenarioSchema.parse({ machines: [{}], backend: { type: "file" } });
const gateway = new GatewayProcess({ config: stringify(embeddedConfig(scenario)), dir: process.argv[2]! });
await gateway.start();
process.stdout.write(`${gateway.pid}\n`);
process.stdin.resume();
