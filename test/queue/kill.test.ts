/**
 * Acknowledged means stored, also when the process is killed: at random moments under load, and at every single
 * statement that an append writes. Each has a saboteur beside it that the same test convicts.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, expect, it, onTestFinished } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { seededRandom } from "../../src/core/random.ts";
import { BareWriter } from "../support/bare-writer.ts";
import { capability } from "../support/capabilities.ts";
import { auditFolder, eventually, readRows, scratchFolder, TestStore } from "../support/test-store.ts";

const CHILD = new URL("../support/appending-child.ts", import.meta.url).pathname;
const LONG = capability("long").present;
const wide = capability("wide");
const ROUNDS = LONG ? 100 : wide.present ? 3 : 2;
const SEED = Number(process.env.HOLDFAST_TEST_SEED ?? 20_260_601);

interface Said {
  readonly stored: Map<string, number>;
  readonly delivered: Set<number>;
}

function startChild(folder: string, fault?: string): ChildProcess {
  const env = { ...process.env, ...(fault === undefined ? {} : { HOLDFAST_TEST_FAULT: fault }) };
  const child = spawn(process.execPath, [CHILD, folder], { env, stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  return child;
}

/** Reads what it says until it is gone; kills it `killAfterMs` after its first word. */
async function listen(
  child: ChildProcess,
  said: Said,
  killAfterMs = Number.POSITIVE_INFINITY,
): Promise<void> {
  const gone = once(child, "close");
  let killing = false;
  for await (const line of createInterface({ input: child.stdout! })) {
    const [word, first = "", second = ""] = line.split(" ");
    if (word === "stored") said.stored.set(first, Number(second));
    else said.delivered.add(Number(first));
    if (killing || killAfterMs === Number.POSITIVE_INFINITY) continue;
    killing = true;
    systemClock.after(killAfterMs, () => child.kill("SIGKILL"));
  }
  await gone;
}

/** Kills a flooding process a few times over one store; everything it ever said. */
async function killed(folder: string, rounds: number, fault?: string): Promise<Said> {
  const random = seededRandom(SEED);
  const said: Said = { stored: new Map(), delivered: new Set() };
  for (let round = 0; round < rounds; round++) {
    await listen(startChild(folder, fault), said, 20 + random.below(250));
  }
  return said;
}

/** Ids that were acknowledged and are not in the store under the sequence that was told. */
function lost(folder: string, { stored }: Said): string[] {
  const rows = readRows<{ id: string; seq: number }>(folder, "SELECT id, seq FROM messages");
  const there = new Map(rows.map(({ id, seq }) => [id, seq]));
  return [...stored].flatMap(([id, seq]) => (there.get(id) === seq ? [] : [id]));
}

describe(`a process killed at random moments (seed ${SEED})`, () => {
  it("has stored all that it acknowledged, in its order, and accounts for all that it sent", async () => {
    const folder = scratchFolder();
    const said = await killed(folder, ROUNDS);
    expect(said.stored.size).toBeGreaterThan(ROUNDS * 10);
    expect(said.delivered.size).toBeGreaterThan(0);
    // Opened once more: what was in the air is unknown, and nothing else is out of its books.
    const store = await TestStore.open({ dataDir: folder });
    expect(lost(folder, said)).toEqual([]);
    const notDelivered = store
      .rows<{ seq: number }>("SELECT seq FROM deliveries WHERE state != 'delivered'")
      .filter(({ seq }) => said.delivered.has(seq));
    expect(notDelivered).toEqual([]);
    expect(store.value("SELECT count(*) FROM deliveries WHERE state = 'sending'")).toBe(0);
    expect(store.audit().mismatches).toEqual([]);
    // The order of sequences is the order in which the killed processes were told them.
    const told = [...said.stored.values()];
    expect(new Set(told).size).toBe(told.length);
  }, 120_000);

  it.skipIf(!wide.present)(
    "is convicted where it acknowledges before the commit",
    async () => {
      const folder = scratchFolder();
      const said = await killed(folder, 2, "early-ack");
      expect(lost(folder, said)).not.toEqual([]);
    },
    60_000,
  );
});

describe("the folder of another process", () => {
  it("is refused while that process lives, with its pid, and is free once it is dead, however it died", async () => {
    const folder = scratchFolder();
    const child = startChild(folder);
    const said: Said = { stored: new Map(), delivered: new Set() };
    const gone = listen(child, said, Number.POSITIVE_INFINITY);
    await eventually(() => said.stored.size).toBeGreaterThan(0);
    await expect(TestStore.open({ dataDir: folder })).rejects.toMatchObject({
      code: "HF_STORE_LOCKED",
      message: expect.stringContaining(`process ${child.pid}`),
    });
    child.kill("SIGKILL");
    await gone;
    const store = await TestStore.open({ dataDir: folder });
    expect(lost(folder, said)).toEqual([]);
    expect((await store.append()).kind).toBe("stored");
  });
});

describe("a process killed at any statement of an append", () => {
  /**
   * Stores one QoS 1 and one QoS 2 message, and takes an image of the files before each write. In each image,
   * both are sent again as a machine does that got no answer; returns how often each is there in the end.
   */
  async function copiesAtEachWrite(fault: string): Promise<number[][]> {
    const images = scratchFolder();
    const store = await TestStore.open({ fault: `${fault}images=${images}` });
    for (const qos of [1, 2] as const) await store.append({ qos, mqtt: packet(qos, false) });
    await store.store.stop();
    const names = readdirSync(images).sort((a, b) => Number(a) - Number(b));
    return names.map((name) => {
      const dataDir = join(images, name);
      const writer = new BareWriter(dataDir);
      for (const qos of [1, 2] as const) writer.append(store.request({ qos, mqtt: packet(qos, true) }));
      writer.close();
      expect(auditFolder(dataDir).mismatches, `killed at write ${name}`).toEqual([]);
      const count = "SELECT sum(qos = 1) AS one, sum(qos = 2) AS two FROM messages";
      return Object.values(readRows<{ one: number; two: number }>(dataDir, count)[0]!);
    });
  }

  const packet = (packetId: number, dup: boolean) => ({ client: "press-7", packetId, dup, expireAtMs: 1e12 });

  it("has each message once in the end, whichever it was", async () => {
    const counts = await copiesAtEachWrite("");
    expect(counts.length).toBeGreaterThan(20);
    expect(counts).toEqual(counts.map(() => [1, 1]));
  });

  it.skipIf(!wide.present)(
    "is convicted where an identity is written after the commit of its message",
    async () => {
      const counts = await copiesAtEachWrite("late-identity,");
      expect(counts).toContainEqual([2, 1]);
      expect(counts).toContainEqual([1, 2]);
    },
  );
});
