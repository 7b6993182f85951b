/**
 * What a seed stands for: the machines, the config, and what befalls whom and when. Drawn before anything runs, so
 * that a plan can be read, and so that what happens in a run does not change what was to happen.
 */
import { type Config, configSchema } from "../../../src/config.ts";
import { type Random, seededRandom } from "../../../src/core/random.ts";
import type { BackendMode } from "./backend-book.ts";
import type { MachineOptions } from "./sim-machine.ts";
import type { OperatorAct } from "./sim-operator.ts";

/** Faults and readings come within this; after it everything is mended. */
export const FAULTS_MS = 20_000;
const YEAR_MS = 365 * 86_400_000;

export const BACKENDS = ["web", "plant", "fresh"] as const;
export type BackendName = (typeof BACKENDS)[number];

export type Action =
  | { readonly do: "burst"; readonly machine: number; readonly size: number }
  | { readonly do: "hand in"; readonly size: number }
  | { readonly do: "crash"; readonly power: boolean; readonly downMs: number }
  /** At the n-th access of this kind to the disk from now. */
  | {
      readonly do: "crash at disk";
      readonly kind: "write" | "sync";
      readonly nth: number;
      readonly power: boolean;
    }
  | { readonly do: "crash at commit"; readonly nth: number; readonly power: boolean }
  | { readonly do: "crash at backend"; readonly backend: BackendName; readonly power: boolean }
  | { readonly do: "restart"; readonly config: number; readonly downMs: number }
  | { readonly do: "disk full"; readonly spareBytes: number; readonly forMs: number }
  | { readonly do: "disk fails"; readonly kind: "write" | "sync" | "read"; readonly nth: number }
  | { readonly do: "disk slow"; readonly commitMs: number; readonly forMs: number }
  | {
      readonly do: "backend";
      readonly backend: BackendName;
      readonly mode: BackendMode;
      readonly forMs: number;
    }
  | { readonly do: "link"; readonly to: string; readonly link: "stalled" | "closed"; readonly forMs: number }
  | { readonly do: "cut" | "forget" | "lose answers"; readonly to: string }
  | { readonly do: "machine" | "reboot"; readonly machine: number }
  | { readonly do: "subscriber"; readonly subscriber: number }
  | { readonly do: "operator"; readonly does: OperatorAct }
  /** The box's wall clock is set to something else while it runs. */
  | { readonly do: "clock"; readonly skewMs: number };

export interface Plan {
  readonly seed: number;
  readonly machines: readonly MachineOptions[];
  /** QoS of each subscriber. */
  readonly subscribers: readonly (1 | 2)[];
  /** The first is the one it starts with, and ends with. */
  readonly configs: readonly (() => Config)[];
  /** Time to live of the flow `fresh`; null where there is no such flow. */
  readonly ttlMs: number | null;
  readonly prunes: boolean;
  /** The box has no battery clock: each start is in 1970. */
  readonly startsIn1970: boolean;
  /** How long a commit takes on its disk while that is well: what comes meanwhile forms the next one. */
  readonly commitMs: number;
  /** A flow of its own writes all of it to files on the gateway's disk. */
  readonly archives: boolean;
  readonly actions: readonly (Action & { readonly atMs: number })[];
}

