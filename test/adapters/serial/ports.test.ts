import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { listPorts } from "../../../src/adapters/serial/ports.ts";

/** A machine as the kernel shows it, with a USB adapter, a real UART, one that is only reserved, and a console. */
function machine(): string {
  const root = mkdtempSync(join(tmpdir(), "holdfast-ports-"));
  onTestFinished(() => rmSync(root, { recursive: true }));
  const write = (path: string, text = "") => {
    mkdirSync(join(root, path, ".."), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  const link = (path: string, to: string) => {
    mkdirSync(join(root, path, ".."), { recursive: true });
    symlinkSync(to, join(root, path));
  };
  const usb = "sys/devices/usb1/1-2";
  for (const [name, text] of Object.entries({
    idVendor: "0403",
    manufacturer: "FTDI",
    product: "FT232R USB UART",
    serial: "A50285BI",
  })) {
    write(`${usb}/${name}`, `${text}\n`);
  }
  write(`${usb}/1-2:1.0/ttyUSB0/port_number`, "0");
  link("sys/class/tty/ttyUSB0/device", join(root, usb, "1-2:1.0/ttyUSB0"));
  for (const [name, type] of [
    ["ttyS0", "4"],
    ["ttyS1", "0"],
  ]) {
    write(`sys/devices/platform/${name}/driver`);
    link(`sys/class/tty/${name}/device`, join(root, `sys/devices/platform/${name}`));
    write(`sys/class/tty/${name}/type`, `${type}\n`);
  }
  write("sys/class/tty/tty1/dev", "4:1");
  for (const name of ["ttyUSB0", "ttyS0", "ttyS1", "tty1"]) write(`dev/${name}`);
  link("dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0", "../../ttyUSB0");
  return root;
}

describe("the serial ports of a machine", () => {
  it("are those with hardware behind them, by the path that stays the same, without udevadm", async () => {
    const root = machine();
    expect(await listPorts(root)).toEqual([
      {
        path: `${root}/dev/ttyS0`,
        device: `${root}/dev/ttyS0`,
        what: null,
        serialNumber: null,
        permitted: true,
      },
      {
        path: `${root}/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0`,
        device: `${root}/dev/ttyUSB0`,
        what: "FTDI FT232R USB UART",
        serialNumber: "A50285BI",
        permitted: true,
      },
    ]);
  });

  it("are none where there are none", async () => {
    const root = machine();
    rmSync(join(root, "sys/class/tty"), { recursive: true });
    mkdirSync(join(root, "sys/class/tty"));
    expect(await listPorts(root)).toEqual([]);
  });
});
