/**
 * The whole gateway for a journey: a process of its own with real sockets and files, a backend behind it, clients
 * in front of it, its HTTP door and its command line beside it. Everything ends when the test is over.
 *
 * With `fault`, its twin with that fault in its store (gateway-saboteur-thread.ts) runs in its place.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, onTestFinished } from "vitest";
import { stringify } from "yaml";
import type { Arrival, Backend } from "../../simulators/backends/backend.ts";
import { type GatewayFigures, gatewayFigures } from "../../simulators/gateway-figures.ts";
import { GatewayProcess } from "../../simulators/gateway-process.ts";
import { type RawConnectOptions, RawMqttClient } from "../../simulators/machines/raw-mqtt-client.ts";
import { type OracleArrival, payloadId } from "../../simulators/oracle.ts";
import type { StoreStatus } from "../../src/queue/queries.ts";
import type { FlowFigures } from "../../src/queue/queries-flows.ts";
import type { MessageHistory } from "../../src/queue/queries-history.ts";
import type { SignedReport } from "../../src/watch/watch.ts";
import { type CliResult, runCliHere } from "./cli-process.ts";
import { SMALL } from "./test-store.ts";

const SABOTEUR_GATEWAY = fileURLToPath(new URL("./saboteur-gateway.ts", import.meta.url));
const POLL_MS = 20;
/** Far beyond what anything takes, also on a small machine with others at work on it. */
export const WAIT_MS = 30_000;

const BASE = {
  gateway: { name: "journey" },
  log: { level: "warn" },
  broker: { listeners: [{ type: "tcp", port: 0 }] },
  web: { port: 0 },
  relay: { probeDelayMin: "50ms", probeDelayMax: "250ms", drainTimeout: "500ms" },
  health: { auditEvery: "1s" },
  queue: SMALL,
};

/** The one flow of a journey, in short delays. */
export const FLOW = { from: "plant/#", to: "backend", retry: { delayMin: "20ms", delayMax: "200ms" } };

export interface JourneyOptions {
  /** Laid over a small config with one flow `all` from plant/# to one target `backend`, key by key at the top. */
  readonly config: Record<string, unknown>;
  readonly fault?: string;
  readonly dataDir?: string;
}

export type Status = StoreStatus & { readonly health: SignedReport };

export interface Crash {
  /** "by SIGKILL", "with exit code 74" */
  readonly how: string;
  /** The end of its log. */
  readonly log: string;
}

type Ending = () => void | Promise<void>;

/** What ends what a shared set-up has made; null outside of one. */
let sharedEndings: Ending[] | null = null;

/** Ends something when the test is over, or, made in a shared set-up, when all tests of the file are. */
function atEnd(end: Ending): void {
  if (sharedEndings) sharedEndings.push(end);
  else onTestFinished(end);
}

