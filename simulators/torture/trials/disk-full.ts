/**
 * The disk is filled to its last byte and freed again, under traffic. Without room the gateway must not lie: no
 * acknowledgement goes out for what is not committed, which is looked at in the store itself while it lasts. Senders
 * wait, deliveries go on, and intake goes on by itself when there is room again. Every now and then the gateway is
 * killed while the disk is full, and started again on it.
 */
import { join } from "node:path";
import { SmallDisk } from "../../disks/small-disk.ts";
import { askGateway } from "../../gateway-process.ts";
import { Traffic } from "../traffic.ts";
import type { Trial, TrialContext } from "../trial.ts";

const DISK_BYTES = 48 * 2 ** 20;
const MACHINES = [
  { name: "press", count: 2, rate: 0, qos: 1, payloadBytes: "48KiB", inFlightMax: 4 },
  { name: "oven", count: 1, rate: 0, qos: 2, payloadBytes: "48KiB", inFlightMax: 4 },
  { name: "lims", count: 1, rate: 0, door: "http", payloadBytes: "48KiB" },
];
/** Of each machine, far more than what room is left in the store's files takes. */
const BURST = 30;
/** Finished messages go at once, so that the disk does not fill with what was delivered. */
const QUEUE = {
  walBytesMax: "1MiB",
  retention: { age: "0s", count: 0, every: "1s" },
};
/** How long an answer must not come while there is no room. */
const FULL_MS = 600;
/** The promise: intake goes on within this after there is room. */
const RESUME_MS_MAX = 5_000;
/** Deliveries go on in steps while there is hardly any room. */
const DELIVER_MS_MAX = 20_000;
const FULL_WITHIN_MS = 30_000;
const KILL_ONE_IN = 3;

export const diskFull: Trial = {
  name: "disk-full",
  about:
    "Fills the disk under the gateway to its last byte, kills the gateway there now and then, and frees it again.",
  promise: `Nothing is acknowledged that is not committed, deliveries go on, a start finds its way without room, and intake goes on within ${RESUME_MS_MAX / 1000} s of there being room.`,
  needs: ["mount"],
  async run(context) {
    const disk = new SmallDisk(context.dir, DISK_BYTES);
    try {
      return await onDisk(context, disk);
    } finally {
      disk.remove();
    }
  },
};

async function onDisk(context: TrialContext, disk: SmallDisk) {
  const { clock, random } = context;
  const traffic = await Traffic.prepare(context, {
    machines: MACHINES,
    targets: ["http"],
    dataDir: join(disk.folder, "data"),
    config: { queue: QUEUE },
  });
  const { gateway, rig, findings } = traffic;
  const { ledger } = rig.fleet;
  const backend = traffic.backends[0]!;
  let cycles = 0;
  let kills = 0;
  let startsOnFull = 0;
  let resumeMsMax = 0;
  try {
    await traffic.begin();
    while (context.another(cycles) && findings.length === 0 && !traffic.givenUp) {
      await backend.goAway();
      const rebooted = random.below(KILL_ONE_IN) === 0;
      if (rebooted) await rig.killGateway();
      const giveBack = disk.fill();
      // As after a power cut during which somebody else's files took all the room.
      if (rebooted && (await traffic.startAgain())) startsOnFull++;
      rig.fleet.burst(BURST);
      if (findings.length === 0) await untilFull();
      if (findings.length > 0) giveBack();
      else await whileFull(giveBack);
      cycles++;
    }
    const figures = await traffic.judge();
    return {
      cycles,
      figures: { ...figures, kills, startsOnFull, resumeMsMax: Math.round(resumeMsMax) },
      findings,
    };
  } finally {
    await traffic.stop();
  }

  /** Machines wait, and the gateway says why. */
  async function untilFull(): Promise<void> {
    const full = await traffic.until(async () => {
      await lookAtCommits();
      // The store's own files may have had room for all of it.
      if (ledger.unsettled === 0) rig.fleet.burst(BURST);
      return findings.length > 0 || (ledger.unsettled > 0 && (await saysFull()));
    }, FULL_WITHIN_MS);
    if (!full && !traffic.givenUp) findings.push("the disk is full, and the gateway does not say so");
    // By removing what is delivered the store may make room for itself: what counts is that nothing is a lie.
    await traffic.pause(FULL_MS);
    await lookAtCommits();
  }

  async function whileFull(giveBack: () => void): Promise<void> {
    await deliveriesGoOn();
    if (random.below(KILL_ONE_IN) === 0) {
      kills++;
      await rig.killGateway();
      if (!(await traffic.startAgain())) return giveBack();
    }
    const acked = traffic.acked;
    const roomAtMs = clock.monoMs();
    giveBack();
    if (!(await traffic.until(() => traffic.acked > acked || ledger.unsettled === 0, 4 * RESUME_MS_MAX))) {
      findings.push("there is room again, and nothing is acknowledged");
      return;
    }
    const resumeMs = clock.monoMs() - roomAtMs;
    resumeMsMax = Math.max(resumeMsMax, resumeMs);
    if (resumeMs > RESUME_MS_MAX)
      findings.push(`intake went on ${Math.round(resumeMs)} ms after there was room`);
    if (!(await traffic.until(() => ledger.unsettled === 0 && rig.outstanding().length === 0))) {
      findings.push("there is room again, and not everything arrives");
    }
  }

  /** What the backend was owed from before arrives while there is no room. */
  async function deliveriesGoOn(): Promise<void> {
    const owed = rig.outstanding();
    await backend.comeBack();
    const gone = await traffic.until(
      () => rig.outstanding().length < Math.max(1, owed.length),
      DELIVER_MS_MAX,
    );
    if (!gone && owed.length > 0)
      findings.push(`${owed.length} messages wait, and none is delivered on a full disk`);
  }

  async function saysFull(): Promise<boolean> {
    // It answers 503, so that the body is not asked for: `null`.
    return (
      gateway.up &&
      (await askGateway(rig.http, "/livez")) !== null &&
      (await askGateway(rig.http, "/readyz")) === null
    );
  }

  /** The store's own reader sees what is committed, and nothing else. */
  async function lookAtCommits(): Promise<void> {
    const { acked } = ledger;
    const own = await rig.look();
    if (own && own.accepted < acked) {
      findings.push(`${acked} messages are acknowledged, and ${own.accepted} are committed`);
    }
  }
}
