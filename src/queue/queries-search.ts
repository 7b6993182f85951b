/**
 * Messages and deliveries by what is known of them, newest first.
 *
 * Promise: a search never takes long. It looks through candidates within a budget (rows, payload bytes, time); where
 * that is used up it ends its page early, says so (`complete: false`), and `next` goes on from there.
 * Constraint: there is no index for it, since each would cost every message at its commit. So candidates come from
 * what the delivery path keeps anyway, whichever names the fewest:
 *
 *   the id's beginning        the unique index on ids
 *   dead or unknown           the partial index of those that need a person
 *   waiting or sending        the open lanes from their heads, where not too much is open
 *   one lane, one device      the lanes' own runs of deliveries
 *   anything else             the messages themselves, from the newest backwards
 *
 * Time is the wall clock's, as recorded. The order is the store's, so a clock that jumped neither hides nor doubles
 * a message; traded away for that: a range in the past is reached by looking through what is newer.
 */
import { systemClock } from "../core/clock.ts";
import type { DeliveryState } from "../core/outcome.ts";
import { topicMatches } from "../core/topic.ts";
import type { Db } from "./database.ts";
import { utf8Of } from "./queries-history.ts";
import { candidateSource } from "./queries-search-sources.ts";

export const SEARCH_PAGE_MAX = 500;
const SEARCH_PAGE_DEFAULT = 50;
/** A budget for one page: candidates looked at, bytes of payloads searched for a text, and time. */
const ROWS_MAX = 50_000;
const TEXT_BYTES_MAX = 16 * 2 ** 20;
const SEARCH_MS_MAX = 50;
/** The clock is looked at once in so many rows. */
const CLOCK_EVERY_ROWS = 64;
/** Bytes of each payload that a list shows. */
const EXCERPT_BYTES = 160;

export interface SearchFilter {
  /** Of messages whose id begins so. */
  readonly id?: string;
  readonly device?: string;
  /** On this flow… */
  readonly flow?: string;
  /** …in this state there (without a flow: on any). */
  readonly state?: DeliveryState;
  /** In the lane of this order key. */
  readonly key?: string;
  /** MQTT topic filter. */
  readonly topic?: string;
  /** Accepted from (inclusive) to (exclusive): wall clock, epoch ms. */
  readonly fromMs?: number;
  readonly toMs?: number;
  /** Bytes of this text, as UTF-8, somewhere in the payload. */
  readonly text?: string;
}

export interface SearchParams extends SearchFilter {
  /** `next` of the page before. */
  readonly after?: string;
  /** At most SEARCH_PAGE_MAX. */
  readonly limit?: number;
  /** Looked at in one page, below what is allowed anyway. */
  readonly rowsMax?: number;
}

export interface DeliveryBrief {
  readonly flow: string;
  /** Order key of its lane. */
  readonly key: string;
  readonly state: DeliveryState;
  readonly attempts: number;
  readonly late: boolean;
  /** An earlier answer was lost: the backend may have it already. */
  readonly resend: boolean;
  readonly reason: string | null;
  /** Wall clock of the last change of state. */
  readonly updatedAtMs: number;
}

export interface MessageBrief {
  readonly seq: number;
  readonly id: string;
  readonly device: string;
  readonly source: string;
  readonly topic: string;
  readonly contentType: string | null;
  readonly acceptedAtMs: number;
  readonly producedAtMs: number | null;
  readonly duplicates: number;
  readonly payloadBytes: number;
  /** The payload's beginning where it is text, else null. */
  readonly excerpt: string | null;
  readonly deliveries: readonly DeliveryBrief[];
}

export interface DeliveryFound extends DeliveryBrief {
  readonly seq: number;
  readonly id: string;
  readonly device: string;
  readonly topic: string;
  readonly acceptedAtMs: number;
}

export interface SearchEnd {
  /** Cursor of the next page; null where there is nothing older. */
  readonly next: string | null;
  /** False where the budget ended the page: more may match than it shows, and `next` goes on looking. */
  readonly complete: boolean;
  /** How many were looked at for this page. */
  readonly examined: number;
  /** Accepted when, the last that was looked at; null for none. */
  readonly examinedToMs: number | null;
}

export interface MessagesPage extends SearchEnd {
  readonly messages: readonly MessageBrief[];
}

export interface DeliveriesPage extends SearchEnd {
  readonly deliveries: readonly DeliveryFound[];
}

/** Throws a RangeError for a cursor that is none. */
export function searchMessages(db: Db, params: SearchParams): MessagesPage {
  const show = messageBriefs(db);
  const messages: MessageBrief[] = [];
  const end = search(db, params, (candidate, deliveries) => {
    const shown = show(candidate, deliveries);
    if (shown) messages.push(shown);
    return messages.length;
  });
  return { messages, ...end };
}

