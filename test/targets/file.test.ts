import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Clock, systemClock } from "../../src/core/clock.ts";
import { seededRandom } from "../../src/core/random.ts";
import { FileTarget } from "../../src/targets/file.ts";
import { type Disk, realDisk } from "../../src/targets/file-disk.ts";
import { fileTargetSchema } from "../../src/targets/file-options.ts";
import { keyOfLine } from "../../src/targets/file-tail.ts";
import { SimDisk } from "../model/world/sim-disk.ts";
import { simFileDisk } from "../model/world/sim-file-disk.ts";
import { capability } from "../support/capabilities.ts";
import { makeContext, makeDelivery, noAbort, nth, tempFolder } from "./deliveries.ts";
import { FolderBackend, linesIn } from "./folder-backend.ts";

let dataDir: string;
let folder: string;
const targets: FileTarget[] = [];

beforeEach(() => {
  dataDir = tempFolder();
  folder = join(dataDir, "outbox");
});

afterEach(async () => {
  await Promise.all(targets.splice(0).map((target) => target.stop()));
  rmSync(dataDir, { recursive: true, force: true });
});

async function makeTarget(
  options: object = {},
  disk: Disk = realDisk,
  clock: Clock = systemClock,
): Promise<FileTarget> {
  const target = new FileTarget(
    fileTargetSchema.parse({ type: "file", ...options }),
    makeContext({ dataDir, clock }),
    disk,
  );
  targets.push(target);
  await target.start();
  return target;
}

const from = (first: number, last: number, device = "a") =>
  Array.from({ length: last - first + 1 }, (_, n) => nth(device, first + n));
const idsIn = () => linesIn(folder).map((line) => JSON.parse(line).id);
const filesIn = () => readdirSync(folder).sort();
const kinds = (outcomes: readonly { kind: string }[]) => [...new Set(outcomes.map(({ kind }) => kind))];

