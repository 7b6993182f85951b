/**
 * Where the commands for people get their answers: from the running gateway's API, or, with the gateway
 * down, from its store, read-only, by the same queries.
 *
 * The running gateway writes its address to `<data>/gateway.json`. That file outlives a gateway that was
 * killed, and its port may belong to another program by then; so an answer counts only where it carries the
 * boot that the file names.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { type Clock, SteadyClock, systemClock } from "../core/clock.ts";
import { errorText, HoldfastError } from "../core/errors.ts";
import type { Job, JobView } from "../core/job.ts";
import { safeParse } from "../core/safe-parse.ts";
import type { QueryResult, StoreStatus } from "../queue/queries.ts";
import type { CommandsParams, CommandView, TrailParams } from "../queue/queries-commands.ts";
import type { DeadLettersPage, DeadLettersParams } from "../queue/queries-failures.ts";
import type { MessageHistory } from "../queue/queries-history.ts";
import type { LedgerPage } from "../queue/queries-ledger.ts";
import type { MessagesPage, SearchParams } from "../queue/queries-search.ts";
import { DirectReader } from "../queue/reader-direct.ts";
import { GatewayHttp, tokenFor } from "./gateway-http.ts";

export const GATEWAY_FILE = "gateway.json";
const HOLDER_FILE = "store.holder.json";

const gatewayFile = z.looseObject({
  pid: z.number(),
  http: z.string().nullable(),
  boot: z.string(),
  startedAt: z.string(),
  cert: z.string().optional(),
});

const holderFile = z.looseObject({ pid: z.number() });

/** What this client relies on in the health report of a gateway, which may be of another version. */
const healthShape = z.looseObject({
  gateway: z.string(),
  version: z.string(),
  uptimeMs: z.number(),
  state: z.string(),
  verdict: z.string(),
  problems: z.array(
    z.looseObject({ key: z.string(), severity: z.string(), sentence: z.string(), sinceMs: z.number() }),
  ),
  targets: z.array(
    z.looseObject({
      target: z.string(),
      state: z.string(),
      downSinceMs: z.number().nullable(),
      lastError: z.string().nullable(),
      nextTryInMs: z.number().nullable(),
      lastDeliveredAtMs: z.number().nullable(),
      lastProbeOkAtMs: z.number().nullable(),
    }),
  ),
  flows: z.array(
    z.looseObject({ flow: z.string(), target: z.string(), version: z.string(), state: z.string() }),
  ),
  pauses: z
    .array(
      z.looseObject({
        kind: z.string(),
        name: z.string(),
        sinceMs: z.number().nullable(),
        who: z.string(),
        reason: z.string(),
      }),
    )
    .optional(),
  store: z.looseObject({
    state: z.string(),
    usedBytes: z.number().nullable(),
    bytesMax: z.number(),
    diskFreeBytes: z.number().nullable(),
  }),
  accounting: z.looseObject({
    state: z.string(),
    checkedAtMs: z.number().nullable(),
    mismatches: z.array(z.string()),
  }),
  clock: z.looseObject({ trusted: z.boolean() }),
  devices: z.looseObject({ known: z.number(), online: z.number(), clientsOnline: z.number() }),
});

const devicesShape = z.looseObject({
  asOfMs: z.number(),
  total: z.number(),
  devices: z.array(
    z.looseObject({
      device: z.string(),
      type: z.string(),
      state: z.string(),
      stored: z.number(),
      lastStoredAtMs: z.number().nullable(),
      where: z.string().optional(),
      lastError: z.string().nullable().optional(),
      held: z.number().optional(),
      missed: z.number().optional(),
      badFrames: z.number().optional(),
      commands: z
        .array(
          z.looseObject({
            signal: z.string(),
            type: z.string(),
            unit: z.string().optional(),
            min: z.number().optional(),
            max: z.number().optional(),
            idempotent: z.boolean(),
            verifiable: z.boolean(),
            class: z.string().nullable(),
          }),
        )
        // Of a gateway that is older than this command line.
        .default([]),
    }),
  ),
});

export type Devices = z.output<typeof devicesShape>;
export type DeviceEntry = Devices["devices"][number];

export type GatewayHealth = z.output<typeof healthShape>;

const statusShape = z.looseObject({ asOfMs: z.number(), health: healthShape });

/** The six questions' answers. `health` is null with the gateway down: nobody is there to be healthy. */
export interface Status extends StoreStatus {
  readonly asOfMs: number;
  readonly health: GatewayHealth | null;
}

/** Why the answers come from the store: a sentence for people. */
export interface Down {
  readonly sentence: string;
}

