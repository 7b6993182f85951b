/**
 * An OPC UA server by hand:
 *
 *     node simulators/machines/opcua-main.ts --port 4840
 *     node simulators/machines/opcua-main.ts --port 4840 --user operator:secret --folder /tmp/plant
 *
 * Ctrl-C ends it.
 */
import { parseArgs } from "node:util";
import { OpcuaServer } from "./opcua-server.ts";

const { values } = parseArgs({
  options: {
    port: { type: "string", default: "4840" },
    user: { type: "string", multiple: true, default: [] },
    folder: { type: "string" },
    seed: { type: "string", default: "1" },
  },
});

const users = Object.fromEntries(values.user.map((text) => text.split(":", 2) as [string, string]));
const server = await new OpcuaServer({
  port: Number(values.port),
  users: values.user.length > 0 ? users : undefined,
  folder: values.folder,
  seed: Number(values.seed),
  lives: true,
}).start();
console.log(JSON.stringify({ event: "started", endpoint: server.endpoint, fingerprint: server.fingerprint }));
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void server.stop().then(() => process.exit(0)));
}
