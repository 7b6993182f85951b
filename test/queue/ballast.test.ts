/** The room kept for a full disk: held, given, and taken again only where there is room for it. */
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { SmallDisk } from "../../simulators/disks/small-disk.ts";
import { Ballast } from "../../src/queue/ballast.ts";
import { capability } from "../support/capabilities.ts";
import { scratchFolder } from "../support/journey.ts";

const MIB = 2 ** 20;
const fileIn = (dir: string) => join(dir, "store.ballast");
const sizeIn = (dir: string) => statSync(fileIn(dir)).size;

test("is taken where there is room, given up, and known to be given by the next start", () => {
  const dir = scratchFolder();
  const ballast = new Ballast(dir, MIB);
  expect(ballast.given).toBe(false);
  ballast.take();
  expect(sizeIn(dir)).toBe(MIB);
  ballast.give();
  expect(sizeIn(dir)).toBe(0);
  expect(new Ballast(dir, MIB).given).toBe(true);
});

test("is held where an older version has kept less, and grows where there is room", () => {
  const dir = scratchFolder();
  writeFileSync(fileIn(dir), Buffer.alloc(MIB, 1));
  const ballast = new Ballast(dir, 2 * MIB);
  expect(ballast.given).toBe(false);
  ballast.take();
  expect(sizeIn(dir)).toBe(2 * MIB);
});

describe.skipIf(!capability("mount").present)("on a small disk", () => {
  test("stays as it is where there is no room for more, and covers what it has room for", () => {
    const disk = new SmallDisk(scratchFolder(), 8 * MIB);
    onTestFinished(() => disk.remove());
    writeFileSync(fileIn(disk.folder), Buffer.alloc(MIB, 1));
    const ballast = new Ballast(disk.folder, 5 * MIB);
    ballast.take();
    expect(sizeIn(disk.folder)).toBe(MIB);
    expect(ballast.given).toBe(false);
    expect(ballast.covers(6 * MIB)).toBe(true);
    const giveBack = disk.fill();
    expect([ballast.covers(MIB), ballast.covers(MIB + 1)]).toEqual([true, false]);
    ballast.giveForStart();
    expect(ballast.given).toBe(true);
    giveBack();
  });
});
