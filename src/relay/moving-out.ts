/**
 * The way out to another box: which deliveries an export holds, the file of it, and what becomes of them
 * (queue/exports.ts says what is promised). Needs no relay: with the gateway down the command line works the same on
 * the store alone.
 *
 * Everything goes in steps, each a short commit or a page on the reader's thread; whoever asks carries it on by asking
 * again, so that it may die between two steps and somebody else goes on.
 */
import { randomUUID } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import { HoldfastError } from "../core/errors.ts";
import { chained, contentOf, editSumOf, messageSum } from "../core/export-content.ts";
import {
  EXPORT_FORMAT,
  EXPORT_FORMAT_VERSION,
  type ExportDelivery,
  type ExportEdit,
  type ExportEnd,
  type ExportHead,
  type ExportMessage,
  type ExportSelection,
  type ImportReceipt,
} from "../core/export-file.ts";
import type { Act } from "../queue/acts.ts";
import type { ExportFate } from "../queue/exports.ts";
import type { ExportedDelivery, ExportedMessage, ExportPage } from "../queue/queries-export-page.ts";
import {
  CANDIDATES_BEGIN,
  type CandidateCursor,
  type CandidatesPage,
  type CandidatesParams,
  type StoredExport,
} from "../queue/queries-exports.ts";
import type { Querying } from "../queue/reader.ts";
import type { Store } from "../queue/store.ts";
import type { Relay } from "./relay.ts";

/** Held or ended in one commit. */
const STEP_ROWS_MAX = 200;
/** One request carries on for so long. */
const REQUEST_MS_MAX = 250;
const ESTIMATE_MS_MAX = 5000;
const ESTIMATE_PAGE = 5000;

export interface MovingOutOptions {
  readonly gateway: string;
  readonly version: string;
  readonly store: Pick<Store, "call">;
  readonly reader: Querying;
  readonly clock: Clock;
  /** Absent with the gateway down: nothing is sent then. */
  readonly relay?: Pick<Relay, "arrived">;
}

export interface ExportEstimate {
  readonly deliveries: number;
  readonly bytes: number;
  readonly oldestMs: number | null;
  /** Being sent just now: what comes of them is not known yet. */
  readonly sending: number;
  /** False where counting took too long: there are at least so many. */
  readonly complete: boolean;
}

export interface Holding {
  readonly held: number;
  readonly damaged: number;
  readonly sending: number;
  /** Ask again with it; null where all has been looked at. */
  readonly next: CandidateCursor | null;
}

export class MovingOut {
  readonly #options: MovingOutOptions;

  constructor(options: MovingOutOptions) {
    this.#options = options;
  }

  /** Throws HF_NOT_FOUND where it names what there is not. */
  async estimate(selection: ExportSelection): Promise<ExportEstimate> {
    const { reader, clock } = this.#options;
    const untilSeq = await this.#scope(selection);
    const untilMs = clock.monoMs() + ESTIMATE_MS_MAX;
    const seen = { deliveries: 0, bytes: 0, sending: 0, oldestMs: Number.POSITIVE_INFINITY };
    let after: CandidateCursor | null = CANDIDATES_BEGIN;
    while (after !== null && clock.monoMs() < untilMs) {
      const params: CandidatesParams = { selection, untilSeq, after, limit: ESTIMATE_PAGE };
      const { rows, payloadBytes, sending, oldestMs, next }: CandidatesPage = await reader.query(
        "exportCandidates",
        params,
      );
      seen.deliveries += rows.length;
      seen.bytes += payloadBytes;
      seen.sending += sending;
      seen.oldestMs = Math.min(seen.oldestMs, oldestMs ?? Number.POSITIVE_INFINITY);
      after = next;
    }
    const oldestMs = seen.oldestMs === Number.POSITIVE_INFINITY ? null : seen.oldestMs;
    return { ...seen, oldestMs, complete: after === null };
  }

