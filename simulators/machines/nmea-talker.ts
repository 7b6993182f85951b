/**
 * An NMEA 0183 talker: a receiver on a boat that goes in a circle, and says each second where it is (GGA), how
 * fast (RMC), and which satellites it sees (GSV), each sentence with the XOR of what stands between $ and *.
 */
import { type InstrumentOptions, SimulatedInstrument } from "./instrument.ts";

export interface NmeaTalkerOptions extends InstrumentOptions {
  /** Default: 1000. */
  readonly everyMs?: number;
}

const LATITUDE = 53.5411;
const LONGITUDE = 9.9842;
const RADIUS_DEGREES = 0.01;
const TURN_SAYINGS = 360;
const KNOTS = 6.2;
/** Of a degree: ten thousandths of a minute. */
const PARTS = 600_000;

export class NmeaTalker extends SimulatedInstrument {
  hasFix = true;
  #turn = 0;
  readonly #everyMs: number;

  constructor(options: NmeaTalkerOptions = {}) {
    super(options);
    this.#everyMs = options.everyMs ?? 1000;
  }

  get latitude(): number {
    return LATITUDE + RADIUS_DEGREES * Math.sin((2 * Math.PI * this.#turn) / TURN_SAYINGS);
  }

  get longitude(): number {
    return LONGITUDE + RADIUS_DEGREES * Math.cos((2 * Math.PI * this.#turn) / TURN_SAYINGS);
  }

  override async start(): Promise<this> {
    await super.start();
    this.talk(this.#everyMs, () => void this.speak());
    return this;
  }

  /** All that it says at a time. */
  async speak(): Promise<void> {
    this.#turn += 1;
    const time = new Date(this.clock.wallMs()).toISOString();
    const clock = time.slice(11, 19).replaceAll(":", "");
    const date = `${time.slice(8, 10)}${time.slice(5, 7)}${time.slice(2, 4)}`;
    this.mean("latitude", parts(this.latitude) / PARTS);
    this.mean("longitude", parts(this.longitude) / PARTS);
    const where = this.hasFix ? `${nmea(this.latitude, 2, "NS")},${nmea(this.longitude, 3, "EW")}` : ",,,";
    const course = ((360 * this.#turn) / TURN_SAYINGS) % 360;
    const [fix, valid] = this.hasFix ? [1, "A"] : [0, "V"];
    const motion = this.hasFix ? `${KNOTS.toFixed(1)},${course.toFixed(1)}` : ",";
    for (const sentence of [
      `GPGGA,${clock}.00,${where},${fix},08,1.0,12.4,M,45.1,M,,`,
      `GPRMC,${clock}.00,${valid},${where},${motion},${date},,,A`,
      "GPGSV,1,1,02,05,62,120,44,12,31,251,40",
    ]) {
      await this.#sentence(sentence);
    }
  }

  protected onData(data: Buffer): void {
    this.note(data.toString("latin1"));
  }

  #sentence(content: string): Promise<void> {
    const sum = Buffer.from(content, "latin1").reduce((all, byte) => all ^ byte, 0);
    const framed = (digits: number) =>
      Buffer.from(`$${content}*${digits.toString(16).toUpperCase().padStart(2, "0")}\r\n`, "latin1");
    return this.say(framed(sum), framed(sum ^ 0x55));
  }
}

/** In parts of a minute, or 59.99999 minutes would be written 60.0000. */
function parts(degrees: number): number {
  return Math.round(degrees * PARTS);
}

/** `5332.4660,N`: degrees, then minutes with their decimals, in one. */
function nmea(degrees: number, digits: number, sides: string): string {
  const whole = Math.floor(Math.abs(parts(degrees)) / PARTS);
  const minutes = ((Math.abs(parts(degrees)) % PARTS) / 10_000).toFixed(4).padStart(7, "0");
  return `${String(whole).padStart(digits, "0")}${minutes},${sides[degrees < 0 ? 1 : 0]}`;
}
