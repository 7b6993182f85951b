/**
 * Makes a salvaged store whole: what its rows refer to is there, what is missing has something that stands in for it
 * and says so, and the books balance over what there is (queries-audit.ts says what that means).
 */
import { DELIVERY_STATES, OPEN_STATES } from "../core/outcome.ts";
import { NO_SUM } from "./content-sum.ts";
import type { Db } from "./database.ts";
import { HELD_FOR } from "./exports.ts";
import type { Marked } from "./mark.ts";
import type { LostMessage } from "./salvage-report.ts";

/** Leads the id of what stands in for a lost message, so that the message itself is taken if it comes again. */
const LOST_ID = "lost:";
const CONTENT_LOST = "its content was lost when the store was damaged, so it cannot be sent";
const EXPORT_LOST = "what it was for was lost when the store was damaged";
/** Of one whose id was lost too. */
const LOST_EXPORT = "00000000-0000-4000-8000-";
const STATE_LOST = "its state was lost when the store was damaged: it may have been made";

export interface Books {
  readonly messages: number;
  readonly lost: number;
  readonly lostUndelivered: number;
  readonly lostFirst: readonly LostMessage[];
  readonly untraced: number | null;
  readonly unsure: number;
  readonly seqFound: number;
}

export interface BooksContext {
  readonly marked: Marked | null;
  readonly wallMs: number;
  /** Whether the old tally and its record of what was pruned could be read. */
  readonly countsReadable: boolean;
}

/** Inside a transaction of `db`, in which salvage.ts has put rows and the temporary tables said, lane_said, unsure. */
export function balanceBooks(db: Db, { marked, wallMs, countsReadable }: BooksContext): Books {
  const count = (sql: string) => (db.prepare(sql).pluck().get() as number | null) ?? 0;
  const messages = count(`SELECT count(*) FROM messages WHERE crc IS NOT ${NO_SUM}`);
  const seqFound = highestSeq(db);
  addRoutes(db);
  addLanes(db);
  addDeliveries(db, wallMs);
  addLostMessages(db, wallMs);
  addFlowVersions(db);
  addBoots(db, marked, wallMs);
  freeIdentities(db);
  addExports(db, wallMs);
  const seqHigh = Math.max(seqFound, marked?.seq ?? 0);
  countLanes(db, seqHigh);
  const accepted = rebuildTally(db, seqHigh);
  // More than there were numbers for is a count gone wrong.
  const untraced =
    countsReadable && accepted.before <= seqHigh ? Math.max(0, accepted.before - accepted.now) : null;
  db.prepare(
    `INSERT INTO meta (key, value) VALUES ('seq_high', ?)
     ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)`,
  ).run(seqHigh);
  return {
    messages,
    lost: count("SELECT count(*) FROM newly_lost"),
    lostUndelivered: count("SELECT count(*) FROM newly_lost WHERE undelivered"),
    lostFirst: db.prepare("SELECT seq, id FROM newly_lost ORDER BY seq LIMIT 50").all() as LostMessage[],
    untraced,
    unsure: count("SELECT count(*) FROM unsure"),
    seqFound,
  };
}

function highestSeq(db: Db): number {
  return db
    .prepare(
      `SELECT max((SELECT coalesce(max(seq), 0) FROM messages), (SELECT coalesce(max(seq), 0) FROM said),
                  (SELECT coalesce(max(seq), 0) FROM deliveries),
                  coalesce((SELECT value FROM meta WHERE key = 'seq_high' AND typeof(value) IN ('integer', 'real')), 0))`,
    )
    .pluck()
    .get() as number;
}

/** Each message's deliveries as it was accepted with them; one that no message speaks of is a number gone wrong. */
function addRoutes(db: Db): void {
  db.exec(
    `CREATE TEMP TABLE routes (seq INTEGER, lane INTEGER, version INTEGER, PRIMARY KEY (lane, seq)) WITHOUT ROWID;
     INSERT OR IGNORE INTO routes
       SELECT m.seq, json_extract(r.value, '$[0]'), json_extract(r.value, '$[1]')
       FROM messages m, json_each(m.routes) r;
     DELETE FROM deliveries AS d WHERE EXISTS (SELECT 1 FROM messages m WHERE m.seq = d.seq)
       AND NOT EXISTS (SELECT 1 FROM routes r WHERE r.lane = d.lane AND r.seq = d.seq);
     DELETE FROM edits AS e WHERE NOT EXISTS (SELECT 1 FROM routes r WHERE r.lane = e.lane AND r.seq = e.seq);
     DELETE FROM unsure AS u WHERE NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.lane = u.lane AND d.seq = u.seq);`,
  );
}

