/**
 * The promise, checked: stored means accounted for.
 *
 * The tally moves in the same commit as the rows it counts. So what the tally says can be held against the
 * rows at any commit, and each of these must hold:
 *
 *   balance   for each flow, accepted = the sum of its states                            (tally alone)
 *   rows      for each flow and state, tally = rows in that state + pruned               (every delivery)
 *   lane      a lane's `open` is how many of its deliveries are open, and none of them stands before its
 *             `head`: what is not in the lane's count would never be looked for again     (every delivery)
 *   held      for each flow, tally = rows that are held for exports                    (every delivery)
 *   orphan    every delivery belongs to a lane                                           (every delivery)
 *   messages  accepted at the door = message rows + pruned                               (every message)
 *
 * A mismatch means that something left, or came, without being counted: an alarm, never a rounding error.
 *
 * It reads every delivery, 20,000 a step, all as of one commit: `auditSteps` must be run inside one read
 * transaction. That transaction keeps the write-ahead log from being folded back while it is open (about
 * a second for 1,000,000 rows), which costs space and nothing else.
 */
import { DELIVERY_STATES, type DeliveryState, isOpen } from "../core/outcome.ts";
import { count } from "../core/plain-words.ts";
import type { Db } from "./database.ts";
import { readPruned, readTally } from "./queries-flows.ts";

const STEP_ROWS = 20_000;
/** Mismatches told one by one; a damaged store can have millions. */
const MISMATCHES_LISTED_MAX = 50;

export interface Mismatch {
  readonly check: "balance" | "rows" | "lane" | "held" | "orphan" | "messages";
  /** "" for the gateway's door. */
  readonly flow: string;
  readonly what: string;
  /** What the counts say… */
  readonly expected: number;
  /** …and what there is. */
  readonly found: number;
  /** The same in words. */
  readonly sentence: string;
}

export interface Audit {
  readonly balanced: boolean;
  readonly mismatches: readonly Mismatch[];
  /** Mismatches found, listed or not. */
  readonly mismatchesTotal: number;
  readonly deliveriesRead: number;
  readonly messagesCounted: number;
}

/** All at once; for a CLI and for small stores. */
export function audit(db: Db, _params: object = {}): Audit {
  const steps = auditSteps(db);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** The audit in steps of a few milliseconds each; run all of it in one read transaction. */
export function* auditSteps(db: Db): Generator<void, Audit> {
  const findings = new Findings();
  const tally = readTally(db);
  checkBalance(tally, findings);
  const rows = yield* countRows(db, findings);
  yield;
  checkRows(tally, readPruned(db), rows.byFlow, findings);
  checkOpen(db, rows.openByFlow, findings);
  checkHeld(db, tally, rows.heldByFlow, findings);
  yield;
  const messages = db.prepare("SELECT count(*) FROM messages").pluck().get() as number;
  checkMessages(tally, readPruned(db), messages, findings);
  return {
    balanced: findings.total === 0,
    mismatches: findings.listed,
    mismatchesTotal: findings.total,
    deliveriesRead: rows.read,
    messagesCounted: messages,
  };
}

class Findings {
  readonly listed: Mismatch[] = [];
  total = 0;

  expect(
    check: Mismatch["check"],
    flow: string,
    what: string,
    expected: number,
    found: number,
    sentence: string,
  ) {
    if (expected === found) return;
    this.total += 1;
    if (this.listed.length >= MISMATCHES_LISTED_MAX) return;
    this.listed.push({ check, flow, what, expected, found, sentence });
  }
}

type Figures = ReadonlyMap<string, ReadonlyMap<string, number>>;

function checkBalance(tally: Figures, findings: Findings): void {
  for (const [flow, figures] of tally) {
    if (flow === "") continue;
    const accepted = figures.get("accepted") ?? 0;
    const sum = DELIVERY_STATES.reduce((total, state) => total + (figures.get(state) ?? 0), 0);
    findings.expect(
      "balance",
      flow,
      "accepted",
      accepted,
      sum,
      `flow ${flow} took ${accepted} messages, but its states add up to ${sum}`,
    );
  }
}

interface Counted {
  readonly byFlow: Map<string, Map<DeliveryState, number>>;
  readonly openByFlow: Map<string, number>;
  readonly heldByFlow: Map<string, number>;
  read: number;
}

type StepRow = [
  lane: number,
  state: DeliveryState,
  n: number,
  firstSeq: number,
  lastSeq: number,
  flow: string | null,
  key: string | null,
  head: number | null,
  open: number | null,
  held: number,
];

function* countRows(db: Db, findings: Findings): Generator<void, Counted> {
  const isHeld = countsHeld(db) ? "export IS NOT NULL" : "0";
  const step = db
    .prepare(
      `SELECT s.lane, s.state, s.n, s.first, s.last, l.flow, l.key, l.head, l.open, s.held
       FROM (SELECT lane, state, count(*) AS n, min(seq) AS first, max(seq) AS last, sum(held) AS held
             FROM (SELECT lane, seq, state, ${isHeld} AS held FROM deliveries WHERE (lane, seq) > (?, ?) ORDER BY lane, seq LIMIT ${STEP_ROWS})
             GROUP BY lane, state) s
       LEFT JOIN lanes l ON l.id = s.lane ORDER BY s.lane`,
    )
    .raw();
  const counted: Counted = { byFlow: new Map(), openByFlow: new Map(), heldByFlow: new Map(), read: 0 };
  const lanes = new LaneCheck(counted, findings);
  let after: [lane: number, seq: number] = [-1, -1];
  for (;;) {
    const rows = step.all(...after) as StepRow[];
    let read = 0;
    for (const row of rows) {
      const [lane, state, n, , lastSeq, flow, , , , held] = row;
      read += n;
      after = [lane, lane === after[0] ? Math.max(after[1], lastSeq) : lastSeq];
      if (flow === null) {
        findings.expect(
          "orphan",
          "",
          `lane ${lane}`,
          0,
          n,
          `${n} deliveries (${state}) are in lane ${lane}, which does not exist`,
        );
        continue;
      }
      const states = counted.byFlow.get(flow) ?? new Map<DeliveryState, number>();
      counted.byFlow.set(flow, states);
      states.set(state, (states.get(state) ?? 0) + n);
      counted.heldByFlow.set(flow, (counted.heldByFlow.get(flow) ?? 0) + held);
      lanes.add(row);
    }
    counted.read += read;
    if (read < STEP_ROWS) break;
    yield;
  }
  lanes.end();
  return counted;
}

/** Gathers a lane's open deliveries over its rows, which may span steps, and compares at its end. */
class LaneCheck {
  readonly #counted: Counted;
  readonly #findings: Findings;
  #lane: StepRow | null = null;
  #open = 0;
  #firstOpen = Number.POSITIVE_INFINITY;

  constructor(counted: Counted, findings: Findings) {
    this.#counted = counted;
    this.#findings = findings;
  }

  add(row: StepRow): void {
    const [lane, state, n, firstSeq] = row;
    if (this.#lane?.[0] !== lane) {
      this.end();
      this.#lane = row;
    }
    if (!isOpen(state)) return;
    this.#open += n;
    this.#firstOpen = Math.min(this.#firstOpen, firstSeq);
  }

  end(): void {
    if (!this.#lane) return;
    const [, , , , , flow, key, head, open] = this.#lane as [
      never,
      never,
      never,
      never,
      never,
      string,
      string,
      number,
      number,
      never,
    ];
    this.#findings.expect(
      "lane",
      flow,
      `open of ${key}`,
      open,
      this.#open,
      `lane ${key} of flow ${flow} says ${open} are open, but ${this.#open} are`,
    );
    if (this.#firstOpen < head) {
      this.#findings.expect(
        "lane",
        flow,
        `head of ${key}`,
        head,
        this.#firstOpen,
        `lane ${key} of flow ${flow} begins at #${head}, but #${this.#firstOpen} before it is still open`,
      );
    }
    this.#counted.openByFlow.set(flow, (this.#counted.openByFlow.get(flow) ?? 0) + this.#open);
    this.#lane = null;
    this.#open = 0;
    this.#firstOpen = Number.POSITIVE_INFINITY;
  }
}

