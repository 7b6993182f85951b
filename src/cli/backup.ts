/** `holdfast backup` and `holdfast restore`: the store as of one commit in a folder of its own, and its way back. */
import { resolve } from "node:path";
import type { Command } from "commander";
import { VERSION } from "../version.ts";
import { type CliIo, DATA_OPTION, dataDirFrom } from "./io.ts";

const PROGRESS_STEP = 0.1;

export function register(program: Command, io: CliIo): void {
  program
    .command("backup")
    .description(
      "Copy the store to a new folder, while the gateway runs, and read the copy to see that it is sound",
    )
    .argument("<folder>", "where to; it must not exist yet")
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
The copy is of one commit, and holds messages, deliveries, sessions and figures; config, certificates and files that a
file target wrote are yours to copy. It can be looked into: holdfast verify, status and messages take it as --data.
Needs as much room as the store. Meanwhile the store's log is not folded, so it grows with what comes in.

Examples:
  $ holdfast backup /mnt/usb/holdfast-$(date +%F)
  $ holdfast status --data /mnt/usb/holdfast-2026-11-24`,
    )
    .action((folder: string, options: { data?: string }) => backup(io, folder, options));

  program
    .command("restore")
    .description("Put a backup into a data folder that has no store")
    .argument("<folder>", "the backup")
    .option("-d, --data <dir>", "the data folder (or HOLDFAST_DATA; default: ./data)")
    .option("--moved", "the gateway was stopped before the backup was taken, and has not run since")
    .addHelpText(
      "after",
      `
What was waiting in the backup may have been delivered after it was taken. So it becomes unknown, and each flow does
with it what its onUnknown says: an idempotent backend gets it again under its id. With --moved it stays waiting: to
move a gateway to another box, stop it, back up, and restore there.
The backup stays as it is.

Examples:
  $ holdfast restore /mnt/usb/holdfast-2026-11-24 --data /var/lib/holdfast
  $ holdfast restore ./from-old-box --moved`,
    )
    .action((folder: string, options: { data?: string; moved?: boolean }) => restore(io, folder, options));
}

async function backup(io: CliIo, folder: string, options: { data?: string }): Promise<void> {
  const [{ backupStore }, { systemClock }, words, { formatBytes }] = await modules();
  const into = resolve(io.cwd, folder);
  let told = 0;
  const facts = await backupStore(dataDirFrom(io, options.data), into, {
    version: VERSION,
    wallMs: systemClock.wallMs(),
    onProgress(part) {
      if (part < told + PROGRESS_STEP && part < 1) return;
      told = part;
      io.note(part < 1 ? `copied ${Math.round(part * 100)} %` : "copied, and being read again");
    },
  });
  if (io.json) return io.printJson({ folder: into, ...facts });
  const what = `${words.counted(facts.messages, "message")}, ${words.counted(facts.open, "delivery", "deliveries")} still open, ${formatBytes(facts.bytes)}`;
  io.print(`${io.paint("green", "sound:")} ${into} (${what})`);
}

async function restore(
  io: CliIo,
  folder: string,
  options: { data?: string; moved?: boolean },
): Promise<void> {
  const [{ restoreStore }, { systemClock }, words] = await modules();
  const dataDir = dataDirFrom(io, options.data);
  const nowMs = systemClock.wallMs();
  const moved = options.moved === true;
  const done = await restoreStore(resolve(io.cwd, folder), dataDir, { wallMs: nowMs, moved });
  if (io.json) return io.printJson({ dataDir, ...done });
  const when = words.moment(done.madeAtMs, nowMs);
  io.print(
    `${io.paint("green", "restored:")} ${words.counted(done.messages, "message")} of ${when} in ${dataDir}`,
  );
  if (done.unknown > 0) {
    io.print(
      `${words.counted(done.unknown, "delivery is", "deliveries are")} unknown now: ${done.unknown === 1 ? "it" : "they"} may have been delivered since.`,
    );
  }
}

function modules() {
  return Promise.all([
    import("../queue/backup.ts"),
    import("../core/clock.ts"),
    import("./plain-words.ts"),
    import("../core/units.ts"),
  ]);
}
