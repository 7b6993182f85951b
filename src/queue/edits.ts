/**
 * Edits: a dead letter goes back in line with another payload or topic, under its id.
 *
 * Promise: the message stays as it was accepted, each edit is kept beside it for as long as it is, with who, why and
 * when; and an edit that is in effect goes out whole or not at all: one that is damaged or lost on the disk leaves the
 * delivery dead, since the original is what somebody has said is wrong.
 * An edit is of one flow's delivery: on others the message goes out as it was accepted. It takes room like a message.
 */
import { crc32 } from "node:zlib";
import type { Statement } from "better-sqlite3";
import type { DeliveryState } from "../core/outcome.ts";
import { type Act, ActTable } from "./acts.ts";
import type { Db } from "./database.ts";
import { type OpenLane, openLane, type Repairer, type Word } from "./repair.ts";

/** A row's own bytes in the store beside its payload and texts. */
const ROW_OVERHEAD_BYTES = 400;

export interface EditRequest {
  readonly lane: number;
  readonly seq: number;
  /** The edit that was in effect when this one was made, null for none: two people do not undo each other unseen. */
  readonly base: number | null;
  readonly topic: string;
  /** Base64. */
  readonly payload: string;
  readonly contentType: string | null;
  /** What is another one now: `payload`, `topic`, `content type`. */
  readonly changed: readonly string[];
  readonly word: Word;
  readonly act: Act;
}

export type EditResult =
  | { readonly kind: "edited"; readonly edit: number; readonly lane: OpenLane }
  /** It is not dead (any more); null where it is gone. */
  | { readonly kind: "not now"; readonly state: DeliveryState | null }
  /** Somebody else has edited it meanwhile. */
  | { readonly kind: "changed" }
  | { readonly kind: "no room" };

/** As in the columns of `edits`. */
export interface EditRow {
  readonly id: number;
  readonly seq: number;
  readonly lane: number;
  readonly at: number;
  readonly who: string;
  readonly reason: string;
  readonly topic: string;
  readonly payload: Buffer;
  readonly content_type: string | null;
  readonly crc: number;
}

export function editSum(e: Omit<EditRow, "crc">): number {
  const texts = `${e.who}\0${e.reason}\0${e.topic}\0${e.content_type}`;
  return crc32(e.payload, crc32(`${e.id}\0${e.seq}\0${e.lane}\0${e.at}\0${texts}`));
}

export function isEditIntact(row: EditRow): boolean {
  return row.crc === editSum(row);
}

/** A message as its target is to be given it. */
export function withEdit<R extends Pick<EditRow, "topic" | "payload" | "content_type">>(
  row: R,
  edit: Pick<EditRow, "topic" | "payload" | "content_type"> | undefined,
): R {
  if (!edit) return row;
  const { topic, payload, content_type } = edit;
  return { ...row, topic, payload, content_type };
}

export class EditTable {
  readonly #db: Db;
  readonly #find: Statement;
  /** Made when one is first added: who only reads has no use for them. */
  #adding: Adding | undefined;

  constructor(db: Db) {
    this.#db = db;
    this.#find = db.prepare("SELECT * FROM edits WHERE id = ? AND lane = ? AND seq = ?");
  }

  /** Undefined where it is not there, or not what was written. */
  find(id: number, lane: number, seq: number): EditRow | undefined {
    const row = this.#find.get(id, lane, seq) as EditRow | undefined;
    return row && isEditIntact(row) ? row : undefined;
  }

  /** Puts it in effect, and returns its number; `base` is the number of the one that was in effect, null for none. */
  add(edit: Omit<EditRow, "id" | "crc">, base: number | null): number {
    this.#adding ??= addingTo(this.#db);
    const { nextId, insert, use } = this.#adding;
    const id = nextId.get(base) as number;
    const row = { id, ...edit };
    insert.run({ ...row, crc: editSum(row) });
    use.run(id, edit.lane, edit.seq);
    return id;
  }
}

type Adding = Readonly<Record<"nextId" | "insert" | "use", Statement>>;

function addingTo(db: Db): Adding {
  return {
    // Beyond what deliveries speak of, too: an edit that was lost to damage is not replaced by another one's.
    nextId: db.prepare("SELECT max(coalesce((SELECT max(id) FROM edits), 0), coalesce(?, 0)) + 1").pluck(),
    insert: db.prepare(
      `INSERT INTO edits (id, seq, lane, at, who, reason, topic, payload, content_type, crc)
       VALUES (@id, @seq, @lane, @at, @who, @reason, @topic, @payload, @content_type, @crc)`,
    ),
    use: db.prepare("UPDATE deliveries SET edit = ? WHERE lane = ? AND seq = ?"),
  };
}

export interface EditorContext {
  readonly db: Db;
  readonly wallMs: () => number;
  readonly repairer: Repairer;
  readonly edits: EditTable;
  /** Bytes that may still be taken. */
  readonly roomBytes: () => number;
}

export class Editor {
  readonly #context: EditorContext;
  readonly #current: Statement;
  readonly #note: Statement;
  readonly #acts: ActTable;

  constructor(context: EditorContext) {
    this.#context = context;
    const { db } = context;
    this.#acts = new ActTable(db);
    this.#current = db.prepare("SELECT edit FROM deliveries WHERE lane = ? AND seq = ?").pluck();
    this.#note = db.prepare("INSERT INTO history (seq, lane, at, kind, detail) VALUES (?, ?, ?, 'edit', ?)");
  }

  /** Edits a dead letter and puts it back in line. */
  edit({ lane, seq, base, topic, payload, contentType, changed, word, act }: EditRequest): EditResult {
    const { repairer, edits, wallMs, roomBytes } = this.#context;
    const candidate = repairer.one(lane, seq);
    if (candidate?.state !== "dead" || candidate.exported) {
      return { kind: "not now", state: candidate?.state ?? null };
    }
    if (this.#current.get(lane, seq) !== base) return { kind: "changed" };
    const bytes = Buffer.from(payload, "base64");
    if (bytes.length + topic.length + ROW_OVERHEAD_BYTES > roomBytes()) return { kind: "no room" };
    const at = wallMs();
    const { by: who, why: reason } = word;
    const edit = edits.add(
      { seq, lane, at, who, reason, topic, payload: bytes, content_type: contentType },
      base,
    );
    this.#note.run(
      seq,
      lane,
      at,
      `${changed.join(" and ")} changed by ${word.by}: ${word.why} (edit ${edit})`,
    );
    repairer.putBack(candidate);
    this.#acts.write(act, { edit }, at);
    return { kind: "edited", edit, lane: openLane(candidate.lane) };
  }
}
