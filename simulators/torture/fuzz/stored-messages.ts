/** Holds what a gateway's file target has written against what anybody could have sent. */
import { closeSync, existsSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import { digestOf } from "./possible-messages.ts";

const CHUNK_BYTES = 2 ** 20;
const STRANGERS_TOLD_MAX = 5;

export class StoredMessages {
  readonly #folder: string;
  readonly #allowed = new Set<string>();
  readonly #at = new Map<string, number>();
  count = 0;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** A message with this digest may be there. */
  allow(digest: string): void {
    this.#allowed.add(digest);
  }

  /** What has come since the last time and that nobody could have sent, in sentences. */
  strangers(bystanders: { knows(topic: string, payload: string): boolean }): string[] {
    const found: string[] = [];
    if (!existsSync(this.#folder)) return found;
    for (const file of readdirSync(this.#folder)
      .filter((name) => name.endsWith(".ndjson"))
      .sort()) {
      for (const line of this.#linesOf(file)) {
        this.count++;
        const strange = this.#strange(line, bystanders);
        if (strange && found.length < STRANGERS_TOLD_MAX) found.push(strange);
      }
    }
    return found;
  }

  #strange(line: string, bystanders: { knows(topic: string, payload: string): boolean }): string | null {
    let envelope: { topic?: string; payload?: string; encoding?: string };
    try {
      envelope = JSON.parse(line);
    } catch {
      return `a line in the outbox is no JSON: ${line.slice(0, 200)}`;
    }
    const { topic = "", payload, encoding } = envelope;
    // What a mutation made valid JSON does not stand there byte for byte.
    if (encoding === "json") return null;
    const bytes =
      encoding === "base64" ? Buffer.from(String(payload), "base64") : Buffer.from(String(payload));
    if (bystanders.knows(topic, bytes.toString())) return null;
    if (topic === "reuse" && String(payload) === "~reuse") return null;
    if (this.#allowed.has(digestOf(topic, bytes))) return null;
    return `the store has a message that nobody sent, on ${JSON.stringify(topic.slice(0, 100))}: ${bytes.toString("latin1").slice(0, 80)}`;
  }

  *#linesOf(file: string): Generator<string> {
    const fd = openSync(join(this.#folder, file), "r");
    try {
      let rest = Buffer.alloc(0);
      for (let at = this.#at.get(file) ?? 0; ; ) {
        const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
        const bytes = readSync(fd, chunk, 0, CHUNK_BYTES, at);
        if (bytes === 0) return;
        at += bytes;
        const all = Buffer.concat([rest, chunk.subarray(0, bytes)]);
        const end = all.lastIndexOf(10) + 1;
        rest = all.subarray(end);
        this.#at.set(file, at - rest.length);
        for (const line of all.toString("utf8", 0, end).split("\n")) if (line !== "") yield line;
      }
    } finally {
      closeSync(fd);
    }
  }
}
