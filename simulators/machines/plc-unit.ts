/**
 * One Modbus unit with a process behind it. What a request means is jsmodbus's to say, on buffers that are
 * written from the model before each request; this file is the register map, and function 22, which jsmodbus has not.
 *
 *   input    0-1 level, float32, l · 2 temperature, int16 × 0.1 °C · 3 speed, uint16, rpm · 4-5 current, float32, A
 *            6-7 pieces, uint32 · 8-11 uptime, uint64, ms · 12 alarms, bits (0 level high, 1 level low,
 *            2 over-temperature, 3 door open) · 13-20 name, 16 characters · 21 requests answered, uint16
 *            22 strokes of the feeder, uint16
 *   holding  0 level setpoint, l · 1 speed setpoint, rpm · 2-3 dose, float32, l/min · 4 options, bits
 *            8-15 recipe, 16 characters
 *   coil     0 motor on · 1 feeder: a button, one stroke each time it is written; it falls back by itself
 *   discrete 0 running · 1 pump on · 2 level high · 3 level low
 */
import { EventEmitter } from "node:events";
import type { Server } from "node:net";
import { ModbusTCPServer } from "jsmodbus";
import type { ProcessModel } from "./process-model.ts";

const REGISTERS = 64;
const BITS = 64;
const MBAP_BYTES = 7;
const MASK_WRITE = 22;
const ILLEGAL_FUNCTION = 1;
const ILLEGAL_ADDRESS = 2;

/** In front of jsmodbus in place of a socket: what it answers is kept. */
class Slot extends EventEmitter {
  answer: Buffer | null = null;

  write(data: Buffer, done?: () => void): boolean {
    this.answer = data;
    done?.();
    return true;
  }
}

export class PlcUnit {
  readonly model: ProcessModel;
  readonly #name: string;
  readonly #slot = new Slot();
  readonly #tables = {
    coils: Buffer.alloc(BITS / 8),
    discrete: Buffer.alloc(BITS / 8),
    input: Buffer.alloc(2 * REGISTERS),
    holding: Buffer.alloc(2 * REGISTERS),
  };
  #answered = 0;

  constructor(model: ProcessModel, name: string) {
    this.model = model;
    this.#name = name;
    const door = new EventEmitter();
    new ModbusTCPServer(door as Server, this.#tables);
    door.emit("connection", this.#slot);
    this.#tables.holding.writeUInt16BE(model.levelSetpointL, 0);
    this.#tables.holding.writeUInt16BE(model.speedSetpointRpm, 2);
    this.#tables.coils[0] = model.motorOn ? 1 : 0;
    this.#tables.holding.writeFloatBE(model.doseLPerMin, 4);
  }

  /** The answer to a request, both without their framing. */
  answer(pdu: Buffer): Buffer {
    const code = pdu[0] ?? 0;
    this.#refresh();
    if (reach(pdu) > ([1, 2, 5, 15].includes(code) ? BITS : REGISTERS))
      return exception(code, ILLEGAL_ADDRESS);
    if (code === MASK_WRITE) return this.#maskWrite(pdu);
    const head = Buffer.alloc(MBAP_BYTES);
    head.writeUInt16BE(pdu.length + 1, 4);
    head[6] = 1;
    this.#slot.answer = null;
    this.#slot.emit("data", Buffer.concat([head, pdu]));
    this.#takeSettings();
    const answer = this.#slot.answer as Buffer | null;
    this.#answered += 1;
    return answer ? answer.subarray(MBAP_BYTES) : exception(code, ILLEGAL_FUNCTION);
  }

  /** [Modbus application protocol V1.1b3, 6.16]: the answer is the request. */
  #maskWrite(pdu: Buffer): Buffer {
    const at = 2 * pdu.readUInt16BE(1);
    const [and, or] = [pdu.readUInt16BE(3), pdu.readUInt16BE(5)];
    const { holding } = this.#tables;
    holding.writeUInt16BE((holding.readUInt16BE(at) & and) | (or & ~and & 0xffff), at);
    this.#takeSettings();
    this.#answered += 1;
    return pdu;
  }

  #takeSettings(): void {
    const { holding, coils } = this.#tables;
    this.model.levelSetpointL = holding.readUInt16BE(0);
    this.model.speedSetpointRpm = holding.readUInt16BE(2);
    this.model.doseLPerMin = holding.readFloatBE(4);
    this.model.options = holding.readUInt16BE(8);
    this.model.motorOn = (coils[0]! & 1) === 1;
    if ((coils[0]! & 2) !== 0) this.model.strokes += 1;
    coils[0]! &= ~2;
  }

  #refresh(): void {
    const { model } = this;
    const { input, discrete } = this.#tables;
    input.writeFloatBE(model.levelL, 0);
    input.writeInt16BE(Math.round(model.temperatureC * 10), 4);
    input.writeUInt16BE(Math.round(model.speedRpm), 6);
    input.writeFloatBE(model.currentA, 8);
    input.writeUInt32BE(model.pieces, 12);
    input.writeBigUInt64BE(BigInt(Math.round(model.uptimeMs)), 16);
    const alarms = [model.levelHigh, model.levelLow, model.overTemperature, model.doorOpen];
    input.writeUInt16BE(word(alarms), 24);
    input.write(this.#name.padEnd(16, "\0"), 26, 16, "latin1");
    input.writeUInt16BE(this.#answered & 0xffff, 42);
    input.writeUInt16BE(model.strokes & 0xffff, 44);
    discrete[0] = word([model.speedRpm > 0, model.pumpOn, model.levelHigh, model.levelLow]);
  }
}

/** One more than the last address that a request is about. */
function reach(pdu: Buffer): number {
  const code = pdu[0] ?? 0;
  if (pdu.length < 5) return 0;
  const single = code === 5 || code === 6 || code === MASK_WRITE;
  return pdu.readUInt16BE(1) + (single ? 1 : pdu.readUInt16BE(3));
}

export function exception(code: number, what: number): Buffer {
  return Buffer.from([code | 0x80, what]);
}

function word(bits: readonly boolean[]): number {
  return bits.reduce((sum, on, at) => sum + (on ? 2 ** at : 0), 0);
}
