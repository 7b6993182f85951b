/**
 * The same short run, again and again, with something done to the gateway at a chosen write or sync of its own: it
 * is killed there, or the call fails, or there is no room for a while. Where kill.ts hits what a random moment hits,
 * this goes through them one by one: first a run with nothing done to it is counted, then each call has its turn,
 * in an order drawn from the seed. It ends by itself when each has had it.
 *
 * A run has a fresh store, so that the making of the store is among the moments, and a log that is folded into the
 * store in its midst. The calls of two runs are not the same to the last one; those that a run does not come to are
 * counted (`unreached`).
 */
import { mkdirSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Random } from "../../../src/core/random.ts";
import {
  type CallFault,
  callsUnder,
  DISK_CALLS,
  killHeld,
  readCalls,
  untilHeld,
} from "../../disks/faulty-calls.ts";
import { type End, Traffic } from "../traffic.ts";
import type { Trial, TrialContext } from "../trial.ts";

const MACHINES = [
  { name: "press", count: 2, qos: 1 },
  { name: "oven", count: 2, qos: 2 },
].map((group) => ({ ...group, rate: 0, messages: 50, payloadBytes: 700 }));
const MESSAGES = 200;
const BURST = 50;
const QUEUE = { walBytesMax: "1MiB" };
/** Writes that find no room in one run, and how far two such runs are apart. */
const NO_ROOM_WRITES = 12;
const IO_ERROR_EXIT = "with exit code 74";
const NO_ROOM_EXIT = "with exit code 75";
const TOLD_EVERY = 10;
/** A run without a fault takes less than a second. */
const RUN_MS_MAX = 120_000;

export const syscallKill: Trial = {
  name: "syscall-kill",
  about: `Kills the gateway at each write and each sync of a run of ${MESSAGES} messages, fails each once, and takes away the room for ${NO_ROOM_WRITES} writes.`,
  promise:
    "What was acknowledged arrives once and in order after the next start, and the accounts balance; a failed write or sync ends the gateway with exit code 74 and the reason; without room it waits and goes on.",
  needs: ["strace"],
  async run(context) {
    const counted = await oneRun(context, "run", null);
    const faults = shuffled(context.random, faultsOf(counted.calls));
    const figures = {
      points: faults.length,
      kills: 0,
      ioErrors: 0,
      noRoom: 0,
      unreached: 0,
      acked: 0,
      repeatsSent: 0,
    };
    const findings = [...counted.findings];
    let begun = 0;
    let cycles = 0;
    // Several at a time: a run waits a good part of its time.
    const oneAfterTheOther = async (_: unknown, lane: number): Promise<void> => {
      while (
        findings.length === 0 &&
        !context.signal.aborted &&
        begun < faults.length &&
        context.another(begun)
      ) {
        const fault = faults[begun++]!;
        const run = await oneRun(context, `run-${lane}`, fault);
        findings.push(...run.findings);
        if (!run.reached) figures.unreached++;
        else if (fault.kind === "kill") figures.kills++;
        else if (fault.kind === "io-error") figures.ioErrors++;
        else figures.noRoom++;
        figures.acked += run.figures.acked ?? 0;
        figures.repeatsSent += run.figures.repeatsSent ?? 0;
        cycles++;
        if (cycles % TOLD_EVERY === 0) context.say(`of ${faults.length} calls`);
      }
    };
    await Promise.all(Array.from({ length: availableParallelism() }, oneAfterTheOther));
    return { cycles, figures, findings };
  },
};

interface Run {
  readonly calls: ReturnType<typeof readCalls>["counts"];
  readonly reached: boolean;
  readonly figures: Readonly<Record<string, number>>;
  readonly findings: readonly string[];
}

