/**
 * Frozen and greedy clients, some kinds at once, around machines that do nothing wrong.
 *
 * The promise is for a machine that does nothing else: where other programs keep cores busy meanwhile, the times
 * allowed grow by what they took, up to fourfold, and the report says how much that was.
 */
import { cpus } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { stringify } from "yaml";
import { sleep } from "../../../src/core/clock.ts";
import type { Random } from "../../../src/core/random.ts";
import { GatewayProcess } from "../../gateway-process.ts";
import { DEFECT } from "../crowd/defect.ts";
import type { MobOrders } from "../crowd/mob.ts";
import type { MobFigures } from "../crowd/nuisance.ts";
import { NUISANCES } from "../crowd/nuisances.ts";
import { WellBehaved } from "../crowd/well-behaved.ts";
import { coresOfOthers, cpuTicks, forgetPeak, memoryOf, socketsOf } from "../process-facts.ts";
import type { Trial, TrialContext, TrialReport } from "../trial.ts";

/**
 * What a gateway from a checkout was seen to stay within; without any such client it takes 135 to 200 MiB. In a crowd that
 * stays for minutes what is kept for frozen subscribers has come to its limit.
 */
const RSS_BYTES_MAX = { plain: 288 * 2 ** 20, plainForLong: 384 * 2 ** 20, withOthers: 512 * 2 ** 20 };
/** In every cycle… */
export const PLAIN = ["halfOpen", "giants", "frozenSubscribers", "greedyQos1"];
/** …with so many of the others beside them. */
const OTHERS = 3;
const ACK_P99_MS_MAX = 1000;
/** The system hands over new connections one by one, and a thousand others knock at the same moment. */
const ENTER_MS_MAX = 10_000;
const CROWD_MS = 4000;
/** Sockets that are closed by the other side are gone from the gateway within this. */
const SHED_MS_MAX = 15_000;
/** The least part of the machine that is left to us in the reckoning. */
const OURS_MIN = 0.25;
const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";

export interface CrowdOptions {
  /** Drawn for each cycle where left out. */
  readonly nuisances?: readonly string[];
  /** Laid over `broker`, for a twin that has no limits. */
  readonly broker?: Record<string, unknown>;
  readonly crowdMs?: number;
}

export const crowd: Trial = {
  name: "crowd",
  about:
    "Around machines that do nothing wrong: 1,000 half-open connections, 100 giant CONNECTs, 10 frozen subscribers and a client that publishes flat out, and with them some that subscribe, retain, connect, dawdle and die as fast as they can.",
  promise: `With the default config, the others' acknowledgements take less than ${ACK_P99_MS_MAX} ms (p99), they lose nothing, newcomers are let in, and the gateway takes at most ${RSS_BYTES_MAX.plain / 2 ** 20} MiB of memory, or ${RSS_BYTES_MAX.withOthers / 2 ** 20} with the others.`,
  needs: [],
  run: (context) => runCrowd(context),
};

export async function runCrowd(context: TrialContext, options: CrowdOptions = {}): Promise<TrialReport> {
  const { clock, signal } = context;
  const findings: string[] = [];
  const listeners = ["tcp", "ws"].map((type) => ({ type, port: 0 }));
  const gateway = new GatewayProcess({
    dir: join(context.dir, "gateway"),
    config: stringify({ broker: { listeners, ...options.broker }, web: { port: 0 } }),
    script: context.script,
    env: context.env,
    clock,
    onLog: (line) => {
      if (DEFECT.test(line)) findings.push(`the gateway logs a defect of its own: ${line.slice(0, 500)}`);
    },
    onCrash: (how, log) => findings.push(`the gateway ended by itself, ${how}: ${log.at(-1) ?? "no log"}`),
  });
  let cycles = 0;
  const figures: Record<string, number> = {};
  try {
    await gateway.start();
    const pid = gateway.pid!;
    const quiet = socketsOf(pid);
    const http = gateway.address("http")!;
    const port = gateway.address("tcp")!.port;
    while (context.another(cycles) && !signal.aborted && gateway.up) {
      const honest = new WellBehaved({ port, httpUrl: `http://${http.host}:${http.port}`, clock });
      await honest.start();
      forgetPeak(pid);
      const [ticks, fromMs] = [cpuTicks([pid, process.pid]), clock.monoMs()];
      const nuisances = options.nuisances ?? drawn(context.random, cycles);
      const mob = await gather(gateway, context.seed + cycles, nuisances);
      await sleep(clock, options.crowdMs ?? CROWD_MS, signal);
      const others = coresOfOthers(ticks, cpuTicks([pid, process.pid]), clock.monoMs() - fromMs);
      const got = await mob();
      await honest.end();
      cycles++;
      findings.push(...honest.findings, ...judged(honest, options, others));
      note(figures, { ...honest.figures(), ...got, coresOfOthersMax: Math.round(others * 10) / 10 });
      const memory = memoryOf(pid);
      if (memory) figures.rssMaxMb = Math.round(memory.peakBytes / 2 ** 20);
      if (memory && memory.peakBytes > RSS_BYTES_MAX[kindOf(nuisances, options)])
        findings.push(`the gateway took ${figures.rssMaxMb} MiB of memory`);
      if (quiet !== null && gateway.up) findings.push(...(await shed(context, pid, quiet)));
    }
    return { cycles, figures, findings: [...new Set(findings)] };
  } finally {
    await gateway.kill();
  }
}

