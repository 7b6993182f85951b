/**
 * A power cut takes what was written and not synced, which kill -9 does not. The store is on a disk whose power is
 * really cut: in the midst of traffic, while the gateway starts, and while it folds its log into the store. The
 * process is stopped first, since it must not notice and write on: a box without power does not, either.
 *
 * It hits the file system as a real cut does (its journal is replayed at the next mount), and not the disk itself:
 * sectors written by halves and disks that lie about their cache are not in it.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { callsUnder } from "../../disks/faulty-calls.ts";
import { PowerCutDisk } from "../../disks/power-cut-disk.ts";
import { means } from "../means.ts";
import { Traffic } from "../traffic.ts";
import type { Trial, TrialContext } from "../trial.ts";

const MACHINES = [
  { name: "press", count: 2, rate: 0, qos: 1, payloadBytes: "3KiB" },
  { name: "oven", count: 2, rate: 0, qos: 2, payloadBytes: "3KiB" },
  { name: "lims", count: 1, rate: 0, door: "http", payloadBytes: "3KiB" },
];
const BURST = 20;
/** Small, so that the log is folded every few bursts. */
const QUEUE = { walBytesMax: "1MiB" };
const FOLD_WRITES_SPREAD = 150;
const CUT_MS_SPREAD = 40;
const START_MS = 900;
const STOPPED_MS_MAX = 10_000;
/** In a row: the tracer itself stops a thread for a moment, now and then. */
const STOPPED_LOOKS = 3;

/** What the gateway is at when the power goes. */
const MOMENTS = ["traffic", "folding", "traffic", "starting"] as const;
type Moment = (typeof MOMENTS)[number];

export const powerCut: Trial = {
  name: "power-cut",
  about:
    "Cuts the power of the disk under the gateway: in traffic, while it starts, and while it folds its log.",
  promise:
    "What was acknowledged is there afterwards and arrives once and in order, and the accounts balance.",
  needs: ["power-cut"],
  async run(context) {
    const disk = new PowerCutDisk(context.dir);
    try {
      return await onDisk(context, disk);
    } finally {
      disk.remove();
    }
  },
};

async function onDisk(context: TrialContext, disk: PowerCutDisk) {
  const { random } = context;
  const traffic = await Traffic.prepare(context, {
    machines: MACHINES,
    targets: ["http"],
    dataDir: join(disk.folder, "data"),
    config: { queue: QUEUE },
  });
  const { gateway, rig, backends } = traffic;
  const cuts: Record<Moment, number> = { traffic: 0, folding: 0, starting: 0 };
  const hasTracer = means("strace").present;
  let cycles = 0;
  try {
    await traffic.begin();
    // The first cut may come before machines are heard again, and one that can take nothing proves nothing.
    rig.fleet.burst(BURST);
    if (!(await traffic.until(() => traffic.acked > 0))) traffic.findings.push("machines get no answers");
    while (context.another(cycles) && traffic.findings.length === 0 && !traffic.givenUp) {
      const drawn = MOMENTS[(cycles + random.below(2)) % MOMENTS.length]!;
      const moment = drawn === "folding" && !hasTracer ? "traffic" : drawn;
      // Half of the time nothing of it has been delivered yet, and then it is in the store alone.
      const away = random.below(2) === 0;
      if (away) for (const backend of backends) await backend.goAway();
      if (moment === "folding") await stopAtFold(1 + random.below(FOLD_WRITES_SPREAD));
      else if (moment === "starting") await stopWhileStarting();
      else await stopInTraffic();
      disk.cutPower();
      await gateway.kill();
      disk.powerOn();
      cuts[moment]++;
      cycles++;
      for (const backend of backends) await backend.comeBack();
      if (!(await traffic.startAgain())) break;
    }
    const figures = await traffic.judge();
    const { traffic: cutsInTraffic, folding: cutsWhileFolding, starting: cutsWhileStarting } = cuts;
    return {
      cycles,
      figures: { ...figures, cutsInTraffic, cutsWhileFolding, cutsWhileStarting },
      findings: traffic.findings,
    };
  } finally {
    await traffic.stop();
  }

  async function stopInTraffic(): Promise<void> {
    const enough = traffic.acked + 1 + random.below(BURST * rig.fleet.machines.length);
    rig.fleet.burst(BURST);
    if (!(await traffic.until(() => traffic.acked >= enough)))
      traffic.findings.push("machines get no answers");
    await traffic.pause(random.below(CUT_MS_SPREAD));
    process.kill(gateway.pid!, "SIGSTOP");
  }

  async function stopWhileStarting(): Promise<void> {
    await gateway.kill();
    const starting = gateway.start().catch(() => {});
    await traffic.pause(random.unit() * START_MS);
    // It may have ended by itself already, or be up.
    if (gateway.pid !== undefined) process.kill(gateway.pid, "SIGSTOP");
    void starting;
  }

  /**
   * Started again under a tracer that stops it at the N-th write to the store's file: those are of the fold, which
   * comes while it starts where it left a long log behind.
   */
  async function stopAtFold(n: number): Promise<void> {
    await gateway.kill();
    gateway.under = callsUnder({ kind: "stop", file: join(gateway.dataDir, "store.db"), n });
    let ended = false;
    let looks = 0;
    const stopped = () => {
      looks = gateway.pid !== undefined && isStopped(gateway.pid) ? looks + 1 : 0;
      return looks >= STOPPED_LOOKS;
    };
    const starting = traffic.startAgain(() => !ended);
    await Promise.race([starting, traffic.until(stopped)]);
    gateway.under = [];
    await traffic.until(() => {
      rig.fleet.burst(gateway.up && rig.fleet.ledger.unsettled < BURST ? BURST : 0);
      return stopped() || gateway.pid === undefined;
    }, STOPPED_MS_MAX);
    ended = true; // from here on it is ours to end, also where it was still starting
    if (gateway.pid !== undefined) process.kill(gateway.pid, "SIGSTOP");
  }
}

/** Each of its threads, of which the store's is the one that counts. False where one just ended. */
function isStopped(pid: number): boolean {
  const tasks = `/proc/${pid}/task`;
  try {
    return readdirSync(tasks).every((task) => {
      const stat = readFileSync(join(tasks, task, "stat"), "utf8");
      return /^[tT]/.test(stat.slice(stat.lastIndexOf(")") + 2));
    });
  } catch {
    return false;
  }
}
