/**
 * The real store with its real thread on a folder of its own, and short words for what tests do with it.
 * Closed and removed when the test is over.
 */
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished } from "vitest";
import { type Clock, systemClock } from "../../src/core/clock.ts";
import { silentLogger } from "../../src/core/logger.ts";
import { openForReading } from "../../src/queue/database.ts";
import { type Audit, audit } from "../../src/queue/queries-audit.ts";
import type {
  AppendReply,
  AppendRequest,
  ClaimLane,
  ClaimReply,
  ClaimRequest,
  Route,
  Settlement,
} from "../../src/queue/requests.ts";
import { queueSchema } from "../../src/queue/schema.ts";
import { Store } from "../../src/queue/store.ts";
import { threadAt } from "../../src/queue/store-worker.ts";

export const SABOTEUR = new URL("./saboteur-thread.ts", import.meta.url);

/** A store keeps room for twice what its log may hold, and writes that room as it is made: that is not for hundreds. */
export const SMALL = { walBytesMax: "1MiB" };

export interface TestStoreOptions {
  /** A folder that stays the test's own business; else one is made. */
  readonly dataDir?: string;
  readonly clock?: Clock;
  readonly queue?: Record<string, unknown>;
  readonly flows?: readonly string[];
  /** What the saboteur does (see saboteur-thread.ts); without it the product's own thread runs. */
  readonly fault?: string;
  /** When to clean up; the end of the test, where nothing else is said. */
  readonly atEnd?: AtEnd;
}

type AtEnd = (cleanUp: () => void | Promise<void>) => void;