function kindOf(
  nuisances: readonly string[],
  { crowdMs = CROWD_MS }: CrowdOptions,
): keyof typeof RSS_BYTES_MAX {
  if (!nuisances.every((name) => PLAIN.includes(name))) return "withOthers";
  return crowdMs > CROWD_MS ? "plainForLong" : "plain";
}

/** The first crowd is the plain one. */
function drawn(random: Random, cycle: number): string[] {
  const others = Object.keys(NUISANCES).filter((name) => !PLAIN.includes(name));
  const some = Array.from({ length: cycle === 0 ? 0 : OTHERS }, () => others[random.below(others.length)]!);
  return [...new Set([...PLAIN, ...some])];
}

function judged(honest: WellBehaved, { crowdMs = CROWD_MS }: CrowdOptions, othersCores: number): string[] {
  const slower = 1 / Math.max(OURS_MIN, 1 - othersCores / cpus().length);
  const { ackP99Ms, enterMaxMs, newcomers, acked } = honest.figures();
  const found: string[] = [];
  if (ackP99Ms > ACK_P99_MS_MAX * slower)
    found.push(`acknowledgements took ${ackP99Ms} ms (p99 of ${acked})`);
  if (enterMaxMs > ENTER_MS_MAX * slower) found.push(`a newcomer waited ${enterMaxMs} ms to be let in`);
  if (newcomers === 0 || acked < crowdMs / 1000)
    found.push(`hardly anybody was served: ${acked} acknowledgements`);
  return found;
}

/** The crowd is gone: so are its sockets. */
async function shed({ clock, signal }: TrialContext, pid: number, quiet: number): Promise<string[]> {
  const untilMs = clock.monoMs() + SHED_MS_MAX;
  for (;;) {
    const open = socketsOf(pid);
    // The status page's own connections may be kept alive for a while.
    if (open === null || open <= quiet + 2 || signal.aborted) return [];
    if (clock.monoMs() > untilMs) return [`${open - quiet} sockets are still open after the crowd has gone`];
    await sleep(clock, 50, signal);
  }
}

function note(figures: Record<string, number>, more: Record<string, number>): void {
  for (const [name, value] of Object.entries(more)) {
    const before = figures[name] ?? 0;
    figures[name] = /(Ms|Max)$/.test(name) ? Math.max(before, value) : before + value;
  }
}

/** Starts the nuisances; the result ends them and answers with what they got. */
async function gather(gateway: GatewayProcess, seed: number, names: readonly string[]) {
  const worker = new Worker(new URL(`../crowd/mob.${EXTENSION}`, import.meta.url));
  const failed = new Promise<never>((_, reject) => worker.once("error", reject));
  failed.catch(() => {});
  const orders: MobOrders = {
    names,
    port: gateway.address("tcp")!.port,
    wsPort: gateway.address("ws")!.port,
    seed,
  };
  const begun = new Promise((resolve) => worker.once("message", resolve));
  worker.postMessage(orders);
  await Promise.race([begun, failed]);
  return async (): Promise<Record<string, number>> => {
    const answer = new Promise<MobFigures>((resolve) => worker.once("message", resolve));
    worker.postMessage("end");
    const { opened, closed, bytesSent, bytesReceived } = await Promise.race([answer, failed]);
    await worker.terminate();
    return {
      connectionsTried: opened,
      connectionsClosed: closed,
      megabytesSent: Math.round(bytesSent / 1e6),
      megabytesReceived: Math.round(bytesReceived / 1e6),
    };
  };
}
