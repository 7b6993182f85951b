/**
 * An OPC UA server by hand:
 *
 *     node simulators/machines/opcua-main.ts --port 4840
 *     node simulators/machines/opcua-main.ts --port 4840 --user operator:secret --folder /tmp/plant
 *
 * Lines typed into it: `off` and `on`; `forget` ends all sessions, with what they had subscribed to, `forget keeping`
 * without it.
 * Ctrl-C ends it.
 */
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { OpcuaServer } from "./opcua-server.ts";

const { values } = parseArgs({
  options: {
    port: { type: "string", default: "4840" },
    user: { type: "string", multiple: true, default: [] },
    folder: { type: "string" },
    seed: { type: "string", default: "1" },
    name: { type: "string" },
  },
});

const users = Object.fromEntries(values.user.map((text) => text.split(":", 2) as [string, string]));
const server = new OpcuaServer({
  port: Number(values.port),
  users: values.user.length > 0 ? users : undefined,
  folder: values.folder,
  seed: Number(values.seed),
  name: values.name,
  lives: true,
});

async function on(): Promise<void> {
  await server.start();
  console.log(
    JSON.stringify({ event: "started", endpoint: server.endpoint, fingerprint: server.fingerprint }),
  );
}

async function obey(line: string): Promise<void> {
  const [what, how] = line.trim().split(/\s+/);
  if (what === "forget") server.forgetSessions(how === "keeping");
  else if (what === "on") await on();
  else if (what === "off") {
    await server.off();
    console.log(JSON.stringify({ event: "off" }));
  } else if (what) throw new Error(`${what}: not understood`);
}

await on();
createInterface({ input: process.stdin }).on("line", (line) => {
  obey(line).catch((error: Error) => console.error(error.message));
});
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void server.stop().then(() => process.exit(0)));
}
