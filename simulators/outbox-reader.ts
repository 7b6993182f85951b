/**
 * Reads what a `file` target wrote, as arrivals: a backend that is never away. Reads on from where it was,
 * so that it can be asked often; a line that is still being written waits for the next time.
 */
import { closeSync, existsSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import { decodedPayload, type OracleArrival } from "./oracle.ts";

const CHUNK_BYTES = 1 << 20;

export class OutboxReader {
  readonly #folder: string;
  readonly #at = new Map<string, number>();
  readonly #arrivals: OracleArrival[] = [];

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Everything so far, in the order of the files and of the lines in them. */
  arrivals(): readonly OracleArrival[] {
    if (!existsSync(this.#folder)) return [];
    const files = readdirSync(this.#folder).filter((file) => file.endsWith(".ndjson"));
    for (const file of files.sort()) this.#readOn(file);
    return this.#arrivals;
  }

  #readOn(file: string): void {
    const fd = openSync(join(this.#folder, file), "r");
    try {
      const chunks: Buffer[] = [];
      let at = this.#at.get(file) ?? 0;
      for (;;) {
        const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
        const count = readSync(fd, chunk, 0, CHUNK_BYTES, at);
        if (count === 0) break;
        chunks.push(chunk.subarray(0, count));
        at += count;
      }
      const bytes = Buffer.concat(chunks);
      const whole = bytes.lastIndexOf(10) + 1;
      this.#at.set(file, (this.#at.get(file) ?? 0) + whole);
      for (const line of bytes.subarray(0, whole).toString("utf8").split("\n")) {
        if (line !== "") this.#arrivals.push(arrivalOf(line));
      }
    } finally {
      closeSync(fd);
    }
  }
}

/** A line is the gateway's envelope: {id, topic, payload, encoding, …}. One that is none becomes a stranger. */
function arrivalOf(line: string): OracleArrival {
  try {
    const { topic, payload, encoding, flow } = JSON.parse(line) as Record<string, unknown>;
    return {
      topic: String(topic),
      payload: decodedPayload(payload, encoding),
      effect: true,
      flow: String(flow),
    };
  } catch {
    return { topic: "(a line that is no envelope)", payload: line, effect: true };
  }
}
