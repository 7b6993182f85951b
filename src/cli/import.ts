/** `holdfast import`: what another box has exported is taken in here; or edits of this box's own dead letters. */
import type { Command } from "commander";
import { HoldfastError, isHoldfastError } from "../core/errors.ts";
import type { ExportEnd, ExportHead, ExportMessage, ImportReceipt } from "../core/export-file.ts";
import { count, counted, harmless } from "../core/plain-words.ts";
import type { GatewayClient } from "./api-client.ts";
import { type CliIo, DATA_OPTION } from "./io.ts";
import { withGateway } from "./with-gateway.ts";

/** Of one request, which is one commit. */
const STEP_LINES_MAX = 200;
const STEP_CHARS_MAX = 2 ** 20;
const IDS_MAX = 1000;
/** Where the store has no room: how often it is asked again. */
const ROOM_EVERY_MS = 1000;
const PROGRESS_EVERY_MS = 5000;
const NEEDS_GATEWAY = "Only a running gateway takes messages in.";

interface Options {
  readonly flow?: string;
  readonly copy?: boolean;
  readonly dryRun?: boolean;
  readonly receipt?: string;
  readonly reason?: string;
  readonly data?: string;
}

interface ImportView {
  readonly import: number;
  readonly export: string;
  readonly state: "running" | "finished";
  readonly total: number;
  readonly taken: number;
  readonly stored: number;
  readonly added: number;
  readonly known: number;
  readonly left: readonly { readonly id: string; readonly why: string }[];
  readonly receipt: ImportReceipt | null;
}

interface Surveyed {
  readonly head: ExportHead;
  readonly end: ExportEnd;
  readonly flows: ReadonlyMap<string, number>;
  readonly edited: number;
}

export function register(program: Command, io: CliIo): void {
  program
    .command("import")
    .description("Take in what another box has exported, under its ids and in its order")
    .argument("<file>", "as `holdfast export` wrote it")
    .option("-f, --flow <name>", "the flow that is to have all of it, instead of each its own")
    .option("--copy", "also where the other box holds nothing back, and may deliver it as well")
    .option("--dry-run", "read all of it, say what would come of it, and change nothing")
    .option("--receipt <file>", "where the receipt for the other box goes (default: FILE.receipt.json)")
    .option("--reason <text>", "why; it goes on record, and with what was edited in the file")
    .option(...DATA_OPTION)
    .addHelpText(
      "after",
      `
The whole file is read first: one that is cut off, damaged or changed, and one with flows that are not known here, is
refused before anything is taken. Taken twice it changes nothing; broken off it goes on where it was. Messages keep
their ids, times, order, edits and history; within a lane they stand behind what this box has taken before them, so
import before machines are connected to it. Take the receipt back to the other box: holdfast export finish.

A copy of this box's own dead letters, edited by hand, is taken as edits of them (holdfast export --help).

Examples:
  $ holdfast import /mnt/usb/box-3.jsonl --dry-run
  $ holdfast import /mnt/usb/box-3.jsonl
  $ holdfast import /mnt/usb/mes.jsonl --flow mes-line-7
  $ holdfast import dead.jsonl --reason 'order numbers were mended'`,
    )
    .action((file: string, options: Options) => importFrom(io, file, options));
}

async function importFrom(io: CliIo, name: string, options: Options): Promise<void> {
  const { resolve } = await import("node:path");
  const file = resolve(io.cwd, name);
  await withGateway(io, options.data, NEEDS_GATEWAY, async (gateway) => {
    const surveyed = await survey(file);
    const ask = {
      head: surveyed.head,
      end: surveyed.end,
      flows: [...surveyed.flows.keys()],
      into: options.flow,
      copy: options.copy,
    };
    if (options.dryRun) return dryRun(io, gateway, file, surveyed, ask);
    const begun = (await gateway.ask("POST", "/v1/imports", { ...ask, reason: options.reason })) as {
      import: ImportView | null;
    };
    if (begun.import === null) return takeEdits(io, gateway, file, surveyed, options);
    const before = begun.import;
    const taken = before.state === "finished" ? before : await takeAll(io, gateway, file, before, options);
    const receipt = taken.receipt && resolve(io.cwd, options.receipt ?? `${file}.receipt.json`);
    if (receipt) {
      const { writeWhole } = await import("./whole-file.ts");
      await writeWhole(receipt, [`${JSON.stringify(taken.receipt, null, 2)}\n`]);
    }
    if (taken.left.length > 0) io.exitCode = 1;
    if (io.json) return io.printJson({ changed: taken !== before, receiptFile: receipt, ...taken });
    tell(io, taken, taken !== before, receipt);
  });
}

/** Reads all of it, so that nothing is begun that cannot be ended. */
async function survey(file: string, onIds?: (ids: readonly string[]) => Promise<void>): Promise<Surveyed> {
  const [{ partsOf }, { isEditedByHand }] = await Promise.all([
    import("./export-lines.ts"),
    import("../core/export-content.ts"),
  ]);
  let head: ExportHead | undefined;
  let end: ExportEnd | undefined;
  let edited = 0;
  const flows = new Map<string, number>();
  let ids: string[] = [];
  for await (const part of partsOf(file)) {
    if (part.kind === "head") head = part.head;
    else if (part.kind === "end") end = part.end;
    else {
      for (const delivery of part.message.deliveries) {
        flows.set(delivery.flow, (flows.get(delivery.flow) ?? 0) + 1);
        if (isEditedByHand(delivery)) edited += 1;
      }
      ids.push(part.message.id);
      if (ids.length < IDS_MAX) continue;
      await onIds?.(ids);
      ids = [];
    }
  }
  if (ids.length > 0) await onIds?.(ids);
  return { head: head!, end: end!, flows, edited };
}