  async begin(selection: ExportSelection, copy: boolean, act: Act): Promise<StoredExport> {
    await this.#scope(selection);
    return this.#options.store.call("beginExport", { id: randomUUID(), selection, copy, act });
  }

  /** Holds what it means, from `after` on. Throws HF_NOT_FOUND, HF_EXPORT_STATE. */
  async hold(id: string, after: CandidateCursor = CANDIDATES_BEGIN): Promise<Holding> {
    const { store, reader, clock } = this.#options;
    const { selection, untilSeq } = await this.#inState(id, ["holding"]);
    const untilMs = clock.monoMs() + REQUEST_MS_MAX;
    const done = { held: 0, damaged: 0, sending: 0 };
    for (let at: CandidateCursor | null = after; ; ) {
      const params: CandidatesParams = { selection, untilSeq, after: at, limit: STEP_ROWS_MAX };
      const { rows, sending, next }: CandidatesPage = await reader.query("exportCandidates", params);
      done.sending += sending;
      if (rows.length > 0) {
        const { held, damaged } = await store.call("holdExport", { id, rows });
        done.held += held;
        done.damaged += damaged;
      }
      if (next === null || clock.monoMs() >= untilMs) return { ...done, next };
      at = next;
    }
  }

  /** All is held: its file can be written, as often as it is wanted. Throws HF_NOT_FOUND, HF_EXPORT_STATE. */
  async seal(id: string): Promise<StoredExport> {
    await this.#inState(id, ["holding", "held"]);
    const messages = await this.#options.reader.query("exportMessages", { id });
    return (await this.#options.store.call("sealExport", { id, messages }))!;
  }

  /** Its file, line by line. Throws HF_NOT_FOUND, HF_EXPORT_STATE before the first one. */
  async file(id: string): Promise<AsyncGenerator<string>> {
    const found = await this.#inState(id, ["held", "copied"]);
    return this.#lines(found);
  }

  /** Throws HF_NOT_FOUND, HF_EXPORT_STATE, HF_REQUEST for a receipt of something else. */
  async finish(receipt: ImportReceipt, act: Act): Promise<{ readonly ended: number; readonly left: number }> {
    const found = await this.#inState(receipt.export, ["held", "moved"]);
    const { messages, sum } = found;
    if (messages !== receipt.count || (sum !== null && sum !== receipt.sum)) {
      const message = `the receipt is for ${receipt.count} messages under the sum ${receipt.sum}, and export ${found.id} has ${messages} under ${sum}`;
      throw new HoldfastError("HF_REQUEST", message, { export: found.id });
    }
    return this.#end(found.id, { to: "moved", receipt }, act);
  }

  /** They go on here: the file must not be taken in anywhere any more. Throws HF_NOT_FOUND, HF_EXPORT_STATE. */
  cancel(id: string, why: string, act: Act): Promise<{ readonly ended: number; readonly left: number }> {
    return this.#end(id, { to: "cancelled", why }, act);
  }

  async #end(id: string, fate: ExportFate, act: Act): Promise<{ ended: number; left: number }> {
    const { store, clock, relay } = this.#options;
    const untilMs = clock.monoMs() + REQUEST_MS_MAX;
    for (let ended = 0; ; ) {
      const result = await store.call("endExport", { id, fate, limit: STEP_ROWS_MAX, act });
      if (result.kind === "not found") throw notFound(id);
      if (result.kind === "not now") throw notNow(id, result.state);
      relay?.arrived(result.lanes, { headChanged: true });
      ended += result.ended;
      if (result.left === 0 || clock.monoMs() >= untilMs) return { ended, left: result.left };
    }
  }

  async *#lines(found: StoredExport): AsyncGenerator<string> {
    const { reader, store } = this.#options;
    const { id } = found;
    yield line(this.#head(found));
    let sum: string = id;
    let count = 0;
    for (let after: number | null = 0; after !== null; ) {
      const page: ExportPage = await reader.query("exportPage", { id, after });
      for (const each of page.messages) {
        const message = this.#message(each, found);
        sum = chained(sum, message.sum);
        count += 1;
        yield line(message);
      }
      after = page.next;
    }
    if (found.state === "held" && count !== found.messages) {
      const message = `export ${id} holds ${found.messages} messages, and ${count} of them could be read: what is missing is damaged on the disk`;
      throw new HoldfastError("HF_STORE_DAMAGED", message, { export: id });
    }
    await store.call("sealExport", { id, messages: count, sum });
    yield line({ end: true, count, sum } satisfies ExportEnd);
  }

