/** So many simulated PLCs, each on a port of its own. Argument: how many. Prints `{"ports":[…]}`, then waits. */
import { Plc } from "../../simulators/machines/plc.ts";

const plcs = Array.from({ length: Number(process.argv[2]) }, (_, at) => new Plc({ seed: at }));
await Promise.all(plcs.map((plc) => plc.start()));
process.stdout.write(`${JSON.stringify({ ports: plcs.map(({ port }) => port) })}\n`);
