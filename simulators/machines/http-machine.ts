/**
 * A simulated machine that hands its readings in over HTTP, one after the other: the next one leaves when the one
 * before has its 202 (or 200), so that they arrive in their order. Each has its id as `Idempotency-Key`, under which it
 * is sent again until then, whatever came of it: no answer, none in time, or one that says no.
 *
 * Its mishaps: `dup` sends a request a second time although it was answered, `loseAck` hangs up on the answer.
 * `connects` counts connections; it keeps one while it can.
 */
import { Agent, type ClientRequest, request } from "node:http";
import { type Kept, Machine } from "./machine.ts";
import type { MachineOptions } from "./machine-options.ts";

export class HttpMachine extends Machine {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  #request: ClientRequest | null = null;
  #up = false;
  /** It waits for an answer, or for the time to ask again. */
  #busy = false;

  constructor(options: MachineOptions) {
    // 202 promises what PUBACK does.
    super({ ...options, behaviour: { ...options.behaviour, qos: 1 } });
  }

  /** Its last request was answered. */
  override get up(): boolean {
    return this.#up;
  }

  override get idle(): boolean {
    return this.outbox.length === 0;
  }

  override cut(): void {
    this.#request?.destroy();
    this.#agent.destroy();
  }

  protected override connect(): void {
    this.pump();
  }

  protected override async leave(): Promise<void> {
    const asked = this.#request;
    this.cut();
    if (asked && !asked.closed) await new Promise<void>((resolve) => asked.once("close", resolve));
  }

  protected override pump(): void {
    const kept = this.outbox[0];
    if (!kept) this.perhapsIdle();
    else if (!this.#busy && !this.stopped && !this.isOffline) void this.#handIn(kept);
  }

  async #handIn(kept: Kept): Promise<void> {
    this.#busy = true;
    const status = await this.#post(kept);
    this.#up = status !== null;
    const isTaken = status === 200 || status === 202;
    if (isTaken) this.options.ledger.onAck(kept.sent, this.options.elapsedMs());
    if (isTaken && kept.mishaps.loseAck) {
      kept.mishaps = { ...kept.mishaps, loseAck: false };
      this.cut();
      this.#later();
    } else if (isTaken) {
      this.succeeded();
      this.#busy = false;
      if (kept.mishaps.dup) kept.mishaps = { ...kept.mishaps, dup: false };
      else {
        this.outbox.shift();
        this.done(kept);
      }
      this.pump();
    } else this.#later();
  }

  #later(): void {
    this.retryLater(() => {
      this.#busy = false;
      this.pump();
    });
  }

  /** The answer's status; null where none came. */
  #post({ sent, payload }: Kept): Promise<number | null> {
    const { http, behaviour, clock, ledger, onWire, elapsedMs } = this.options;
    const base = http?.() ?? null;
    if (base === null) return Promise.resolve(null);
    const body = JSON.stringify({
      topic: sent.topic,
      device: this.device,
      payload: JSON.parse(payload.toString()),
    });
    return new Promise((resolve) => {
      const asked = request(`${base}/v1/messages`, {
        agent: this.#agent,
        method: "POST",
        headers: {
          "content-type": "application/json",
          "content-length": Buffer.byteLength(body),
          "idempotency-key": sent.id,
        },
      });
      this.#request = asked;
      const late = clock.after(behaviour.ackTimeout, () => asked.destroy());
      const answered = (status: number | null) => {
        late.cancel();
        this.#request = null;
        resolve(status);
      };
      asked.once("socket", () => {
        if (!asked.reusedSocket) this.connects++;
      });
      asked.once("response", (response) => {
        response.resume();
        response.once("close", () => answered(response.complete ? (response.statusCode ?? null) : null));
      });
      // A connection that broke, or was never made; one that broke within the answer is told above.
      asked.once("error", () => answered(null));
      asked.end(body);
      ledger.onWire(sent, elapsedMs());
      onWire?.(sent, payload);
    });
  }
}
