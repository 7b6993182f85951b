/** Where a search looks: candidates, newest first, that a filter could match. See queries-search.ts. */
import type { Db } from "./database.ts";
import type { Candidate, SearchFilter } from "./queries-search.ts";

/** Sequences gathered and sorted before a search begins; above this the messages themselves are looked through. */
const GATHERED_MAX = 20_000;
/** Open lanes gone through for what waits in them. */
const OPEN_LANES_MAX = 5_000;
/** Lanes read side by side. */
const LANES_MERGED_MAX = 64;

const COLUMNS = "m.seq, m.id, m.device, m.topic, m.accepted_at AS acceptedAtMs, m.routes";

export function candidateSource(
  db: Db,
  filter: SearchFilter,
  before: number,
  rowsMax: number,
): Iterable<Candidate> {
  const { id, device, flow, state, key } = filter;
  if (id !== undefined) {
    const found = byId(db, id, before);
    if (found) return load(db, found);
  }
  if (state === "dead" || state === "unknown") return needingPerson(db, state, before);
  const lanes = lanesOf(db, { flow, key, device });
  if (state === "waiting" || state === "sending") {
    const open = openOf(db, lanes, flow, before, rowsMax);
    if (open) return load(db, open);
  }
  return lanes ? inLanes(db, lanes, before) : all(db, before);
}

function all(db: Db, before: number): Iterable<Candidate> {
  return db
    .prepare(`SELECT ${COLUMNS} FROM messages m WHERE m.seq < ? ORDER BY m.seq DESC`)
    .iterate(before) as IterableIterator<Candidate>;
}

function* load(db: Db, sequences: Iterable<number>): Generator<Candidate> {
  const get = db.prepare(`SELECT ${COLUMNS} FROM messages m WHERE m.seq = ?`);
  for (const seq of sequences) {
    const candidate = get.get(seq) as Candidate | undefined;
    if (candidate) yield candidate;
  }
}

/** Null where too many ids begin so. */
function byId(db: Db, beginning: string, before: number): number[] | null {
  const found = db
    .prepare("SELECT seq FROM messages WHERE id >= ? AND id < ? LIMIT ?")
    .pluck()
    .all(beginning, `${beginning}\u{10ffff}`, GATHERED_MAX + 1) as number[];
  return found.length > GATHERED_MAX ? null : newestFirst(found, before);
}

function newestFirst(sequences: Iterable<number>, before: number): number[] {
  return [...new Set(sequences)].filter((seq) => seq < before).sort((a, b) => b - a);
}

/** The condition is the index's own, and then the state's: see queries-failures.ts. */
function* needingPerson(db: Db, state: "dead" | "unknown", before: number): Generator<Candidate> {
  const rows = db
    .prepare(
      `SELECT seq FROM deliveries INDEXED BY deliveries_dead
       WHERE state IN ('dead', 'unknown') AND state = ? AND seq < ? ORDER BY seq DESC`,
    )
    .pluck()
    .iterate(state, before) as IterableIterator<number>;
  yield* load(db, once(rows));
}

/** A message that is on several flows stands in a run as often as that, side by side. */
function* once(sequences: Iterable<number>): Generator<number> {
  let last = -1;
  for (const seq of sequences) {
    if (seq !== last) yield seq;
    last = seq;
  }
}

/** Lanes that hold everything the filter could match, or null where that cannot be said of a few of them. */
function lanesOf(
  db: Db,
  { flow, key, device }: Pick<SearchFilter, "flow" | "key" | "device">,
): number[] | null {
  const flows = flow === undefined ? flowNames(db) : [flow];
  if (key !== undefined) return named(db, flows, key);
  if (device === undefined) return null;
  // Of one flow, or of all of them where there is no message that is on none.
  const covered = flow !== undefined || unroutedRows(db) === 0;
  return covered && flows.every((name) => isByDevice(db, name)) ? named(db, flows, device) : null;
}

function named(db: Db, flows: readonly string[], key: string): number[] | null {
  if (flows.length > LANES_MERGED_MAX) return null;
  const find = db.prepare("SELECT id FROM lanes WHERE flow = ? AND key = ?").pluck();
  return flows.flatMap((flow) => (find.get(flow, key) as number | undefined) ?? []);
}

/** Also those that are no longer configured: from lane to lane by the index, a step for each flow. */
function flowNames(db: Db): string[] {
  const next = db.prepare("SELECT min(flow) FROM lanes WHERE flow > ?").pluck();
  const names: string[] = [];
  for (let name = next.get("") as string | null; name !== null; name = next.get(name) as string | null) {
    names.push(name);
    if (names.length > LANES_MERGED_MAX) break;
  }
  return names;
}

/** True where each version of the flow that took anything keeps order by device. */
function isByDevice(db: Db, flow: string): boolean {
  const orders = db
    .prepare("SELECT config ->> '$.orderBy' FROM flow_versions WHERE flow = ?")
    .pluck()
    .all(flow) as (string | null)[];
  return orders.length > 0 && orders.every((order) => order === "device");
}

function unroutedRows(db: Db): number {
  const n = (table: "tally" | "pruned") =>
    (db.prepare(`SELECT n FROM ${table} WHERE flow = '' AND what = 'unrouted'`).pluck().get() as
      | number
      | undefined) ?? 0;
  return n("tally") - n("pruned");
}

function* inLanes(db: Db, lanes: readonly number[], before: number): Generator<Candidate> {
  yield* load(db, merged(db, lanes, before));
}

/** The newest of each lane is known at any time; the newest of those is next. */
function* merged(db: Db, lanes: readonly number[], before: number): Generator<number> {
  const next = db.prepare("SELECT max(seq) FROM deliveries WHERE lane = ? AND seq < ?").pluck();
  const heads = new Map(lanes.map((lane) => [lane, next.get(lane, before) as number | null]));
  for (;;) {
    let newest = -1;
    for (const seq of heads.values()) if (seq !== null && seq > newest) newest = seq;
    if (newest === -1) return;
    yield newest;
    for (const [lane, seq] of heads) {
      if (seq === newest) heads.set(lane, next.get(lane, newest) as number | null);
    }
  }
}

/** What is open, from the heads of the lanes on; null where that would be too much to go through. */
function openOf(
  db: Db,
  only: readonly number[] | null,
  flow: string | undefined,
  before: number,
  rowsMax: number,
): number[] | null {
  const lanes = db
    .prepare(
      `SELECT id, head, open FROM lanes WHERE open > 0 AND (@flow IS NULL OR flow = @flow)
       AND (@only IS NULL OR id IN (SELECT value FROM json_each(@only))) LIMIT ${OPEN_LANES_MAX + 1}`,
    )
    .raw()
    .all({ flow: flow ?? null, only: only === null ? null : JSON.stringify(only) }) as [
    number,
    number,
    number,
  ][];
  const open = lanes.reduce((sum, [, , n]) => sum + n, 0);
  if (lanes.length > OPEN_LANES_MAX || open > GATHERED_MAX) return null;
  const run = db
    .prepare(
      "SELECT seq, state IN ('waiting', 'sending', 'unknown') FROM deliveries WHERE lane = ? AND seq >= ? ORDER BY seq",
    )
    .raw();
  const found: number[] = [];
  let left = rowsMax;
  for (const [lane, head, n] of lanes) {
    let missing = n;
    for (const row of run.iterate(lane, head)) {
      const [seq, isOpen] = row as [number, number];
      if (left-- <= 0) return null;
      if (isOpen === 0) continue;
      found.push(seq);
      if (--missing === 0) break;
    }
  }
  return newestFirst(found, before);
}
