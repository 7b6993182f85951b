/**
 * The serial ports of this machine. On Linux by what the kernel says under /sys and /dev alone: serialport asks
 * `udevadm`, which containers and small images do not have, and then throws.
 */
import { accessSync, constants, existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";

export interface ListedPort {
  /** What to write into a config: the path that stays the same, where there is one. */
  readonly path: string;
  /** The device file. */
  readonly device: string;
  /** `FTDI FT232R USB UART`; null where the kernel does not know. */
  readonly what: string | null;
  readonly serialNumber: string | null;
  /** This user may open it. */
  readonly permitted: boolean;
}

/** `root`: in place of `/`. */
export async function listPorts(root = "/"): Promise<ListedPort[]> {
  const tty = join(root, "sys/class/tty");
  if (!existsSync(tty)) return elsewhere();
  const byId = namesById(root);
  return readdirSync(tty)
    .filter((name) => isHardware(join(tty, name)))
    .map((name) => portAt(root, name, byId.get(name)))
    .toSorted((a, b) => a.device.localeCompare(b.device, "en", { numeric: true }));
}

/** Where there is no /sys. */
async function elsewhere(): Promise<ListedPort[]> {
  const { SerialPort } = await import("serialport");
  const ports = await SerialPort.list();
  return ports.map(({ path, manufacturer, serialNumber }) => {
    const known = { what: manufacturer ?? null, serialNumber: serialNumber ?? null };
    return { path, device: path, ...known, permitted: mayOpen(path) };
  });
}

/** Consoles and ptys have no device behind them; a UART that was only reserved has type 0. */
function isHardware(folder: string): boolean {
  return existsSync(join(folder, "device")) && textOf(join(folder, "type")) !== "0";
}

function portAt(root: string, name: string, byId: string | undefined): ListedPort {
  const device = join(root, "dev", name);
  const usb = usbFolder(join(root, "sys/class/tty", name, "device"));
  const words = usb ? [textOf(join(usb, "manufacturer")), textOf(join(usb, "product"))] : [];
  const what = words.filter((word) => word !== null).join(" ");
  return {
    path: byId ?? device,
    device,
    what: what === "" ? null : what,
    serialNumber: usb && textOf(join(usb, "serial")),
    permitted: mayOpen(device),
  };
}

/** By the device file's name: `/dev/serial/by-id/…`. */
function namesById(root: string): Map<string, string> {
  const folder = join(root, "dev/serial/by-id");
  if (!existsSync(folder)) return new Map();
  return new Map(
    readdirSync(folder).flatMap((name) => {
      const path = join(folder, name);
      return existsSync(path) ? [[basename(realpathSync(path)), path] as const] : [];
    }),
  );
}

/** The USB device that a port belongs to is some folders above it: the first that has a vendor. */
function usbFolder(device: string): string | null {
  let folder = realpathSync(device);
  for (let up = 0; up < 5; up++) {
    if (existsSync(join(folder, "idVendor"))) return folder;
    folder = dirname(folder);
  }
  return null;
}

function textOf(file: string): string | null {
  try {
    return readFileSync(file, "utf8").trim() || null;
  } catch {
    return null;
  }
}

function mayOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
