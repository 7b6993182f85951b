/** The store's writer without its thread: for many small stores, one after the other. */
import { randomUUID } from "node:crypto";
import {
  type AppendReply,
  type AppendRequest,
  readAppendReply,
  writeAppend,
} from "../../src/queue/requests.ts";
import { queueSchema } from "../../src/queue/schema.ts";
import { Decoder, Encoder } from "../../src/queue/wire.ts";
import { Writer } from "../../src/queue/writer.ts";

const OPENED_AT_MS = Date.UTC(2026, 5, 1, 12);

export class BareWriter {
  readonly #writer: Writer;

  constructor(dataDir: string, queue: Record<string, unknown> = {}) {
    this.#writer = new Writer({
      dataDir,
      queue: queueSchema.parse(queue),
      boot: randomUUID(),
      version: "0.0.0-test",
      openedAtMs: OPENED_AT_MS,
    });
  }

  /** Null where it found no room. */
  append(request: AppendRequest): AppendReply | null {
    return this.#run((out) => writeAppend(out, request), readAppendReply);
  }

  close(): void {
    this.#writer.close(true);
  }

  #run<T>(encode: (out: Encoder) => void, decode: (input: Decoder) => T): T | null {
    const out = new Encoder();
    out.f64(OPENED_AT_MS);
    out.f64(0);
    encode(out);
    const input = new Decoder(this.#writer.run(out.take()));
    return input.u8() === 1 ? decode(input) : null;
  }
}