/**
 * A page ends between two messages, so it may hold a few deliveries more than asked for. Throws a RangeError for a
 * cursor that is none.
 */
export function searchDeliveries(db: Db, params: SearchParams): DeliveriesPage {
  const found: DeliveryFound[] = [];
  const end = search(db, params, ({ seq, id, device, topic, acceptedAtMs }, deliveries) => {
    for (const delivery of deliveries) {
      if (matches(delivery, params)) found.push({ ...delivery, seq, id, device, topic, acceptedAtMs });
    }
    return found.length;
  });
  return { deliveries: found, ...end };
}

export const SEARCH_CURSOR = /^\d{1,16}$/;

export interface Candidate {
  readonly seq: number;
  readonly id: string;
  readonly device: string;
  readonly topic: string;
  readonly acceptedAtMs: number;
  /** JSON [[lane, version], …] */
  readonly routes: string;
}

/** `take` is called with each that matches, and returns how full the page is. */
function search(
  db: Db,
  params: SearchParams,
  take: (candidate: Candidate, deliveries: readonly DeliveryBrief[]) => number,
): SearchEnd {
  const limit = Math.min(params.limit ?? SEARCH_PAGE_DEFAULT, SEARCH_PAGE_MAX);
  const rowsMax = Math.min(params.rowsMax ?? ROWS_MAX, ROWS_MAX);
  const untilMs = systemClock.monoMs() + SEARCH_MS_MAX;
  const deliveriesOf = deliveryReader(db);
  const byDelivery = params.flow !== undefined || params.state !== undefined || params.key !== undefined;
  const isThere = (candidate: Candidate) =>
    !byDelivery || deliveriesOf(candidate).some((delivery) => matches(delivery, params));
  const holds = textFinder(db, params.text);
  let examined = 0;
  let textBytesLeft = TEXT_BYTES_MAX;
  let last: Candidate | null = null;
  const endAt = (complete: boolean, more = true): SearchEnd => ({
    next: more && last ? String(last.seq) : null,
    complete,
    examined,
    examinedToMs: last?.acceptedAtMs ?? null,
  });
  for (const candidate of candidateSource(db, params, beforeOf(params.after), rowsMax)) {
    examined += 1;
    last = candidate;
    if (matchesMessage(candidate, params) && isThere(candidate)) {
      const text = holds(candidate.seq);
      textBytesLeft -= text.bytes;
      if (text.found && take(candidate, deliveriesOf(candidate)) >= limit) return endAt(true);
    }
    if (examined >= rowsMax || textBytesLeft <= 0) return endAt(false);
    if (examined % CLOCK_EVERY_ROWS === 0 && systemClock.monoMs() > untilMs) return endAt(false);
  }
  return endAt(true, false);
}

function beforeOf(cursor: string | undefined): number {
  if (cursor === undefined) return Number.MAX_SAFE_INTEGER;
  if (!SEARCH_CURSOR.test(cursor)) throw new RangeError(`not a cursor: ${cursor}`);
  return Number(cursor);
}

function matchesMessage(
  { id, device, topic, acceptedAtMs }: Candidate,
  { id: beginning, device: wanted, topic: filter, fromMs, toMs }: SearchFilter,
): boolean {
  if (beginning !== undefined && !id.startsWith(beginning)) return false;
  if (wanted !== undefined && device !== wanted) return false;
  if (fromMs !== undefined && acceptedAtMs < fromMs) return false;
  if (toMs !== undefined && acceptedAtMs >= toMs) return false;
  return filter === undefined || topicMatches(filter, topic);
}

function matches(delivery: DeliveryBrief, { flow, state, key }: SearchFilter): boolean {
  if (flow !== undefined && delivery.flow !== flow) return false;
  if (state !== undefined && delivery.state !== state) return false;
  return key === undefined || delivery.key === key;
}

type RawDelivery = Omit<DeliveryBrief, "flow" | "key" | "late" | "resend"> & { late: number; resend: number };

function deliveryReader(db: Db): (candidate: Candidate) => DeliveryBrief[] {
  const laneOf = db.prepare("SELECT flow, key FROM lanes WHERE id = ?");
  const rowOf = db.prepare(
    `SELECT state, attempts, late, resend, reason, updated_at AS updatedAtMs
     FROM deliveries WHERE lane = ? AND seq = ?`,
  );
  const lanes = new Map<number, { flow: string; key: string }>();
  return ({ seq, routes }) =>
    (JSON.parse(routes) as [number, number][]).flatMap(([lane]) => {
      const row = rowOf.get(lane, seq) as RawDelivery | undefined;
      if (!row) return [];
      const place =
        lanes.get(lane) ?? (laneOf.get(lane) as { flow: string; key: string } | undefined) ?? UNKNOWN_LANE;
      lanes.set(lane, place);
      return [{ ...place, ...row, late: row.late === 1, resend: row.resend === 1 }];
    });
}

