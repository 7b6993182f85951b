/**
 * The enqueue transaction: suppress a duplicate or store a message with its deliveries, its identities and
 * the session changes that belong to it. Everything here is inside one commit, which is what makes the
 * suppression survive a crash: there is no moment at which a message is stored and its identity is not.
 */
import { hash } from "node:crypto";
import type { Statement } from "better-sqlite3";
import { isOpen } from "../core/outcome.ts";
import type { CommandRecord } from "./command-record.ts";
import { contentSum } from "./content-sum.ts";
import type { Db } from "./database.ts";
import type { Lane, LaneTable } from "./lanes.ts";
import type { AppendReply, AppendRequest } from "./requests.ts";
import type { SessionTable } from "./sessions.ts";
import type { Superseding } from "./superseding.ts";
import { DOOR, type Tally } from "./tally.ts";

/** A message's history names at most this many of its duplicates; the count goes on. */
const DUPLICATES_NOTED_MAX = 20;
/** Enough of SHA-1 to tell one payload from another under the same client and packet id. */
const DIGEST_BYTES = 8;

interface Original {
  seq: number;
  id: string;
}

export interface AppendContext {
  readonly db: Db;
  readonly lanes: LaneTable;
  readonly tally: Tally;
  readonly sessions: SessionTable;
  readonly bootNumber: number;
  readonly flowOfVersion: (version: number) => string;
  readonly nextSeq: () => number;
  readonly record: Pick<CommandRecord, "reached">;
  readonly superseding: Superseding;
}

export class Appender {
  readonly #context: AppendContext;
  readonly #insertMessage: Statement;
  readonly #insertDelivery: Statement;
  readonly #findById: Statement;
  readonly #findIdentity: Statement;
  readonly #putIdentity: Statement;
  readonly #findPacket: Statement;
  readonly #putPacket: Statement;
  readonly #countDuplicate: Statement;
  readonly #note: Statement;