export function planOf(seed: number, random: Random): Plan {
  const one = <T>(...of: readonly T[]): T => of[random.below(of.length)]!;
  const chance = (percent: number) => random.below(100) < percent;
  const machines = Array.from({ length: 1 + random.below(4) }, (_, at): MachineOptions => {
    const declaresIds = chance(40);
    return {
      name: `m${at + 1}`,
      qos: one([1], [2], [1, 2], [1, 2, 0]),
      declaresIds,
      // Without an id of its own, what a machine sends again in a new session is a new message to anyone.
      cleanSession: declaresIds && chance(30),
      inFlightMax: one(1, 2, 8),
      poisonOneIn: chance(20) ? 9 : 0,
    };
  });
  const subscribers = one<readonly (1 | 2)[]>([], [], [1], [2], [1, 2]);
  const ttlMs = chance(25) ? one(1500, 4000, 12_000) : null;
  const prunes = chance(15);
  const raw = rawConfig({ random, one, chance, ttlMs, prunes });
  const names = Object.keys(raw.targets) as BackendName[];
  const archives = chance(30);
  if (archives) {
    raw.targets.archive = { type: "file", rotateBytes: one("4KiB", "1MiB"), batchMax: one(1, 20) };
    raw.flows.archive = { from: "#", to: "archive", retry: RETRY };
  }
  const configs = [raw, ...variants(raw)].map(parsedOnce);
  const hosts = [...names, ...machines.map(({ name }) => name)];
  const drawAction = (): Action => {
    const power = chance(50);
    const downMs = 100 + random.below(3000);
    const forMs = 200 + random.below(6000);
    const kind = random.below(100);
    if (kind < 10) return { do: "crash", power, downMs };
    if (kind < 20)
      return { do: "crash at disk", kind: one("write", "sync"), nth: 1 + random.below(60), power };
    if (kind < 28) return { do: "crash at commit", nth: 1 + random.below(10), power };
    if (kind < 34) return { do: "crash at backend", backend: one(...names), power };
    if (kind < 39) return { do: "restart", config: random.below(configs.length), downMs };
    if (kind < 44) return { do: "disk full", spareBytes: random.below(40_000), forMs };
    if (kind < 48) return { do: "disk fails", kind: one("write", "sync", "read"), nth: 1 + random.below(20) };
    if (kind < 52) return { do: "disk slow", commitMs: one(20, 200, 3000), forMs };
    if (kind < 68) return { do: "backend", backend: one(...names), mode: one(...MODES), forMs };
    if (kind < 76) return { do: "link", to: one(...hosts), link: one("stalled", "closed"), forMs };
    if (kind < 86) return { do: one("cut", "forget", "lose answers"), to: one(...hosts) };
    if (kind < 91) return { do: "machine", machine: random.below(machines.length) };
    if (kind < 94) return { do: "reboot", machine: random.below(machines.length) };
    if (kind < 97) return { do: "subscriber", subscriber: random.below(2) };
    return { do: "clock", skewMs: one(10 * YEAR_MS, -10 * YEAR_MS, 3_600_000, -3_600_000, 0) };
  };
  const actions: (Action & { atMs: number })[] = [];
  for (let left = 2 + random.below(7); left > 0; left--) {
    actions.push({ atMs: random.below(FAULTS_MS), ...drawAction() });
  }
  for (let left = 6 + random.below(12); left > 0; left--) {
    const burst = { machine: random.below(machines.length), size: 1 + random.below(5) };
    actions.push({ atMs: random.below(FAULTS_MS), do: "burst", ...burst });
  }
  actions.push(...handingActions(seed), ...operatorActions(seed, raw, machines));
  actions.sort((a, b) => a.atMs - b.atMs);
  const startsIn1970 = chance(10);
  const commitMs = one(1, 4, 12);
  return { seed, machines, subscribers, configs, ttlMs, prunes, startsIn1970, commitMs, archives, actions };
}

/** So that neither of them changes anything of what else is drawn. */
const OPERATOR_SALT = 0x51ab37c5;
const HANDING_SALT = 0x2c1b3c6d;

/** In every third history. */
function handingActions(seed: number): (Action & { readonly atMs: number })[] {
  const random = seededRandom(seed ^ HANDING_SALT);
  if (random.below(3) > 0) return [];
  return Array.from({ length: 2 + random.below(8) }, () => ({
    atMs: random.below(FAULTS_MS),
    do: "hand in",
    size: 1 + random.below(5),
  }));
}

