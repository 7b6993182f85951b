/**
 * A capture: what machines did on the wire, one JSON object a line, so that it can be played back.
 *
 *     {"capture": 2, "backend": {"type": "http"}, "gateway": {"config": {}}}
 *     {"at": 1767225600000, "device": "press-01", "do": "connect", "clean": false}
 *     {"at": 1767225600004, "device": "press-01", "topic": "plant/press-01/temperature",
 *      "payload": "{\"value\": 21.5}", "qos": 1, "retain": false, "dup": false, "packetId": 1, "id": "press-01-17"}
 *     {"at": 1767225600009, "device": "press-01", "do": "answer", "answer": "puback", "packetId": 1}
 *     {"at": 1767225600012, "device": "press-01", "do": "close", "how": "cut"}
 *
 * A line without `do` is a PUBLISH. A capture of a plant may hold nothing else, with no more than `at`, `device`,
 * `topic` and `payload`: `plain`, below. One that `simulate --record` wrote is `exact`: it has the connections, packet
 * ids, DUP flags, PUBRELs and answers too, in the order in which the machines saw them, and the first line says
 * of which backend and gateway config.
 *
 * `at` is epoch milliseconds or ISO 8601 text; only the distances count. A payload that is not UTF-8 text stands
 * as `payloadBase64`. What ended in the middle of a line (a full disk, a power cut) is read up to there.
 */
import { isUtf8 } from "node:buffer";
import { createWriteStream, type WriteStream } from "node:fs";
import { open } from "node:fs/promises";
import { z } from "zod";
import { errorText, HoldfastError } from "../src/core/errors.ts";
import type { QoS } from "../src/core/message.ts";
import { safeParse } from "../src/core/safe-parse.ts";
import { topicNameProblem } from "../src/core/topic.ts";
import { scenarioSchema } from "./scenario.ts";

/** A PUBLISH. */
export interface Captured {
  /** Epoch ms. */
  readonly atMs: number;
  readonly device: string;
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly id?: string;
  readonly dup?: boolean;
  /** In an exact capture; 0 under QoS 0. */
  readonly packetId?: number;
}

/** Everything else that a machine does or sees. */
export type CapturedAct = { readonly atMs: number; readonly device: string } & (
  | { readonly do: "connect"; readonly clean: boolean; readonly username?: string }
  | { readonly do: "release"; readonly packetId: number }
  | { readonly do: "answer"; readonly answer: "puback" | "pubrec" | "pubcomp"; readonly packetId: number }
  | { readonly do: "close"; readonly how: "cut" | "lost" | "disconnect" }
);
export type CapturedEvent = (Captured & { readonly do?: undefined }) | CapturedAct;

export interface CaptureHeader {
  readonly backend: z.output<typeof scenarioSchema>["backend"];
  readonly gateway: z.output<typeof scenarioSchema>["gateway"];
}

const at = z.union([
  z.number(),
  z.string().refine((text) => !Number.isNaN(Date.parse(text)), "expected ISO 8601"),
]);
const device = z.string().min(1);
const packetId = z.int().min(0).max(65_535);

const publishSchema = z
  .strictObject({
    at,
    device,
    topic: z.string().superRefine((topic, context) => {
      const problem = topicNameProblem(topic);
      if (problem) context.addIssue({ code: "custom", message: `not a topic: ${problem}` });
    }),
    payload: z.string().optional(),
    payloadBase64: z.base64().optional(),
    qos: z.literal([0, 1, 2]).default(0),
    retain: z.boolean().default(false),
    id: z.string().min(1).optional(),
    dup: z.boolean().optional(),
    packetId: packetId.optional(),
  })
  .refine((line) => (line.payload === undefined) !== (line.payloadBase64 === undefined), {
    message: "expected either payload or payloadBase64",
  });

const actSchema = z.discriminatedUnion("do", [
  z.strictObject({
    at,
    device,
    do: z.literal("connect"),
    clean: z.boolean(),
    username: z.string().optional(),
  }),
  z.strictObject({ at, device, do: z.literal("release"), packetId }),
  z.strictObject({
    at,
    device,
    do: z.literal("answer"),
    answer: z.enum(["puback", "pubrec", "pubcomp"]),
    packetId,
  }),
  z.strictObject({ at, device, do: z.literal("close"), how: z.enum(["cut", "lost", "disconnect"]) }),
]);

const headerSchema = z.strictObject({
  capture: z.literal(2),
  backend: scenarioSchema.shape.backend,
  gateway: scenarioSchema.shape.gateway,
});

/** One line of a capture but its first. Throws HF_CAPTURE with `where` in front. */
export function parseEvent(text: string, where: string): CapturedEvent {
  const value = parseLine(text, where);
  const isAct = typeof value === "object" && value !== null && "do" in value;
  if (isAct) {
    const { at, ...act } = checked(actSchema, value, where);
    return { ...act, atMs: epochMs(at) };
  }
  const { at, payload, payloadBase64, ...rest } = checked(publishSchema, value, where);
  return {
    ...rest,
    atMs: epochMs(at),
    payload: payload === undefined ? Buffer.from(payloadBase64!, "base64") : Buffer.from(payload),
  };
}