export interface Answers {
  /** Null where the running gateway answers. */
  readonly down: Down | null;
  status(): Promise<Status>;
  /** Null where there is no such message. */
  message(id: string): Promise<MessageHistory | null>;
  /** A page of those that meet the filter, newest first. */
  messages(params: SearchParams): Promise<MessagesPage>;
  dead(params: DeadLettersParams): Promise<DeadLettersPage>;
  /** Null where there is no such command. */
  command(id: string): Promise<CommandView | null>;
  commands(params: Omit<CommandsParams, "steadyNowMs">): Promise<CommandsPage>;
  trail(params: TrailParams): Promise<TrailPage>;
  /** A page of what a flow has, from the oldest message on. */
  ledger(params: { flow: string; after: number }): Promise<LedgerPage>;
  /** Newest first. */
  jobs(params: { open: boolean; limit: number }): Promise<readonly JobView[]>;
  /** Null where there is no such job. */
  job(id: number): Promise<JobView | null>;
  close(): void;
}

export type CommandsPage = QueryResult<"commands">;
export type TrailPage = QueryResult<"auditTrail">;

/** The gateway that owns `dataDir` where it runs and answers, else its store. */
export async function openAnswers(
  dataDir: string,
  env: Readonly<Record<string, string | undefined>>,
  clock: Clock = systemClock,
): Promise<Answers> {
  const file = readShape(join(dataDir, GATEWAY_FILE), gatewayFile);
  if (file?.http) {
    const { http, boot, cert } = file;
    const client = new GatewayClient(new GatewayHttp({ http, boot, cert }, tokenFor(dataDir, env), clock));
    const problem = await client.problem();
    if (problem === null) return client;
    const sentence = isRunning(file.pid)
      ? `The gateway (process ${file.pid}) does not answer on ${file.http}: ${problem}.`
      : "The gateway is not running.";
    return new StoreAnswers(dataDir, { sentence }, clock);
  }
  const sentence = file ? `The gateway (process ${file.pid}) has no HTTP door.` : whoHoldsTheStore(dataDir);
  return new StoreAnswers(dataDir, { sentence }, clock);
}

/** A gateway says where it is when it is ready; while it starts or stops only the store's lock names it. */
function whoHoldsTheStore(dataDir: string): string {
  const holder = readShape(join(dataDir, HOLDER_FILE), holderFile);
  return holder && isRunning(holder.pid)
    ? `No gateway answers; process ${holder.pid}, which took the store last, may be starting or stopping.`
    : "The gateway is not running.";
}

