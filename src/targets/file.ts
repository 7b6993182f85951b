/**
 * The `file` target: one line of JSON per message (envelope.ts), in numbered files (file-log.ts).
 *
 * Promise: `delivered` only after the line is fsynced, and one line per message and flow, also when the
 * gateway dies between the fsync and the record of it: at start the target reads the ids of the last lines
 * back, and answers `delivered` for one that it has.
 *
 * A disk that is full, read-only or not ours to write: `retry`, the target's fault; the relay comes back.
 * Only where a failed write cannot be taken back is it `unknown`, and then a resend may double the line.
 *
 * One call is one write and one fsync, however many messages it has; calls go one after the other.
 *
 * Trades away: rotation by age happens with the next message, not at the hour; ids further back than
 * `tailIds` lines are forgotten; whoever else writes to the folder gets a new file begun beside his.
 */
import { resolve } from "node:path";
import { errorText } from "../core/errors.ts";
import { delivered, type Outcome, retryTarget, unknown } from "../core/outcome.ts";
import { BaseService } from "../core/service.ts";
import { formatBytes } from "../core/units.ts";
import { deliveryKey, notSentStopping } from "./batch.ts";
import { renderEnvelope } from "./envelope.ts";
import { type Disk, realDisk } from "./file-disk.ts";
import { FileLog } from "./file-log.ts";
import type { FileTargetConfig } from "./file-options.ts";
import { RecentKeys } from "./recent-keys.ts";
import type { Target, TargetContext, TargetDelivery, TargetHealth } from "./target.ts";

/** A line is its payload in base64 or with escapes, and a few fields. */
const LINE_GROWTH_MAX = 2;

export class FileTarget extends BaseService implements Target {
  readonly type = "file";
  readonly name: string;
  readonly idempotent = true;
  readonly batchMax: number;
  readonly batchBytesMax: number;
  readonly concurrency = 1;
  readonly together = true;
  /** Absolute. */
  readonly folder: string;
  readonly #context: TargetContext;
  readonly #log: FileLog;
  readonly #written: RecentKeys;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(config: FileTargetConfig, context: TargetContext, disk: Disk = realDisk) {
    super();
    this.name = context.name;
    this.batchMax = config.batchMax;
    this.batchBytesMax = config.batchBytesMax;
    this.folder = resolve(context.dataDir, config.folder);
    this.#context = context;
    this.#written = new RecentKeys(config.tailIds);
    this.#log = new FileLog({
      folder: this.folder,
      rotateBytes: config.rotateBytes,
      rotateEveryMs: config.rotateEvery,
      keepFiles: config.keepFiles,
      tailIds: config.tailIds,
      unsyncedBytesMax: config.batchBytesMax * LINE_GROWTH_MAX,
      disk,
      clock: context.clock,
      logger: context.logger.child({ target: context.name }),
    });
  }

  /** A disk that will not have us at start does not keep the gateway from starting: deliver() tries again. */
  protected onStart(): Promise<void> {
    return this.#inTurn(() => this.#open()).catch((error) => {
      const facts = { target: this.name, folder: this.folder, error: errorText(error) };
      this.#context.logger.warn(facts, "the folder cannot be opened");
    });
  }

  protected onStop(): Promise<void> {
    return this.#inTurn(() => this.#log.close());
  }

  async #open(): Promise<void> {
    for (const key of await this.#log.open()) this.#written.add(key);
  }

  deliver(batch: readonly TargetDelivery[], signal: AbortSignal): Promise<Outcome[]> {
    return this.#inTurn(async () => {
      if (signal.aborted || this.stopping) return batch.map(() => notSentStopping);
      try {
        await this.#open();
        await this.#log.rotateIfDue();
      } catch (error) {
        return batch.map(() => retryTarget(errorText(error)));
      }
      return this.#write(batch);
    });
  }

  async #write(batch: readonly TargetDelivery[]): Promise<Outcome[]> {
    const fresh = new Map<string, string>();
    const known = batch.map((delivery) => {
      const key = deliveryKey(delivery.flow, delivery.message.id);
      if (this.#written.has(key)) return true;
      if (!fresh.has(key)) fresh.set(key, `${renderEnvelope(delivery, this.#context.gateway)}\n`);
      return false;
    });
    let outcome = delivered();
    if (fresh.size > 0) {
      const appended = await this.#log.append(Buffer.from([...fresh.values()].join("")));
      if (appended.kind === "written") for (const key of fresh.keys()) this.#written.add(key);
      else outcome = appended.kind === "unknown" ? unknown(appended.reason) : retryTarget(appended.reason);
    }
    return known.map((writtenBefore) => (writtenBefore ? delivered("written before") : outcome));
  }

  probe(_signal: AbortSignal): Promise<TargetHealth> {
    return this.#inTurn(async () => {
      if (this.stopping) return { reachable: false, detail: "the target is stopped" };
      try {
        await this.#open();
        await this.#log.check();
      } catch (error) {
        return { reachable: false, detail: errorText(error) };
      }
      const current = this.#log.current!;
      return { reachable: true, detail: `writing ${current.path} (${formatBytes(current.bytes)})` };
    });
  }

  /** One at a time: two would write over each other. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => {});
    return turn;
  }
}
