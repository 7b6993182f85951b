/** How a device stands, by evidence: its state, since when, and what went wrong last. Each change is logged. */
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/logger.ts";
import type { DeviceReport, DeviceState } from "../adapter.ts";

export class Standing {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #facts: { readonly device: string; readonly where: string };
  #state: DeviceState = "starting";
  #sinceMs: number;
  #lastAnswerAtMs: number | null = null;
  #lastError: string | null = null;
  #lastErrorAtMs: number | null = null;

  constructor(device: string, where: string, clock: Clock, logger: Logger) {
    this.#facts = { device, where };
    this.#clock = clock;
    this.#logger = logger;
    this.#sinceMs = clock.wallMs();
  }

  get state(): DeviceState {
    return this.#state;
  }

  report(): Pick<
    DeviceReport,
    "device" | "where" | "state" | "sinceMs" | "lastAnswerAtMs" | "lastError" | "lastErrorAtMs"
  > {
    return {
      ...this.#facts,
      state: this.#state,
      sinceMs: this.#sinceMs,
      lastAnswerAtMs: this.#lastAnswerAtMs,
      lastError: this.#lastError,
      lastErrorAtMs: this.#lastErrorAtMs,
    };
  }

  /** It said something that makes sense. `refusing`: what it said no to stays so all the same. */
  answered(refusing: boolean): void {
    this.#lastAnswerAtMs = this.#clock.wallMs();
    this.#enter(refusing ? "failing" : "online");
  }

  /** `why`: a name, a colon, a sentence. */
  trouble(state: "failing" | "offline", why: string): void {
    this.note(why);
    this.#enter(state);
  }

  /** Something went wrong that says nothing of the state. */
  note(why: string): void {
    this.#lastError = why;
    this.#lastErrorAtMs = this.#clock.wallMs();
  }

  /** The port is there again, and nothing has been heard yet. */
  again(): void {
    if (this.#state === "offline") this.#enter("starting");
  }

  #enter(state: DeviceState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#sinceMs = this.#clock.wallMs();
    if (state === "online") this.#logger.info(this.#facts, "the device answers");
    else if (state === "starting") this.#logger.info(this.#facts, "the port is open");
    else this.#logger.warn({ ...this.#facts, reason: this.#lastError }, `the device is ${state}`);
  }
}