/**
 * A lane is told twice, by its row and by the index of keys. Where the two disagree, the messages in it decide: by
 * the flow of their version, and by their device or topic, which mostly are the key.
 */
function settleLanes(db: Db): void {
  const fits = (lane: string) =>
    `(SELECT (v.flow = ${lane}.flow) + (${lane}.key IN (m.device, m.topic)) FROM routes r
      JOIN messages m ON m.seq = r.seq LEFT JOIN flow_versions v ON v.id = r.version WHERE r.lane = ${lane}.id LIMIT 1)`;
  db.exec(
    `UPDATE OR IGNORE lanes AS l SET flow = s.flow, key = s.key FROM lane_said s
     WHERE s.id = l.id AND (s.flow <> l.flow OR s.key <> l.key) AND ${fits("s")} > ${fits("l")}`,
  );
}

/** Lanes that are spoken of and are missing: as the index of their keys has them, else as a message in them says. */
function addLanes(db: Db): void {
  settleLanes(db);
  const missing = db
    .prepare(
      `SELECT lane FROM routes UNION SELECT lane FROM deliveries
       EXCEPT SELECT id FROM lanes ORDER BY 1`,
    )
    .pluck()
    .all() as number[];
  const said = db.prepare("SELECT flow, key FROM lane_said WHERE id = ?").raw();
  const guess = db
    .prepare(
      `SELECT coalesce(v.flow, 'lost'), CASE json_extract(v.config, '$.orderBy') WHEN 'topic' THEN m.topic
              WHEN 'none' THEN 'lost-' || r.lane ELSE m.device END
       FROM routes r JOIN messages m ON m.seq = r.seq
       LEFT JOIN flow_versions v ON v.id = r.version AND json_valid(v.config) WHERE r.lane = ? LIMIT 1`,
    )
    .raw();
  const insert = db.prepare("INSERT OR IGNORE INTO lanes (id, flow, key, head, open) VALUES (?, ?, ?, 0, 0)");
  // A lane in which nothing ever was, and which has the key of one that is missing, has a number gone wrong.
  const makeWay = db.prepare(
    `DELETE FROM lanes AS l WHERE flow = ? AND key = ? AND NOT EXISTS (SELECT 1 FROM routes r WHERE r.lane = l.id)
     AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.lane = l.id)`,
  );
  for (const lane of missing) {
    const [flow, key] = (said.get(lane) ?? guess.get(lane) ?? ["lost", `lost-${lane}`]) as [string, string];
    makeWay.run(flow, key);
    // Two lanes with one key: the other is the one that new messages go to.
    if (insert.run(lane, flow, key).changes === 0) insert.run(lane, flow, `${key} (lane ${lane})`);
  }
}

function addDeliveries(db: Db, wallMs: number): void {
  db.exec(
    `CREATE TEMP TABLE stateless AS SELECT seq, lane FROM routes r
       WHERE NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.lane = r.lane AND d.seq = r.seq)`,
  );
  db.prepare(
    `INSERT INTO deliveries (lane, seq, state, resend, due_at, updated_at, reason)
     SELECT lane, seq, 'unknown', 1, 0, ?, ? FROM stateless`,
  ).run(wallMs, STATE_LOST);
  db.prepare("INSERT OR REPLACE INTO unsure SELECT seq, lane, ? FROM stateless").run(STATE_LOST);
  db.prepare(
    "INSERT INTO history (seq, lane, at, kind, detail) SELECT seq, lane, ?, 'unknown', why FROM unsure ORDER BY seq",
  ).run(wallMs);
}