/** One set-up for all tests of a file, where each has devices, topics or flows of its own: starts are what takes time. */
export function shared<T>(setUp: () => Promise<T>): () => T {
  const endings: Ending[] = [];
  let made: T;
  beforeAll(async () => {
    sharedEndings = endings;
    try {
      made = await setUp();
    } finally {
      sharedEndings = null;
    }
  });
  afterAll(async () => {
    const failures: unknown[] = [];
    for (const end of endings.toReversed()) {
      try {
        await end();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  });
  return () => made;
}

/** A folder that is gone when the test is over. */
export function scratchFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-journey-"));
  atEnd(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Starts it; port 0 and a ledger that tells what took effect. Stopped when the test is over. */
export async function startBackend<B extends Backend>(backend: B): Promise<{ backend: B; url: string }> {
  const { url } = await backend.start();
  atEnd(() => backend.stop());
  return { backend, url };
}

export class Journey {
  readonly process: GatewayProcess;
  readonly dir = scratchFolder();
  #crash = Promise.withResolvers<Crash>();
  /** Nobody has asked for it yet. */
  #unasked: Crash | null = null;

  /** Not started yet. */
  constructor({ config, fault, dataDir }: JourneyOptions) {
    this.process = new GatewayProcess({
      dir: this.dir,
      dataDir,
      config: stringify({ ...BASE, flows: { all: FLOW }, ...config }),
      env: { HOLDFAST_TEST_FAULT: fault },
      script: fault === undefined ? undefined : SABOTEUR_GATEWAY,
      onCrash: (how, log) => {
        this.#unasked = { how, log: log.join("\n") };
        this.#crash.resolve(this.#unasked);
      },
    });
    atEnd(() => this.#end());
  }

  /** The decent end, so that the compile cache is written for those that are killed. */
  async #end(): Promise<void> {
    await this.process.stop();
    if (!this.#unasked) return;
    throw new Error(`the gateway ended by itself, ${this.#unasked.how}:\n${this.#unasked.log}`);
  }

  static async start(options: JourneyOptions): Promise<Journey> {
    const journey = new Journey(options);
    await journey.process.start();
    return journey;
  }

  /** Resolves when the gateway has ended without having been told to. For a test that does not ask, that is a failure. */
  async crashed(): Promise<Crash> {
    const crash = await this.#crash.promise;
    this.#crash = Promise.withResolvers();
    this.#unasked = null;
    return crash;
  }

  /** kill -9 and a start on the same data. */
  async killAndStart(): Promise<void> {
    await this.process.kill();
    await this.process.start();
  }

  get port(): number {
    return this.process.address("tcp")!.port;
  }

  /** `http://127.0.0.1:8080` */
  get http(): string {
    const { host, port } = this.process.address("http")!;
    return `http://${host}:${port}`;
  }

  /** A client with a persistent session, unless told otherwise. */
  async client(clientId: string, options: Partial<RawConnectOptions> = {}): Promise<RawMqttClient> {
    const client = await RawMqttClient.connect(
      { port: this.port, clean: false, ...options, clientId },
      WAIT_MS,
    );
    atEnd(() => client.destroy());
    return client;
  }

  async status(): Promise<Status> {
    return (await this.#ask("/v1/status")).body as Status;
  }

  /** As the oracle's runs read them: figures of all flows together. */
  async figures(): Promise<GatewayFigures> {
    const figures = await gatewayFigures(this.http);
    if (!figures) throw new Error("the gateway does not answer for its figures");
    return figures;
  }

  /** Figures of one flow. */
  async flow(name: string): Promise<FlowFigures> {
    return (await this.status()).flows.find(({ flow }) => flow === name)!;
  }

  async message(id: string): Promise<MessageHistory> {
    return (await this.#ask(`/v1/messages/${encodeURIComponent(id)}`)).body as MessageHistory;
  }

  /** What an orchestrator is told: the code, and the problems with their sentences. */
  async ready(): Promise<{ code: number; status: string; problems: { key: string; sentence: string }[] }> {
    const { code, body } = await this.#ask("/readyz");
    return { code, ...(body as { status: string; problems: { key: string; sentence: string }[] }) };
  }

  async #ask(path: string): Promise<{ code: number; body: unknown }> {
    const response = await fetch(this.http + path, { signal: AbortSignal.timeout(WAIT_MS) });
    return { code: response.status, body: await response.json() };
  }

  /** The command line, on this gateway's data folder; in this process, which takes a fraction of the time. */
  cli(...args: readonly string[]): Promise<CliResult> {
    return runCliHere([...args, "--data", this.process.dataDir], { cwd: this.dir });
  }

  /** Waits until nothing is open any more; answers with the figures, which then do not move. */
  async drained(waitMs = WAIT_MS): Promise<GatewayFigures> {
    return eventually(
      "everything is delivered or set aside",
      async () => {
        const figures = await this.figures();
        return figures.open === 0 ? figures : null;
      },
      waitMs,
    );
  }

  /** The gateway's own count of every row, made after now. */
  async audited(): Promise<SignedReport["accounting"]> {
    const { asOfMs } = (await this.status()) as Status & { asOfMs: number };
    return eventually("the gateway has counted its rows", async () => {
      const { accounting } = (await this.status()).health;
      return (accounting.checkedAtMs ?? 0) > asOfMs ? accounting : null;
    });
  }
}

/** Asks again and again until the answer is neither null, undefined nor false. */
export async function eventually<T>(
  what: string,
  ask: () => T | null | undefined | false | Promise<T | null | undefined | false>,
  waitMs = WAIT_MS,
): Promise<T> {
  const deadlineMs = performance.now() + waitMs;
  for (;;) {
    const answer = await ask();
    if (answer !== null && answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadlineMs) throw new Error(`waited ${waitMs} ms in vain until: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** A payload that says what it is: `{"id":"press-7-3","n":3}`. */
export function reading(device: string, n: number, more: object = {}): string {
  return JSON.stringify({ id: `${device}-${n}`, n, ...more });
}

/** Ids in the payloads that took effect, in order. */
export function effects(backend: { arrivals(): readonly OracleArrival[] }): string[] {
  return backend
    .arrivals()
    .filter(({ effect }) => effect)
    .map(({ payload }) => payloadId(payload) ?? "(no id)");
}

/** The arrivals, taken or not, of the reading with this id. */
export function arrivalsOf(backend: Backend, id: string): readonly Arrival[] {
  return backend.arrivals().filter(({ payload }) => payloadId(payload) === id);
}
