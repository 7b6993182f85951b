/**
 * The network between everything fails: each link is broken again and again, at a byte drawn by chance or from one
 * moment to the next, and comes back. Machines and backends are well all the time.
 *
 * There is a way out of the gateway for each kind of target. The brokers under QoS 2 know no ids: that a message is
 * theirs once is up to the handshake alone. The others know a message by its id, as an idempotent backend does.
 */
import type { Random } from "../../../src/core/random.ts";
import { HttpBackend } from "../../backends/http-backend.ts";
import { MqttBackend } from "../../backends/mqtt-backend.ts";
import type { LinkMode, TcpProxy, Tear } from "../../backends/tcp-proxy.ts";
import { lookAtCharges, type Spell } from "../charges.ts";
import { Site, type Way } from "../site.ts";
import type { Trial, TrialContext, TrialReport } from "../trial.ts";

/** How long the gateway waits for a backend; a link is down for a shorter or a longer time than that. */
const LIMIT = "400ms";
const DOWN_MS = { min: 30, spread: 700 };
/** A tear that has found nothing to tear by then has done its part. */
const TEAR_MS_MAX = 300;
/** Requests are some 600 bytes, packets some 250: torn in their heads and in their bodies, and between two. */
const TEAR_BYTES_SPREAD = 900;
/** The link carries again: by then something must have come over it, whatever was lost before. */
const RESUME_MS_MAX = 15_000;
const SETTLE_MS_MAX = 30_000;

const SUDDEN: readonly LinkMode[] = ["cut", "reset", "half-open", "drop-answers", "delay"];
const TORN: readonly Tear["becomes"][] = ["cut", "reset", "half-open"];

const MACHINES = [
  {
    name: "press",
    count: 3,
    rate: 8,
    qos: { 1: 2, 2: 1 },
    topic: "plant/named/{device}",
    ackTimeout: "500ms",
  },
  {
    name: "oven",
    count: 3,
    rate: 8,
    qos: { 1: 2, 2: 1 },
    topic: "plant/nameless/{device}",
    ackTimeout: "500ms",
  },
];
/** The others have nothing but packet ids to be known by when they send again. */
const IDENTITIES = [{ topics: "plant/named/#", id: { pointer: "/id" }, scope: "global" }];

export interface NetworkTrialOptions {
  /** Whether backends that are to know a message by its id do; default: yes. */
  readonly dedupe?: boolean;
  /** Names of the ways to try; default: all. */
  readonly only?: readonly string[];
  /** How long a link is down; default: DOWN_MS. */
  readonly downMs?: { readonly min: number; readonly spread: number };
}

/** The trial, or one with backends that are not as they should be: to see that it would notice. */
export function networkTrial({ dedupe = true, only, downMs = DOWN_MS }: NetworkTrialOptions = {}): Trial {
  return {
    name: "network",
    about:
      "Breaks the links between machines, gateway and backends at any byte: cut, reset, half-open, delayed, answers lost.",
    promise: `Nothing acknowledged is lost, doubled or out of order at any kind of backend; nothing is charged to a message; each link is in use again within ${RESUME_MS_MAX / 1000} s of its return.`,
    needs: [],
    run: (context) => run(context, waysOut(context, dedupe, only), downMs),
  };
}

export const network = networkTrial();

function waysOut({ clock }: TrialContext, dedupe: boolean, only?: readonly string[]): Way[] {
  const http = (name: string, more: object, itemResults = false): Way => ({
    name,
    backend: new HttpBackend({ clock, dedupe, itemResults }),
    target: { type: "http", connectTimeout: LIMIT, requestTimeout: LIMIT, ...more },
    enveloped: itemResults,
  });
  const mqtt = (protocol: "3.1.1" | 5, qos: 1 | 2): Way => ({
    name: `mqtt-${protocol === 5 ? 5 : 3}-qos-${qos}`,
    backend: new MqttBackend({ clock, dedupe: dedupe && qos === 1 }),
    target: { type: "mqtt", protocol, qos, idempotent: qos === 1, connectTimeout: LIMIT, ackTimeout: LIMIT },
  });
  const ways = [
    http("http", { connections: 2 }),
    http("http-batch", { batch: "json", batchMax: 20, connections: 2 }, true),
    mqtt("3.1.1", 1),
    mqtt("3.1.1", 2),
    mqtt(5, 1),
    mqtt(5, 2),
  ];
  return only ? ways.filter(({ name }) => only.includes(name)) : ways;
}

async function run(
  context: TrialContext,
  ways: readonly Way[],
  downMs: typeof DOWN_MS,
): Promise<TrialReport> {
  const { clock, random, signal } = context;
  const site = await Site.start(context, {
    ways,
    machines: MACHINES,
    machinesLinked: true,
    config: { intake: { identities: IDENTITIES } },
  });
  const startedMs = clock.monoMs();
  const spells = new Map<string, Spell[]>();
  let cycles = 0;
  let faults = 0;
  let resumeMsMax = 0;

  const breakLink = async (name: string, link: TcpProxy, arrived: () => number) => {
    await site.pause(random.below(200));
    const fromMs = clock.monoMs();
    const what = await doHarm(site, link, random, downMs);
    link.setMode("pass");
    const before = arrived();
    const backMs = clock.monoMs();
    const resumed = await site.until(() => arrived() > before, RESUME_MS_MAX);
    const tookMs = clock.monoMs() - backMs;
    if (!resumed && !signal.aborted) {
      site.findings.push(
        `stuck: nothing has come over the link ${name} for ${Math.round(tookMs)} ms after ${what}`,
      );
    }
    resumeMsMax = Math.max(resumeMsMax, tookMs);
    faults++;
    const ofLink = spells.get(name) ?? [];
    ofLink.push({ fromMs: fromMs - startedMs, toMs: backMs - startedMs });
    spells.set(name, ofLink);
  };

  try {
    await site.until(() => site.ways.every(({ backend }) => backend.arrivals().length > 0));
    while (context.another(cycles) && !signal.aborted) {
      const links = site.ways.map(({ name, backend }) =>
        breakLink(name, site.links.get(name)!, () => backend.arrivals().length),
      );
      await Promise.all([...links, breakLink("machines", site.machinesLink!, () => site.fleet.ledger.acked)]);
      cycles++;
    }
    context.say("waiting until everything has arrived");
    const figures = await site.judge(SETTLE_MS_MAX);
    const chargesMax = signal.aborted ? 0 : await lookAtCharges(site, spells);
    return {
      cycles,
      figures: { faults, ...figures, resumeMsMax: Math.round(resumeMsMax), chargesMax },
      findings: site.findings,
    };
  } finally {
    await site.stop();
  }
}

/** One fault, for as long as it lasts; resolves to what it was. */
async function doHarm(site: Site, link: TcpProxy, random: Random, range: typeof DOWN_MS): Promise<string> {
  const downMs = range.min + random.below(range.spread);
  if (random.below(2) === 0) {
    const mode = SUDDEN[random.below(SUDDEN.length)]!;
    link.setMode(mode);
    await site.pause(downMs);
    return `${mode} for ${downMs} ms`;
  }
  const tear: Tear = {
    way: random.below(2) === 0 ? "to-backend" : "to-client",
    afterBytes: random.below(TEAR_BYTES_SPREAD),
    becomes: TORN[random.below(TORN.length)]!,
  };
  await Promise.race([link.tear(tear), site.pause(TEAR_MS_MAX)]);
  await site.pause(downMs);
  return `${tear.becomes} after ${tear.afterBytes} bytes ${tear.way}, for ${downMs} ms`;
}
