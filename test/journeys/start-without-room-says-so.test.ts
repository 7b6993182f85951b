/** On a disk so full that not even a start can be recorded, the start says so and ends, rather than wait unseen. */
import { EventEmitter } from "node:events";
import { truncateSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { SmallDisk } from "../../simulators/disks/small-disk.ts";
import { configSchema } from "../../src/config.ts";
import { type Clock, systemClock } from "../../src/core/clock.ts";
import { Gateway } from "../../src/gateway.ts";
import type { StartThread, StoreThread } from "../../src/queue/store-worker.ts";
import type { FromThread, ToThread } from "../../src/queue/thread-loop.ts";
import { capability } from "../support/capabilities.ts";
import { scratchFolder } from "../support/journey.ts";
import { StoreBuilder } from "../support/store-builder.ts";

const MIB = 2 ** 20;
/** Waits are a twentieth as long. */
const HASTY: Clock = { ...systemClock, after: (ms, fn) => systemClock.after(ms / 20, fn) };
const FREE = { port: 0, host: "127.0.0.1" };
const config = configSchema.parse({
  gateway: { name: "box" },
  broker: { listeners: [{ type: "tcp", ...FREE }] },
  web: FREE,
  queue: { walBytesMax: "1MiB" },
  targets: { out: { type: "file" } },
  flows: { all: { from: "#", to: "out" } },
});

/** Opens, and has room for nothing from then on: no request is answered. */
const roomless: StartThread = () => {
  const thread = new EventEmitter();
  const say = (message: FromThread) => setImmediate(() => thread.emit("message", message));
  say({ kind: "opened", opened: { last: null, recovered: 0, salvaged: null } });
  return Object.assign(thread, {
    postMessage(message: ToThread) {
      if (message.kind === "batch") say({ kind: "replies", bytes: new Uint8Array(16), commitMs: 1 });
      else say({ kind: "closed" });
    },
    terminate: async () => {},
  }) as StoreThread;
};

test("a start that finds no room for its first commit ends with the disk's name", async () => {
  const dataDir = scratchFolder();
  // For the reader, which opens it as well.
  new StoreBuilder(dataDir).close();
  const gateway = new Gateway({ config, dataDir, clock: HASTY }, { startStoreThread: roomless });
  await expect(gateway.start()).rejects.toMatchObject({
    code: "HF_STORE_FULL",
    message: expect.stringContaining(dataDir),
  });
  await gateway.stop();
});

describe.skipIf(!capability("mount").present)("a start on a full disk", () => {
  test("uses the room kept for it, and names the disk where others have taken that", async () => {
    const disk = new SmallDisk(scratchFolder(), 16 * MIB);
    onTestFinished(() => disk.remove());
    const dataDir = join(disk.folder, "data");
    const begin = () => new Gateway({ config, dataDir, clock: HASTY });
    const first = begin();
    await first.start();
    await first.stop();
    disk.fill();

    const second = begin();
    await second.start();
    await second.stop();

    truncateSync(join(dataDir, "store.ballast"), 0);
    disk.fill();
    const third = begin();
    await expect(third.start()).rejects.toMatchObject({
      code: "HF_STORE_FULL",
      message: expect.stringContaining(dataDir),
    });
    await third.stop();
  });
});