async function dryRun(
  io: CliIo,
  gateway: GatewayClient,
  file: string,
  { head, end, flows, edited }: Surveyed,
  ask: object,
): Promise<void> {
  const check = async (ids: readonly string[]) =>
    (await gateway.ask("POST", "/v1/imports/check", { ...ask, ids })) as { own: boolean; known: number };
  const { own } = await check([]);
  let known = 0;
  await survey(file, async (ids) => {
    known += (await check(ids)).known;
  });
  const byFlow = Object.fromEntries(flows);
  if (io.json)
    return io.printJson({
      own,
      export: head.export,
      gateway: head.gateway,
      messages: end.count,
      known,
      byFlow,
      edited,
    });
  io.print(
    `Export ${head.export} of ${own ? "this gateway" : `gateway ${harmless(head.gateway)}`}, ${head.exportedAt}: whole, ${counted(end.count, "message")}.`,
  );
  for (const [flow, n] of flows) io.print(`  ${count(n)} on flow ${harmless(flow)}`);
  if (edited > 0) io.print(`  ${counted(edited, "delivery", "deliveries")} edited in the file`);
  io.print(
    own
      ? "Only these edits would be taken."
      : `${count(known)} are here already, and would stay as they are. Nothing was changed.`,
  );
}

/** Pieces of the file, from line `from` on. */
async function* pieces(file: string, from: number): AsyncGenerator<{ from: number; lines: ExportMessage[] }> {
  const { partsOf } = await import("./export-lines.ts");
  let at = 0;
  let lines: ExportMessage[] = [];
  let chars = 0;
  for await (const part of partsOf(file)) {
    if (part.kind !== "message") continue;
    at += 1;
    if (at <= from) continue;
    lines.push(part.message);
    chars += JSON.stringify(part.message).length;
    if (lines.length < STEP_LINES_MAX && chars < STEP_CHARS_MAX) continue;
    yield { from: at - lines.length, lines };
    lines = [];
    chars = 0;
  }
  if (lines.length > 0) yield { from: at - lines.length, lines };
}

async function takeAll(
  io: CliIo,
  gateway: GatewayClient,
  file: string,
  begun: ImportView,
  { reason }: Options,
): Promise<ImportView> {
  const { systemClock } = await import("../core/clock.ts");
  const path = `/v1/imports/${begun.export}`;
  if (begun.taken > 0 && !io.json)
    io.note(`It goes on after message ${count(begun.taken)} of ${count(begun.total)}.`);
  let now = begun;
  let saidAtMs = systemClock.monoMs();
  while (now.taken < now.total) {
    const startedAt = now.taken;
    for await (const piece of pieces(file, startedAt)) {
      const answer = await withRoom(io, () =>
        gateway.ask("POST", `${path}/lines`, { ...piece, reason }, { waitS: 20 }),
      );
      now = answer as ImportView;
      // Somebody else imports the same file: from where it is now.
      if (now.taken !== piece.from + piece.lines.length) break;
      if (!io.json && systemClock.monoMs() - saidAtMs >= PROGRESS_EVERY_MS) {
        saidAtMs = systemClock.monoMs();
        io.note(`${count(now.taken)} of ${counted(now.total, "message")} …`);
      }
    }
    if (now.taken === startedAt)
      throw new HoldfastError("HF_IMPORT", `the import does not get past message ${startedAt}`);
  }
  return (await gateway.ask("POST", `${path}/finish`, {})) as ImportView;
}

/** Waits for room, as machines do. */
async function withRoom(io: CliIo, ask: () => Promise<unknown>): Promise<unknown> {
  const { sleep, systemClock } = await import("../core/clock.ts");
  for (let said = false; ; said = true) {
    try {
      return await ask();
    } catch (error) {
      if (!isHoldfastError(error, "HF_STORE_FULL")) throw error;
      if (!said)
        io.note("The store has no room: waiting for some. Ctrl-C ends this; the same command goes on later.");
      await sleep(systemClock, ROOM_EVERY_MS);
    }
  }
}

async function takeEdits(
  io: CliIo,
  gateway: GatewayClient,
  file: string,
  { head, edited }: Surveyed,
  { reason }: Options,
): Promise<void> {
  const done = { edited: 0, untouched: 0, left: [] as { id: string; why: string }[] };
  if (edited > 0) {
    for await (const piece of pieces(file, 0)) {
      const body = { ...piece, reason };
      const step = (await withRoom(io, () =>
        gateway.ask("POST", `/v1/imports/${head.export}/edits`, body, { waitS: 20 }),
      )) as typeof done;
      done.edited += step.edited;
      done.untouched += step.untouched;
      done.left.push(...step.left);
    }
  }
  if (done.left.length > 0) io.exitCode = 1;
  if (io.json) return io.printJson({ own: true, export: head.export, ...done });
  io.print(
    edited === 0
      ? "This comes from this gateway, and nothing in it was edited: nothing was changed."
      : `${counted(done.edited, "dead letter")} edited and put back in line.`,
  );
  for (const { id, why } of done.left) io.print(`  not ${harmless(id)}: ${harmless(why)}`);
}

function tell(io: CliIo, taken: ImportView, changed: boolean, receipt: string | null): void {
  const { stored, added, known, left, total } = taken;
  io.print(
    changed
      ? `${counted(total, "message")} taken in: ${count(stored)} new here with ${counted(added, "delivery", "deliveries")}, ${count(known)} were here already.`
      : `This export was taken in before (import ${taken.import}): nothing was changed.`,
  );
  for (const { id, why } of left) io.print(`  not ${harmless(id)}: ${harmless(why)}`);
  if (receipt)
    io.print(
      `The receipt is in ${receipt}. On the box that they come from: holdfast export finish FILE.receipt.json`,
    );
}