async function oneRun(context: TrialContext, folder: string, fault: CallFault | null): Promise<Run> {
  const dir = join(context.dir, folder);
  mkdirSync(dir, { recursive: true });
  const traffic = await Traffic.prepare(
    { ...context, dir },
    { machines: MACHINES, targets: ["http"], config: { queue: QUEUE } },
  );
  const { gateway, rig } = traffic;
  const record = join(dir, "calls");
  const over = new AbortController();
  try {
    gateway.under = callsUnder(fault, record);
    traffic.mayEnd = fault !== null;
    if (fault?.kind === "kill") void killWhenHeld(fault);
    const end = await untilEndOrServed(traffic);
    over.abort();
    gateway.under = [];
    const { counts, injected } = readCalls(record);
    // A call that was held to the end has no answer in the record. SQLite passes over a failed sync of the folder; what it
    // then does with the file itself is synced, and if that fails, too, it says so.
    const reached = injected.length > 0 || end?.how === "by SIGKILL";
    const passedOver = injected.every((each) => each.call === "fsync" && each.file === gateway.dataDir);
    // It does not tell a failed growth of the log's index from one without room: nothing in it is to last.
    const asNoRoom = injected.length > 0 && injected.every(({ file }) => file.endsWith("-shm"));
    const judgedAs = fault && (asNoRoom ? "no-room" : fault.kind);
    if (judgedAs && reached && !(end === null && passedOver)) judgeEnd(traffic, judgedAs, end);
    // What it has not come to must not come while it is judged.
    if (fault && !reached) await gateway.kill();
    // What it was killed by is over; it starts without it. One that lives goes on as it is.
    const figures = await traffic.judge();
    const where = fault === null ? "" : `${tell(fault)} (${injected[0]?.file ?? "the file is not known"}): `;
    return { calls: counts, reached, figures, findings: traffic.findings.map((each) => where + each) };
  } finally {
    over.abort();
    // Its store is not needed any more: a decent end would only take time.
    traffic.mayEnd = true;
    await gateway.kill();
    await traffic.stop();
    rmSync(dir, { recursive: true, force: true });
  }

  async function killWhenHeld(at: CallFault & { kind: "kill" }): Promise<void> {
    const held = await untilHeld(record, at, context.clock, over.signal);
    if (held && gateway.pid !== undefined) killHeld(gateway.pid);
  }

  /** The end that the fault has brought about; null where everything has arrived without one. */
  async function untilEndOrServed(of: Traffic): Promise<End | null> {
    const ended = of.ends();
    try {
      await of.begin();
    } catch (error) {
      // It has come to its end before it was up.
      of.beginMachines();
      rig.fleet.burst(BURST);
      return { how: await gateway.stop(), log: String((error as Error).message) };
    }
    rig.fleet.burst(BURST);
    const served = of.until(async () => {
      if (of.acked < MESSAGES || rig.outstanding().length > 0) return false;
      return (await rig.look())?.open === 0;
    }, RUN_MS_MAX);
    return Promise.race([ended, served.then((all) => (all ? null : hung(of)))]);
  }
}

function hung(traffic: Traffic): null {
  if (!traffic.givenUp) traffic.findings.push(`the run had not ended after ${RUN_MS_MAX / 1000} s`);
  return null;
}

/** Whether it has ended as it should at this fault. */
function judgeEnd(traffic: Traffic, fault: CallFault["kind"], end: End | null): void {
  const { findings } = traffic;
  if (fault === "kill" && end?.how !== "by SIGKILL")
    findings.push(`it was to be killed, and ended ${end?.how}`);
  if (fault === "io-error") {
    if (!end) findings.push("it went on as if nothing had happened");
    else if (end.how !== IO_ERROR_EXIT) findings.push(`a failed call ended it ${end.how}: ${end.log}`);
    else if (!/HF_STORE_IO/.test(end.log)) findings.push(`it does not say that the disk failed: ${end.log}`);
  }
  // A start without room may wait for a better time; a gateway that runs must go on.
  if (fault === "no-room" && end && end.how !== NO_ROOM_EXIT) {
    findings.push(`without room it ended ${end.how}: ${end.log}`);
  }
}

function faultsOf(counts: Run["calls"]): CallFault[] {
  const faults: CallFault[] = [];
  for (const call of DISK_CALLS) {
    for (let n = 1; n <= counts[call]; n++)
      faults.push({ kind: "kill", call, n }, { kind: "io-error", call, n });
  }
  for (let n = 1; n <= counts.pwrite64; n += NO_ROOM_WRITES) {
    faults.push({ kind: "no-room", call: "pwrite64", n, writes: NO_ROOM_WRITES });
  }
  return faults;
}

function tell(fault: CallFault): string {
  return "call" in fault ? `${fault.kind} at ${fault.call} ${fault.n}` : fault.kind;
}

function shuffled<T>(random: Random, items: T[]): T[] {
  for (let at = items.length - 1; at > 0; at--) {
    const other = random.below(at + 1);
    [items[at], items[other]] = [items[other]!, items[at]!];
  }
  return items;
}
