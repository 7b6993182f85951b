/**
 * Runs a misbehaving backend by hand:
 *
 *   node simulators/backends/main.ts http --port 9000 --mode failing
 *   node simulators/backends/main.ts mqtt --port 1884 --mode commit-then-drop --json
 *   node simulators/backends/main.ts link --port 1885 --to 127.0.0.1:1884 --mode half-open
 *
 * Prints each arrival. A mode's name on standard input switches to it; `away` and `back` switch it off and on.
 */
import { flushCompileCache } from "node:module";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { type Arrival, BACKEND_MODES, type Backend, type BackendMode } from "./backend.ts";
import { HttpBackend } from "./http-backend.ts";
import { MqttBackend } from "./mqtt-backend.ts";
import { LINK_MODES, type LinkMode, TcpProxy } from "./tcp-proxy.ts";

const HELP = `usage: node simulators/backends/main.ts http|mqtt|link [options]

  --host HOST        interface to listen on (127.0.0.1)
  --port N           port; 0 picks a free one (0)
  --mode MODE        http, mqtt: ${BACKEND_MODES.join(", ")}
                     link: ${LINK_MODES.join(", ")}
  --slow-ms N        how long slow and delay take (200)
  --retry-after S    what busy asks for, in seconds (1)
  --item-results     http: answer each message of a batch by itself
  --ledger FILE      http, mqtt: write each arrival there before it is answered, and begin with what it holds
  --to HOST:PORT     link: where to
  --json             one JSON object per line
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string", default: "0" },
    mode: { type: "string" },
    "slow-ms": { type: "string", default: "200" },
    "retry-after": { type: "string", default: "1" },
    "item-results": { type: "boolean", default: false },
    ledger: { type: "string" },
    to: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

function fail(problem: string): never {
  process.stderr.write(`${problem}\n\n${HELP}`);
  process.exit(64);
}

function print(event: Record<string, unknown>, text: string): void {
  process.stdout.write(`${values.json ? JSON.stringify(event) : text}\n`);
}

function printArrival({ id, device, topic, payload, at, taken, effect }: Arrival): void {
  const fate = effect ? "took effect" : taken ? "had it before" : "not taken";
  const time = new Date(at).toISOString();
  print(
    { event: "arrival", at: time, id, device, topic, bytes: payload.length, taken, effect },
    `${time} ${fate.padEnd(13)} ${device || "-"} ${topic || "-"} ${id || "-"} ${payload.length} B`,
  );
}

/** What standard input can ask for, and how to end. */
interface Running {
  readonly modes: readonly string[];
  readonly setMode: (mode: string) => void;
  readonly goAway?: () => Promise<void>;
  readonly comeBack?: () => Promise<void>;
  readonly stop: () => Promise<void>;
}

function numberOf(text: string, name: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 0) fail(`--${name}: expected a whole number, found ${text}`);
  return number;
}

async function startBackend(kind: "http" | "mqtt"): Promise<Running> {
  const mode = (values.mode ?? "ok") as BackendMode;
  if (!BACKEND_MODES.includes(mode)) fail(`--mode: expected one of ${BACKEND_MODES.join(", ")}`);
  const options = {
    host: values.host,
    port: numberOf(values.port, "port"),
    mode,
    slowMs: numberOf(values["slow-ms"], "slow-ms"),
    retryAfterS: numberOf(values["retry-after"], "retry-after"),
    itemResults: values["item-results"],
    ledger: values.ledger,
  };
  const backend: Backend = kind === "http" ? new HttpBackend(options) : new MqttBackend(options);
  backend.onArrival = printArrival;
  const { url } = await backend.start();
  print({ event: "listening", url, mode }, `listening on ${url}, mode ${mode}`);
  return {
    modes: BACKEND_MODES,
    setMode: (next) => backend.setMode(next as BackendMode),
    goAway: () => backend.goAway(),
    comeBack: () => backend.comeBack(),
    stop: () => backend.stop(),
  };
}

async function startLink(): Promise<Running> {
  const mode = (values.mode ?? "pass") as LinkMode;
  if (!LINK_MODES.includes(mode)) fail(`--mode: expected one of ${LINK_MODES.join(", ")}`);
  const to = /^(.+):(\d+)$/.exec(values.to ?? "");
  if (!to) fail("--to: expected HOST:PORT");
  const link = new TcpProxy({
    to: { host: to[1]!, port: Number(to[2]) },
    host: values.host,
    port: numberOf(values.port, "port"),
    mode,
    delayMs: numberOf(values["slow-ms"], "slow-ms"),
  });
  const { url } = await link.start();
  print({ event: "listening", url, mode }, `listening on ${url}, to ${values.to}, mode ${mode}`);
  return { modes: LINK_MODES, setMode: (next) => link.setMode(next as LinkMode), stop: () => link.stop() };
}

async function obey(running: Running, line: string): Promise<void> {
  if (line === "") return;
  if (line === "away" && running.goAway) await running.goAway();
  else if (line === "back" && running.comeBack) await running.comeBack();
  else if (running.modes.includes(line)) running.setMode(line);
  else
    return print(
      { event: "unknown", line },
      `not known: ${line}; known: ${running.modes.join(", ")}, away, back`,
    );
  print({ event: "mode", mode: line }, `now: ${line}`);
}

const [kind] = positionals;
if (values.help) {
  process.stdout.write(HELP);
} else {
  if (kind !== "http" && kind !== "mqtt" && kind !== "link") fail("expected http, mqtt or link");
  const running = await (kind === "link" ? startLink() : startBackend(kind));
  // Most of them are killed, and would compile the same files at each start.
  flushCompileCache();
  const input = createInterface({ input: process.stdin });
  input.on("line", (line) => void obey(running, line.trim()));
  const stop = () => {
    input.close();
    void running.stop();
  };
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
}
