/** What is measured. Each measure runs its own gateway on a store of its own, and a peer at the same work. */
import { statSync } from "node:fs";
import { join } from "node:path";
import { operatorAtWork } from "./console.ts";
import { devices } from "./devices.ts";
import { Bench, type Gateway, hasMosquitto, memoryBytes } from "./processes.ts";

export interface Settings {
  readonly seconds: number;
  readonly backlog: number;
  readonly payloadBytes: number;
  readonly progress: (text: string) => void;
}

/** Figures of one measure: name → number; `ratio …` are against the peer in the same run. */
export type Figures = Record<string, number>;

export interface Measure {
  readonly name: string;
  readonly what: string;
  run(settings: Settings): Promise<Figures>;
}

const listeners = (extra = "") => `
broker:
  listeners:
    - { name: mqtt, type: tcp, host: 127.0.0.1, port: 0 }
web: { port: 0 }
log: { level: error }
queue: { bytesMax: 16GiB }
${extra}`;

const toNowhere = listeners(`
targets: { outbox: { type: file } }
flows: { all: { from: "bench/#", to: outbox, paused: true } }
`);

const toUpstream = (port: number) =>
  listeners(`
targets: { upstream: { type: mqtt, url: "mqtt://127.0.0.1:${port}" } }
flows: { all: { from: "bench/#", to: upstream } }
`);

async function acks(settings: Settings, clients: number, inFlight: number): Promise<Figures> {
  const { seconds, payloadBytes, progress } = settings;
  const work = { clients, inFlight, payloadBytes, seconds, messages: 0 };
  await using bench = new Bench();
  const gateway = await bench.gateway("gateway", toNowhere);
  progress(`holdfast, ${clients} clients × ${inFlight} in flight`);
  const ours = await bench.load({ ...work, port: gateway.mqttPort });
  const storeBytes =
    sizeOf(join(gateway.dataDir, "store.db")) + sizeOf(join(gateway.dataDir, "store.db-wal"));
  const rss = memoryBytes(gateway.pid).peak;
  await gateway.stop();
  const figures: Figures = {
    "acks/s": ours.acksPerSecond,
    "p50 ms": ours.p50,
    "p99 ms": ours.p99,
    "peak RSS MiB": rss / 2 ** 20,
    "disk bytes per payload byte": storeBytes / (ours.acks * payloadBytes),
  };
  if (hasMosquitto()) {
    progress(`mosquitto without disk, ${clients} clients × ${inFlight} in flight`);
    const peer = await bench.mosquitto("peer", []);
    const theirs = await bench.load({ ...work, port: peer.port });
    figures["mosquitto acks/s"] = theirs.acksPerSecond;
    figures["mosquitto p99 ms"] = theirs.p99;
    figures["ratio acks"] = ours.acksPerSecond / theirs.acksPerSecond;
  }
  return figures;
}

/** Messages a second that come out at a real upstream broker while they go in at the gateway. */
async function endToEnd(settings: Settings): Promise<Figures> {
  if (!hasMosquitto()) return {};
  const { progress } = settings;
  await using bench = new Bench();
  const upstream = await bench.mosquitto("upstream", []);
  progress("holdfast to a mosquitto upstream");
  const gateway = await bench.gateway("gateway", toUpstream(upstream.port));
  const ours = await throughput(bench, upstream.port, gateway.mqttPort, settings);
  await gateway.stop();
  progress("mosquitto's own bridge to a mosquitto upstream");
  const upstream2 = await bench.mosquitto("upstream2", []);
  const bridge = await bench.mosquitto("bridge", [
    "connection up",
    `address 127.0.0.1:${upstream2.port}`,
    "topic bench/# out 1",
    "cleansession true",
  ]);
  await new Promise((resolve) => setTimeout(resolve, 1500)); // the bridge connects in its own time
  const theirs = await throughput(bench, upstream2.port, bridge.port, settings);
  return { "msg/s": ours, "mosquitto bridge msg/s": theirs, "ratio end to end": ours / theirs };
}

/** Rate at the upstream from the first arrival until all that was acknowledged has arrived. */
async function throughput(
  bench: Bench,
  upstreamPort: number,
  port: number,
  settings: Settings,
): Promise<number> {
  const counter = bench.node("test/bench/counter.ts", [String(upstreamPort)]);
  await counter.line();
  const beganMs = performance.now();
  const { seconds, payloadBytes } = settings;
  const sent = await bench.load({ port, clients: 10, inFlight: 100, payloadBytes, seconds, messages: 0 });
  const { count, endMs } = await arrived(counter, sent.acks);
  await counter.stop();
  return count / ((endMs - beganMs) / 1000);
}

/** Waits until `expected` have arrived or nothing more does; a peer may drop, and then counts what came. */
async function arrived(
  counter: { ask(): Promise<Record<string, number>> },
  expected: number,
): Promise<{ count: number; endMs: number }> {
  let count = 0;
  let endMs = performance.now();
  for (let quiet = 0; quiet < 20; quiet++) {
    const now = (await counter.ask()).count!;
    if (now > count) {
      count = now;
      endMs = performance.now();
      quiet = 0;
    }
    if (count >= expected) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return { count, endMs };
}

/** Fills a backlog while the target is away, then starts anew with it and lets it drain. */
async function drain({ backlog, payloadBytes, progress }: Settings): Promise<Figures> {
  const figures: Figures = {};
  for (const size of [Math.round(backlog / 10), backlog]) {
    await using bench = new Bench();
    progress(`filling a backlog of ${size}`);
    const sink = bench.node("test/bench/sink.ts", []);
    const { port } = await sink.line();
    const away = await bench.gateway("gateway", toNowhere);
    await bench.load({
      port: away.mqttPort,
      clients: 10,
      inFlight: 100,
      payloadBytes,
      seconds: 3600,
      messages: size,
    });
    await away.stop("SIGKILL");
    progress(`draining ${size}`);
    const gateway: Gateway = await bench.gateway("gateway", toUpstream(port!));
    const beganMs = performance.now();
    figures[`start ms with ${size}`] = gateway.startMs;
    const { count, endMs } = await arrived(sink, size);
    figures[`drain msg/s of ${size}`] = count / ((endMs - beganMs) / 1000);
    figures[`peak RSS MiB with ${size}`] = memoryBytes(gateway.pid).peak / 2 ** 20;
    await gateway.stop();
    await sink.stop();
  }
  return figures;
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

export const MEASURES: readonly Measure[] = [
  {
    name: "acks",
    what: "durable acks, 10 clients × 100 in flight",
    run: (settings) => acks(settings, 10, 100),
  },
  {
    name: "acks-narrow",
    what: "durable acks, 50 clients × 1 in flight",
    run: (settings) => acks(settings, 50, 1),
  },
  { name: "end-to-end", what: "from a machine to a real MQTT upstream", run: endToEnd },
  { name: "devices", what: "100 PLCs × 100 signals at 1 s, and how late the loop is", run: devices },
  {
    name: "operator",
    what: "how late acks are with the console open on the large store and a replay running",
    run: operatorAtWork,
  },
  { name: "drain", what: "drain of a backlog, start-up and memory with it", run: drain },
];
