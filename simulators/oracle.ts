/**
 * The oracle: holds what the machines know against what reached the backend, and says whether the promise
 * was kept. Pure: no I/O, no clock, so that it can itself be tested with runs that broke the promise.
 *
 * The promise, as a machine and a backend can see it from outside:
 * - acknowledged means stored, stored means accounted for: each message with a PUBACK or PUBREC has arrived,
 *   or the gateway names the state it is in (dead, expired, …). Otherwise it is `lost`.
 * - once in effect: no message took effect twice at the backend, however often its machine or the gateway
 *   sent it. Otherwise it is `doubled`. (What the backend itself threw away under the same id is counted,
 *   not blamed.)
 * - in order: within a lane (a flow, and its order key), messages took effect in the order in which their machine first sent them.
 *   Otherwise the one that came too late is `out of order`.
 * - as sent: the payload is the one the machine sent (`altered`), and nothing arrived that no machine sent
 *   (`stranger`).
 *
 * Rules by QoS: under QoS 1 and 2 an unacknowledged message may arrive or not; both are right. QoS 0 is best
 * effort up to the gateway's commit: missing is counted, not blamed; doubled, out of order and altered are
 * blamed as for the others.
 *
 * Messages are told apart by the id in their payload, not by the gateway's id: a gateway that gave two ids
 * to one reading is exactly what must be found.
 */
import { payloadDigest, type Sent } from "./machines/ledger.ts";

export interface OracleArrival {
  readonly topic: string;
  readonly payload: string | Uint8Array;
  /** False where the backend refused it or never answered for it: it came, and is not there. */
  readonly taken?: boolean;
  /** False where the backend recognised the id and threw the message away. */
  readonly effect: boolean;
  /** The flow that brought it, where it says so: a lane is a flow's. */
  readonly flow?: string;
}

export type FindingKind = "lost" | "doubled" | "outOfOrder" | "altered" | "stranger";

export interface Finding {
  readonly kind: FindingKind;
  /** The machine's id of the message; the gateway's history is asked for with it. */
  readonly id: string;
  readonly device: string | null;
  readonly detail: string;
}

export interface Figures {
  /** Messages put on the wire at least once. */
  readonly sent: number;
  readonly acked: number;
  /** Distinct messages that took effect at the backend. */
  readonly arrived: number;
  readonly unackedButArrived: number;
  readonly qos0Missing: number;
  /** Copies that machines put on the wire beyond the first of each message. */
  readonly repeatsSent: number;
  /** Copies that the backend recognised by their id and threw away. */
  readonly suppressedByBackend: number;
  /** Acknowledged, not arrived, and accounted for by the gateway, by state. */
  readonly accounted: Readonly<Record<string, number>>;
}

export interface Verdict {
  /** True where there is no finding. */
  readonly kept: boolean;
  readonly figures: Figures;
  readonly counts: Readonly<Record<FindingKind, number>>;
  readonly findings: readonly Finding[];
}

export interface OracleInput {
  readonly sent: readonly Sent[];
  /** In the order in which they reached the backend. */
  readonly arrivals: readonly OracleArrival[];
  /** The flow's order key: what a lane is. Default: the device. */
  readonly orderBy?: "device" | "topic" | "none";
  /** What the gateway says of messages that did not arrive: machine's id → state (`dead`, `expired`, …). */
  readonly accounted?: ReadonlyMap<string, string>;
}

