/** Instruments as they run by hand: a process, a port, and lines that are typed into it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SerialPort } from "serialport";
import { describe, expect, it, onTestFinished } from "vitest";
import { BarcodeReader } from "../../simulators/machines/barcode-reader.ts";
import { NmeaTalker } from "../../simulators/machines/nmea-talker.ts";
import { Scale } from "../../simulators/machines/scale.ts";
import { capability } from "../support/capabilities.ts";
import { eventually } from "../support/journey.ts";

const MAIN = "simulators/machines/instrument-main.ts";

/** A program on the other side of the port. */
async function opened(path: string) {
  const port = new SerialPort({ path, baudRate: 9600, autoOpen: false });
  await new Promise<void>((resolve, reject) => port.open((error) => (error ? reject(error) : resolve())));
  onTestFinished(() => void (port.isOpen && port.close()));
  let heard = "";
  port.on("data", (data: Buffer) => {
    heard += data.toString("latin1");
  });
  port.on("error", () => {});
  const says = (what: string) => eventually(`it says ${what}`, () => heard.includes(what));
  return { port, says };
}

describe.skipIf(!capability("pty").present)("an instrument by hand", () => {
  it("is a port that can be asked, obeys what is typed, and is gone when it ends", async () => {
    const folder = mkdtempSync(join(tmpdir(), "holdfast-instrument-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const path = join(folder, "scale");
    const child = spawn(process.execPath, [MAIN, "scale", "--path", path], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    onTestFinished(() => void child.kill("SIGKILL"));
    const [line] = await once(child.stdout, "data");
    expect(JSON.parse(String(line))).toEqual({ event: "started", path });
    const scale = await opened(path);
    scale.port.write("SI\r\nBANANA\r\n");
    await scale.says("S S      0.000 kg\r\nES\r\n");
    child.stdin.write("put 12.5\nmoving\nnonsense\n");
    const [complaint] = await once(child.stderr, "data");
    expect(String(complaint)).toContain("nonsense: not understood");
    scale.port.write("SI\r\n");
    await scale.says("S D     12.500 kg\r\n");
    child.stdin.write("unplug\n");
    await eventually("its port is gone", () => !existsSync(path));
    child.stdin.write("plug\n");
    await eventually("its port is there", () => existsSync(path));
    child.kill("SIGTERM");
    const [code] = await once(child, "exit");
    expect([code, existsSync(path)]).toEqual([0, false]);
  });

  it("knows what it has said, so that what it has not is found out", async () => {
    const reader = await new BarcodeReader().start();
    const gps = new NmeaTalker();
    const scale = await new Scale({ busy: true, talksEveryMs: 20 }).start();
    onTestFinished(() => Promise.all([reader.stop(), gps.stop(), scale.stop()]).then(() => {}));
    const code = reader.scan();
    expect([reader.hasMeant("code", code), reader.hasMeant("code", `${code}0`)]).toEqual([true, false]);
    await gps.speak();
    expect(gps.hasMeant("latitude", Math.round(gps.latitude * 600_000) / 600_000)).toBe(true);
    expect(gps.hasMeant("latitude", gps.latitude + 0.1)).toBe(false);
    await eventually("it has weighed", () => scale.said > 2);
    expect([scale.hasMeant("weight", scale.netKg), scale.hasMeant("weight", -1)]).toEqual([true, false]);
  });

  it("carries every byte as it is, both ways", async () => {
    const every = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    const reader = await new BarcodeReader().start();
    onTestFinished(() => reader.stop());
    const { port, says } = await opened(reader.path);
    reader.raw(every);
    await says(every.toString("latin1"));
    port.write(every);
    await eventually("it has heard all", () => reader.heard.join("") === every.toString("latin1"));
  });
});
