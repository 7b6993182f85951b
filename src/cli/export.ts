/** `holdfast export`: what is not delivered, in a file for another box; held here until that one has it. */
import type { Command } from "commander";
import { HoldfastError } from "../core/errors.ts";
import type { ExportSelection, ImportReceipt } from "../core/export-file.ts";
import { type CliIo, DATA_OPTION } from "./io.ts";
import type { Ended, ExportView, WayOut } from "./way-out.ts";

/** For how long what is in the air is waited for, and how often it is looked for. */
const SENDING_MS_MAX = 30_000;
const SENDING_EVERY_MS = 250;
const COLUMNS_DEFAULT = 100;

const CONFIG = [
  "-c, --config <file>",
  "with the gateway down: the config that has its name (or HOLDFAST_CONFIG)",
] as const;

interface Options {
  readonly flow?: string;
  readonly device?: string;
  readonly target?: string;
  readonly dead?: boolean;
  readonly waiting?: boolean;
  readonly all?: boolean;
  readonly copy?: boolean;
  readonly estimate?: boolean;
  readonly reason?: string;
  readonly data?: string;
  readonly config?: string;
}

export function register(program: Command, io: CliIo): void {
  const command = program
    .command("export")
    .description("Write what is not delivered to a file for another box, and hold it back here")
    .argument("[file]", "where to; it must not exist yet")
    .option("-f, --flow <name>", "of this flow alone")
    .option("--device <name>", "of this device alone")
    .option("--target <name>", "of flows to this target alone")
    .option("--all", "of every flow, device and target")
    .option("--waiting", "only what waits or is unknown")
    .option("--dead", "only dead letters")
    .option("--copy", "hold nothing: for looking at it, and for editing dead letters in the file")
    .option("--estimate", "say what it would be, and do nothing")
    .option("--reason <text>", "why; it goes on record")
    .option(...CONFIG)
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
The way to another box: export here, \`holdfast import FILE\` there, which writes FILE.receipt.json, and
\`holdfast export finish FILE.receipt.json\` here. Until then what is in the file is held: it is not sent from here, does
not expire, and what stands behind it in its lane waits. Works with the gateway up or down. What comes in later is not
in the file: stop the machines first, or export again. Commands and what no flow took are not exported.

Dead letters can be mended in a copy: write what a target is to be given into "edit" of a delivery, such as
{"payload": "{\\"bar\\": 2.9}"}, and \`holdfast import FILE --reason …\` on the same box.

Examples:
  $ holdfast export /mnt/usb/box-3.jsonl --all --reason 'box 3 is replaced'
  $ holdfast export /mnt/usb/mes.jsonl --flow mes --waiting --reason 'line 3 moves to box 7'
  $ holdfast export dead.jsonl --flow mes --dead --copy --reason 'order numbers are to be mended'`,
    )
    .action((file: string | undefined, options: Options) => exportTo(io, file, options));
  command
    .command("finish")
    .description("The other box has them: end them here as discarded, moved there")
    .argument("<receipt>", "the file that `holdfast import` wrote")
    .option(...CONFIG)
    .option(...DATA_OPTION)
    .addHelpText("after", "\nExamples:\n  $ holdfast export finish /mnt/usb/box-3.jsonl.receipt.json")
    .action((file: string, _: unknown, sub: Command) => finish(io, file, sub.optsWithGlobals()));
  command
    .command("cancel")
    .description("They go on here: the file must not be imported anywhere any more")
    .argument("<id>", "of the export, as `export list` shows it")
    .option("--reason <text>", "why; it goes on record")
    .option(...CONFIG)
    .option(...DATA_OPTION)
    .addHelpText("after", "\nExamples:\n  $ holdfast export cancel ID --reason 'the box was repaired'")
    .action((id: string, _: unknown, sub: Command) => cancel(io, id, sub.optsWithGlobals()));
  command
    .command("fetch")
    .description("Write the file of an export once more, or go on with one that was broken off")
    .argument("<id>", "of the export, as `export list` shows it")
    .argument("<file>", "where to; it must not exist yet")
    .option(...CONFIG)
    .option(...DATA_OPTION)
    .action((id: string, file: string, _: unknown, sub: Command) =>
      fetchAgain(io, id, file, sub.optsWithGlobals()),
    );
  command
    .command("list")
    .description("Exports, newest first: what is held, for which, and what became of it")
    .option(...CONFIG)
    .option(...DATA_OPTION)
    .action((_: unknown, sub: Command) => list(io, sub.optsWithGlobals()));
}