/** A folder that is gone when the test is over. */
export function scratchFolder(atEnd: AtEnd = onTestFinished): string {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-queue-"));
  atEnd(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Not started yet: for tests of the start itself. */
export function makeStore(options: TestStoreOptions & { dataDir: string }): Store {
  const store = new Store({
    dataDir: options.dataDir,
    queue: queueSchema.parse({ ...SMALL, ...options.queue }),
    boot: randomUUID(),
    version: "0.0.0-test",
    clock: options.clock ?? systemClock,
    logger: silentLogger,
    startThread: options.fault === undefined ? undefined : threadAt(SABOTEUR),
  });
  (options.atEnd ?? onTestFinished)(() => store.stop());
  return store;
}

/** Starts it; the thread takes its fault from the environment that it is born with. */
export async function startStore(store: Store, fault?: string): Promise<void> {
  if (fault !== undefined) process.env.HOLDFAST_TEST_FAULT = fault;
  const started = store.start();
  delete process.env.HOLDFAST_TEST_FAULT;
  await started;
}

type Fields = Partial<Omit<AppendRequest, "routes">> & {
  readonly flow?: string;
  readonly key?: string;
  readonly route?: Partial<Route>;
  readonly routes?: readonly Route[];
};

export class TestStore {
  readonly store: Store;
  readonly dataDir: string;
  readonly clock: Clock;
  readonly #options: TestStoreOptions;
  readonly #versions = new Map<string, number>();

  private constructor(store: Store, dataDir: string, options: TestStoreOptions) {
    this.store = store;
    this.dataDir = dataDir;
    this.clock = options.clock ?? systemClock;
    this.#options = options;
  }

  static async open(options: TestStoreOptions = {}): Promise<TestStore> {
    const dataDir = options.dataDir ?? scratchFolder(options.atEnd);
    const store = makeStore({ ...options, dataDir });
    await startStore(store, options.fault);
    const opened = new TestStore(store, dataDir, options);
    const flows = options.flows ?? ["outbox"];
    const versions = await store.registerFlows(
      flows.map((flow) => ({ flow, hash: `hash-${flow}`, config: "{}" })),
    );
    for (const [at, flow] of flows.entries()) opened.#versions.set(flow, versions[at]!);
    return opened;
  }

  /** Stops it and opens the same folder again. */
  async reopen(options: TestStoreOptions = {}): Promise<TestStore> {
    await this.store.stop();
    return TestStore.open({ ...this.#options, ...options, dataDir: this.dataDir });
  }

  version(flow: string): number {
    return this.#versions.get(flow)!;
  }

  request(fields: Fields = {}): AppendRequest {
    const { flow = "outbox", key, route, ...rest } = fields;
    const device = rest.device ?? "press-7";
    return {
      id: randomUUID(),
      device,
      source: "mqtt",
      topic: `plant/${device}`,
      payload: Buffer.from("{}"),
      contentType: null,
      qos: 1,
      retain: false,
      producedAtMs: null,
      acceptedAtMs: this.clock.wallMs(),
      steadyAtMs: this.store.steadyMs(),
      traceparent: null,
      headers: null,
      identity: null,
      mqtt: null,
      routes: [
        {
          version: this.version(flow),
          key: key ?? device,
          state: "waiting",
          late: false,
          reason: null,
          ...route,
        },
      ],
      session: [],
      ...rest,
    };
  }

  append(fields: Fields = {}, signal?: AbortSignal): Promise<AppendReply> {
    return this.store.append(this.request(fields), signal);
  }

  /** Appends, and says which lane it waits in. */
  async put(fields: Fields = {}): Promise<{ seq: number; lane: number; id: string }> {
    const request = this.request(fields);
    const reply = await this.store.append(request);
    if (reply.kind !== "stored") throw new Error(`${request.id} was taken for a duplicate`);
    return { seq: reply.seq, lane: reply.lanes[0]!, id: request.id };
  }

  claim(lane: number, options: Partial<ClaimLane> & Partial<ClaimRequest> = {}): Promise<ClaimReply> {
    return this.claimMany([{ lane, ...options }], options);
  }

  claimMany(
    lanes: readonly (Partial<ClaimLane> & { lane: number })[],
    options: Partial<Omit<ClaimRequest, "lanes">> = {},
  ): Promise<ClaimReply> {
    const defaults = { limit: 1000, expireBeforeMs: 0, unordered: false };
    return this.store.claim({
      nowMs: options.nowMs ?? this.store.steadyMs(),
      limit: options.limit ?? 1000,
      bytesMax: options.bytesMax ?? 2 ** 26,
      lanes: lanes.map(({ lane, limit, expireBeforeMs, unordered, noted }) => ({
        noted,
        lane,
        limit: limit ?? defaults.limit,
        expireBeforeMs: expireBeforeMs ?? defaults.expireBeforeMs,
        unordered: unordered ?? defaults.unordered,
      })),
    });
  }

  settle(lane: number, seq: number, settlement: Partial<Settlement> = {}): Promise<void> {
    return this.store.settle([
      {
        lane,
        seq,
        state: "delivered",
        attempts: 1,
        resend: false,
        dueAtMs: null,
        reason: null,
        note: null,
        ...settlement,
      },
    ]);
  }

  /** Claims what may go in a lane and settles all of it as delivered; returns the sequences. */
  async deliver(lane: number, options: Partial<ClaimLane> = {}): Promise<number[]> {
    const { deliveries } = await this.claim(lane, options);
    for (const { message } of deliveries) await this.settle(lane, message.seq);
    return deliveries.map(({ message }) => message.seq);
  }

  /** Rows of a question, read from another connection as the reader does. */
  rows<T>(sql: string, ...params: unknown[]): T[] {
    return readRows(this.dataDir, sql, ...params);
  }

  /** The one value that a question yields. */
  value<T>(sql: string, ...params: unknown[]): T {
    return Object.values(this.rows<Record<string, T>>(sql, ...params)[0] ?? {})[0] as T;
  }

  audit(): Audit {
    return auditFolder(this.dataDir);
  }
}

export function readRows<T>(dataDir: string, sql: string, ...params: unknown[]): T[] {
  const db = openForReading(dataDir);
  try {
    return db.prepare(sql).all(...params) as T[];
  } finally {
    db.close();
  }
}

/** The product's own accounting check, on a folder. */
export function auditFolder(dataDir: string): Audit {
  const db = openForReading(dataDir);
  try {
    // Of one commit: the store may be at work meanwhile.
    return db.transaction(() => audit(db))();
  } finally {
    db.close();
  }
}

/** One store for all tests of a file or group that keep to devices of their own: a start takes its time. */
export function sharedStore(options: TestStoreOptions = {}): () => TestStore {
  const cleanUps: (() => void | Promise<void>)[] = [];
  let store: TestStore | undefined;
  beforeAll(async () => {
    store = await TestStore.open({ ...options, atEnd: (cleanUp) => void cleanUps.unshift(cleanUp) });
  });
  afterAll(async () => {
    for (const cleanUp of cleanUps) await cleanUp();
  });
  return () => store!;
}

/** Waits, for as long as a loaded machine may need, until a value is as expected. */
export function eventually<T>(look: () => T) {
  return expect.poll(look, { timeout: 15_000, interval: 5 });
}
