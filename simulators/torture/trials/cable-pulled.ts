/**
 * The cable between the gateway and its backends is pulled, or swallows packets, and is well again: with the
 * kernel's own retransmissions, timeouts and buffers. What was handed to the kernel before a connection was given up
 * may arrive long after the same message has been sent again over another one.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { BackendProcess } from "../../backends/backend-process.ts";
import { CABLE_FAULTS, Cable } from "../cable.ts";
import { lookAtCharges, type Spell } from "../charges.ts";
import { Site, type Way } from "../site.ts";
import type { Trial } from "../trial.ts";

const LIMIT = "500ms";
const DOWN_MS = { min: 50, spread: 1_500 };
/** Packets get lost in spells of this length, so that some come through between. */
const FLICKER_MS = { min: 5, spread: 60 };
/** The kernel waits longer each time before it sends again: up to twice as long as the cable was away. */
const RESUME_MS_MAX = 20_000;
const SETTLE_MS_MAX = 45_000;

const MACHINES = [{ name: "press", count: 4, rate: 8, qos: { 1: 2, 2: 1 } }];
const IDENTITIES = [{ topics: "#", id: { pointer: "/id" }, scope: "global" }];

export const cablePulled: Trial = {
  name: "cable-pulled",
  about:
    "Pulls the cable between gateway and backends, or lets it swallow packets, in a network namespace of its own.",
  promise: `Nothing acknowledged is lost, doubled or out of order; nothing is charged to a message; deliveries go on within ${RESUME_MS_MAX / 1000} s of the cable's return.`,
  needs: ["netns"],
  async run(context) {
    const { clock, random, signal, dir } = context;
    const cable = new Cable(random.below(0x1_0000) & ~3);
    const backend = (name: string, kind: "http" | "mqtt"): BackendProcess => {
      mkdirSync(join(dir, name), { recursive: true });
      return new BackendProcess({
        kind,
        dir: join(dir, name),
        clock,
        host: cable.farHost,
        prefix: cable.prefix,
      });
    };
    const http = { type: "http", connectTimeout: LIMIT, requestTimeout: LIMIT };
    const mqtt = { type: "mqtt", protocol: 5, idempotent: true, connectTimeout: LIMIT, ackTimeout: LIMIT };
    const ways: Way[] = [
      { name: "http", backend: backend("http", "http"), target: http },
      { name: "mqtt-5-qos-1", backend: backend("mqtt-5-qos-1", "mqtt"), target: mqtt },
      {
        name: "mqtt-3-qos-2",
        backend: backend("mqtt-3-qos-2", "mqtt"),
        target: { ...mqtt, protocol: "3.1.1", qos: 2 },
      },
    ].map((way) => ({ ...way, linked: false }));
    const spells: Spell[] = [];
    let cycles = 0;
    let resumeMsMax = 0;
    let site: Site | null = null;
    try {
      cable.lay();
      site = await Site.start(context, {
        ways,
        machines: MACHINES,
        config: { intake: { identities: IDENTITIES } },
      });
      const startedMs = clock.monoMs();
      const arrived = () => ways.map((way) => way.backend.arrivals().length);
      await site.until(() => arrived().every((count) => count > 0));
      while (context.another(cycles) && !signal.aborted) {
        await site.pause(random.below(300));
        const fromMs = clock.monoMs();
        const fault = CABLE_FAULTS[random.below(CABLE_FAULTS.length)]!;
        const untilMs = fromMs + DOWN_MS.min + random.below(DOWN_MS.spread);
        const flickers = random.below(3) === 0;
        while (clock.monoMs() < untilMs && !signal.aborted) {
          await cable.harm(fault);
          await site.pause(
            flickers ? FLICKER_MS.min + random.below(FLICKER_MS.spread) : untilMs - clock.monoMs(),
          );
          if (!flickers) break;
          await cable.mend();
          await site.pause(FLICKER_MS.min + random.below(FLICKER_MS.spread));
        }
        await cable.mend();
        const backMs = clock.monoMs();
        const before = arrived();
        const resumed = await site.until(
          () => arrived().every((count, at) => count > before[at]!),
          RESUME_MS_MAX,
        );
        const tookMs = clock.monoMs() - backMs;
        if (!resumed && !signal.aborted) {
          const stuck = ways.filter((_, at) => arrived()[at] === before[at]).map(({ name }) => name);
          site.findings.push(
            `stuck: ${stuck.join(" and ")} for ${Math.round(tookMs)} ms after ${fault} for ${Math.round(backMs - fromMs)} ms`,
          );
        }
        resumeMsMax = Math.max(resumeMsMax, tookMs);
        spells.push({ fromMs: fromMs - startedMs, toMs: backMs - startedMs });
        cycles++;
      }
      context.say("waiting until everything has arrived");
      const figures = await site.judge(SETTLE_MS_MAX);
      const ofWays = new Map(ways.map(({ name }) => [name, spells]));
      const chargesMax = signal.aborted ? 0 : await lookAtCharges(site, ofWays);
      return {
        cycles,
        figures: { ...figures, resumeMsMax: Math.round(resumeMsMax), chargesMax },
        findings: site.findings,
      };
    } finally {
      await site?.stop();
      for (const way of ways) await way.backend.stop();
      cable.remove();
    }
  },
};