function selectionOf(options: Options): ExportSelection {
  const { flow, device, target, all, dead, waiting } = options;
  const narrowed = [flow, device, target].some((each) => each !== undefined);
  if (all && narrowed)
    throw new HoldfastError("HF_USAGE", "--all stands alone: it takes every flow, device and target");
  if (!all && !narrowed && !dead) {
    throw new HoldfastError(
      "HF_USAGE",
      "name a flow, device or target, or --all (or --dead: all dead letters)",
    );
  }
  if (dead && waiting)
    throw new HoldfastError("HF_USAGE", "--dead and --waiting: leave both out to have both");
  const states = dead ? "dead" : waiting ? "open" : "all";
  return { flow, device, target, states };
}

async function exportTo(io: CliIo, name: string | undefined, options: Options): Promise<void> {
  const { withWayOut } = await import("./way-out.ts");
  const selection = selectionOf(options);
  const copy = options.copy === true;
  const reason = options.reason ?? (copy ? "a copy" : undefined);
  const file = options.estimate ? undefined : await freeFile(io, name);
  await withWayOut(io, options, async (way) => {
    say(io, way.down);
    const estimate = await way.estimate(selection);
    if (!io.json) io.note(await estimateWords(estimate));
    if (file === undefined) {
      if (io.json) io.printJson({ estimate });
      return;
    }
    if (reason === undefined)
      throw new HoldfastError(
        "HF_USAGE",
        "say why, with --reason: whoever finds them held will want to know",
      );
    const begun = await way.begin(selection, copy, reason);
    if (!io.json && !copy) io.note(`Export ${begun.id}: they are being held.`);
    const held = copy ? { export: begun, sending: 0, damaged: 0 } : await holdAll(io, way, begun.id);
    await write(way, begun.id, file);
    await tell(io, file, held, copy);
  });
}

/** Repeated while some are in the air: those come back to wait, or are delivered. */
async function holdAll(io: CliIo, way: WayOut, id: string) {
  const { sleep, systemClock } = await import("../core/clock.ts");
  const untilMs = systemClock.monoMs() + SENDING_MS_MAX;
  let held = 0;
  for (;;) {
    let sending = 0;
    let damaged = 0;
    let next: Awaited<ReturnType<WayOut["hold"]>>["next"] | undefined;
    do {
      const step = await way.hold(id, next);
      held += step.held;
      sending += step.sending;
      damaged += step.damaged;
      next = step.next;
      if (!io.json && next !== null) io.note(`${held} held so far …`);
    } while (next !== null);
    if (sending === 0 || systemClock.monoMs() >= untilMs) {
      return { export: await way.seal(id), sending, damaged };
    }
    await sleep(systemClock, SENDING_EVERY_MS);
  }
}

async function fetchAgain(io: CliIo, id: string, name: string, options: Options): Promise<void> {
  const { withWayOut } = await import("./way-out.ts");
  const file = await freeFile(io, name);
  await withWayOut(io, options, async (way) => {
    say(io, way.down);
    const found = (await way.list()).find((each) => each.id === id);
    const held =
      found?.state === "holding"
        ? await holdAll(io, way, id)
        : { export: found ?? ({ id } as ExportView), sending: 0, damaged: 0 };
    await write(way, id, file);
    await tell(io, file, held, found?.state === "copied");
  });
}

async function write(way: WayOut, id: string, file: string): Promise<void> {
  const [{ writeWhole }, { partsOf }] = await Promise.all([
    import("./whole-file.ts"),
    import("./export-lines.ts"),
  ]);
  // Read again: what cannot be read is noticed here and not on the other box.
  await writeWhole(file, await way.file(id), async (written) => {
    for await (const _ of partsOf(written));
  });
}

async function freeFile(io: CliIo, name: string | undefined): Promise<string> {
  if (name === undefined) throw new HoldfastError("HF_USAGE", "name the file that is to be written");
  const [{ resolve }, { existsSync }] = await Promise.all([import("node:path"), import("node:fs")]);
  const file = resolve(io.cwd, name);
  if (existsSync(file))
    throw new HoldfastError("HF_USAGE", `${file} is there already; name a file that is not`, { file });
  return file;
}

async function tell(
  io: CliIo,
  file: string,
  { export: of, sending, damaged }: { export: ExportView; sending: number; damaged: number },
  copy: boolean,
): Promise<void> {
  if (io.json)
    return io.printJson({
      file,
      export: of.id,
      messages: of.messages,
      holds: of.holds,
      sending,
      damaged,
      copy,
    });
  const { counted } = await import("./plain-words.ts");
  if (copy) io.print(`Copied to ${file}: nothing is held.`);
  else
    io.print(
      `${counted(of.messages ?? 0, "message")} in ${file}, and held here until it is said what became of them:`,
    );
  if (!copy) {
    io.print("  on the other box:  holdfast import FILE");
    io.print("  then on this one:  holdfast export finish FILE.receipt.json");
    io.print(`  or, to have them go on here:  holdfast export cancel ${of.id} --reason …`);
  }
  if (sending > 0)
    io.print(`${counted(sending, "delivery is", "deliveries are")} still being sent, and not in it.`);
  if (damaged > 0)
    io.print(`${counted(damaged, "delivery is", "deliveries are")} damaged on the disk, and not in it.`);
}