/** Messages that a delivery or the index of ids speaks of, and that are gone. */
function addLostMessages(db: Db, wallMs: number): void {
  const open = `('${OPEN_STATES.join("', '")}', 'dead')`;
  db.exec(
    `CREATE TEMP TABLE newly_lost AS
       SELECT g.seq, s.id, NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.seq = g.seq)
              OR EXISTS (SELECT 1 FROM deliveries d WHERE d.seq = g.seq AND d.state IN ${open}) AS undelivered
       FROM (SELECT seq FROM deliveries UNION SELECT seq FROM said EXCEPT SELECT seq FROM messages) g
       LEFT JOIN said s ON s.seq = g.seq;
     CREATE UNIQUE INDEX temp.newly_lost_seq ON newly_lost (seq);
     DELETE FROM unsure WHERE seq IN (SELECT seq FROM newly_lost);`,
  );
  const standIn = (id: string) =>
    `INSERT OR IGNORE INTO messages (seq, id, device, source, topic, payload, qos, retain, accepted_at, steady_at,
                                     boot, routes, crc)
     SELECT n.seq, ${id}, coalesce(l.key, ''), 'lost', '', x'', 0, 0, coalesce(max(d.updated_at), @wallMs),
            coalesce((SELECT steady_at FROM messages m WHERE m.seq < n.seq ORDER BY m.seq DESC LIMIT 1), 0), 0,
            CASE WHEN d.seq IS NULL THEN '[]' ELSE json_group_array(json_array(d.lane,
              coalesce((SELECT max(v.id) FROM flow_versions v WHERE v.flow = l.flow), 0))) END, ${NO_SUM}
     FROM newly_lost n LEFT JOIN deliveries d ON d.seq = n.seq LEFT JOIN lanes l ON l.id = d.lane
     WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.seq = n.seq) GROUP BY n.seq`;
  const known = `CASE WHEN n.id IS NULL THEN '${LOST_ID}#' || n.seq
                      WHEN n.id GLOB '${LOST_ID}*' THEN n.id ELSE '${LOST_ID}' || n.id END`;
  for (const id of [known, `'${LOST_ID}#' || n.seq`]) db.prepare(standIn(id)).run({ wallMs });
  db.prepare(
    `UPDATE deliveries SET state = 'dead', due_at = NULL, resend = 0, reason = ?, updated_at = ?
     WHERE state IN ${open} AND seq IN (SELECT seq FROM newly_lost)`,
  ).run(CONTENT_LOST, wallMs);
  db.prepare(
    "INSERT INTO history (seq, lane, at, kind, detail) SELECT seq, NULL, ?, 'lost', ? FROM newly_lost ORDER BY seq",
  ).run(wallMs, CONTENT_LOST);
  db.prepare("INSERT OR IGNORE INTO lost (seq, id, at) SELECT seq, id, ? FROM newly_lost").run(wallMs);
}

function addFlowVersions(db: Db): void {
  db.exec(
    `INSERT OR IGNORE INTO flow_versions (id, flow, hash, config, first_used_at)
     SELECT r.version, coalesce(l.flow, 'lost'), 'lost-' || r.version, '{}', 0
     FROM (SELECT version, min(lane) AS lane FROM routes GROUP BY version) r LEFT JOIN lanes l ON l.id = r.lane
     WHERE NOT EXISTS (SELECT 1 FROM flow_versions v WHERE v.id = r.version);`,
  );
}

/** The steady clock goes on from the latest moment that anything speaks of. */
function addBoots(db: Db, marked: Marked | null, wallMs: number): void {
  db.exec(
    `INSERT OR IGNORE INTO boots (id, boot, version, started_at, clock_trusted, seen_at, steady_at)
     SELECT DISTINCT boot, 'lost-' || boot, '?', 0, 0, 0, 0 FROM messages
     WHERE boot NOT IN (SELECT id FROM boots);
     INSERT INTO boots (id, boot, version, started_at, clock_trusted, seen_at, steady_at)
     SELECT 1, 'lost-1', '?', 0, 0, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM boots);`,
  );
  const latest = db.prepare("SELECT max(steady_at) FROM messages").pluck().get() as number | null;
  db.prepare(
    `UPDATE boots SET steady_at = max(steady_at, @steadyMs), seen_at = max(seen_at, @seenMs)
     WHERE id = (SELECT max(id) FROM boots)`,
  ).run({
    steadyMs: Math.max(latest ?? 0, marked?.steadyMs ?? 0),
    seenMs: Math.min(marked?.wallMs ?? 0, wallMs),
  });
}

