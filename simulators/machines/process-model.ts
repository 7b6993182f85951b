/**
 * A small plant as a PLC sees it: a tank that a pump fills and a process empties, a motor, a counter of pieces,
 * alarms. Pure but for its own state; its noise has a seed.
 */
import type { Random } from "../../src/core/random.ts";

const LEVEL_MAX_L = 1000;
const INFLOW_L_PER_S = 12;
const OUTFLOW_L_PER_S = 7;
const RPM_PER_S = 200;
const PIECES_PER_TURN = 1 / 600;

export class ProcessModel {
  readonly #random: Random;
  /** What an operator, or whoever writes registers, has set. */
  motorOn = true;
  speedSetpointRpm = 1500;
  levelSetpointL = 600;
  doseLPerMin = 0;
  /** Switches on the panel, one bit each. */
  options = 0;
  levelL = 400;
  temperatureC = 21;
  speedRpm = 0;
  pumpOn = true;
  doorOpen = false;
  /** Of the feeder: one for each time its button was pressed, in this life of the machine. */
  strokes = 0;
  #pieces = 0;
  uptimeMs = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  get pieces(): number {
    return Math.floor(this.#pieces);
  }

  get currentA(): number {
    return this.speedRpm === 0 ? 0 : 0.8 + this.speedRpm / 400;
  }

  get levelHigh(): boolean {
    return this.levelL > 0.9 * LEVEL_MAX_L;
  }

  get levelLow(): boolean {
    return this.levelL < 0.1 * LEVEL_MAX_L;
  }

  get overTemperature(): boolean {
    return this.temperatureC > 80;
  }

  step(ms: number): void {
    const s = ms / 1000;
    this.uptimeMs += ms;
    if (this.levelL > this.levelSetpointL * 1.05) this.pumpOn = false;
    if (this.levelL < this.levelSetpointL * 0.95) this.pumpOn = true;
    const flow = (this.pumpOn ? INFLOW_L_PER_S : 0) - (this.speedRpm > 0 ? OUTFLOW_L_PER_S : 0);
    this.levelL = Math.min(LEVEL_MAX_L, Math.max(0, this.levelL + flow * s));
    const wanted = this.motorOn ? this.speedSetpointRpm : 0;
    const change = Math.min(Math.abs(wanted - this.speedRpm), RPM_PER_S * s);
    this.speedRpm += Math.sign(wanted - this.speedRpm) * change;
    const warmth = 21 + this.speedRpm / 50;
    this.temperatureC +=
      (warmth - this.temperatureC) * Math.min(1, s / 60) + (this.#random.unit() - 0.5) * 0.02;
    this.#pieces += (this.speedRpm / 60) * s * PIECES_PER_TURN * 60;
  }

  /** Power off and on: what is not in the tank is forgotten. */
  restart(): void {
    this.#pieces = 0;
    this.uptimeMs = 0;
    this.speedRpm = 0;
  }
}
