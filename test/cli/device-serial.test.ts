import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { NmeaTalker } from "../../simulators/machines/nmea-talker.ts";
import { Scale } from "../../simulators/machines/scale.ts";
import { capability } from "../support/capabilities.ts";
import { runCliHere } from "../support/cli-process.ts";

const pty = capability("pty");
const CONFIG = join(import.meta.dirname, "../../config/serial-scale.yaml");
const device = (args: readonly string[], env: Record<string, string> = {}) =>
  runCliHere(["device", ...args], { cwd: tmpdir(), env });

async function scale(): Promise<Scale> {
  const made = await new Scale().start();
  onTestFinished(() => made.stop());
  made.loadKg = 1.5;
  return made;
}

describe.skipIf(!pty.present)("holdfast device probe, on an instrument", () => {
  it("shows what comes as it comes, before anything is configured", async () => {
    const { path } = await scale();
    const asked = ["probe", "--instrument", path, "--send", "SI\\r\\n", "--timeout", "400ms"];
    const plain = await device(asked);
    expect(plain.stdout.split("\n").slice(0, 3)).toEqual([
      "S S      1.500 kg\\r\\n",
      expect.stringMatching(/^ {2}53 20 53 ( ?[0-9a-f]{2})+ 0d 0a$/),
      `${path} 9600 8N1: 1 whole frame, 0 bad`,
    ]);
    const match = "^S (?<state>[SD]) +(?<weight>[-0-9.]+)";
    const read = await device([...asked, "--framing", "delimiter", "--match", match]);
    expect(read.stdout).toContain('  weight = "1.500"');
    expect([plain.code, read.code]).toEqual([0, 0]);
  });

  it("says whether checksums are right", async () => {
    const gps = await new NmeaTalker({ everyMs: 50 }).start();
    onTestFinished(() => gps.stop());
    const listen = [
      "--framing",
      "delimiter",
      "--start",
      "$",
      "--checksum",
      "xor-8",
      "--separator",
      "*",
      "--for",
      "500ms",
    ];
    const right = await device(["probe", "--instrument", gps.path, ...listen]);
    expect(right.stdout).toMatch(/^\$GPGGA,.*\*(..)\\r\\n\n {2}[0-9a-f ]+\n {2}checksum \1 is right/m);
    expect(right.code).toBe(0);
    gps.setFault({ kind: "spoilt" });
    const wrong = await device(["probe", "--instrument", gps.path, ...listen]);
    expect(wrong.stdout).toMatch(/^ {2}checksum: it says .., and .. would be right$/m);
    expect(wrong.code).toBe(1);
  });

  it("asks a configured one for each of its groups, and says which was not answered", async () => {
    const instrument = await scale();
    const env = { SCALE_PORT: instrument.path };
    const read = await device(["probe", "scale-1", "--config", CONFIG], env);
    expect(read.stdout).toContain("  weight = 1.5 kg\n  stable = true");
    expect(read.stdout).toContain("  tare = 0 kg");
    expect(read.code).toBe(0);
    const json = await device(["probe", "scale-1", "--config", CONFIG, "--json"], env);
    expect(JSON.parse(json.stdout)).toMatchObject({
      unanswered: [],
      frames: [
        { group: "weight", hex: expect.stringMatching(/^5320/), checksum: null, problem: null },
        { group: "tare" },
      ],
    });
    instrument.setFault({ kind: "silence" });
    const silent = await device(["probe", "scale-1", "--config", CONFIG], env);
    expect(silent).toMatchObject({ code: 69, stderr: expect.stringContaining("it did not answer") });
  });

  it("says why there is nothing to listen to", async () => {
    const gone = await device(["probe", "--instrument", "/dev/none"]);
    expect(gone).toMatchObject({ code: 69, stderr: expect.stringContaining("No such file or directory") });
    const both = await device(["probe", "--instrument", "/dev/none", "--host", "plc"]);
    expect(both.code).toBe(64);
    const odd = await device(["probe", "--instrument", "/dev/none", "--checksum", "crc"]);
    expect(odd).toMatchObject({ code: 64, stderr: expect.stringContaining("framing.checksum.algorithm") });
  });
});

describe("holdfast device ports", () => {
  it("lists what there is, also as JSON", async () => {
    const { stdout, code } = await device(["ports", "--json"]);
    expect(JSON.parse(stdout)).toEqual({ ports: expect.any(Array) });
    expect(code).toBe(0);
    expect((await device(["ports"])).code).toBe(0);
  });
});
