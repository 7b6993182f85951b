/** The store's writer without its thread: for many small stores, one after the other. */
import { randomUUID } from "node:crypto";
import Database from "better-sqlite3";
import type { StoreCalls } from "../../src/queue/calls.ts";
import {
  type AppendReply,
  type AppendRequest,
  type ClaimReply,
  REQUEST,
  readAppendReply,
  readClaimReply,
  type Settlement,
  writeAppend,
  writeClaim,
} from "../../src/queue/requests.ts";
import { queueSchema } from "../../src/queue/schema.ts";
import { writeSettle } from "../../src/queue/settle-wire.ts";
import { Decoder, Encoder } from "../../src/queue/wire.ts";
import { Writer } from "../../src/queue/writer.ts";
import type { WriterOptions } from "../../src/queue/writer-options.ts";

const OPENED_AT_MS = Date.UTC(2026, 5, 1, 12);

export class BareWriter {
  readonly #writer: Writer;
  readonly #versions = new Map<string, number>();
  /** What its requests say of the steady clock. */
  steadyMs = 0;
  /** The next commit finds the disk full. */
  fullOnce = false;

  constructor(
    dataDir: string,
    queue: Record<string, unknown> = {},
    options: Partial<Pick<WriterOptions, "boot" | "connect" | "synchronous">> = {},
    /** How it is opened; startWriter of damage.ts looks the store through beforehand, and marks it. */
    start: (options: WriterOptions) => Writer = (given) => new Writer(given),
  ) {
    this.#writer = start({
      dataDir,
      queue: queueSchema.parse(queue),
      boot: randomUUID(),
      version: "0.0.0-test",
      openedAtMs: OPENED_AT_MS,
      ...options,
    });
  }

  get opened(): Writer["opened"] {
    return this.#writer.opened;
  }

  registerFlows(flows: readonly string[]): void {
    const versions = this.call(
      "registerFlows",
      flows.map((flow) => ({ flow, hash: `hash-${flow}`, config: "{}" })),
    );
    for (const [at, flow] of flows.entries()) this.#versions.set(flow, versions[at]!);
  }

  append(request: AppendRequest): AppendReply {
    return this.#run((out) => writeAppend(out, request), readAppendReply);
  }

  /** A message of as few words as possible. */
  appendTo(message: {
    readonly id: string;
    readonly flows: readonly string[];
    readonly key: string;
    readonly identity: string | null;
    readonly steadyAtMs: number;
    /** Its id, unless given. */
    readonly payload?: Uint8Array;
  }): AppendReply {
    const { id, flows, key, identity, steadyAtMs } = message;
    return this.append({
      id,
      device: key,
      source: "test",
      topic: `plant/${key}`,
      payload: Buffer.from(message.payload ?? id),
      contentType: null,
      qos: 1,
      retain: false,
      producedAtMs: null,
      acceptedAtMs: OPENED_AT_MS,
      steadyAtMs,
      traceparent: null,
      headers: null,
      identity: identity === null ? null : { scope: "", key: identity, expireAtMs: steadyAtMs + 3_600_000 },
      mqtt: null,
      routes: flows.map((flow) => ({
        version: this.#versions.get(flow)!,
        key,
        state: "waiting",
        late: false,
        reason: null,
      })),
      session: [],
    });
  }

  laneOf(flow: string, key: string): number | undefined {
    return this.call("openLanes", null).find((lane) => lane.flow === flow && lane.key === key)?.lane;
  }

  claim(lane: number, limit: number, nowMs: number, unordered: boolean): ClaimReply {
    const lanes = [{ lane, limit, expireBeforeMs: 0, unordered }];
    return this.#run((out) => writeClaim(out, { lanes, nowMs, limit, bytesMax: 2 ** 20 }), readClaimReply);
  }

  settle(settlements: readonly Settlement[]): void {
    this.#run(
      (out) => writeSettle(out, settlements),
      () => {},
    );
  }

  call<K extends keyof StoreCalls>(name: K, argument: StoreCalls[K][0]): StoreCalls[K][1] {
    return this.#run(
      (out) => {
        out.u8(REQUEST.call);
        out.text(name);
        out.text(JSON.stringify(argument));
      },
      (input) => JSON.parse(input.text()),
    );
  }

  /** `clean: false` leaves it as a process does that is killed. */
  close(clean = true): void {
    this.#writer.close(clean);
  }

  #run<T>(encode: (out: Encoder) => void, decode: (input: Decoder) => T): T {
    const out = new Encoder();
    out.f64(OPENED_AT_MS);
    out.f64(this.steadyMs);
    encode(out);
    const restore = this.fullOnce ? failOneCommit() : () => {};
    this.fullOnce = false;
    try {
      const input = new Decoder(this.#writer.run(out.take()));
      if (input.u8() !== 1) throw new NoRoom();
      return decode(input);
    } finally {
      restore();
    }
  }
}

/** The request was answered `again`. */
export class NoRoom extends Error {}

function failOneCommit(): () => void {
  const { exec } = Database.prototype;
  let failed = false;
  Database.prototype.exec = function (this: Database.Database, sql: string) {
    if (sql !== "COMMIT" || failed) return exec.call(this, sql);
    failed = true;
    exec.call(this, "ROLLBACK");
    throw Object.assign(new Error("the disk is full"), { code: "SQLITE_FULL" });
  };
  return () => {
    Database.prototype.exec = exec;
  };
}
