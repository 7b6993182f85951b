/** A disk that is really full: a small tmpfs, filled to its last block. */
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { capability } from "../support/capabilities.ts";
import { scratchFolder } from "../support/test-store.ts";

const mount = capability("mount");
const CHILD = new URL("../support/full-disk-child.ts", import.meta.url).pathname;

describe.skipIf(!mount.present)("a store on a full disk", () => {
  it("acknowledges nothing more, says that it is full, and goes on by itself when there is room", () => {
    const script = `mount -t tmpfs -o size=12m tmpfs "$1" && exec "$2" "$3" "$1"`;
    const { stdout, stderr, status } = spawnSync(
      mount.path,
      ["--mount", "sh", "-c", script, "sh", scratchFolder(), process.execPath, CHILD],
      { encoding: "utf8", timeout: 60_000 },
    );
    expect(status, stderr).toBe(0);
    const saw = JSON.parse(stdout);
    expect(saw.ackedWhenFull).toBeLessThan(400);
    expect(saw).toEqual({
      states: ["full", "ok"],
      ackedWhenFull: saw.ackedWhenFull,
      // Less than a commit's worth may still fit into what a rolled back one leaves.
      ackedStillFull: saw.ackedStillFull,
      stateStillFull: "full",
      stateAtEnd: "ok",
      inOrder: true,
      stored: 400,
      mismatches: 0,
    });
    expect(saw.ackedStillFull).toBeLessThan(400);
  }, 90_000);
});
