/** What must hold in a simulated world; each broken promise is a sentence. */
import { audit } from "../../../src/queue/queries-audit.ts";
import type { BackendBook } from "./backend-book.ts";
import { BACKENDS, type BackendName, type Plan } from "./plan.ts";
import { DATA_DIR } from "./sim-gateway.ts";
import type { OperatorAct } from "./sim-operator.ts";
import type { World } from "./world.ts";

const TARGET_OF: Readonly<Record<string, BackendName>> = { main: "web", upstream: "plant", fresh: "fresh" };
/** Connections that a gateway may keep to its backends. */
const TARGET_CONNECTIONS_MAX = 10;

interface Row {
  readonly seq: number;
  readonly payload: Buffer;
}

/** After a start: what was acknowledged is there, and the books balance. */
export function checkStart(world: World): void {
  checkAcked(world, "after a start");
  checkBooks(world, "after a start");
}

export function checkEnd(world: World): void {
  checkAcked(world, "at the end");
  checkBooks(world, "at the end");
  readArchive(world);
  checkOutcomes(world);
  checkSubscribers(world);
  checkActs(world);
  for (const name of BACKENDS) for (const finding of world.backends[name].book.findings) world.find(finding);
  for (const flow of [...Object.keys(TARGET_OF), "archive"]) checkOrder(world, flow);
}

/** Message rows by the id of their reading. */
function storedReadings(world: World): Map<string, number[]> {
  const rows = world.lives.db!.prepare("SELECT seq, payload FROM messages ORDER BY seq").all() as Row[];
  const stored = new Map<string, number[]>();
  for (const { seq, payload } of rows) {
    const reading = world.ledger.find(payload.toString());
    if (!reading) {
      world.find(`the store has a message that no machine sent: ${payload}`);
      continue;
    }
    const seqs = stored.get(reading.id) ?? [];
    seqs.push(seq);
    stored.set(reading.id, seqs);
  }
  return stored;
}

function checkAcked(world: World, when: string): void {
  const stored = storedReadings(world);
  const { book } = world.backends.web;
  const removes = mayRemove(world);
  for (const reading of world.ledger.readings.values()) {
    const seqs = stored.get(reading.id);
    if (seqs && seqs.length > 1) world.find(`${reading.id} is stored twice, as ${seqs.join(" and ")}`);
    if (reading.ackedAtMs === null || seqs) continue;
    // Then they took effect, or were given up.
    if (removes && (book.has(reading) || (reading.poison && world.operator.hasDiscarded))) continue;
    world.find(`${reading.id} was acknowledged at ${reading.ackedAtMs} and is not in the store ${when}`);
  }
}

/** Finished ones are removed in time, and at once where a full disk needs the room. */
function mayRemove({ plan }: World): boolean {
  return plan.prunes || plan.actions.some((action) => action.do === "disk full");
}

function replaysOf({ actions }: Plan): Extract<OperatorAct, { act: "replay" }>[] {
  return actions.flatMap((action) =>
    action.do === "operator" && action.does.act === "replay" ? [action.does] : [],
  );
}

function checkBooks(world: World, when: string): void {
  for (const { sentence } of audit(world.lives.db!).mismatches) world.find(`${when}: ${sentence}`);
}

const bookOf = (world: World, flow: string): BackendBook =>
  flow === "archive" ? world.archive : world.backends[TARGET_OF[flow]!].book;

/** Lines in the order in which they were written; each once, but where the disk has failed in between. */
function readArchive(world: World): void {
  const { disk, archive, plan } = world;
  for (const name of disk.files().filter((path) => path.startsWith(`${DATA_DIR}/outbox/`))) {
    for (const line of Buffer.from(disk.content(name)!).toString().split("\n").slice(0, -1)) {
      try {
        const { id, payload } = JSON.parse(line) as { id: string; payload: unknown };
        archive.commit(id, JSON.stringify(payload), 0);
      } catch {
        world.find(`${name} has a line that is none: ${line.slice(0, 40)}`);
      }
    }
  }
  for (const finding of archive.findings) world.find(finding);
  const failed = plan.actions.some((action) => action.do === "disk fails" || action.do === "disk full");
  // A line further back than the target looks is written once more where somebody replays it.
  const again = replaysOf(plan).some(({ flow, into = flow }) => into === "archive");
  if (archive.copies > 0 && !failed && !again) world.find(`${archive.copies} lines are in the archive twice`);
}

