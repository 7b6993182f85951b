/**
 * The one writer of the store: takes a batch of requests, makes them one transaction, answers each.
 *
 * Runs on the store thread and does no waiting of its own. Two things can keep a request from being done
 * now, and then it is answered `again` and nothing of it has happened:
 * - the store has reached queue.bytesMax: appends and session changes, from the first that does not fit
 *   on, so that their order is kept;
 * - the disk is full: the transaction is rolled back and the claims and settlements, which mostly fit in
 *   pages the log has already, are tried on their own.
 * Every other failure of SQLite is the end (fail-stop): it is thrown, nothing is touched any more, and the
 * thread reports it.
 */
import { steadyMsAfter } from "../core/clock.ts";
import { COMMIT_REQUESTS_MAX } from "../core/limits.ts";
import { Appender } from "./append.ts";
import { Boots } from "./boots.ts";
import { type CallTable, callTable, type StoreCalls } from "./calls.ts";
import { Claimer } from "./claim.ts";
import { CommandRecord, type StoreNews } from "./command-record.ts";
import { type Db, formatKnown, isDiskFull, openStore } from "./database.ts";
import { EditTable } from "./edits.ts";
import { Ending } from "./ending.ts";
import { Expiry } from "./expiry.ts";
import { FlowVersions } from "./flow-versions.ts";
import { LaneTable } from "./lanes.ts";
import { LogFolding } from "./log-folding.ts";
import { type Marked, StoreMark } from "./mark.ts";
import { Repairer } from "./repair.ts";
import {
  type AppendReply,
  type AppendRequest,
  REQUEST,
  readAppend,
  readClaim,
  writeAppendReply,
  writeClaimReply,
} from "./requests.ts";
import { Retention } from "./retention.ts";
import { openReports } from "./salvage-report.ts";
import { readSessionChanges } from "./session-wire.ts";
import { SessionTable } from "./sessions.ts";
import { readSettle } from "./settle-wire.ts";
import { Superseding } from "./superseding.ts";
import { Tally } from "./tally.ts";
import { Decoder, Encoder } from "./wire.ts";
import type { Examined, Opened, WriterOptions } from "./writer-options.ts";

/** A row's own bytes in the store beside payload and texts, for the estimate against bytesMax. */
const ROW_OVERHEAD_BYTES = 400;

type Reply = (out: Encoder) => void;
/** Answer of one request: a reply, or null for `again`. */
type Answer = Reply | null;

const DONE: Reply = () => {};

export class Writer {
  readonly #db: Db;
  readonly #options: WriterOptions;
  readonly #tally: Tally;
  readonly #pruned: Tally;
  readonly #lanes: LaneTable;
  readonly #sessions: SessionTable;
  readonly #appender: Appender;
  readonly #claimer: Claimer;
  readonly #repairer: Repairer;
  readonly #record: CommandRecord;
  readonly #retention: Retention;
  readonly #boots: Boots;
  readonly #log: LogFolding;
  readonly #flowVersions: FlowVersions;
  readonly #calls: CallTable;
  readonly #format = formatKnown();
  readonly #mark: StoreMark | null = null;
  readonly #pageBytes: number;
  readonly #out = new Encoder();
  readonly opened: Opened;
  #lastSeq: number;
  /** From the head of the batch being run. */
  #wallMs: number;
  #steadyMs = 0;
  /** How long SQLite's COMMIT took in the last batch: the log written and fsynced. Undefined where none was made. */
  syncMs: number | undefined;

