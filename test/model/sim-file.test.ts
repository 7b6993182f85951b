/** What a simulated power cut does to what was not synced: everything that a real one can, and nothing to the rest. */
import { describe, expect, it } from "vitest";
import { seededRandom } from "../../src/core/random.ts";
import { takeBytes } from "./world/byte-pool.ts";
import { SimDisk } from "./world/sim-disk.ts";
import { SimFile } from "./world/sim-file.ts";

const SECTOR = 512;

function bytes(value: number, length = SECTOR): Uint8Array {
  return new Uint8Array(length).fill(value);
}

/** What is left of a file after a cut, over many seeds. */
function cuts(make: () => SimFile, count = 300): Uint8Array[] {
  return Array.from({ length: count }, (_, seed) => {
    const file = make();
    file.cut(seededRandom(seed + 1), SECTOR);
    return file.content.slice();
  });
}

/** The first byte of each sector. */
function heads(content: Uint8Array): string {
  return Array.from({ length: Math.ceil(content.length / SECTOR) }, (_, at) => content[at * SECTOR]).join("");
}

describe("a power cut", () => {
  it("keeps all that was synced", () => {
    const left = cuts(() => {
      const file = new SimFile();
      file.write(bytes(1, 3000), 0);
      file.write(bytes(2, 100), 700);
      file.truncate(2500);
      file.sync();
      return file;
    });
    const expected = bytes(1, 2500);
    expected.fill(2, 700, 800);
    for (const content of left) expect(content).toEqual(expected);
  });

  it("keeps any set of the sectors written since, each at any of its versions", () => {
    const left = new Set(
      cuts(() => {
        const file = new SimFile(bytes(1, 3 * SECTOR));
        file.write(bytes(2), 0);
        file.write(bytes(3), 0);
        file.write(bytes(4), 2 * SECTOR);
        return file;
      }, 1000).map(heads),
    );
    expect([...left].sort()).toEqual(["111", "114", "211", "214", "311", "314"]);
  });

  it("may tear a write in the middle of a sector, and never touches what is beside it", () => {
    let torn = 0;
    for (const content of cuts(() => {
      const file = new SimFile(bytes(1, SECTOR));
      file.write(bytes(2, 200), 100);
      return file;
    })) {
      const written = content.subarray(100, 300);
      const kept = written.lastIndexOf(2) + 1;
      expect([...written.subarray(0, kept)].every((byte) => byte === 2)).toBe(true);
      expect([...content.subarray(0, 100), ...content.subarray(300)].every((byte) => byte === 1)).toBe(true);
      if (kept > 0 && kept < 200) torn += 1;
    }
    expect(torn).toBeGreaterThan(10);
  });

  it("may lose a growth with its content, keep it without, and show what stood on the disk before", () => {
    const left = cuts(() => {
      const file = new SimFile(bytes(1));
      file.write(bytes(2, 2 * SECTOR), SECTOR);
      return file;
    }, 1000);
    const sizes = new Set(left.map(({ length }) => length));
    expect([...sizes].sort((a, b) => a - b)).toEqual([SECTOR, 3 * SECTOR]);
    const grown = left.filter(({ length }) => length === 3 * SECTOR).map((content) => content[2 * SECTOR]!);
    expect(grown).toContain(2);
    expect(grown).toContain(0);
    expect(grown.some((byte) => byte !== 0 && byte !== 2)).toBe(true);
    for (const content of left) expect(content[0]).toBe(1);
  });

  it("may undo a truncation, and then what was written where it had cut", () => {
    const left = new Set(
      cuts(() => {
        const file = new SimFile(bytes(1, 3 * SECTOR));
        file.truncate(SECTOR);
        file.write(bytes(2), SECTOR);
        file.write(bytes(3), 0);
        return file;
      }, 1000)
        // A sector that is new may hold anything.
        .map((content) =>
          heads(content).replace(
            /^(.)(\d+)$/,
            (_, first, rest) => first + (/^(1+|2)$/.test(rest) ? rest : "?"),
          ),
        ),
    );
    expect(left).toContain("111");
    expect(left).toContain("311");
    expect(left).toContain("32");
    expect([...left].filter((found) => !/^[13](11|2|\?)?$/.test(found))).toEqual([]);
  });

  it("may lose what a failed sync was to save, whatever is synced later, until it is written again", () => {
    const make = (again: boolean) => () => {
      const file = new SimFile(bytes(1, 2 * SECTOR));
      file.write(bytes(2), 0);
      file.failSync();
      file.write(bytes(3), SECTOR);
      if (again) file.write(bytes(2), 0);
      file.sync();
      return file;
    };
    expect(heads(make(false)().content)).toBe("23");
    expect(new Set(cuts(make(false)).map(heads))).toEqual(new Set(["13", "23"]));
    expect(new Set(cuts(make(true)).map(heads))).toEqual(new Set(["23"]));
  });

  it("may take away a file that is new, and bring back one that was deleted, until a new file is synced", () => {
    const filesAfter = (work: (disk: SimDisk) => void) =>
      new Set(
        Array.from({ length: 100 }, (_, seed) => {
          const disk = new SimDisk({ random: seededRandom(1) });
          disk.sync("/old", disk.create("/old"));
          work(disk);
          disk.cut(seededRandom(seed + 1));
          return disk.files().join(" ");
        }),
      );
    expect(filesAfter((disk) => void disk.create("/new"))).toEqual(new Set(["/old", "/new /old"]));
    expect(filesAfter((disk) => disk.sync("/new", disk.create("/new")))).toEqual(new Set(["/new /old"]));
    expect(filesAfter((disk) => disk.delete("/old", false))).toEqual(new Set(["", "/old"]));
    expect(filesAfter((disk) => disk.delete("/old", true))).toEqual(new Set([""]));
    const replaced = filesAfter((disk) => {
      disk.delete("/old", false);
      disk.sync("/new", disk.create("/new"));
    });
    expect(replaced).toEqual(new Set(["/new"]));
  });
});

describe("a copy of a disk", () => {
  it("goes its own way", () => {
    const disk = new SimDisk({ random: seededRandom(1) });
    const file = disk.create("/f");
    disk.write("/f", file, bytes(1), 0);
    const copy = disk.clone({ random: seededRandom(1) });
    const before = disk.digest();
    expect(copy.digest()).toBe(before);
    disk.write("/f", file, bytes(2), 0);
    expect(copy.digest()).toBe(before);
    copy.write("/f", copy.find("/f")!, bytes(3), 0);
    expect(heads(disk.content("/f")!)).toBe("2");
    copy.cut(seededRandom(1));
    copy.roomBytes = 0;
    expect(heads(disk.content("/f")!)).toBe("2");
    expect(disk.usedBytes).toBe(SECTOR);
  });
});

describe("the memory of files", () => {
  /** Of a size that no other has. */
  const SIZE = 2 ** 22;
  const isSpare = () => takeBytes(SIZE)[0] === 1;

  it.each<[string, (disk: SimDisk) => void]>([
    ["of a disk that is done with", () => {}],
    [
      "of one that was deleted, and might have come back",
      (disk) => {
        disk.syncFolder();
        disk.delete("/log", false);
      },
    ],
    ["of one that a cut took away", (disk) => disk.cut(seededRandom(3))],
  ])("is used again: %s", (_, lose) => {
    const disk = new SimDisk({ random: seededRandom(1) });
    const file = disk.create("/log");
    disk.write("/log", file, bytes(1, SIZE), 0);
    lose(disk);
    disk.release();
    expect(isSpare()).toBe(true);
    expect(isSpare()).toBe(false);
  });
});
