/**
 * What an operator at work costs the machines: how late acknowledgements are while the console is open on a large store
 * and a replay runs, against the same load without, in turn, on the same gateway.
 */
import type { LoadResult } from "./load.ts";
import type { Figures, Settings } from "./measures.ts";
import { Bench, type Gateway } from "./processes.ts";

/** Each is done without and with an operator, this often in turn. */
const ROUNDS = 3;

const LOADS = [
  { name: "1,000 msg/s", clients: 10, inFlight: 100, messagesPerSecond: 1000 },
  { name: "flat out", clients: 10, inFlight: 100, messagesPerSecond: 0 },
] as const;

export async function operatorAtWork(settings: Settings): Promise<Figures> {
  const { backlog, payloadBytes, seconds, progress } = settings;
  await using bench = new Bench();
  const sink = bench.node("test/bench/sink.ts", []);
  const { port } = await sink.line();
  const gateway = await bench.gateway("gateway", configOf(port!));
  progress(`storing ${backlog} messages, and delivering them`);
  const fill = { clients: 10, inFlight: 100, payloadBytes, seconds: 3600 };
  const done = await bench.load({ ...fill, port: gateway.mqttPort, messages: backlog });
  for (let count = 0; count < done.acks; ) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    count = (await sink.ask()).count!;
  }
  const figures: Figures = {};
  for (const { name, ...load } of LOADS) {
    const measure = () => bench.load({ ...load, port: gateway.mqttPort, payloadBytes, seconds, messages: 0 });
    const alone: LoadResult[] = [];
    const beside: LoadResult[] = [];
    for (let round = 1; round <= ROUNDS; round++) {
      progress(`${name}, round ${round} of ${ROUNDS}: nobody looks`);
      alone.push(await measure());
      progress(`${name}, round ${round} of ${ROUNDS}: the console is open, a replay runs`);
      const operator = bench.node("test/bench/console-visitor.ts", [String(gateway.httpPort)]);
      const job = await beginReplay(gateway);
      beside.push(await measure());
      figures[`${name}: replayed meanwhile`] = await endReplay(gateway, job);
      const { asked, failed } = await operator.ask();
      if (failed! > 0) throw new Error(`${failed} of the console's ${asked} questions were not answered`);
      figures[`${name}: questions meanwhile`] = asked!;
      await operator.stop();
    }
    const [without, withOperator] = [median(alone, "p99"), median(beside, "p99")];
    figures[`${name}: p99 ms without`] = without;
    figures[`${name}: p99 ms with`] = withOperator;
    figures[`${name}: ratio p99`] = withOperator / without;
    figures[`${name}: ratio acks`] = median(beside, "acksPerSecond") / median(alone, "acksPerSecond");
  }
  await gateway.stop();
  await sink.stop();
  return figures;
}

async function beginReplay(gateway: Gateway): Promise<number> {
  const { id } = await asked(gateway, "/v1/jobs", { kind: "replay", flow: "all", reason: "a measurement" });
  return id!;
}

/** How many it has put in line. Without any, it was no replay that was measured. */
async function endReplay(gateway: Gateway, id: number): Promise<number> {
  const { done, waitsFor } = await asked(gateway, `/v1/jobs/${id}/cancel`, { reason: "measured" });
  if (done === 0) throw new Error(`the replay did not move (it waits for: ${waitsFor ?? "nothing"})`);
  return done!;
}

async function asked(gateway: Gateway, path: string, body: unknown): Promise<Record<string, number>> {
  const response = await fetch(`http://127.0.0.1:${gateway.httpPort}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${path}: ${await response.text()}`);
  return (await response.json()) as Record<string, number>;
}

function median(results: readonly LoadResult[], what: "p99" | "acksPerSecond"): number {
  return results.map((each) => each[what]).sort((a, b) => a - b)[results.length >> 1]!;
}

function configOf(sinkPort: number): string {
  return `
broker: { listeners: [{ name: mqtt, type: tcp, host: 127.0.0.1, port: 0 }] }
web: { port: 0 }
log: { level: error }
queue: { bytesMax: 16GiB }
targets: { sink: { type: mqtt, url: "mqtt://127.0.0.1:${sinkPort}" } }
flows: { all: { from: "bench/#", to: sink } }
`;
}