/** One PUBLISH of a capture. Throws HF_CAPTURE with `where` in front. */
export function parseCaptured(text: string, where: string): Captured {
  const event = parseEvent(text, where);
  if (event.do !== undefined) throw new HoldfastError("HF_CAPTURE", `${where}: expected a PUBLISH`);
  return event;
}

function parseLine(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new HoldfastError("HF_CAPTURE", `${where}: not JSON: ${errorText(error)}`);
  }
}

function checked<S extends z.ZodType>(schema: S, value: unknown, where: string): z.output<S> {
  const parsed = safeParse(schema, value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const path = issue.path.length > 0 ? `${issue.path.join(".")}: ` : "";
  throw new HoldfastError("HF_CAPTURE", `${where}: ${path}${issue.message}`);
}

const epochMs = (at: number | string) => (typeof at === "number" ? at : Date.parse(at));

export function formatCaptured({ atMs, ...event }: CapturedEvent): string {
  if (event.do !== undefined) return JSON.stringify({ at: atMs, ...event });
  // Always in one order: two captures of the same traffic differ in their times alone.
  const { device, topic, payload, qos, retain, dup, packetId, id } = event;
  const body = isUtf8(payload)
    ? { payload: payload.toString("utf8") }
    : { payloadBase64: payload.toString("base64") };
  return JSON.stringify({ at: atMs, device, topic, qos, retain, dup, packetId, id, ...body });
}

export interface Capture {
  /** Null where the capture is plain. */
  readonly header: CaptureHeader | null;
  /** In the order of the file; to be read once. */
  readonly events: AsyncIterable<CapturedEvent>;
  /** True where the file ends in the middle of a line; known when all events were read. */
  readonly cutOff: () => boolean;
  close(): Promise<void>;
}

/** Opens a capture and reads its first line; a file larger than memory is no problem. Throws HF_CAPTURE. */
export async function openCapture(file: string): Promise<Capture> {
  const handle = await open(file).catch((error: unknown) => {
    throw new HoldfastError("HF_CAPTURE", `cannot read the capture: ${errorText(error)}`);
  });
  let cutOff = false;
  const lines = wholeLines(handle.createReadStream({ autoClose: false, encoding: "utf8" }), () => {
    cutOff = true;
  });
  try {
    const first = await lines.next();
    const header = first.done ? null : headerOf(first.value, `${file}:1`);
    async function* events() {
      let number = 1;
      if (!first.done && !header && first.value.trim() !== "") yield parseEvent(first.value, `${file}:1`);
      for await (const line of lines) {
        number++;
        if (line.trim() !== "") yield parseEvent(line, `${file}:${number}`);
      }
    }
    return { header, events: events(), cutOff: () => cutOff, close: () => handle.close() };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

function headerOf(line: string, where: string): CaptureHeader | null {
  if (!/^\s*\{\s*"capture"/.test(line)) return null;
  const { capture: _, ...header } = checked(headerSchema, parseLine(line, where), where);
  return header;
}

/** Lines, without the last one where it was never finished: the beginning of an object, or zeros of a torn write. */
async function* wholeLines(chunks: AsyncIterable<string>, onCutOff: () => void): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of chunks) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
  if (rest === "") return;
  const text = rest.replace(/\0+$/, "");
  const unfinished = text === "" || (text.trimStart().startsWith("{") && !isJson(text));
  if (unfinished) onCutOff();
  else yield text;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** The messages of a capture, each once: without what a machine sent again under the same packet id. */
export async function* readCapture(file: string): AsyncGenerator<Captured> {
  const capture = await openCapture(file);
  try {
    for await (const event of capture.events) {
      if (event.do === undefined && !event.dup) yield event;
    }
  } finally {
    await capture.close();
  }
}

export class CaptureWriter {
  readonly #out: WriteStream;
  #failure: Error | undefined;

  /** With a header the capture is an exact one. */
  constructor(file: string, header?: CaptureHeader) {
    this.#out = createWriteStream(file);
    this.#out.once("error", (error) => {
      this.#failure = error;
    });
    if (header) this.#out.write(`${JSON.stringify({ capture: 2, ...header })}\n`);
  }

  write(captured: CapturedEvent): void {
    this.#out.write(`${formatCaptured(captured)}\n`);
  }

  /** Resolves when all is in the file. Rejects where writing failed at any time. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#out.once("close", resolve);
      this.#out.end();
    });
    if (this.#failure) {
      throw new HoldfastError("HF_CAPTURE", `cannot write the capture: ${errorText(this.#failure)}`);
    }
  }
}