/** Only a damaged store has a delivery without its lane. */
const UNKNOWN_LANE = { flow: "(unknown flow)", key: "" };

function textFinder(db: Db, text: string | undefined): (seq: number) => { found: boolean; bytes: number } {
  if (text === undefined) return () => ({ found: true, bytes: 0 });
  const needle = Buffer.from(text, "utf8");
  const look = db.prepare("SELECT instr(payload, ?) > 0, length(payload) FROM messages WHERE seq = ?").raw();
  return (seq) => {
    const [found, bytes] = look.get(needle, seq) as [number, number];
    return { found: found === 1, bytes };
  };
}

function messageBriefs(
  db: Db,
): (candidate: Candidate, deliveries: readonly DeliveryBrief[]) => MessageBrief | null {
  const rest = db.prepare(
    `SELECT source, content_type AS contentType, produced_at AS producedAtMs, duplicates,
            length(payload) AS payloadBytes, substr(payload, 1, ${EXCERPT_BYTES}) AS beginning
     FROM messages WHERE seq = ?`,
  );
  return ({ routes: _, ...candidate }, deliveries) => {
    const row = rest.get(candidate.seq) as
      | (Omit<MessageBrief, keyof Candidate | "deliveries" | "excerpt"> & { beginning: Buffer })
      | undefined;
    if (!row) return null;
    const { beginning, ...message } = row;
    return {
      ...candidate,
      ...message,
      excerpt: utf8Of(beginning, beginning.length < message.payloadBytes),
      deliveries,
    };
  };
}

export interface MessagePayload {
  readonly id: string;
  readonly topic: string;
  readonly contentType: string | null;
  readonly payload: Uint8Array;
}

/** Null where the store has no such message, or no such edit of it (any more). */
export function messagePayload(
  db: Db,
  { id, edit }: { readonly id: string; readonly edit?: number },
): MessagePayload | null {
  if (edit !== undefined) {
    const edited = db.prepare(
      `SELECT m.id, e.topic, e.content_type AS contentType, e.payload
       FROM edits AS e JOIN messages AS m ON m.seq = e.seq WHERE e.id = ? AND m.id = ?`,
    );
    return (edited.get(edit, id) as MessagePayload | undefined) ?? null;
  }
  const find = (column: "id" | "seq") =>
    db.prepare(`SELECT id, topic, content_type AS contentType, payload FROM messages WHERE ${column} = ?`);
  const seq = /^#?(\d{1,15})$/.exec(id)?.[1];
  const row = find("id").get(id) ?? (seq ? find("seq").get(Number(seq)) : undefined);
  return (row as MessagePayload | undefined) ?? null;
}

export interface DeviceInStore {
  /** Lanes that have the device as their order key. */
  readonly flows: readonly {
    readonly flow: string;
    /** Its deliveries that are waiting, sending or unknown. */
    readonly open: number;
    readonly oldestSeq: number | null;
    readonly oldestAgeMs: number | null;
  }[];
  readonly lastMessage: Pick<MessageBrief, "seq" | "id" | "topic" | "acceptedAtMs"> | null;
  /** False where the search for the newest message was given up early. */
  readonly complete: boolean;
}

export function device(
  db: Db,
  { device: name, steadyNowMs }: { readonly device: string; readonly steadyNowMs: number },
): DeviceInStore {
  const lanes = db
    .prepare(
      "SELECT id, flow, head, open FROM lanes WHERE key = ? AND flow IN (SELECT DISTINCT flow FROM flow_versions)",
    )
    .all(name) as { id: number; flow: string; head: number; open: number }[];
  const oldest = db.prepare(
    `SELECT d.seq, m.steady_at AS steadyMs FROM deliveries d JOIN messages m ON m.seq = d.seq
     WHERE d.lane = ? AND d.seq >= ? AND d.state IN ('waiting', 'sending', 'unknown') ORDER BY d.seq LIMIT 1`,
  );
  const { messages, complete } = searchMessages(db, { device: name, limit: 1 });
  const [last] = messages;
  return {
    flows: lanes.map(({ id, flow, head, open }) => {
      const row =
        open > 0 ? (oldest.get(id, head) as { seq: number; steadyMs: number } | undefined) : undefined;
      const oldestAgeMs = row ? Math.max(0, steadyNowMs - row.steadyMs) : null;
      return { flow, open, oldestSeq: row?.seq ?? null, oldestAgeMs };
    }),
    lastMessage: last
      ? { seq: last.seq, id: last.id, topic: last.topic, acceptedAtMs: last.acceptedAtMs }
      : null,
    complete,
  };
}
