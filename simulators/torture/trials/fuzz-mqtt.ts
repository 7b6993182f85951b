/**
 * Streams of broken MQTT at the door of a gateway, many at a time, beside a device and a subscriber that do
 * nothing wrong.
 *
 * A finding names the seed of the cycle; the streams of a cycle are made from it one by one, so a run with that
 * seed sends the same bytes again.
 */
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { parser } from "mqtt-packet";
import { stringify } from "yaml";
import { sleep } from "../../../src/core/clock.ts";
import { GatewayProcess } from "../../gateway-process.ts";
import { RawMqttClient } from "../../machines/raw-mqtt-client.ts";
import { DEFECT } from "../crowd/defect.ts";
import { Bystanders } from "../fuzz/bystanders.ts";
import { CLIENT_IDS } from "../fuzz/mqtt-packets.ts";
import { type FuzzStream, fuzzStream } from "../fuzz/mqtt-streams.ts";
import { possibleMessages } from "../fuzz/possible-messages.ts";
import { StoredMessages } from "../fuzz/stored-messages.ts";
import { memoryOf, socketsOf } from "../process-facts.ts";
import type { Trial, TrialContext } from "../trial.ts";

const PACKETS_A_CYCLE = 2500;
const PARALLEL = 24;
const STREAM_MS_MAX = 10_000;
/** A connection that ended badly is gone from the gateway within this: its goodbye and its linger are over. */
const GONE_MS_MAX = 20_000;
const REUSE_MS_MAX = 10_000;
const GROWTH_BYTES_MAX = 50 * 2 ** 20;
/** Caches fill and code is compiled first; growth is counted from then on. */
const WARM_CYCLES = 20;
const IDS_TRIED_MAX = 200;

const CONFIG = {
  log: { level: "warn" },
  broker: {
    listeners: [{ type: "tcp", port: 0 }],
    limits: { connectTimeout: "2s", frozenAfter: "5s" },
    // What waits for clients that never come back is no growth to be looked at here.
    sessions: { queuedBytesTotalMax: "4MiB", retainedBytesMax: "2MiB" },
  },
  web: { port: 0 },
};

export const fuzzMqtt: Trial = {
  name: "fuzz-mqtt",
  about:
    "Sends the MQTT door packets of every type with something wrong in them, cut anywhere, on many connections.",
  promise:
    "The gateway goes on, keeps no client that is gone, stores nothing that nobody sent, grows by less than 50 MB, and the traffic beside is unharmed.",
  needs: [],
  async run(context) {
    const { clock, signal, seed } = context;
    const findings = new Set<string>();
    const gateway = new GatewayProcess({
      dir: join(context.dir, "gateway"),
      config: stringify(CONFIG),
      script: context.script,
      env: context.env,
      clock,
      onLog: (line) => {
        if (DEFECT.test(line)) findings.add(`the gateway logs a defect of its own: ${line.slice(0, 500)}`);
      },
      onCrash: (how, log) => findings.add(`the gateway ended by itself, ${how}: ${log.at(-1) ?? "no log"}`),
    });
    const figures = { packets: 0, streams: 0, messagesStored: 0, clientIdsTried: 0, growthMbMax: 0 };
    let cycles = 0;
    try {
      await gateway.start();
      const pid = gateway.pid!;
      const { port } = gateway.address("tcp")!;
      const quiet = socketsOf(pid);
      const stored = new StoredMessages(join(gateway.dataDir, "outbox"));
      const bystanders = new Bystanders({ port, clock });
      await bystanders.start();
      const ids = new Set(CLIENT_IDS);
      let warmBytes: number | null = null;
      while (context.another(cycles) && !signal.aborted && gateway.up) {
        const cycleSeed = seed + cycles;
        const found = new Set<string>();
        const sent = await cycle(
          context,
          port,
          cycleSeed,
          (stream) => {
            const possible = possibleMessages(Buffer.concat(stream.pieces));
            for (const digest of possible.messages) stored.allow(digest);
            for (const id of possible.clientIds) if (ids.size < IDS_TRIED_MAX && isUsable(id)) ids.add(id);
          },
          found,
        );
        figures.packets += sent.packets;
        figures.streams += sent.streams;
        for (const finding of found) findings.add(`seed ${cycleSeed}: ${finding}`);
        for (const strange of stored.strangers(bystanders)) findings.add(`seed ${cycleSeed}: ${strange}`);
        cycles++;
        if (cycles === 1 || cycles === WARM_CYCLES) warmBytes = memoryOf(pid)?.rssBytes ?? null;
      }
      if (gateway.up) {
        for (const finding of await bystanders.end()) findings.add(finding);
        figures.clientIdsTried = await reuse(context, port, [...ids], findings);
        await allGone(context, gateway, quiet, findings);
        for (const strange of stored.strangers(bystanders))
          findings.add(`by seed ${seed + cycles - 1}: ${strange}`);
        const grown = (memoryOf(pid)?.rssBytes ?? 0) - (warmBytes ?? Number.POSITIVE_INFINITY);
        figures.growthMbMax = Math.max(0, Math.round(grown / 2 ** 20));
        if (grown > GROWTH_BYTES_MAX) findings.add(`the gateway grew by ${figures.growthMbMax} MiB`);
      }
      figures.messagesStored = stored.count;
      return { cycles, figures, findings: [...findings].slice(0, 20) };
    } finally {
      await gateway.kill();
    }
  },
};