function checkRows(tally: Figures, pruned: Figures, rows: Counted["byFlow"], findings: Findings): void {
  const flows = new Set([...tally.keys(), ...rows.keys(), ...pruned.keys()]);
  flows.delete("");
  for (const flow of flows) {
    for (const state of DELIVERY_STATES) {
      const told = tally.get(flow)?.get(state) ?? 0;
      const removed = pruned.get(flow)?.get(state) ?? 0;
      const found = rows.get(flow)?.get(state) ?? 0;
      findings.expect(
        "rows",
        flow,
        state,
        told - removed,
        found,
        `flow ${flow} counts ${count(told)} ${state}, of which ${count(removed)} were pruned, but the store holds ${count(found)}`,
      );
    }
  }
}

/** Lanes that claim open deliveries and have no rows at all are not met in the scan: the sums tell. */
function checkOpen(db: Db, openByFlow: ReadonlyMap<string, number>, findings: Findings): void {
  const sums = db.prepare("SELECT flow, sum(open) FROM lanes GROUP BY flow").raw().all() as [
    string,
    number,
  ][];
  for (const [flow, open] of sums) {
    const found = openByFlow.get(flow) ?? 0;
    findings.expect(
      "lane",
      flow,
      "open of all lanes",
      open,
      found,
      `the lanes of flow ${flow} say ${count(open)} are open, but ${count(found)} are`,
    );
  }
}

function checkHeld(db: Db, tally: Figures, found: ReadonlyMap<string, number>, findings: Findings): void {
  if (!countsHeld(db)) return;
  for (const flow of new Set([...tally.keys(), ...found.keys()])) {
    const told = tally.get(flow)?.get("held") ?? 0;
    const held = found.get(flow) ?? 0;
    const sentence = `flow ${flow} counts ${count(told)} as held for exports, but ${count(held)} are`;
    findings.expect("held", flow, "held", told, held, sentence);
  }
}

/** Earlier formats do not. */
function countsHeld(db: Db): boolean {
  return (db.pragma("user_version", { simple: true }) as number) >= 10;
}

function checkMessages(tally: Figures, pruned: Figures, found: number, findings: Findings): void {
  const accepted = tally.get("")?.get("accepted") ?? 0;
  const removed = (pruned.get("")?.get("routed") ?? 0) + (pruned.get("")?.get("unrouted") ?? 0);
  findings.expect(
    "messages",
    "",
    "accepted",
    accepted - removed,
    found,
    `${count(accepted)} messages were accepted, of which ${count(removed)} were pruned, but the store holds ${count(found)}`,
  );
}