describe("the file target", () => {
  it("writes an envelope a line to data/outbox, in order", async () => {
    const target = await makeTarget();
    expect(kinds(await target.deliver(from(1, 3), noAbort))).toEqual(["delivered"]);
    expect(filesIn()).toEqual(["00000001.ndjson"]);
    expect(linesIn(folder).map((line) => JSON.parse(line))).toMatchObject(
      [1, 2, 3].map((n) => ({ id: `a-${n}`, payload: { n } })),
    );
  });

  it("does not call anything delivered before the disk has it", async () => {
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let reached = () => {};
    const syncing = new Promise<void>((resolve) => {
      reached = resolve;
    });
    let slow = false;
    const disk: Disk = {
      ...realDisk,
      async open(path, how) {
        const file = await realDisk.open(path, how);
        return Object.assign(Object.create(file), {
          stat: () => file.stat(),
          write: (bytes: Buffer, at: number) => file.write(bytes, at),
          close: () => file.close(),
          async sync() {
            if (slow) {
              reached();
              await held;
            }
            await file.sync();
          },
        });
      },
    };
    const target = await makeTarget({}, disk);
    slow = true;
    let answered = false;
    const answering = target.deliver(from(1, 1), noAbort).then((outcomes) => {
      answered = true;
      return outcomes;
    });
    await syncing;
    expect(idsIn()).toEqual(["a-1"]);
    for (let turns = 0; turns < 10; turns++) await new Promise((resolve) => setImmediate(resolve));
    expect(answered).toBe(false);
    release();
    expect(kinds(await answering)).toEqual(["delivered"]);
  });

  it("does not write again after a restart what it has written before", async () => {
    await (await makeTarget()).deliver(from(1, 5), noAbort);
    await targets[0]!.stop();
    const outcomes = await (await makeTarget()).deliver(from(4, 8), noAbort);
    expect(kinds(outcomes)).toEqual(["delivered"]);
    expect(idsIn()).toEqual(from(1, 8).map(({ message }) => message.id));
  });

  it("remembers over a rotation, and no further back than tailIds", async () => {
    const options = { rotateBytes: 4096, tailIds: 10 };
    const first = await makeTarget(options);
    for (let n = 1; n <= 24; n++) await first.deliver(from(n, n), noAbort);
    expect(filesIn().length).toBeGreaterThan(1);
    await first.stop();
    const second = await makeTarget(options);
    await second.deliver(from(15, 24), noAbort);
    expect(idsIn()).toHaveLength(24);
    await second.deliver(from(14, 14), noAbort);
    expect(idsIn()).toHaveLength(25);
  });

  it("keeps the lines of two flows apart, each once", async () => {
    const target = await makeTarget();
    const other = { ...nth("a", 1), flow: "audit" };
    await target.deliver([nth("a", 1), other, nth("a", 1)], noAbort);
    expect(linesIn(folder).map((line) => JSON.parse(line).flow)).toEqual(["all", "audit"]);
  });

  it("removes a torn last line at start, and writes that message anew", async () => {
    await (await makeTarget()).deliver(from(1, 2), noAbort);
    await targets[0]!.stop();
    const path = join(folder, "00000001.ndjson");
    const third = '{"id":"a-3","flow":"all","gateway":"edge-1"';
    appendFileSync(path, third);
    const target = await makeTarget();
    expect(readFileSync(path, "utf8")).not.toContain("a-3");
    await target.deliver(from(3, 3), noAbort);
    expect(idsIn()).toEqual(["a-1", "a-2", "a-3"]);
  });

  it("removes what a power cut left of a batch from its first hole on, and writes those messages anew", async () => {
    await (await makeTarget()).deliver(from(1, 2), noAbort);
    await targets[0]!.stop();
    const path = join(folder, "00000001.ndjson");
    const [first = ""] = linesIn(folder);
    const line = (n: number) => first.replaceAll("a-1", `a-${n}`);
    // Of four lines that were not fsynced, the block in the middle is not there.
    appendFileSync(path, `${line(3)}\n${line(4).slice(0, 20)}${"\0".repeat(200)}"}\n${line(6)}\n`);
    const target = await makeTarget();
    expect(idsIn()).toEqual(["a-1", "a-2", "a-3"]);
    await target.deliver(from(3, 6), noAbort);
    expect(idsIn()).toEqual(["a-1", "a-2", "a-3", "a-4", "a-5", "a-6"]);
  });

  it("finds the last whole line and the ids also in lines longer than it reads at a time", async () => {
    const big = makeDelivery({ id: "big", payload: Buffer.alloc(300_000, "x") });
    await (await makeTarget()).deliver([nth("a", 1), big, nth("a", 2)], noAbort);
    await targets[0]!.stop();
    appendFileSync(
      join(folder, "00000001.ndjson"),
      `{"id":"torn","flow":"all","payload":"${"y".repeat(200_000)}`,
    );
    const target = await makeTarget();
    await target.deliver([nth("a", 1), big, nth("a", 2), nth("a", 3)], noAbort);
    expect(idsIn()).toEqual(["a-1", "big", "a-2", "a-3"]);
  });

  it("begins a new file by size and by age, and keeps as many as it is told", async () => {
    let aheadMs = 0;
    const clock: Clock = { ...systemClock, monoMs: () => systemClock.monoMs() + aheadMs };
    const target = await makeTarget({ rotateBytes: 4096, rotateEvery: "1h", keepFiles: 2 }, realDisk, clock);
    await target.deliver(from(1, 1), noAbort);
    await target.deliver(from(2, 2), noAbort);
    expect(filesIn()).toEqual(["00000001.ndjson"]);
    aheadMs = 3_600_000;
    await target.deliver(from(3, 3), noAbort);
    expect(filesIn()).toEqual(["00000001.ndjson", "00000002.ndjson"]);
    await target.deliver(from(4, 30), noAbort);
    await target.deliver(from(31, 31), noAbort);
    expect(filesIn()).toEqual(["00000002.ndjson", "00000003.ndjson"]);
  });

  it("starts without the folder it cannot have, and takes up work when it can", async () => {
    writeFileSync(folder, "a file is in the way");
    const target = await makeTarget();
    expect(await target.deliver(from(1, 1), noAbort)).toMatchObject([{ kind: "retry", fault: "target" }]);
    expect((await target.probe(noAbort)).reachable).toBe(false);
    rmSync(folder);
    expect((await target.probe(noAbort)).reachable).toBe(true);
    expect(kinds(await target.deliver(from(1, 1), noAbort))).toEqual(["delivered"]);
  });

  it.skipIf(!capability("not-root").present)("says so where it may not write", async () => {
    mkdirSync(folder);
    chmodSync(folder, 0o500);
    const target = await makeTarget();
    expect(await target.deliver(from(1, 1), noAbort)).toMatchObject([
      { kind: "retry", reason: expect.stringMatching(/EACCES/) },
    ]);
    chmodSync(folder, 0o700);
  });

  it("on a full disk cuts off what it began and goes on in the same file when there is room", async () => {
    const backend = new FolderBackend(folder);
    const target = await makeTarget({}, backend.disk);
    await target.deliver(from(1, 2), noAbort);
    backend.setMode("failing");
    for (let tries = 0; tries < 5; tries++) {
      expect(await target.deliver(from(3, 3), noAbort)).toMatchObject([
        { kind: "retry", fault: "target", reason: expect.stringMatching(/ENOSPC/) },
      ]);
    }
    backend.setMode("ok");
    await target.deliver(from(3, 4), noAbort);
    expect(filesIn()).toEqual(["00000001.ndjson"]);
    expect(idsIn()).toEqual(["a-1", "a-2", "a-3", "a-4"]);
  });

  it("trusts no more to a file whose fsync failed", async () => {
    const backend = new FolderBackend(folder);
    const target = await makeTarget({}, backend.disk);
    await target.deliver(from(1, 2), noAbort);
    const before = statSync(join(folder, "00000001.ndjson")).size;
    backend.setMode("drop");
    expect(await target.deliver(from(3, 3), noAbort)).toMatchObject([{ kind: "retry", fault: "target" }]);
    backend.setMode("ok");
    await target.deliver(from(3, 3), noAbort);
    expect(filesIn()).toEqual(["00000001.ndjson", "00000002.ndjson"]);
    expect(statSync(join(folder, "00000001.ndjson")).size).toBe(before);
    expect(idsIn()).toEqual(["a-1", "a-2", "a-3"]);
  });

  it("has cut off for good what an fsync failed for, before it writes anything elsewhere", async () => {
    for (let seed = 1; seed <= 50; seed++) {
      const random = seededRandom(seed);
      const disk = new SimDisk({ random });
      const life = () => makeTarget({}, simFileDisk({ disk, process: { dead: false }, onDeath: () => {} }));
      const target = await life();
      await target.deliver(from(1, 2), noAbort);
      disk.fail("sync");
      expect(kinds(await target.deliver(from(3, 6), noAbort))).toEqual(["retry"]);
      expect(kinds(await target.deliver(from(3, 6), noAbort))).toEqual(["delivered"]);
      disk.cut(random);
      await life();
      const lines = disk.files().flatMap((file) => Buffer.from(disk.content(file)!).toString().split("\n"));
      const ids = lines.filter((line) => line !== "").map((line) => JSON.parse(line).id);
      expect(ids, `seed ${seed}`).toEqual(["a-1", "a-2", "a-3", "a-4", "a-5", "a-6"]);
    }
  });

  it("begins no file while the end of the one before it is not on the disk", async () => {
    const random = seededRandom(1);
    const disk = new SimDisk({ random });
    const target = await makeTarget({}, simFileDisk({ disk, process: { dead: false }, onDeath: () => {} }));
    await target.deliver(from(1, 2), noAbort);
    // That of the lines, that of the cut, and that of the cut when it is tried again.
    for (const nth of [1, 2, 3]) disk.fail("sync", nth);
    for (let tries = 0; tries < 2; tries++) {
      expect(kinds(await target.deliver(from(3, 3), noAbort))).toEqual(["retry"]);
      expect(disk.files()).toEqual([join(folder, "00000001.ndjson")]);
    }
    expect(kinds(await target.deliver(from(3, 3), noAbort))).toEqual(["delivered"]);
    expect(disk.files()).toEqual([1, 2].map((n) => join(folder, `0000000${n}.ndjson`)));
  });

  it("calls it unknown where a failed write cannot be taken back", async () => {
    const backend = new FolderBackend(folder);
    const target = await makeTarget({}, backend.disk);
    backend.setMode("commit-then-drop");
    expect(await target.deliver(from(1, 1), noAbort)).toMatchObject([{ kind: "unknown" }]);
  });

  it("leaves what another program wrote alone, and writes on in a new file", async () => {
    const target = await makeTarget();
    await target.deliver(from(1, 1), noAbort);
    appendFileSync(join(folder, "00000001.ndjson"), "a stranger's line\n");
    expect(kinds(await target.deliver(from(2, 2), noAbort))).toEqual(["delivered"]);
    expect(readFileSync(join(folder, "00000001.ndjson"), "utf8")).toMatch(/a stranger's line\n$/);
    expect(filesIn()).toEqual(["00000001.ndjson", "00000002.ndjson"]);
  });
});

describe("the key of a line", () => {
  it("is read from lines that we wrote, whatever stands in the id, and from no other", () => {
    expect(keyOfLine('{"id":"a\\"b\\\\","flow":"all","x":1}')).toBe('all\u0000a"b\\');
    for (const line of [
      "",
      "{}",
      '{"flow":"all","id":"a"}',
      '{"id":"a"}',
      '{"id":"a","flow":"al',
      "stranger",
    ]) {
      expect(keyOfLine(line)).toBeNull();
    }
  });
});