  constructor(options: WriterOptions, examined?: Examined) {
    this.#options = options;
    this.#wallMs = options.openedAtMs;
    this.#db = openStore(options.dataDir, {
      walBytesMax: options.queue.walBytesMax,
      cacheBytes: options.queue.cacheBytes,
      synchronous: options.synchronous,
      connect: options.connect,
      examined: examined !== undefined,
      foldFirst: this.full,
    });
    const db = this.#db;
    this.#pageBytes = db.pragma("page_size", { simple: true }) as number;
    this.#log = new LogFolding(db, options.queue.walBytesMax);
    this.#boots = new Boots(db);
    const { last } = this.#boots;
    this.#steadyMs = steadyMsAfter(last, this.#wallMs);
    this.#boots.begin(options.boot, options.version, this.#wallMs);
    this.#tally = new Tally(db, "tally");
    this.#pruned = new Tally(db, "pruned");
    this.#lanes = new LaneTable(db);
    this.#sessions = new SessionTable(db);
    this.#retention = new Retention(db, this.#lanes, this.#pruned, options.queue);
    this.#lastSeq = this.#highestSeq();
    this.#flowVersions = new FlowVersions(db);
    const wallMs = () => this.#wallMs;
    const steadyMs = () => this.#steadyMs;
    this.#record = new CommandRecord({
      db,
      wallMs,
      steadyMs,
      versionOf: (flow) => this.#flowVersions.latestOf(flow),
      append: (request) => this.#append(request),
    });
    const parts = { db, lanes: this.#lanes, tally: this.#tally, wallMs, steadyMs, record: this.#record };
    const bootNumber = this.#boots.number;
    const nextSeq = () => ++this.#lastSeq;
    const shared = { ...parts, ending: new Ending(parts), edits: new EditTable(db), bootNumber, nextSeq };
    const expiry = new Expiry(shared);
    const superseding = new Superseding(shared);
    this.#appender = new Appender({
      ...shared,
      superseding,
      sessions: this.#sessions,
      flowOfVersion: (version) => this.#flowVersions.flowOf(version),
    });
    const bootOf = (number: number) => this.#boots.nameOf(number);
    this.#claimer = new Claimer({ ...shared, bootOf, superseding, expiry });
    this.#repairer = new Repairer(shared);
    this.#calls = callTable({
      ...shared,
      sessions: this.#sessions,
      flowVersions: this.#flowVersions,
      repairer: this.#repairer,
      roomBytes: () => (this.full ? 0 : this.#room()),
      expiry,
      retention: this.#retention,
    });
    const recovered = this.#transaction(() => {
      if (examined && openReports(db).length === 0) this.#repairer.discardLost();
      return this.#repairer.recover();
    });
    // Last of all: from here on the store is held to what the mark says of it.
    if (examined) this.#mark = StoreMark.open(options.dataDir, this.#marked());
    if (!this.full) options.ballast?.take();
    this.opened = { last, recovered, salvaged: examined?.salvaged ?? null };
  }

  /** Runs one batch (see store.ts for its layout) and returns the replies in the same order. */
  run(batch: Uint8Array): Uint8Array<ArrayBuffer> {
    this.syncMs = undefined;
    const input = new Decoder(batch);
    this.#wallMs = input.f64();
    this.#steadyMs = input.f64();
    const requests = decodeRequests(input, this);
    const answers = this.#answer(requests);
    this.#foldLog();
    const out = this.#out;
    for (const answer of answers) {
      out.u8(answer ? 1 : 0);
      answer?.(out);
    }
    return out.take();
  }

  /** What the last batch changed besides what it asked for. */
  takeNews(): StoreNews | null {
    return this.#record.takeNews();
  }

  /** True while new messages wait for the ballast to be taken again. */
  get full(): boolean {
    return this.#options.ballast?.given === true;
  }

  #answer(requests: readonly Request[]): Answer[] {
    const { ballast } = this.#options;
    if (ballast?.given) ballast.take();
    // Readers can keep much in the log; it needs as much room in the store.
    const room = !ballast || (!ballast.given && ballast.covers(this.#log.unfoldedBytes));
    if (!room) return this.#commitWithoutNewMessages(requests);
    try {
      return this.#commit(requests);
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      ballast?.give();
      return this.#commitWithoutNewMessages(requests);
    }
  }

  close(clean: boolean): void {
    try {
      if (!clean) return;
      this.#transaction(() => this.#boots.endedClean());
      this.#db.pragma("wal_checkpoint(TRUNCATE)");
    } catch (error) {
      // Without room to record the end, the next start looks the store through as after a crash.
      if (!isDiskFull(error)) throw error;
    } finally {
      this.#db.close();
      this.#mark?.close(clean);
    }
  }

  #foldLog(): void {
    try {
      this.#log.whenGrown();
    } catch (error) {
      // No room in the store's file: the log has everything, and is not to grow until it is folded.
      if (!isDiskFull(error)) throw error;
      this.#options.ballast?.give();
    }
  }

  #marked(): Marked {
    return {
      format: this.#format,
      boot: this.#options.boot,
      commits: this.#boots.commits,
      seq: this.#lastSeq,
      steadyMs: this.#steadyMs,
      wallMs: this.#wallMs,
    };
  }

  #commit(requests: readonly Request[]): Answer[] {
    return this.#transaction(() => {
      let roomBytes: number | undefined;
      let closed = false;
      return requests.map((request) => {
        if (request.bytes === 0) return request.run();
        roomBytes ??= this.#room();
        // Room is given in order: nothing overtakes the first that does not fit.
        closed ||= request.bytes > roomBytes;
        if (closed) return null;
        roomBytes -= request.bytes;
        return request.run();
      });
    });
  }

  #commitWithoutNewMessages(requests: readonly Request[]): Answer[] {
    if (requests.every((request) => request.bytes > 0)) return requests.map(() => null);
    try {
      // What is committed then is written over the log, and needs no room of its own.
      if (!this.#log.foldWhole()) return requests.map(() => null);
    } catch (error) {
      // The log may have room left all the same.
      if (!isDiskFull(error)) throw error;
    }
    try {
      return this.#transaction(() => requests.map((request) => (request.bytes === 0 ? request.run() : null)));
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      return requests.map(() => null);
    }
  }

  #transaction<T>(work: () => T): T {
    const lastSeq = this.#lastSeq;
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      const result = work();
      this.#lanes.flush();
      this.#tally.flush();
      this.#pruned.flush();
      this.#boots.seen(this.#wallMs, this.#steadyMs);
      const { monoMs = () => 0 } = this.#options;
      const beganMs = monoMs();
      this.#db.exec("COMMIT");
      this.syncMs = monoMs() - beganMs;
      this.#retention.committed();
      this.#mark?.write(this.#marked());
      return result;
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      if (this.#db.inTransaction) this.#db.exec("ROLLBACK");
      this.#tally.forget();
      this.#pruned.forget();
      this.#retention.forget();
      this.#record.forget();
      this.#lanes.reload();
      this.#lastSeq = lastSeq;
      throw error;
    }
  }

  append(input: Decoder): Request {
    const request = readAppend(input);
    const bytes = request.payload.length + request.topic.length + ROW_OVERHEAD_BYTES;
    return {
      bytes: request.urgent ? 0 : bytes,
      run: () => {
        const reply = this.#append(request);
        return (out) => writeAppendReply(out, reply);
      },
    };
  }

  #append(request: AppendRequest): AppendReply {
    const reply = this.#appender.append(request);
    if (reply.kind === "stored") this.#retention.added(1);
    return reply;
  }

  claim(input: Decoder): Request {
    const request = readClaim(input);
    return {
      bytes: 0,
      run: () => {
        const reply = this.#claimer.claim(request);
        return (out) => writeClaimReply(out, reply);
      },
    };
  }

  settle(input: Decoder): Request {
    const settlements = readSettle(input);
    return {
      bytes: 0,
      run: () => {
        this.#claimer.settle(settlements);
        return DONE;
      },
    };
  }

  session(input: Decoder): Request {
    const changes = readSessionChanges(input);
    const added = changes.reduce((sum, change) => sum + (change.op === "put" ? change.value.length : 0), 0);
    return {
      // At least 1: session changes keep their place among the appends.
      bytes: added + 1,
      run: () => {
        for (const change of changes) this.#sessions.apply(change);
        return DONE;
      },
    };
  }

  call(input: Decoder): Request {
    const name = input.text() as keyof StoreCalls;
    const argument = JSON.parse(input.text());
    return {
      bytes: 0,
      run: () => {
        const result = this.#calls[name](argument as never);
        return (out) => out.text(JSON.stringify(result ?? null));
      },
    };
  }

  /** The highest sequence ever given, also where its message is pruned. */
  #highestSeq(): number {
    const one = (sql: string) => (this.#db.prepare(sql).pluck().get() as number | null | undefined) ?? 0;
    return Math.max(
      one("SELECT max(seq) FROM messages"),
      one("SELECT value FROM meta WHERE key = 'seq_high'"),
    );
  }

  /** Bytes that new messages may still take: bytesMax less what is used and less the reserve. */
  #room(): number {
    const pages = this.#db.pragma("page_count", { simple: true }) as number;
    const free = this.#db.pragma("freelist_count", { simple: true }) as number;
    const { bytesMax, reserve } = this.#options.queue;
    return bytesMax - reserve - (pages - free) * this.#pageBytes;
  }
}

interface Request {
  /** What it adds to the store; 0 for requests that may use the reserve. */
  readonly bytes: number;
  readonly run: () => Reply;
}

function decodeRequests(input: Decoder, writer: Writer): Request[] {
  const requests: Request[] = [];
  while (!input.done) {
    const kind = input.u8();
    if (kind === REQUEST.append) requests.push(writer.append(input));
    else if (kind === REQUEST.claim) requests.push(writer.claim(input));
    else if (kind === REQUEST.settle) requests.push(writer.settle(input));
    else if (kind === REQUEST.session) requests.push(writer.session(input));
    else if (kind === REQUEST.call) requests.push(writer.call(input));
    else
      throw new Error(
        `unknown request kind ${kind} at request ${requests.length} of at most ${COMMIT_REQUESTS_MAX}`,
      );
  }
  return requests;
}