function readShape<S extends z.ZodType>(file: string, shape: S): z.output<S> | null {
  try {
    return safeParse(shape, JSON.parse(readFileSync(file, "utf8"))).data ?? null;
  } catch {
    return null;
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

export class GatewayClient implements Answers {
  readonly down = null;
  readonly #http: GatewayHttp;

  constructor(http: GatewayHttp) {
    this.#http = http;
  }

  /** Why it cannot be asked, or null. */
  async problem(): Promise<string | null> {
    try {
      await this.#http.ask("GET", "/livez");
      return null;
    } catch (error) {
      return errorText(error);
    }
  }

  /** Whether the gateway takes messages, and what is wrong. */
  async ready(): Promise<{
    readonly ready: boolean;
    readonly problems: readonly { readonly sentence: string }[];
  }> {
    const { status, body } = await this.#http.ask("GET", "/readyz", undefined, [200, 503]);
    const parsed = safeParse(z.object({ problems: z.array(z.looseObject({ sentence: z.string() })) }), body);
    return { ready: status === 200, problems: parsed.data?.problems ?? [] };
  }

  async status(): Promise<Status> {
    const { body } = await this.#http.ask("GET", "/v1/status");
    return { ...(body as Status), health: shaped(statusShape, body).health };
  }

  async message(id: string): Promise<MessageHistory | null> {
    const path = `/v1/messages/${encodeURIComponent(id)}`;
    const { status, body } = await this.#http.ask("GET", path, undefined, [200, 404]);
    return status === 404 ? null : (body as MessageHistory);
  }

  async devices(): Promise<Devices> {
    const { body } = await this.#http.ask("GET", "/v1/devices");
    return shaped(devicesShape, body);
  }

  async messages({ fromMs, toMs, ...filter }: SearchParams): Promise<MessagesPage> {
    const path = `/v1/messages?${queryOf({ ...filter, from: fromMs, to: toMs })}`;
    return (await this.#http.ask("GET", path)).body as MessagesPage;
  }

  async dead({ flow, after, limit }: DeadLettersParams): Promise<DeadLettersPage> {
    const path = `/v1/dead?${queryOf({ flow, after, limit })}`;
    return (await this.#http.ask("GET", path)).body as DeadLettersPage;
  }

  async command(id: string): Promise<CommandView | null> {
    const path = `/v1/commands/${encodeURIComponent(id)}`;
    const { status, body } = await this.#http.ask("GET", path, undefined, [200, 404]);
    return status === 404 ? null : (body as CommandView);
  }

  async commands(params: Omit<CommandsParams, "steadyNowMs">): Promise<CommandsPage> {
    return (await this.#http.ask("GET", `/v1/commands?${queryOf(params)}`)).body as CommandsPage;
  }

  async trail(params: TrailParams): Promise<TrailPage> {
    return (await this.#http.ask("GET", `/v1/audit?${queryOf(params)}`)).body as TrailPage;
  }

  async ledger({ flow, after }: { flow: string; after: number }): Promise<LedgerPage> {
    const path = `/v1/flows/${encodeURIComponent(flow)}/ledger?${queryOf({ after })}`;
    return (await this.#http.ask("GET", path)).body as LedgerPage;
  }

  async jobs(params: { open: boolean; limit: number }): Promise<readonly JobView[]> {
    return ((await this.#http.ask("GET", `/v1/jobs?${queryOf(params)}`)).body as { jobs: JobView[] }).jobs;
  }

  async job(id: number): Promise<JobView | null> {
    const { status, body } = await this.#http.ask("GET", `/v1/jobs/${id}`, undefined, [200, 404]);
    return status === 404 ? null : (body as JobView);
  }

  /** Something that only a running gateway can do. Waits for `waitS` seconds longer than usual. */
  async ask(
    method: "GET" | "POST",
    path: string,
    body?: unknown,
    { headers = {}, waitS = 0 }: { headers?: Record<string, string>; waitS?: number } = {},
  ): Promise<unknown> {
    return (await this.#http.ask(method, path, body, [200, 201, 202], { headers, waitMs: waitS * 1000 }))
      .body;
  }

  readonly stream = (path: string): Promise<AsyncIterable<Uint8Array>> => this.#http.stream(path);

  close(): void {}
}

function queryOf(params: object): URLSearchParams {
  const given = Object.entries(params).filter(([, value]) => value !== undefined);
  return new URLSearchParams(given.map(([name, value]): [string, string] => [name, String(value)]));
}

/** Throws HF_USAGE: a gateway of another version answers. */
function shaped<S extends z.ZodType>(shape: S, body: unknown): z.output<S> {
  const { data, error } = safeParse(shape, body);
  if (!error) return data as z.output<S>;
  const message = `the gateway's status is not one that this version reads: ${z.prettifyError(error)}`;
  throw new HoldfastError("HF_USAGE", message);
}

/** The store as it was left at its last commit. */
class StoreAnswers implements Answers {
  readonly down: Down;
  readonly #reader: DirectReader;
  readonly #clock: Clock;

  constructor(dataDir: string, down: Down, clock: Clock) {
    this.down = down;
    this.#clock = clock;
    this.#reader = openStore(dataDir, down);
  }

  async status(): Promise<Status> {
    const status = await this.#reader.query("status", { steadyNowMs: await this.#steadyNowMs() });
    return { ...status, asOfMs: status.boot?.seenAtMs ?? this.#clock.wallMs(), health: null };
  }

  async message(id: string): Promise<MessageHistory | null> {
    return this.#reader.query("messageHistory", { id, steadyNowMs: await this.#steadyNowMs() });
  }

  messages(params: SearchParams): Promise<MessagesPage> {
    return this.#reader.query("searchMessages", params);
  }

  dead(params: DeadLettersParams): Promise<DeadLettersPage> {
    return this.#reader.query("deadLetters", params);
  }

  async command(id: string): Promise<CommandView | null> {
    return this.#reader.query("command", { id, steadyNowMs: await this.#steadyNowMs() });
  }

  async commands(params: Omit<CommandsParams, "steadyNowMs">): Promise<CommandsPage> {
    return this.#reader.query("commands", { ...params, steadyNowMs: await this.#steadyNowMs() });
  }

  trail(params: TrailParams): Promise<TrailPage> {
    return this.#reader.query("auditTrail", params);
  }

  ledger(params: { flow: string; after: number }): Promise<LedgerPage> {
    return this.#reader.query("ledger", params);
  }

  async jobs(params: { open: boolean; limit: number }): Promise<readonly JobView[]> {
    return (await this.#reader.query("jobs", params)).map(withoutGateway);
  }

  async job(id: number): Promise<JobView | null> {
    const job = await this.#reader.query("job", { id });
    return job && withoutGateway(job);
  }

  close(): void {
    this.#reader.close();
  }

  /** What the steady clock would say if the gateway started now. */
  async #steadyNowMs(): Promise<number> {
    const { boot } = await this.#reader.query("overview", { steadyNowMs: 0 });
    const last = boot && { steadyMs: boot.steadyAtMs, wallMs: boot.seenAtMs };
    return new SteadyClock(this.#clock, last).nowMs();
  }
}

function withoutGateway(job: Job): JobView {
  return { ...job, waitsFor: job.state === "running" ? "the gateway is not running" : null };
}

function openStore(dataDir: string, down: Down): DirectReader {
  try {
    return new DirectReader(dataDir);
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== "HF_NOT_FOUND") throw error;
    const message = `${down.sentence} There is no store in ${dataDir} either.`;
    throw new HoldfastError("HF_GATEWAY_DOWN", message, { dataDir }, error);
  }
}
