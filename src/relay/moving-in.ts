/**
 * The way in from another box: takes an export's lines (queue/imports.ts says what is promised) and tells the relay what
 * waits then. An export of this very gateway is something else: what was written by hand into `edit` of its dead letters
 * is put into effect here, as an edit of each.
 *
 * Whoever imports sends the lines in pieces, each a commit, and may die in between: the import knows how many it has.
 */
import { isBuiltInFlow } from "../core/command-message.ts";
import { HoldfastError, isHoldfastError } from "../core/errors.ts";
import { bytesOf, type EditedByHand, isEditedByHand, messageProblem } from "../core/export-content.ts";
import type { ExportEnd, ExportHead, ExportMessage, ImportReceipt } from "../core/export-file.ts";
import type { Flow } from "../core/flow.ts";
import { count, counted } from "../core/plain-words.ts";
import type { Act } from "../queue/acts.ts";
import type { StoredImport } from "../queue/queries-imports.ts";
import type { Querying } from "../queue/reader.ts";
import type { Store } from "../queue/store.ts";
import type { Change, Corrections } from "./corrections.ts";
import type { Relay } from "./relay.ts";

/** Flows named in a sentence. */
const FLOWS_NAMED_MAX = 10;

export interface MovingInOptions {
  readonly gateway: string;
  readonly flows: readonly Flow[];
  readonly store: Pick<Store, "call">;
  readonly reader: Querying;
  readonly relay: Pick<Relay, "arrived">;
  readonly corrections: Pick<Corrections, "edit">;
}

export interface ImportAsk {
  readonly head: ExportHead;
  readonly end: ExportEnd;
  /** Names of all flows in its lines. */
  readonly flows: readonly string[];
  /** The flow that is to have all of them. */
  readonly into?: string;
  /** Taken although the gateway that it comes from holds nothing back. */
  readonly copy?: boolean;
}

export interface Lines {
  readonly export: string;
  readonly from: number;
  readonly lines: readonly ExportMessage[];
  /** Why what was edited in the file is another one, where it does not say so itself. */
  readonly reason?: string;
}

/** What came of lines of an export of this gateway itself. */
export interface OwnLines {
  readonly edited: number;
  /** Without an edit of somebody's. */
  readonly untouched: number;
  readonly left: readonly { readonly id: string; readonly why: string }[];
}

export class MovingIn {
  readonly #options: MovingInOptions;
  readonly #orders: Readonly<Record<string, Flow["orderBy"]>>;

  constructor(options: MovingInOptions) {
    this.#options = options;
    const taking = options.flows.filter(({ name }) => !isBuiltInFlow(name));
    this.#orders = Object.fromEntries(taking.map(({ name, orderBy }) => [name, orderBy]));
  }