function operatorActions(
  seed: number,
  raw: Raw,
  machines: readonly MachineOptions[],
): (Action & { readonly atMs: number })[] {
  const random = seededRandom(seed ^ OPERATOR_SALT);
  const one = <T>(...of: readonly T[]): T => of[random.below(of.length)]!;
  if (random.below(2) === 0) return [];
  const flows = Object.keys(raw.flows);
  const draw = (): OperatorAct => {
    const forMs = 200 + random.below(6000);
    const rate = one(5, 50, 500);
    const paused = one(
      { kind: "flow", name: one(...flows) } as const,
      { kind: "target", name: one(...Object.keys(raw.targets)) } as const,
      { kind: "device", name: one(...machines).name } as const,
    );
    const replay = { act: "replay", flow: one(...flows), rate, pausedMs: one(null, forMs) } as const;
    return one<OperatorAct>(
      { act: "pause", ...paused, forMs },
      { act: "redrive", rate: one(null, rate) },
      replay,
      { ...replay, into: one(...flows) },
      { act: "edit" },
      { act: "discard" },
      { act: "export", flow: one(undefined, one(...flows)), forMs },
    );
  };
  return Array.from({ length: 1 + random.below(5) }, () => ({
    atMs: random.below(FAULTS_MS),
    do: "operator",
    does: draw(),
  }));
}

const MODES: readonly BackendMode[] = [
  "drops",
  "commits-then-drops",
  "commits-then-silent",
  "commits-then-garbage",
  "commits-then-lies",
  "busy",
  "fails",
  "slow",
];

const RETRY = { delayMin: "200ms", delayMax: "4s", attemptsMax: 1000 };

type Raw = { flows: Record<string, object>; targets: Record<string, object>; [key: string]: unknown };

function rawConfig({
  random,
  one,
  chance,
  ttlMs,
  prunes,
}: {
  random: Random;
  one: <T>(...of: readonly T[]) => T;
  chance: (percent: number) => boolean;
  ttlMs: number | null;
  prunes: boolean;
}): Raw {
  const producedAt = { pointer: "/at", unit: "ms" };
  const http = { type: "http", requestTimeout: "2s", connectTimeout: "2s" };
  const flow = { from: "#", retry: RETRY };
  const raw: Raw = {
    broker: { listeners: [{ type: "tcp", port: 0 }] },
    intake: {
      identities: [
        { topics: "known/#", id: { pointer: "/id" }, producedAt },
        { topics: "plain/#", producedAt },
      ],
    },
    queue: prunes ? { retention: { age: "3s", count: 20, every: "1s" } } : {},
    relay: { probeDelayMin: "100ms", probeDelayMax: "3s", probeIdleEvery: "20s", drainTimeout: "2s" },
    targets: {
      web: {
        ...http,
        url: "http://web:80/",
        connections: 1 + random.below(4),
        ...(chance(30) ? { batch: one("json", "json"), batchMax: one(3, 20) } : {}),
      },
    },
    flows: { main: { ...flow, to: "web", orderBy: "device" } },
  };
  if (chance(50)) {
    raw.targets.plant = {
      type: "mqtt",
      url: "mqtt://plant:1883",
      protocol: one("3.1.1", "5"),
      qos: one(1, 2),
      payload: "envelope",
      idempotent: true,
      connectTimeout: "2s",
      ackTimeout: "2s",
      keepAlive: "10s",
    };
    raw.flows.upstream = { ...flow, to: "plant" };
  }
  if (ttlMs !== null) {
    raw.targets.fresh = { ...http, url: "http://fresh:80/" };
    raw.flows.fresh = {
      ...flow,
      to: "fresh",
      ttl: `${ttlMs}ms`,
      lateAfter: "1m",
      late: one("deliver", "dead"),
    };
  }
  return raw;
}

/** Reading a config takes longer than anything else in a plan, and few lives have the second or third. */
function parsedOnce(raw: Raw): () => Config {
  let config: Config | undefined;
  return () => {
    config ??= configSchema.parse(raw);
    return config;
  };
}

/** What a person may change at a restart: a flow is paused, or taken out for a while. */
function variants(raw: Raw): Raw[] {
  const paused = { ...raw, flows: { ...raw.flows, main: { ...raw.flows.main, paused: true } } };
  const { main } = raw.flows;
  return [paused, { ...raw, flows: { main: main! } }];
}
