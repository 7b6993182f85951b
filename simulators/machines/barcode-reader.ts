/** A barcode reader: says what it was held at, with the AIM identifier before it, and nothing else, ever. */
import { type InstrumentOptions, SimulatedInstrument } from "./instrument.ts";

export interface BarcodeReaderOptions extends InstrumentOptions {
  /** It scans an EAN-13 of its own so often; left out, when scan() is called. */
  readonly scansEveryMs?: number;
}

export class BarcodeReader extends SimulatedInstrument {
  readonly #everyMs: number | null;

  constructor(options: BarcodeReaderOptions = {}) {
    super(options);
    this.#everyMs = options.scansEveryMs ?? null;
  }

  override async start(): Promise<this> {
    await super.start();
    this.talk(this.#everyMs, () => this.scan());
    return this;
  }

  /** `aim`: of which kind the code is: `E0` EAN-13, `C1` GS1-128, `Q3` QR. */
  scan(code: string = this.ean13(), aim = "E0"): string {
    this.mean("code", code);
    void this.say(Buffer.from(`]${aim}${code}\r\n`, "latin1"));
    return code;
  }

  /** With its check digit [GS1 General Specifications, 7.9]. */
  ean13(): string {
    const digits = Array.from({ length: 12 }, () => this.random.below(10));
    const sum = digits.reduce((all, digit, at) => all + digit * (at % 2 === 0 ? 1 : 3), 0);
    return [...digits, (10 - (sum % 10)) % 10].join("");
  }

  protected onData(data: Buffer): void {
    this.note(data.toString("latin1"));
  }
}
