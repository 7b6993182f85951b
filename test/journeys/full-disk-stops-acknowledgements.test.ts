/**
 * With its disk full the gateway does not stop and does not lie: it acknowledges nothing, says so, and goes on by
 * itself when there is room again. Nothing that was acknowledged is lost, also where it is killed meanwhile.
 */
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { SmallDisk } from "../../simulators/disks/small-disk.ts";
import type { RawMqttClient } from "../../simulators/machines/raw-mqtt-client.ts";
import { capability } from "../support/capabilities.ts";
import { effects, eventually, Journey, scratchFolder, startBackend, WAIT_MS } from "../support/journey.ts";
import { readRows } from "../support/test-store.ts";

const MIB = 2 ** 20;
const DISK_BYTES = 24 * MIB;
/** Large enough to fill what room is left in the files that are there already. */
const PAD = "x".repeat(64 * 1024);
/** How long an answer must not come while there is no room. */
const NO_ANSWER_MS = 2500;
/** The promise: intake goes on within this after there is room. */
const RESUME_MS_MAX = 5000;
/** Far more than fits into what room is left in the store's files. */
const MESSAGES_MAX = 30;

interface Pending {
  readonly id: string;
  readonly answered: Promise<unknown>;
}

/** A machine whose messages go to a small disk, since the backend is away. */
class DeviceOnSmallDisk {
  readonly acked: string[] = [];
  readonly journey: Journey;
  readonly backend: HttpBackend;
  readonly client: RawMqttClient;
  readonly #room: SmallDisk;
  #n = 0;

  private constructor(journey: Journey, backend: HttpBackend, client: RawMqttClient, room: SmallDisk) {
    this.journey = journey;
    this.backend = backend;
    this.client = client;
    this.#room = room;
  }

  static async start(fault?: string): Promise<DeviceOnSmallDisk> {
    const { backend, url } = await startBackend(new HttpBackend());
    await backend.goAway();
    const room = new SmallDisk(scratchFolder(), DISK_BYTES);
    onTestFinished(() => room.remove());
    const journey = await Journey.start({
      fault,
      dataDir: join(room.folder, "data"),
      config: { targets: { backend: { type: "http", url } }, queue: { walBytesMax: "1MiB" } },
    });
    const disk = new DeviceOnSmallDisk(journey, backend, await journey.client("press"), room);
    for (let n = 1; n <= 3; n++) await disk.taken(disk.publish());
    return disk;
  }

  /** Takes all the room; what it returns gives it back. */
  fill(): () => void {
    return this.#room.fill();
  }

  publish(): Pending {
    this.#n++;
    const id = `press-${this.#n}`;
    const payload = JSON.stringify({ id, n: this.#n, pad: PAD });
    const packetId = this.client.sendPublish({ topic: "plant/press", payload, qos: 1 });
    const answered = this.client.take((p) => p.cmd === "puback" && p.messageId === packetId, 2 * WAIT_MS);
    // The connection may end before.
    answered.catch(() => {});
    return { id, answered };
  }

  async taken({ id, answered }: Pending): Promise<void> {
    await answered;
    this.acked.push(id);
  }

  /** Publishes until the gateway says that it has no room and does not answer: that message. */
  async publishUntilFull(): Promise<Pending> {
    for (let n = 1; n <= MESSAGES_MAX; n++) {
      const pending = this.publish();
      if (!(await this.#answeredOrFull(pending.answered))) return pending;
      this.acked.push(pending.id);
    }
    throw new Error("it acknowledges more than there is room for");
  }

  async #answeredOrFull(answer: Promise<unknown>): Promise<boolean> {
    let answered = false;
    void answer.then(
      () => {
        answered = true;
      },
      () => {},
    );
    await eventually("it is answered, or there is no room", async () => {
      return answered || (await this.journey.ready()).code === 503;
    });
    if (!answered) await new Promise((resolve) => setTimeout(resolve, NO_ANSWER_MS));
    return answered;
  }
}

const mount = capability("mount");

describe.skipIf(!mount.present)("a full disk", () => {
  test("stops acknowledgements and says so, intake goes on by itself, and kill -9 in between loses nothing", async () => {
    const disk = await DeviceOnSmallDisk.start();
    const { journey, backend, client, acked } = disk;
    const giveBack = disk.fill();
    const pending = await disk.publishUntilFull();
    const ready = await journey.ready();
    expect(ready).toMatchObject({ code: 503, status: "blocked" });
    expect(ready.problems).toContainEqual(
      expect.objectContaining({
        key: "store-full",
        severity: "alarm",
        sentence: expect.stringMatching(/no room: senders wait/),
      }),
    );
    expect(await journey.cli("health")).toMatchObject({ code: 1 });
    expect((await fetch(`${journey.http}/livez`)).status).toBe(200);
    expect(client.connected, "its sender is kept waiting, not thrown out").toBe(true);

    const roomAtMs = performance.now();
    giveBack();
    await disk.taken(pending);
    expect(performance.now() - roomAtMs).toBeLessThan(RESUME_MS_MAX);
    await eventually("it says that it is ready", async () => (await journey.ready()).code === 200);
    expect(await journey.figures()).toMatchObject({ accepted: acked.length, balanced: true });

    const giveBackAgain = disk.fill();
    const lastOne = await disk.publishUntilFull();
    await journey.process.kill();
    giveBackAgain();
    await journey.process.start();
    await backend.comeBack();
    await journey.drained();
    const arrived = effects(backend);
    expect(arrived.slice(0, acked.length)).toEqual(acked);
    expect([lastOne.id, undefined]).toContain(arrived[acked.length]);
    expect(await journey.audited()).toMatchObject({ state: "balanced" });
  });

  test.skipIf(!capability("wide").present)(
    "and a gateway that answers before it commits is found out",
    async () => {
      const disk = await DeviceOnSmallDisk.start("early-ack");
      disk.fill();
      for (let n = 1; n <= MESSAGES_MAX; n++) void disk.taken(disk.publish()).catch(() => {});
      // What its file holds is what would be there after a kill.
      await eventually("it acknowledges what is not stored", () => {
        const stored = readRows(disk.journey.process.dataDir, "SELECT 1 FROM messages");
        return disk.acked.length > stored.length;
      });
    },
  );
});