  /** Null where it is an export of this gateway. Throws HF_IMPORT where it cannot be taken as a whole. */
  async check({ head, flows, into, copy }: ImportAsk): Promise<"another's" | "own"> {
    const own = await this.#options.reader.query("exportById", { id: head.export });
    if (own) {
      if (own.state === "copied" || own.state === "cancelled") return "own";
      const message = `export ${head.export} comes from this gateway, which ${own.state === "moved" ? "was told that they were moved" : "holds them for another one: to have them go on here, holdfast export cancel"}`;
      throw new HoldfastError("HF_IMPORT", message, { export: head.export, state: own.state });
    }
    const wanted = into === undefined ? flows : [into];
    const unknown = wanted.filter((name) => !Object.hasOwn(this.#orders, name));
    if (unknown.length > 0) {
      const named = unknown.slice(0, FLOWS_NAMED_MAX).join(", ");
      const message = `this gateway has no flow ${named}: add it to the config, or name the flow that is to have them (--flow)`;
      throw new HoldfastError("HF_IMPORT", message, { unknown });
    }
    if (!head.held && copy !== true) {
      const message = `this is a copy: gateway ${head.gateway} holds nothing back, so that both may deliver these. Export without --copy, or say that it is meant so (--copy)`;
      throw new HoldfastError("HF_IMPORT", message, { export: head.export });
    }
    return "another's";
  }

  /** Null where it is an export of this gateway. Throws HF_IMPORT. */
  async begin(ask: ImportAsk, act: Act): Promise<StoredImport | null> {
    if ((await this.check(ask)) === "own") return null;
    const { head, end, into = null } = ask;
    const begun = await this.#options.store.call("beginImport", { head, end, into, act });
    if (begun.kind === "begun") return begun.import;
    const { total, sum, into: before } = begun.import;
    const message = `export ${head.export} was taken in before with ${counted(total, "message")} under sum ${sum}${before === null ? "" : ` into flow ${before}`}: this is another file of it`;
    throw new HoldfastError("HF_IMPORT", message, { export: head.export });
  }

  /**
   * Resolves after the commit, with where the import is then: elsewhere, where `from` was not its place. Throws
   * HF_IMPORT for a line that cannot be taken, HF_STORE_FULL while there is no room.
   */
  async take({ export: id, from, lines, reason }: Lines): Promise<StoredImport> {
    const { store, relay, reader } = this.#options;
    const known = await reader.query("importByExport", { id });
    if (!known) throw new HoldfastError("HF_NOT_FOUND", `there is no import of export ${id}`, { export: id });
    const why = reason ?? known.reason ?? undefined;
    for (const [at, line] of lines.entries()) this.#demand(line, from + at + 1, why, known.into);
    const step = {
      export: id,
      from,
      lines: lines.map((line) => withReason(line, why)),
      orders: this.#orders,
    };
    const result = await store.call("stepImport", step);
    switch (result.kind) {
      case "taken":
        relay.arrived(result.lanes, { headChanged: true });
        return result.import;
      case "elsewhere":
        return result.import;
      case "no room":
        throw new HoldfastError("HF_STORE_FULL", "the store has no room for more messages", {
          retryAfterS: 1,
        });
      case "too many left":
        throw new HoldfastError(
          "HF_IMPORT",
          `${result.import.left.length} messages have the id of another one here: this is no export of messages that are missing here`,
        );
      case "not found":
        throw new HoldfastError("HF_NOT_FOUND", `there is no import of export ${id}`, { export: id });
    }
  }

  /** Throws HF_IMPORT where not all of it has been taken. */
  async finish(id: string, act: Act): Promise<StoredImport> {
    const found = await this.#options.store.call("finishImport", { export: id, act });
    if (!found) throw new HoldfastError("HF_NOT_FOUND", `there is no import of export ${id}`, { export: id });
    if (found.state === "finished") return found;
    const message =
      found.taken === found.total
        ? `the lines that were taken are not those that the file's end speaks of: sum ${found.chain} instead of ${found.sum}`
        : `${count(found.taken)} of ${counted(found.total, "message")} have been taken`;
    throw new HoldfastError("HF_IMPORT", message, { export: id });
  }

  /** For the gateway that it comes from; null while it is not all here. */
  receipt(of: StoredImport): ImportReceipt | null {
    if (of.state !== "finished" || !of.head.held) return null;
    return {
      format: "holdfast-import-receipt",
      version: 1,
      export: of.export,
      gateway: this.#options.gateway,
      import: of.number,
      importedAt: new Date(of.endedAtMs!).toISOString(),
      by: of.who,
      count: of.total,
      sum: of.sum,
      left: [...of.left],
    };
  }

  /** Edits that somebody wrote into an export of this gateway. */
  async own({ from, lines, reason }: Lines, by: string): Promise<OwnLines> {
    const done = { edited: 0, untouched: 0, left: [] as { id: string; why: string }[] };
    for (const [at, line] of lines.entries()) {
      this.#demand(line, from + at + 1, reason, null);
      const edited = line.deliveries.filter(isEditedByHand);
      if (edited.length === 0) done.untouched += 1;
      for (const { flow, edit } of edited) {
        const word = { by, why: edit.reason ?? reason ?? "" };
        try {
          await this.#options.corrections.edit({ id: line.id, flow }, changeOf(line, edit), word);
          done.edited += 1;
        } catch (error) {
          if (!isHoldfastError(error) || error.code === "HF_STORE_FULL" || error.code === "HF_STORE_IO")
            throw error;
          done.left.push({ id: line.id, why: error.message });
        }
      }
    }
    return done;
  }

  /** Throws HF_IMPORT, with the number of the message. */
  #demand(line: ExportMessage, number: number, reason: string | undefined, into: string | null): void {
    const unknown = line.deliveries.find(({ flow }) => !Object.hasOwn(this.#orders, into ?? flow));
    const problem =
      messageProblem(line) ??
      (unknown && `this gateway has no flow ${unknown.flow}`) ??
      (reason === undefined &&
      line.deliveries.some((each) => isEditedByHand(each) && each.edit.reason === undefined)
        ? "it was edited in the file: say why, with --reason"
        : null);
    if (problem)
      throw new HoldfastError("HF_IMPORT", `message ${number} (${line.id}): ${problem}`, { number });
  }
}

function withReason(line: ExportMessage, reason: string | undefined): ExportMessage {
  if (!line.deliveries.some(isEditedByHand)) return line;
  const deliveries = line.deliveries.map((each) =>
    isEditedByHand(each) ? { ...each, edit: { ...each.edit, reason: each.edit.reason ?? reason } } : each,
  );
  return { ...line, deliveries };
}

/** What an edit leaves out is as it was accepted. */
function changeOf(line: ExportMessage, edit: EditedByHand["edit"]): Change {
  return {
    topic: edit.topic ?? line.topic,
    payload: bytesOf(edit) ?? bytesOf(line)!,
    contentType: edit.contentType === undefined ? line.contentType : edit.contentType,
  };
}
