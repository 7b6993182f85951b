/**
 * The store of a gateway that is down, for a person who has to change something in it all the same: under the same lock,
 * by the same writer, in commits of the same kind. Not salvaged here where it is damaged: that is a start's to do.
 */
import { randomUUID } from "node:crypto";
import { type Clock, SteadyClock } from "../core/clock.ts";
import type { StoreCalls } from "./calls.ts";
import { startWriter } from "./damage.ts";
import { openForReading } from "./database.ts";
import { lockStore } from "./lock.ts";
import { REQUEST } from "./requests.ts";
import { queueSchema } from "./schema.ts";
import { Decoder, Encoder } from "./wire.ts";
import type { Writer } from "./writer.ts";

export class StoppedStore {
  readonly #clock: Clock;
  readonly #steady: SteadyClock;
  readonly #unlock: () => void;
  readonly #writer: Writer;

  /** Throws HF_NOT_FOUND where there is none, HF_STORE_LOCKED where a gateway has it, HF_STORE_*. */
  constructor(dataDir: string, version: string, clock: Clock) {
    // Here a writer would make a new one.
    openForReading(dataDir).close();
    this.#clock = clock;
    const boot = randomUUID();
    const openedAtMs = clock.wallMs();
    const startedAt = new Date(openedAtMs).toISOString();
    this.#unlock = lockStore(dataDir, { pid: process.pid, boot, startedAt });
    try {
      const queue = queueSchema.parse({ onDamage: "refuse" });
      this.#writer = startWriter({ dataDir, queue, boot, version, openedAtMs });
    } catch (error) {
      this.#unlock();
      throw error;
    }
    this.#steady = new SteadyClock(clock, this.#writer.opened.last);
  }

  async call<K extends keyof StoreCalls>(name: K, argument: StoreCalls[K][0]): Promise<StoreCalls[K][1]> {
    const out = new Encoder();
    out.f64(this.#clock.wallMs());
    out.f64(this.#steady.nowMs());
    out.u8(REQUEST.call);
    out.text(name);
    out.text(JSON.stringify(argument));
    const answer = new Decoder(this.#writer.run(out.take()));
    if (answer.u8() !== 1) throw new Error(`the store did not take ${name}`);
    return JSON.parse(answer.text()) as StoreCalls[K][1];
  }

  close(): void {
    this.#writer.close(true);
    this.#unlock();
  }
}