/** A lost message that was not delivered is welcome if it comes again, so its identities are given up. */
function freeIdentities(db: Db): void {
  const again = "SELECT seq FROM newly_lost WHERE undelivered";
  db.exec(
    `DELETE FROM identities WHERE seq IN (${again});
     DELETE FROM packet_ids WHERE seq IN (${again});
     DELETE FROM sessions WHERE kind = 'incoming'
       AND CAST(value AS TEXT) IN (SELECT id FROM newly_lost WHERE undelivered);`,
  );
}

/**
 * What is held for an export that is gone would wait for ever, and may be on another box: something stands in for the
 * export, under the id that the history of what it holds has, so that it can be finished or cancelled.
 */
function addExports(db: Db, wallMs: number): void {
  db.prepare(
    `INSERT OR IGNORE INTO exports (number, id, state, selection, until_seq, who, reason, at, steady_at, messages)
     SELECT d.export, coalesce(max(substr(h.detail, length('${HELD_FOR}') + 1)), printf('${LOST_EXPORT}%012d', d.export)), 'held',
            '{"states":"all"}', max(d.seq), '?', ?, ?, (SELECT steady_at FROM boots ORDER BY id DESC LIMIT 1), count(DISTINCT d.seq)
     FROM deliveries d LEFT JOIN history h ON h.id =
         (SELECT max(id) FROM history WHERE seq = d.seq AND lane = d.lane AND kind = 'export')
       AND NOT EXISTS (SELECT 1 FROM exports e WHERE h.detail = '${HELD_FOR}' || e.id)
     WHERE d.export IS NOT NULL AND NOT EXISTS (SELECT 1 FROM exports e WHERE e.number = d.export) GROUP BY d.export`,
  ).run(EXPORT_LOST, wallMs);
}

function countLanes(db: Db, seqHigh: number): void {
  const open = `('${OPEN_STATES.join("', '")}')`;
  db.exec(
    `CREATE TEMP TABLE lane_open AS SELECT lane, count(*) AS open, min(seq) AS head FROM deliveries
       WHERE state IN ${open} GROUP BY lane;
     CREATE UNIQUE INDEX temp.lane_open_lane ON lane_open (lane);`,
  );
  db.prepare(
    `UPDATE lanes AS l SET
       open = coalesce((SELECT open FROM lane_open o WHERE o.lane = l.id), 0),
       head = coalesce((SELECT head FROM lane_open o WHERE o.lane = l.id), max(0, min(l.head, ?)))`,
  ).run(seqHigh + 1);
}

/** What was ever pruned or counted is taken from the old books, as far as they can be; the rest is counted anew. */
function rebuildTally(db: Db, seqHigh: number): { before: number; now: number } {
  const states = DELIVERY_STATES.map((state) => `'${state}'`).join(", ");
  const accepted = () =>
    (db.prepare("SELECT n FROM tally WHERE flow = '' AND what = 'accepted'").pluck().get() as number) ?? 0;
  const before = accepted();
  db.prepare("DELETE FROM pruned WHERE n < 0 OR n > ?").run(seqHigh);
  db.exec(
    `DELETE FROM tally WHERE n < 0 OR what IN ('accepted', 'held') OR (flow <> '' AND what IN (${states}));
     INSERT INTO tally (flow, what, n)
       SELECT flow, what, sum(n) FROM (
         SELECT l.flow, d.state AS what, count(*) AS n FROM deliveries d JOIN lanes l ON l.id = d.lane GROUP BY 1, 2
         UNION ALL SELECT flow, what, n FROM pruned WHERE flow <> '')
       GROUP BY flow, what;
     INSERT INTO tally (flow, what, n)
       SELECT l.flow, 'held', count(*) FROM deliveries d JOIN lanes l ON l.id = d.lane
       WHERE d.export IS NOT NULL GROUP BY l.flow;
     INSERT INTO tally (flow, what, n)
       SELECT flow, 'accepted', sum(n) FROM tally WHERE flow <> '' AND what IN (${states}) GROUP BY flow;
     INSERT INTO tally (flow, what, n) VALUES ('', 'accepted', (SELECT count(*) FROM messages)
       + coalesce((SELECT sum(n) FROM pruned WHERE flow = '' AND what IN ('routed', 'unrouted')), 0));`,
  );
  return { before, now: accepted() };
}