async function finish(io: CliIo, name: string, options: Options): Promise<void> {
  const [{ withWayOut }, { readFileSync }, { resolve }] = await Promise.all([
    import("./way-out.ts"),
    import("node:fs"),
    import("node:path"),
  ]);
  const file = resolve(io.cwd, name);
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    throw new HoldfastError("HF_NOT_FOUND", `there is no file ${file}`, { file });
  }
  const receipt = await receiptIn(text, file);
  await withWayOut(io, options, async (way) => {
    say(io, way.down);
    const ended = await inSteps(io, () => way.finish(receipt));
    if (io.json)
      return io.printJson({ export: receipt.export, gateway: receipt.gateway, ended, left: receipt.left });
    const { counted, harmless } = await import("./plain-words.ts");
    const { gateway, left } = receipt;
    io.print(
      ended === 0
        ? `Nothing was left to be ended: gateway ${harmless(gateway)} has them, and that was said before.`
        : `${counted(ended - left.length, "delivery is", "deliveries are")} discarded here, moved to gateway ${harmless(gateway)}.`,
    );
    for (const { id, why } of left) io.print(`  goes on here: ${harmless(id)}: ${harmless(why)}`);
  });
}

async function receiptIn(text: string, file: string): Promise<ImportReceipt> {
  const { importReceipt } = await import("../core/export-file.ts");
  try {
    return importReceipt.parse(JSON.parse(text));
  } catch {
    throw new HoldfastError("HF_IMPORT", `${file} is no receipt of an import, or was cut off`, { file });
  }
}

async function cancel(io: CliIo, id: string, { reason, ...options }: Options): Promise<void> {
  if (reason === undefined) throw new HoldfastError("HF_USAGE", "say why, with --reason");
  const { withWayOut } = await import("./way-out.ts");
  await withWayOut(io, options, async (way) => {
    say(io, way.down);
    const ended = await inSteps(io, () => way.cancel(id, reason));
    if (io.json) return io.printJson({ export: id, released: ended });
    const { counted } = await import("./plain-words.ts");
    io.print(
      `${counted(ended, "delivery goes", "deliveries go")} on here. Destroy the file: it must not be imported any more.`,
    );
  });
}

async function inSteps(io: CliIo, step: () => Promise<Ended>): Promise<number> {
  let sum = 0;
  for (;;) {
    const { ended, left } = await step();
    sum += ended;
    if (left === 0) return sum;
    if (!io.json) io.note(`${sum} so far, ${left} left …`);
  }
}

async function list(io: CliIo, options: Options): Promise<void> {
  const [{ withWayOut }, { systemClock }, { harmless, moment, table }] = await Promise.all([
    import("./way-out.ts"),
    import("../core/clock.ts"),
    import("./plain-words.ts"),
  ]);
  await withWayOut(io, options, async (way) => {
    const exports = await way.list();
    if (io.json) return io.printJson({ exports });
    if (exports.length === 0) return io.print("There are no exports.");
    const wallMs = systemClock.wallMs();
    const rows = exports.map((each) => [
      each.id,
      `${each.state}${each.movedTo === null ? "" : ` to ${harmless(each.movedTo)}`}`,
      String(each.holds),
      moment(each.atMs, wallMs),
      harmless(each.who),
      harmless(each.reason ?? ""),
    ]);
    const head = [
      { title: "export" },
      { title: "state" },
      { title: "held" },
      { title: "begun" },
      { title: "by", shrinkTo: 8 },
      { title: "why", shrinkTo: 12 },
    ];
    io.print(
      table(head, rows, io.stdout.columns ?? COLUMNS_DEFAULT, (text) => io.paint("dim", text)).join("\n"),
    );
  });
}

async function estimateWords({
  deliveries,
  bytes,
  oldestMs,
  sending,
  complete,
}: Awaited<ReturnType<WayOut["estimate"]>>) {
  const [{ counted, moment }, { formatBytes }, { systemClock }] = await Promise.all([
    import("./plain-words.ts"),
    import("../core/units.ts"),
    import("../core/clock.ts"),
  ]);
  const since = oldestMs === null ? "" : `, the oldest accepted ${moment(oldestMs, systemClock.wallMs())}`;
  const air = sending === 0 ? "" : ` ${counted(sending, "more is", "more are")} being sent just now.`;
  return `${complete ? "" : "At least "}${counted(deliveries, "delivery", "deliveries")}, ${formatBytes(bytes)} of payload${since}.${air}`;
}

function say(io: CliIo, down: string | null): void {
  if (down !== null && !io.json) io.note(`${down} This works on its store.`);
}