/** Delivered is what took effect; anything else has its reason. */
function checkOutcomes(world: World): void {
  const rows = world.lives
    .db!.prepare(
      `SELECT m.payload, l.flow, d.state, d.reason, d.late FROM deliveries d
       JOIN lanes l ON l.id = d.lane JOIN messages m ON m.seq = d.seq`,
    )
    .all() as { payload: Buffer; flow: string; state: string; reason: string | null; late: number }[];
  for (const { payload, flow, state, reason, late } of rows) {
    const reading = world.ledger.find(payload.toString());
    if (!reading) continue;
    const there = bookOf(world, flow).has(reading);
    const named = `${reading.id} on ${flow}`;
    if (state === "delivered" && !there) world.find(`${named} is called delivered and never took effect`);
    else if (state === "dead") {
      if (!(reading.poison || (flow === "fresh" && late))) world.find(`${named} is dead: ${reason}`);
      if (there) world.find(`${named} is called dead and took effect`);
    } else if (state === "expired") {
      if (flow !== "fresh") world.find(`${named} expired, and its flow has no time to live`);
    } else if (state === "discarded") {
      if (!world.operator.hasDiscarded) world.find(`${named} is discarded, and nobody has done that`);
    } else if (state !== "delivered") world.find(`${named} ends as ${state}: ${reason}`);
  }
}

/** In each lane what came first takes effect first, but for what a person has put back. */
function checkOrder(world: World, flow: string): void {
  const putBack = world.lives
    .db!.prepare(
      `SELECT 1 FROM history h JOIN lanes l ON l.id = h.lane JOIN messages m ON m.seq = h.seq
       WHERE l.flow = ? AND m.payload = ? AND h.kind IN ('redrive', 'replay', 'edit')`,
    )
    .pluck();
  for (const { reading, after } of bookOf(world, flow).disorders) {
    // Nothing is on record any more of what was removed.
    if (mayRemove(world) || putBack.get(flow, reading.payload) !== undefined) continue;
    world.find(`${reading.id} took effect on ${flow} after number ${after} of its lane`);
  }
}

/** What the operator was told is done, is done and on record; a job has done what it says, and to each thing once. */
function checkActs(world: World): void {
  const { operator, lives } = world;
  const one = (sql: string, ...values: unknown[]) =>
    lives
      .db!.prepare(sql)
      .pluck()
      .get(...values) as number;
  for (const [what, told] of operator.done) {
    const found = one("SELECT count(*) FROM acts WHERE what = ?", what);
    if (found < told)
      world.find(`${what} was told to be done ${told} times, and is ${found} times on record`);
  }
  // Retention removes what else would show it.
  if (mayRemove(world)) return;
  const discarded = one("SELECT count(*) FROM deliveries WHERE state = 'discarded'");
  if (discarded < operator.discarded)
    world.find(`${operator.discarded} were discarded, and ${discarded} are`);
  checkJobs(world);
}