  #head({ id, state, selection, who, reason, messages, atMs }: StoredExport): ExportHead {
    const { gateway, version } = this.#options;
    return {
      format: EXPORT_FORMAT,
      version: EXPORT_FORMAT_VERSION,
      export: id,
      gateway,
      holdfast: version,
      exportedAt: iso(atMs),
      by: who,
      reason,
      held: state !== "copied",
      selection,
      count: state === "copied" ? null : messages,
    };
  }

  /** The same whenever it is asked for: what is held does not change, and its age is that of the export's beginning. */
  #message({ content, deliveries, history }: ExportedMessage, { steadyAtMs }: StoredExport): ExportMessage {
    const m: Omit<ExportMessage, "sum"> = {
      id: content.id,
      device: content.device,
      source: content.source,
      topic: content.topic,
      ...contentOf(bytes(content.payload)),
      contentType: content.content_type,
      qos: content.qos as 0 | 1 | 2,
      retain: content.retain === 1,
      producedAt: content.produced_at === null ? null : iso(content.produced_at),
      acceptedAt: iso(content.accepted_at),
      ageMs: Math.max(0, Math.trunc(steadyAtMs - content.steady_at)),
      traceparent: content.traceparent,
      headers: content.headers === null ? {} : JSON.parse(content.headers),
      deliveries: deliveries.map(deliveryOf),
      history: history.map(({ atMs, ...entry }) => ({ at: iso(atMs), ...entry })),
    };
    return { ...m, sum: messageSum(m) };
  }

  async #scope(selection: ExportSelection): Promise<number> {
    const { untilSeq, known } = await this.#options.reader.query("exportScope", { selection });
    if (known) return untilSeq;
    const { flow, target } = selection;
    const what = [flow && `flow ${flow}`, target && `flow to target ${target}`]
      .filter(Boolean)
      .join(" that is a ");
    throw new HoldfastError("HF_NOT_FOUND", `there is no ${what}`, { ...selection });
  }

  async #inState(id: string, states: readonly StoredExport["state"][]): Promise<StoredExport> {
    const found = await this.#options.reader.query("exportById", { id });
    if (!found) throw notFound(id);
    if (!states.includes(found.state)) throw notNow(id, found.state);
    return found;
  }
}

function deliveryOf({
  updatedAtMs,
  edit,
  flow,
  key,
  state,
  attempts,
  late,
  resend,
  replay,
  reason,
}: ExportedDelivery): ExportDelivery {
  const since = iso(updatedAtMs);
  return { flow, key, state, attempts, late, resend, replay, reason, since, edit: edit && editOf(edit) };
}

function editOf({
  atMs,
  who,
  reason,
  topic,
  payload,
  contentType,
}: NonNullable<ExportedDelivery["edit"]>): ExportEdit {
  const edit = { topic, ...contentOf(bytes(payload)), contentType, by: who, reason, at: iso(atMs) };
  return { ...edit, sum: editSumOf(edit) };
}

/** As it comes from another thread it is bare bytes. */
function bytes(of: Uint8Array): Buffer {
  return Buffer.from(of.buffer, of.byteOffset, of.byteLength);
}

function line(value: object): string {
  return `${JSON.stringify(value)}\n`;
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}

function notFound(id: string): HoldfastError {
  return new HoldfastError("HF_NOT_FOUND", `there is no export ${id}`, { id });
}

function notNow(id: string, state: StoredExport["state"]): HoldfastError {
  return new HoldfastError("HF_EXPORT_STATE", `export ${id} is ${state}`, { id, state });
}
