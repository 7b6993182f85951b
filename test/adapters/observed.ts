/** An adapter and what it hands over, as somebody downstream sees it; the store behind it may be shut. */
import type { z } from "zod";
import type { Adapter, AdapterContext } from "../../src/adapters/adapter.ts";
import { readingsMessage } from "../../src/adapters/readings.ts";
import { systemClock } from "../../src/core/clock.ts";
import { silentLogger } from "../../src/core/logger.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Accepting, Draft, Receipt } from "../../src/intake/draft.ts";
import { eventually } from "../support/journey.ts";

type Told = z.output<typeof readingsMessage>;

/** Takes what comes in its order, and nothing while it is shut. */
export class Gate implements Accepting {
  readonly drafts: Draft[] = [];
  readonly #waiting: (() => void)[] = [];
  #shut = false;

  accept(draft: Draft, signal?: AbortSignal): Promise<Receipt> {
    return new Promise((resolve, reject) => {
      this.#waiting.push(() => {
        if (signal?.aborted) return reject(signal.reason);
        this.drafts.push(draft);
        resolve({ kind: "stored", id: draft.producerId!, seq: this.drafts.length, flows: 1, late: false });
      });
      this.#take();
    });
  }

  shut(): void {
    this.#shut = true;
  }

  open(): void {
    this.#shut = false;
    this.#take();
  }

  #take(): void {
    if (!this.#shut) for (const take of this.#waiting.splice(0)) take();
  }
}

export class Observed<Of extends Adapter = Adapter> {
  readonly adapter: Of;
  readonly gate = new Gate();
  readonly #told = new Map<string, readonly Told[]>();
  #read = 0;

  constructor(make: (context: AdapterContext) => Of) {
    const clock = systemClock;
    this.adapter = make({
      intake: this.gate,
      boot: "boot-1",
      dataDir: "/nowhere",
      clock,
      random: seededRandom(1),
      logger: silentLogger,
    });
  }

  get drafts(): readonly Draft[] {
    return this.gate.drafts;
  }

  messages(device = "press-7"): readonly Told[] {
    // Asked again and again while a test waits: each is read once.
    for (const { device: of, payload } of this.drafts.slice(this.#read)) {
      const told = readingsMessage.parse(JSON.parse(payload.toString()));
      this.#told.set(of, [...(this.#told.get(of) ?? []), told]);
    }
    this.#read = this.drafts.length;
    return this.#told.get(device) ?? [];
  }

  /** Readings of one signal in messages of whole polls, from the message `from` on. */
  of(signal: string, device = "press-7", from = 0) {
    return this.messages(device)
      .slice(from)
      .flatMap((message) => (message.kind === "poll" ? (message.readings[signal] ?? []) : []));
  }

  /** All readings of a device. */
  readings(device = "press-7") {
    return this.messages(device).flatMap((message) =>
      message.kind === "poll"
        ? Object.entries(message.readings).map(([signal, reading]) => ({ signal, ...reading }))
        : [],
    );
  }

  report(device = "press-7") {
    return this.adapter.devices().find((each) => each.device === device)!;
  }

  async polled(n: number, device = "press-7"): Promise<void> {
    const from = this.messages(device).length;
    await eventually(`${device} has ${n} more messages`, () => this.messages(device).length >= from + n);
  }

  async until(state: string, device = "press-7"): Promise<void> {
    await eventually(`${device} is ${state}`, () => this.report(device).state === state);
  }
}