export function judge(input: OracleInput): Verdict {
  const { sent, arrivals, orderBy = "device", accounted = new Map<string, string>() } = input;
  const findings: Finding[] = [];
  const byId = new Map(sent.map((entry) => [entry.id, entry]));
  const effects = new Map<string, number>();
  const lanes = new Map<string, Sent>();
  let suppressedByBackend = 0;

  for (const arrival of arrivals) {
    if (arrival.taken === false) continue;
    const payload = carriedPayload(arrival.payload);
    const id = payloadId(payload);
    const entry = id === null ? undefined : byId.get(id);
    if (!entry) {
      findings.push({
        kind: "stranger",
        id: id ?? "(no id)",
        device: null,
        detail: `a message on ${arrival.topic} that no machine sent`,
      });
      continue;
    }
    if (!arrival.effect) {
      suppressedByBackend++;
      continue;
    }
    const before = effects.get(entry.id) ?? 0;
    effects.set(entry.id, before + 1);
    if (before > 0) continue; // doubled: said once, below; the first arrival stands for its place in the lane
    if (payloadDigest(payload) !== entry.digest) {
      findings.push(finding("altered", entry, "its payload is not the one that was sent"));
    }
    if (orderBy === "none") continue;
    const lane = JSON.stringify([arrival.flow ?? "", orderBy === "device" ? entry.device : entry.topic]);
    const last = lanes.get(lane);
    if (last && last.n > entry.n) {
      findings.push(
        finding("outOfOrder", entry, `took effect after number ${last.n} of its lane (${last.id})`),
      );
    } else {
      lanes.set(lane, entry);
    }
  }

  const accountedStates: Record<string, number> = {};
  let unackedButArrived = 0;
  let qos0Missing = 0;
  for (const entry of sent) {
    const times = effects.get(entry.id) ?? 0;
    if (times > 1) {
      findings.push(
        finding("doubled", entry, `took effect ${times} times; its machine sent ${copies(entry)}`),
      );
    }
    if (times > 0) {
      if (entry.qos > 0 && entry.ackedAtMs === null) unackedButArrived++;
      continue;
    }
    const state = accounted.get(entry.id);
    if (state !== undefined) accountedStates[state] = (accountedStates[state] ?? 0) + 1;
    else if (entry.qos === 0) qos0Missing++;
    else if (entry.ackedAtMs !== null) {
      findings.push(
        finding("lost", entry, `acknowledged ${Math.round(entry.ackedAtMs)} ms into the run, never arrived`),
      );
    }
  }

  const counts: Record<FindingKind, number> = { lost: 0, doubled: 0, outOfOrder: 0, altered: 0, stranger: 0 };
  for (const found of findings) counts[found.kind]++;
  return {
    kept: findings.length === 0,
    counts,
    findings,
    figures: {
      sent: sent.length,
      acked: sent.filter((entry) => entry.ackedAtMs !== null).length,
      arrived: effects.size,
      unackedButArrived,
      qos0Missing,
      repeatsSent: sent.reduce((sum, entry) => sum + entry.copies - 1, 0),
      suppressedByBackend,
      accounted: accountedStates,
    },
  };
}

/** What the machine sent, out of the gateway's envelope where it came in one. */
export function carriedPayload(payload: string | Uint8Array): string | Uint8Array {
  const text = typeof payload === "string" ? payload : Buffer.from(payload).toString("utf8");
  if (!text.startsWith('{"id":') || !text.includes('"encoding":')) return payload;
  try {
    const envelope = JSON.parse(text) as Record<string, unknown>;
    const isEnvelope = "payload" in envelope && "gateway" in envelope && "flow" in envelope;
    return isEnvelope ? decodedPayload(envelope.payload, envelope.encoding) : payload;
  } catch {
    return payload;
  }
}

/** As the envelope's `encoding` says; see docs/targets.md. */
export function decodedPayload(payload: unknown, encoding: unknown): string | Buffer {
  if (encoding === "base64") return Buffer.from(String(payload), "base64");
  return encoding === "text" ? String(payload) : JSON.stringify(payload);
}

/** The machine's id out of a payload, or null where there is none. */
export function payloadId(payload: string | Uint8Array): string | null {
  try {
    const text = typeof payload === "string" ? payload : Buffer.from(payload).toString("utf8");
    const id = (JSON.parse(text) as { id?: unknown } | null)?.id;
    return typeof id === "string" ? id : null;
  } catch {
    return null;
  }
}

function finding(kind: FindingKind, entry: Sent, detail: string): Finding {
  return {
    kind,
    id: entry.id,
    device: entry.device,
    detail: `${entry.device} number ${entry.n} (QoS ${entry.qos}): ${detail}`,
  };
}

function copies(entry: Sent): string {
  return entry.copies === 1 ? "it once" : `it ${entry.copies} times`;
}