  constructor(context: AppendContext) {
    this.#context = context;
    const { db } = context;
    this.#insertMessage = db.prepare(
      `INSERT INTO messages (seq, id, device, source, topic, payload, content_type, qos, retain, produced_at,
                             accepted_at, steady_at, boot, traceparent, headers, routes, crc)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#insertDelivery = db.prepare(
      "INSERT INTO deliveries (lane, seq, state, late, updated_at, reason, expire_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
    );
    this.#findById = db.prepare("SELECT seq, id FROM messages WHERE id = ?");
    this.#findIdentity = db.prepare(
      "SELECT seq, id FROM identities WHERE scope = ? AND key = ? AND expire_at > ?",
    );
    this.#putIdentity = db.prepare(
      `INSERT INTO identities (scope, key, seq, id, expire_at) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (scope, key) DO UPDATE SET seq = excluded.seq, id = excluded.id, expire_at = excluded.expire_at`,
    );
    this.#findPacket = db.prepare(
      "SELECT seq, id FROM packet_ids WHERE client = ? AND packet_id = ? AND digest = ? AND expire_at > ?",
    );
    this.#putPacket = db.prepare(
      `INSERT INTO packet_ids (client, packet_id, digest, seq, id, expire_at) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (client, packet_id) DO UPDATE SET
         digest = excluded.digest, seq = excluded.seq, id = excluded.id, expire_at = excluded.expire_at`,
    );
    this.#countDuplicate = db.prepare(
      "UPDATE messages SET duplicates = duplicates + 1 WHERE seq = ? RETURNING duplicates, routes",
    );
    this.#note = db.prepare(
      "INSERT INTO history (seq, lane, at, kind, detail) VALUES (?, NULL, ?, 'duplicate', ?)",
    );
  }

  append(request: AppendRequest): AppendReply {
    const { mqtt } = request;
    const digest = mqtt && request.qos === 1 ? digestOf(request) : null;
    const original = this.#original(request, digest);
    if (original) {
      this.#suppress(original, request);
      return { kind: "duplicate", ...original };
    }
    const seq = this.#context.nextSeq();
    const lanes = this.#store(seq, request);
    if (request.identity) {
      const { scope, key, expireAtMs } = request.identity;
      this.#putIdentity.run(scope, key, seq, request.id, expireAtMs);
    }
    if (mqtt && digest) {
      this.#putPacket.run(mqtt.client, mqtt.packetId, digest, seq, request.id, mqtt.expireAtMs);
    } else if (mqtt && request.qos === 2) {
      this.#context.sessions.apply({
        op: "put",
        kind: "incoming",
        client: mqtt.client,
        key: String(mqtt.packetId),
        value: Buffer.from(request.id),
      });
    }
    for (const change of request.session) this.#context.sessions.apply(change);
    return { kind: "stored", seq, lanes };
  }

  #original(request: AppendRequest, digest: Buffer | null): Original | undefined {
    const { mqtt, identity, steadyAtMs } = request;
    if (mqtt && request.qos === 2) {
      // Between PUBLISH and PUBREL the packet id is the identity [MQTT-4.3.3-2].
      const id = this.#context.sessions.value("incoming", mqtt.client, String(mqtt.packetId));
      if (id)
        return (this.#findById.get(id.toString()) as Original | undefined) ?? { seq: 0, id: id.toString() };
    }
    if (identity) {
      const known = this.#findIdentity.get(identity.scope, identity.key, steadyAtMs) as Original | undefined;
      // Past the window, a message that is still here is still the same message.
      return known ?? (this.#findById.get(request.id) as Original | undefined);
    }
    if (mqtt?.dup && digest) {
      return this.#findPacket.get(mqtt.client, mqtt.packetId, digest, steadyAtMs) as Original | undefined;
    }
    return undefined;
  }

  #suppress(original: Original, request: AppendRequest): void {
    const { tally, lanes } = this.#context;
    tally.add(DOOR, "duplicate");
    const row = this.#countDuplicate.get(original.seq) as { duplicates: number; routes: string } | undefined;
    if (!row) return;
    for (const [lane] of JSON.parse(row.routes) as [number, number][]) {
      const flow = lanes.get(lane)?.flow;
      if (flow) tally.add(flow, "duplicate");
    }
    if (row.duplicates <= DUPLICATES_NOTED_MAX) {
      const sign = request.mqtt
        ? `, packet id ${request.mqtt.packetId}${request.mqtt.dup ? ", DUP" : ""}`
        : "";
      const detail = `the same message came again from ${request.device} by ${request.source} (QoS ${request.qos}${sign}) and was suppressed`;
      this.#note.run(original.seq, request.acceptedAtMs, detail);
    }
  }

  #store(seq: number, request: AppendRequest): number[] {
    const { lanes, tally, flowOfVersion, bootNumber } = this.#context;
    const waitingIn: number[] = [];
    const commanded: Lane[] = [];
    let routes = "";
    tally.add(DOOR, "accepted");
    for (const route of request.routes) {
      const flow = flowOfVersion(route.version);
      const lane = lanes.obtain(flow, route.key, seq);
      this.#insertDelivery.run(
        lane.id,
        seq,
        route.state,
        route.late ? 1 : 0,
        request.acceptedAtMs,
        route.reason,
        route.expireAtMs ?? null,
      );
      routes += `${routes ? "," : ""}[${lane.id},${route.version}]`;
      tally.add(flow, "accepted");
      tally.add(flow, route.state);
      if (route.late) tally.add(flow, "late");
      if (lane.commands) commanded.push(lane);
      if (isOpen(route.state)) {
        lanes.change(lane, 1);
        waitingIn.push(lane.id);
      }
    }
    if (routes === "") tally.add(DOOR, "unrouted");
    // In the order of the columns.
    const content = {
      seq,
      id: request.id,
      device: request.device,
      source: request.source,
      topic: request.topic,
      payload: request.payload,
      content_type: request.contentType,
      qos: request.qos,
      retain: request.retain ? 1 : 0,
      produced_at: request.producedAtMs,
      accepted_at: request.acceptedAtMs,
      steady_at: request.steadyAtMs,
      boot: bootNumber,
      traceparent: request.traceparent,
      headers: request.headers,
      routes: `[${routes}]`,
    };
    this.#insertMessage.run(...Object.values(content), contentSum(content));
    for (const lane of commanded) {
      this.#context.record.reached(lane, seq, "queued", null);
      if (request.supersede) this.#context.superseding.giveUpOlder(lane, seq, request);
    }
    return waitingIn;
  }
}

function digestOf(request: AppendRequest): Buffer {
  const said = Buffer.concat([Buffer.from(`${request.topic}\0`), request.payload]);
  return hash("sha1", said, "buffer").subarray(0, DIGEST_BYTES);
}
