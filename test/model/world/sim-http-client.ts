/**
 * A program in a simulated world that hands its readings in over HTTP: one request after the other, each under an
 * Idempotency-Key, under which it asks again until it is told that the reading is taken. What travels is not simulated
 * byte by byte as with machines: a request comes after a moment or never, and so does its answer.
 */
import type { Draft } from "../../../src/intake/draft.ts";
import type { Reading } from "./ledger.ts";
import type { SimGateway } from "./sim-gateway.ts";
import type { MachineParts } from "./sim-machine.ts";

const ANSWER_WITHIN_MS = 6000;
const BACKOFF_MS_MAX = 1500;
const TRAVEL_MS_MAX = 20;
/** One in so many requests never comes, and one in so many answers. */
const LOST_ONE_IN = 15;
/** Now and then one that has its answer is sent again. */
const AGAIN_ONE_IN = 12;

export interface HttpClientParts extends Omit<MachineParts, "network"> {
  /** The gateway that listens; null while there is none. */
  readonly gateway: () => SimGateway | null;
}

export class SimHttpClient {
  readonly name: string;
  readonly #p: HttpClientParts;
  /** Not answered for, oldest first; the first is under way. */
  readonly #outbox: Reading[] = [];
  #made = 0;
  #busy = false;

  constructor(name: string, parts: HttpClientParts) {
    this.name = name;
    this.#p = parts;
  }

  get idle(): boolean {
    return this.#outbox.length === 0;
  }

  make(count: number): void {
    const { name } = this;
    for (let made = 0; made < count; made++) {
      const n = ++this.#made;
      const id = `${name}-${n}`;
      const reading: Reading = {
        id,
        device: name,
        n,
        topic: `handed/${name}`,
        door: "http",
        qos: 1,
        payload: Buffer.from(JSON.stringify({ id, n })),
        poison: false,
        sentAtMs: null,
        ackedAtMs: null,
        copies: 0,
      };
      this.#p.ledger.add(reading);
      this.#outbox.push(reading);
    }
    this.#pump();
  }

  #pump(): void {
    const [reading] = this.#outbox;
    if (!reading || this.#busy) return;
    this.#busy = true;
    void this.#ask(reading).then((taken) => {
      const { time, random, trace } = this.#p;
      if (!taken) {
        time.after(10 + random.below(BACKOFF_MS_MAX), () => {
          this.#busy = false;
          this.#pump();
        });
        return;
      }
      this.#busy = false;
      if (reading.ackedAtMs === null) trace(`${this.name} has its answer for ${reading.id}`);
      reading.ackedAtMs ??= time.monoMs();
      const again = reading.copies < 3 && random.below(AGAIN_ONE_IN) === 0;
      if (!again) this.#outbox.shift();
      this.#pump();
    });
  }

  /** Whether it was told, in time, that it is taken. */
  #ask(reading: Reading): Promise<boolean> {
    const { time, trace } = this.#p;
    reading.sentAtMs ??= time.monoMs();
    reading.copies++;
    trace(`${this.name} hands in ${reading.id}`);
    return new Promise((resolve) => {
      time.after(ANSWER_WITHIN_MS, () => resolve(false));
      this.#travel(() => {
        const gateway = this.#p.gateway();
        if (!gateway) return resolve(false);
        const answer = (taken: boolean) => {
          if (!gateway.dead) this.#travel(() => resolve(taken));
        };
        gateway.handIn(draftOf(reading)).then(
          () => answer(true),
          () => answer(false),
        );
      });
    });
  }

  #travel(arrive: () => void): void {
    const { time, random } = this.#p;
    const ms = 1 + random.below(TRAVEL_MS_MAX);
    if (random.below(LOST_ONE_IN) > 0) time.after(ms, arrive);
  }
}

/** As the HTTP door makes one of a request (src/web/intake.ts). */
function draftOf({ device, topic, payload, id, qos }: Reading): Draft {
  return {
    device,
    source: "http",
    topic,
    payload,
    contentType: "application/json",
    qos,
    producerId: id,
    producedAtMs: null,
  };
}
