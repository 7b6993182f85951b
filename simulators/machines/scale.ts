/**
 * A weighing scale that speaks as many do, after MT-SICS: asked `SI` it says the weight, `T` tares, `TA` says the
 * tare or takes one, `Z` zeroes, `SIR` makes it talk by itself. Lines end with CR LF; with `framing: "stx"` each
 * answer stands between STX and ETX, with an XOR of content and ETX behind.
 *
 *   S S      1.234 kg    stable      S D  not stable yet      S + / S -  over, under its range      S I  not now
 *   T S      0.500 kg    tared       Z A  zeroed              TA A      0.500 kg    the tare
 *   ES  no such command              EL  a parameter that it does not take
 */
import { type InstrumentOptions, SimulatedInstrument } from "./instrument.ts";

export interface ScaleOptions extends InstrumentOptions {
  readonly framing?: "line" | "stx";
  /** It says its weight by itself so often; left out, when it is asked. */
  readonly talksEveryMs?: number;
  /** Each time it is looked at, something else lies on it. */
  readonly busy?: boolean;
}

const CAPACITY_KG = 30;
/** Only this near to zero may it be zeroed. */
const ZERO_KG_MAX = 0.6;
const STX = 0x02;
const ETX = 0x03;

export class Scale extends SimulatedInstrument {
  /** What lies on it. */
  loadKg = 0;
  stable = true;
  /** It hears a command, does it, and says nothing: an answer that is lost. */
  losesAnswers = false;
  tares = 0;
  tareKg = 0;
  #zeroKg = 0;
  #received = "";
  readonly #options: ScaleOptions;
  #talksEveryMs: number | null;

  constructor(options: ScaleOptions = {}) {
    super(options);
    this.#options = options;
    this.#talksEveryMs = options.talksEveryMs ?? null;
  }

  override async start(): Promise<this> {
    await super.start();
    this.#talk();
    return this;
  }

  get netKg(): number {
    return this.loadKg - this.#zeroKg - this.tareKg;
  }

  protected onData(data: Buffer): void {
    this.#received = (this.#received + data.toString("latin1")).slice(-256);
    for (;;) {
      const end = this.#received.indexOf("\r\n");
      if (end < 0) return;
      const request = this.#received.slice(0, end);
      this.#received = this.#received.slice(end + 2);
      this.note(request);
      const answer = this.#answer(request);
      if (!this.losesAnswers) this.#sayLine(answer);
    }
  }

  #talk(): void {
    this.talk(this.#talksEveryMs, () => this.#sayLine(this.#weight()));
  }

  #sayLine(content: string): void {
    if (this.#options.framing !== "stx") {
      void this.say(Buffer.from(`${content}\r\n`, "latin1"));
      return;
    }
    const body = Buffer.from(content, "latin1");
    const sum = body.reduce((all, byte) => all ^ byte, ETX);
    const frame = Buffer.from([STX, ...body, ETX, sum]);
    const spoilt = Buffer.from([STX, ...body, ETX, sum ^ 0x41]);
    void this.say(frame, spoilt);
  }

  #answer(request: string): string {
    const [command = "", ...rest] = request.split(" ");
    switch (command) {
      case "S":
      case "SI":
        return this.#weight();
      case "SIR":
        this.#talksEveryMs = 100;
        this.#talk();
        return this.#weight();
      case "T":
        return this.#tare();
      case "TA":
        return rest.length === 0 ? `TA A ${shown(this.tareKg)}` : this.#presetTare(rest);
      case "Z":
        return this.#zero();
      default:
        return "ES";
    }
  }

  #weight(): string {
    if (this.#options.busy) this.loadKg = this.random.below(CAPACITY_KG * 1000) / 1000;
    if (this.loadKg > CAPACITY_KG) return "S +";
    if (this.loadKg < -1) return "S -";
    this.mean("weight", rounded(this.netKg));
    return `S ${this.stable ? "S" : "D"} ${shown(this.netKg)}`;
  }

  #tare(): string {
    if (!this.stable) return "T I";
    if (this.loadKg > CAPACITY_KG) return "T +";
    this.tares += 1;
    this.tareKg = this.loadKg - this.#zeroKg;
    return `T S ${shown(this.tareKg)}`;
  }

  #presetTare([value = "", unit = ""]: readonly string[]): string {
    const kg = Number(value);
    if (!/^\d+(\.\d+)?$/.test(value) || unit !== "kg" || kg > CAPACITY_KG) return "TA L";
    this.tareKg = kg;
    return `TA A ${shown(kg)}`;
  }

  #zero(): string {
    if (!this.stable) return "Z I";
    if (Math.abs(this.loadKg) > ZERO_KG_MAX) return "Z +";
    this.#zeroKg = this.loadKg;
    this.tareKg = 0;
    return "Z A";
  }
}

function shown(kg: number): string {
  return `${rounded(kg).toFixed(3).padStart(10)} kg`;
}

/** No minus before a zero. */
function rounded(kg: number): number {
  return Math.round(kg * 1000) / 1000 || 0;
}
