/**
 * The oracle for readings of machines on wires. Nobody keeps a book of what a PLC was asked; the messages tell themselves
 * whether any is missing, by (device, boot, sequence): within a boot the numbers have no hole, and what could not
 * be stored lies within a gap record. Pure.
 *
 * - lost: a number of a boot that did not arrive, nor lies in a gap record, though a later one of that boot did
 *   arrive, or the gateway said that it had stored it (its cursor).
 * - doubled: took effect twice. Out of order: after a younger one of its boot, or one of an older boot after one of
 *   a younger. Altered: a good reading of what its machine never said. Stranger: of a device that is none.
 */
import { carriedPayload, type Figures, type Finding, type OracleArrival } from "./oracle.ts";

export interface ReadingsInput {
  /** In the order in which they reached the backend. */
  readonly arrivals: readonly OracleArrival[];
  readonly devices: readonly string[];
  /** The highest number that the gateway called stored, by {@link bootKey}. */
  readonly cursors: ReadonlyMap<string, number>;
  /** Whether a good reading may say this of that machine. */
  readonly isTrue: (device: string, signal: string, value: unknown) => boolean;
  readonly orderBy?: "device" | "topic" | "none";
  /** What the gateway says of messages that did not arrive: id → state. */
  readonly accounted?: ReadonlyMap<string, string>;
}

export interface ReadingsVerdict {
  readonly findings: readonly Finding[];
  readonly accounted: Figures["accounted"];
  /** Messages that took effect, and copies that the backend knew. */
  readonly arrived: number;
  readonly suppressed: number;
  /** Messages that were made and never stored, by the gap records. */
  readonly gaps: number;
  /** Readings that were not good, and say why. */
  readonly notGood: number;
  /** Ids of the messages that should be there. */
  readonly missing: readonly string[];
}

interface Shown {
  readonly quality?: string;
  readonly value?: unknown;
}

interface ReadingMessage {
  readonly kind: "poll" | "signal" | "gap";
  readonly device: string;
  readonly boot: string;
  readonly sequence: number;
  readonly fromSequence: number;
  readonly count: number;
  readonly signal?: string;
  readonly readings?: Readonly<Record<string, Shown>>;
}

export const bootKey = (device: string, boot: string) => `${device}:${boot}`;

/** The message of readings that this is; null for anything else. */
export function readingMessage(payload: string | Uint8Array): (ReadingMessage & Shown) | null {
  try {
    const text = carriedPayload(payload);
    const read = JSON.parse(typeof text === "string" ? text : Buffer.from(text).toString("utf8"));
    const isOne = ["poll", "signal", "gap"].includes(read?.kind) && typeof read.sequence === "number";
    return isOne ? { fromSequence: read.sequence, count: 0, ...read } : null;
  } catch {
    return null;
  }
}

export function judgeReadings(input: ReadingsInput): ReadingsVerdict {
  const { arrivals, devices, cursors, isTrue, orderBy = "device", accounted } = input;
  const findings: Finding[] = [];
  const boots = new Map<string, Set<number>>();
  const effects = new Map<string, number>();
  const lanes = new Map<string, { boot: string; sequence: number; readonly past: Set<string> }>();
  let [suppressed, gaps, notGood] = [0, 0, 0];
  for (const arrival of arrivals) {
    const message = arrival.taken === false ? null : readingMessage(arrival.payload);
    if (!message) continue;
    if (!arrival.effect) {
      suppressed += 1;
      continue;
    }
    const { device, boot, sequence, kind } = message;
    const id = `${bootKey(device, boot)}.${sequence}`;
    const say = (what: Finding["kind"], detail: string) => {
      findings.push({ kind: what, id, device, detail: `${device} number ${sequence}: ${detail}` });
    };
    if (!devices.includes(device)) say("stranger", "there is no such machine");
    const times = (effects.get(id) ?? 0) + 1;
    effects.set(id, times);
    if (times > 1) {
      if (times === 2) say("doubled", "took effect more than once");
      continue;
    }
    const numbers = boots.get(bootKey(device, boot)) ?? new Set();
    boots.set(bootKey(device, boot), numbers);
    for (let n = message.fromSequence; n <= sequence; n++) numbers.add(n);
    gaps += kind === "gap" ? message.count : 0;
    const readings =
      kind === "poll" ? Object.entries(message.readings ?? {}) : [[message.signal, message] as const];
    for (const [signal, { quality, value }] of kind === "gap" ? [] : readings) {
      if (quality !== "good") notGood += 1;
      else if (!isTrue(device, signal!, value)) {
        say("altered", `${signal} is said to be ${JSON.stringify(value)}, and never was`);
      }
    }
    if (orderBy === "none") continue;
    const key = JSON.stringify([arrival.flow ?? "", orderBy === "device" ? device : arrival.topic]);
    const lane = lanes.get(key) ?? { boot, sequence: 0, past: new Set<string>() };
    lanes.set(key, lane);
    if (boot !== lane.boot && !lane.past.has(boot)) {
      lane.past.add(lane.boot);
      [lane.boot, lane.sequence] = [boot, 0];
    }
    if (lane.past.has(boot)) say("outOfOrder", "took effect after one of a later start of the gateway");
    else if (sequence < lane.sequence) say("outOfOrder", `took effect after number ${lane.sequence}`);
    else lane.sequence = sequence;
  }
  const states: Record<string, number> = {};
  const missing: string[] = [];
  for (const key of new Set([...boots.keys(), ...cursors.keys()])) {
    const numbers = boots.get(key) ?? new Set<number>();
    const last = Math.max(cursors.get(key) ?? 0, ...numbers);
    for (let n = 1; n <= last; n++) {
      if (numbers.has(n)) continue;
      const id = `${key}.${n}`;
      const state = accounted?.get(id);
      missing.push(id);
      if (state !== undefined) states[state] = (states[state] ?? 0) + 1;
      else {
        const device = key.slice(0, key.lastIndexOf(":"));
        const detail = `${device} number ${n} of boot ${key.slice(device.length + 1)}: stored, and never arrived`;
        findings.push({ kind: "lost", id, device, detail });
      }
    }
  }
  return { findings, accounted: states, arrived: effects.size, suppressed, gaps, notGood, missing };
}