/** A few connections at a time, each with the next stream. */
async function cycle(
  context: TrialContext,
  port: number,
  seed: number,
  onStream: (stream: FuzzStream) => void,
  findings: Set<string>,
): Promise<{ packets: number; streams: number }> {
  let [packets, streams] = [0, 0];
  const worker = async () => {
    while (packets < PACKETS_A_CYCLE && !context.signal.aborted) {
      // Seeds of different cycles never meet.
      const stream = fuzzStream(seed * 100_000 + ++streams);
      packets += stream.packets;
      onStream(stream);
      const problem = await send(context, port, stream);
      if (problem) findings.add(`stream ${stream.seed}: ${problem}`);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  return { packets, streams };
}

/** Sends a stream and ends its connection; answers with what was wrong with what came back. */
async function send(
  { clock, signal }: TrialContext,
  port: number,
  stream: FuzzStream,
): Promise<string | null> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  let problem: string | null = null;
  // Answers to MQTT 5 come in its own form.
  const parse = parser({ protocolVersion: 4 });
  parse.on("error", (error: Error) => {
    problem ??= stream.version === 5 ? null : `the gateway answered what is no MQTT: ${error.message}`;
  });
  parse.on("packet", () => {});
  socket.on("data", (bytes: Buffer) => parse.parse(bytes));
  socket.on("error", () => {});
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  const over = new AbortController();
  void closed.then(() => over.abort());
  for (const piece of stream.pieces) {
    if (socket.destroyed) break;
    await new Promise<void>((resolve) => socket.write(piece, () => resolve()));
  }
  if (stream.ending === "linger") await sleep(clock, 15, over.signal);
  if (stream.ending === "destroy") socket.destroy();
  else if (stream.ending === "reset") socket.resetAndDestroy();
  else endDecently(socket);
  const tooLate = sleep(clock, STREAM_MS_MAX, over.signal).then(() => {
    if (!socket.destroyed && !signal.aborted)
      problem ??= "the gateway did not close a connection that had ended";
    socket.destroy();
  });
  await Promise.race([closed, tooLate]);
  over.abort();
  return problem;
}

const endDecently = (socket: Socket) => void socket.end();

const isUsable = (id: string) =>
  id !== "" &&
  id.isWellFormed() &&
  !id.includes("\0") &&
  !id.includes("\ufffd") &&
  Buffer.byteLength(id) <= 256;

/** Every client id that was used can be used: two clients in turn take it over, and each can work. */
async function reuse(
  { clock, signal }: TrialContext,
  port: number,
  ids: readonly string[],
  findings: Set<string>,
): Promise<number> {
  let tried = 0;
  const queue = [...ids];
  const worker = async () => {
    for (let id = queue.pop(); id !== undefined && !signal.aborted; id = queue.pop()) {
      tried++;
      try {
        const first = await RawMqttClient.connect({ port, clock, clientId: id, clean: true }, REUSE_MS_MAX);
        const second = await RawMqttClient.connect({ port, clock, clientId: id, clean: true }, REUSE_MS_MAX);
        await second.publish({ topic: "reuse", payload: "~reuse", qos: 1 }, REUSE_MS_MAX);
        await first.closed;
        await second.disconnect();
      } catch (error) {
        findings.add(
          `the client id ${JSON.stringify(id)} cannot be used any more: ${(error as Error).message}`,
        );
      }
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  return tried;
}

/** Nobody is connected: so says the gateway, and so does the system. */
async function allGone(
  { clock, signal }: TrialContext,
  gateway: GatewayProcess,
  quietSockets: number | null,
  findings: Set<string>,
): Promise<void> {
  const { host, port } = gateway.address("http")!;
  const untilMs = clock.monoMs() + GONE_MS_MAX;
  for (;;) {
    const metrics = await fetch(`http://${host}:${port}/metrics`).then((answer) => answer.text());
    const clients = Number(/^holdfast_clients_online (\d+)/m.exec(metrics)?.[1] ?? Number.NaN);
    const sockets = socketsOf(gateway.pid!);
    // The connection of the question itself, and one more that is kept alive.
    const gone = sockets === null || quietSockets === null || sockets <= quietSockets + 2;
    if ((clients === 0 && gone) || signal.aborted) return;
    if (clock.monoMs() > untilMs) {
      if (clients !== 0) findings.add(`the gateway says that ${clients} clients are connected, and none is`);
      if (!gone) findings.add(`${sockets! - quietSockets!} sockets are open that nobody has`);
      return;
    }
    await sleep(clock, 100, signal);
  }
}
