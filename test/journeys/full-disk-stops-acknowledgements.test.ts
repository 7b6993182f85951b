/**
 * With its disk full the gateway does not stop and does not lie: it acknowledges nothing, says so, and goes on by
 * itself when there is room again. Nothing that was acknowledged is lost, also where it is killed meanwhile.
 */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import type { RawMqttClient } from "../../simulators/machines/raw-mqtt-client.ts";
import { capability } from "../support/capabilities.ts";
import { effects, eventually, Journey, scratchFolder, startBackend } from "../support/journey.ts";
import { fillDisk, smallDisk } from "../support/mounted-disk.ts";

const MIB = 2 ** 20;
const DISK_BYTES = 24 * MIB;
/** Large enough to fill what room is left in the files that are there already. */
const PAD = "x".repeat(64 * 1024);
/** How long an answer must not come while there is no room. */
const NO_ANSWER_MS = 2500;
/** The promise: intake goes on within this after there is room. */
const RESUME_MS_MAX = 5000;

interface FullDisk {
  readonly journey: Journey;
  readonly backend: HttpBackend;
  readonly client: RawMqttClient;
  readonly acked: string[];
  /** The one that found no room: sent, and not answered. Null where all were. */
  readonly pending: { readonly id: string; readonly answered: Promise<unknown> } | null;
  readonly giveBack: () => void;
}

/** Sent after the disk is full; what room is left in the store's files is used up long before. */
const MESSAGES_MAX = 30;

/** A gateway whose backend is away, up to the first message that it does not acknowledge. */
async function fillUp(fault?: string): Promise<FullDisk> {
  const { backend, url } = await startBackend(new HttpBackend());
  await backend.goAway();
  const folder = smallDisk(scratchFolder(), DISK_BYTES);
  const journey = await Journey.start({
    fault,
    dataDir: join(folder, "data"),
    config: { targets: { backend: { type: "http", url } }, queue: { walBytesMax: "1MiB" } },
  });
  const client = await journey.client("press");
  const acked: string[] = [];
  for (let n = 1; n <= 3; n++) {
    const { id, answered } = publish(client, n);
    await answered;
    acked.push(id);
  }
  const giveBack = fillDisk(folder);
  for (let n = 4; n <= MESSAGES_MAX; n++) {
    const pending = publish(client, n);
    if (!(await answeredOrFull(journey, pending.answered))) {
      return { journey, backend, client, acked, pending, giveBack };
    }
    acked.push(pending.id);
  }
  return { journey, backend, client, acked, pending: null, giveBack };
}

/** True where the answer comes, false where the gateway says that it has no room and does not answer. */
async function answeredOrFull(journey: Journey, answer: Promise<unknown>): Promise<boolean> {
  let answered = false;
  void answer.then(
    () => {
      answered = true;
    },
    () => {},
  );
  await eventually("it is answered, or there is no room", async () => {
    return answered || (await journey.ready()).code === 503;
  });
  if (!answered) await new Promise((resolve) => setTimeout(resolve, NO_ANSWER_MS));
  return answered;
}

function publish(client: RawMqttClient, n: number) {
  const id = `press-${n}`;
  const payload = JSON.stringify({ id, n, pad: PAD });
  const packetId = client.sendPublish({ topic: "plant/press", payload, qos: 1 });
  const answered = client.take((packet) => packet.cmd === "puback" && packet.messageId === packetId, 60_000);
  // The connection may end before.
  answered.catch(() => {});
  return { id, answered };
}

/** Kills it while there is no room, and gives it room; ids that it had acknowledged and has no more. */
async function lostByKill({ journey, backend, acked, giveBack }: FullDisk): Promise<string[]> {
  await journey.process.kill();
  giveBack();
  await journey.process.start();
  await backend.comeBack();
  await journey.drained();
  const arrived = new Set(effects(backend));
  return acked.filter((id) => !arrived.has(id));
}

const mount = capability("mount");

describe.skipIf(!mount.present)("a full disk", () => {
  test("stops acknowledgements and says so, and intake goes on by itself when there is room", async () => {
    const { journey, backend, client, acked, pending, giveBack } = await fillUp();
    if (!pending) throw new Error("it acknowledged more than there is room for");
    const ready = await journey.ready();
    expect(ready).toMatchObject({ code: 503, status: "blocked" });
    expect(ready.problems).toContainEqual(
      expect.objectContaining({
        key: "store-full",
        severity: "alarm",
        sentence: expect.stringMatching(/no room: senders wait/),
      }),
    );
    const health = await journey.cli("health");
    expect(health).toMatchObject({ code: 1 });
    expect((await fetch(`${journey.http}/livez`)).status).toBe(200);
    expect(client.connected, "its sender is kept waiting, not thrown out").toBe(true);

    const roomAtMs = performance.now();
    giveBack();
    await pending.answered;
    expect(performance.now() - roomAtMs).toBeLessThan(RESUME_MS_MAX);
    await eventually("it says that it is ready", async () => (await journey.ready()).code === 200);
    expect(await journey.figures()).toMatchObject({ accepted: acked.length + 1, balanced: true });
    await backend.comeBack();
    await journey.drained();
    expect(effects(backend)).toEqual([...acked, pending.id]);
    expect(await journey.audited()).toMatchObject({ state: "balanced" });
  });

  test("loses nothing that was acknowledged where the gateway is killed while there is no room", async () => {
    const full = await fillUp();
    expect(full.pending).not.toBeNull();
    expect(await lostByKill(full)).toEqual([]);
  });

  test("and a gateway that answers before it commits is found out", async () => {
    const full = await fillUp("early-ack");
    expect(full.pending, "it acknowledges all the same").toBeNull();
    expect(await lostByKill(full)).not.toEqual([]);
  });
});
