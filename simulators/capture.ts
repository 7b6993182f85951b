/**
 * A capture: what machines sent, one JSON object a line, so that an hour of a real plant can be played back.
 *
 *     {"at": 1767225600000, "device": "press-01", "topic": "plant/press-01/temperature",
 *      "payload": "{\"value\": 21.5}", "qos": 1, "retain": false, "id": "press-01-17"}
 *
 * `at` is epoch milliseconds or ISO 8601 text; only the distances count. A payload that is not UTF-8 text
 * stands as `payloadBase64` in place of `payload`. `retain` (false), `qos` (0) and `id` may be missing.
 */
import { isUtf8 } from "node:buffer";
import { createWriteStream, type WriteStream } from "node:fs";
import { open } from "node:fs/promises";
import { z } from "zod";
import { errorText, HoldfastError } from "../src/core/errors.ts";
import type { QoS } from "../src/core/message.ts";
import { topicNameProblem } from "../src/core/topic.ts";

export interface Captured {
  /** Epoch ms. */
  readonly atMs: number;
  readonly device: string;
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly id?: string;
}

const lineSchema = z
  .strictObject({
    at: z.union([
      z.number(),
      z.string().refine((text) => !Number.isNaN(Date.parse(text)), "expected ISO 8601"),
    ]),
    device: z.string().min(1),
    topic: z.string().superRefine((topic, context) => {
      const problem = topicNameProblem(topic);
      if (problem) context.addIssue({ code: "custom", message: `not a topic: ${problem}` });
    }),
    payload: z.string().optional(),
    payloadBase64: z.base64().optional(),
    qos: z.literal([0, 1, 2]).default(0),
    retain: z.boolean().default(false),
    id: z.string().min(1).optional(),
  })
  .refine((line) => (line.payload === undefined) !== (line.payloadBase64 === undefined), {
    message: "expected either payload or payloadBase64",
  });

/** One line of a capture. Throws HF_CAPTURE with `where` in front. */
export function parseCaptured(text: string, where: string): Captured {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new HoldfastError("HF_CAPTURE", `${where}: not JSON: ${errorText(error)}`);
  }
  const parsed = lineSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    const at = issue.path.length > 0 ? `${issue.path.join(".")}: ` : "";
    throw new HoldfastError("HF_CAPTURE", `${where}: ${at}${issue.message}`);
  }
  const { at, payload, payloadBase64, ...rest } = parsed.data;
  return {
    ...rest,
    atMs: typeof at === "number" ? at : Date.parse(at),
    payload: payload === undefined ? Buffer.from(payloadBase64!, "base64") : Buffer.from(payload),
  };
}

export function formatCaptured({ atMs, payload, ...rest }: Captured): string {
  const body = isUtf8(payload)
    ? { payload: payload.toString("utf8") }
    : { payloadBase64: payload.toString("base64") };
  return JSON.stringify({ at: atMs, ...rest, ...body });
}

/** Reads a capture line by line; a file larger than memory is no problem. Throws HF_CAPTURE. */
export async function* readCapture(file: string): AsyncGenerator<Captured> {
  const handle = await open(file).catch((error: unknown) => {
    throw new HoldfastError("HF_CAPTURE", `cannot read the capture: ${errorText(error)}`);
  });
  let number = 0;
  try {
    for await (const line of handle.readLines()) {
      number++;
      if (line.trim() !== "") yield parseCaptured(line, `${file}:${number}`);
    }
  } finally {
    await handle.close();
  }
}

export class CaptureWriter {
  readonly #out: WriteStream;
  #failure: Error | undefined;

  constructor(file: string) {
    this.#out = createWriteStream(file);
    this.#out.once("error", (error) => {
      this.#failure = error;
    });
  }

  write(captured: Captured): void {
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