/** As the history names the job that has moved a delivery. */
const BY_JOB = /(?:\(job (\d+) of |by job (\d+)$)/;

function checkJobs(world: World): void {
  const { lives, operator, plan } = world;
  const entries = lives
    .db!.prepare("SELECT lane, seq, detail FROM history WHERE kind IN ('redrive', 'replay')")
    .all() as { lane: number; seq: number; detail: string }[];
  const moved = new Map<number, Set<string>>();
  for (const { lane, seq, detail } of entries) {
    const [, replayed, redriven] = BY_JOB.exec(detail) ?? [];
    const job = Number(replayed ?? redriven ?? 0);
    const places = moved.get(job) ?? new Set();
    const place = `${lane}/${seq}`;
    if (job > 0 && places.has(place)) world.find(`job ${job} has put ${place} back twice`);
    moved.set(job, places.add(place));
  }
  const jobs = lives.db!.prepare("SELECT id, state, done FROM jobs").all() as {
    id: number;
    state: string;
    done: number;
  }[];
  for (const { id, done } of jobs) {
    const found = moved.get(id)?.size ?? 0;
    if (found !== done) world.find(`job ${id} says that it has put ${done} back, and it was ${found}`);
  }
  // What another one had put back just then is not its own to move.
  if (replaysOf(plan).length > 1) return;
  for (const { job, meant } of operator.replays) {
    if (jobs.find(({ id }) => id === job)?.state !== "finished") continue;
    const left = meant.filter(({ lane, seq }) => !moved.get(job)?.has(`${lane}/${seq}`));
    if (left.length > 0)
      world.find(`job ${job} is finished, and has left out ${left.length} of ${meant.length}`);
  }
}

/** Looked at every second: an expired message was old enough, by no clock but the true one. */
export function checkEarlyExpiry(world: World): void {
  const { ttlMs } = world.plan;
  const { db, isUp } = world.lives;
  if (ttlMs === null || !db || !isUp) return;
  const rows = db
    .prepare("SELECT m.payload FROM deliveries d JOIN messages m ON m.seq = d.seq WHERE d.state = 'expired'")
    .pluck()
    .all() as Buffer[];
  for (const payload of rows) {
    const reading = world.ledger.find(payload.toString());
    const ageMs = world.time.monoMs() - (reading?.sentAtMs ?? 0);
    if (reading && ageMs < ttlMs) world.find(`${reading.id} expired at an age of ${ageMs} ms, not ${ttlMs}`);
  }
}

/** A persistent session is owed what was accepted after it subscribed, as its QoS promises. */
function checkSubscribers(world: World): void {
  const stored = storedReadings(world);
  for (const subscriber of world.subscribers) {
    const { name, qos, received, subscribedAtMs } = subscriber;
    if (subscribedAtMs === null) continue;
    const times = new Map<string, number>();
    const last = new Map<string, number>();
    for (const payload of received) {
      const reading = world.ledger.find(payload);
      if (!reading) {
        world.find(`${name} got a message that no machine sent: ${payload}`);
        continue;
      }
      const before = times.get(reading.id) ?? 0;
      times.set(reading.id, before + 1);
      const stream = `${reading.topic} under QoS ${Math.min(qos, reading.qos)}`;
      if (before === 0 && reading.n < (last.get(stream) ?? 0)) {
        world.find(`${name} got ${reading.id} after number ${last.get(stream)} of ${stream}`);
      }
      last.set(stream, Math.max(last.get(stream) ?? 0, reading.n));
      if (before > 0 && Math.min(qos, reading.qos) === 2)
        world.find(`${name} got ${reading.id} twice under QoS 2`);
    }
    for (const reading of world.ledger.readings.values()) {
      // What is handed in over HTTP is for flows alone.
      const isOwed =
        reading.door === "mqtt" &&
        reading.qos > 0 &&
        (reading.sentAtMs ?? 0) > subscribedAtMs &&
        stored.has(reading.id);
      if (isOwed && !times.has(reading.id)) world.find(`${name} never got ${reading.id}`);
    }
  }
}

/** What is not at its end yet: with everything mended, all of it must come there by itself, and nothing be kept for it. */
export function leftToDo(world: World): string[] {
  const { lives, machines, program, subscribers, network } = world;
  if (!lives.isUp) return [`the gateway is ${lives.phase}`];
  const devices = [...machines, ...subscribers];
  const left: string[] = [];
  const note = (count: number, what: string) => {
    if (count > 0) left.push(`${count} ${what}`);
  };
  note(devices.filter(({ up }) => !up).length, "machines are not connected");
  note(machines.filter(({ idle }) => !idle).length, "machines have no answer for something");
  note(program.idle ? 0 : 1, "program has no answer for something");
  const open = lives.db!.prepare("SELECT coalesce(sum(open), 0) FROM lanes").pluck().get() as number;
  note(open, "deliveries are open");
  note(world.operator.owed, "acts of the operator are not taken back");
  const jobs = lives.db!.prepare("SELECT count(*) FROM jobs WHERE state IN ('running', 'paused')").pluck();
  note(jobs.get() as number, "jobs are open");
  const { clients, unacked, held, queuedMessages } = lives.gateway!.stats();
  note(queuedMessages, "messages wait for subscribers");
  note(unacked, "packets are being worked on");
  note(held, "clients are not read");
  note(Math.abs(clients - devices.length), "clients are in too many or too few");
  for (const [target, { callsInFlight, lanesDelayed, lanesHeld }] of lives.gateway!.relay.views()) {
    note(callsInFlight + lanesDelayed + lanesHeld, `calls or lanes wait at ${target}`);
  }
  note(
    network.connectionsOf("gateway") - devices.length - TARGET_CONNECTIONS_MAX,
    "connections are left over",
  );
  return left;
}
