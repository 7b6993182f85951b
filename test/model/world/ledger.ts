/** What is known outside of the gateway: each reading a machine made, and what befell it. */
import type { QoS } from "../../../src/core/message.ts";

export interface Reading {
  readonly id: string;
  readonly device: string;
  /** Counts the readings of its device from 1. */
  readonly n: number;
  readonly topic: string;
  readonly door: "mqtt" | "http";
  /** Over HTTP 1: its answer promises what PUBACK does. */
  readonly qos: QoS;
  readonly payload: Buffer;
  /** A backend that checks what it takes refuses it for good. */
  readonly poison: boolean;
  /** When it went out first. */
  sentAtMs: number | null;
  /** When PUBACK, PUBREC or 202 came: from then on it may not be lost. */
  ackedAtMs: number | null;
  /** Copies that went out. */
  copies: number;
}

export class WorldLedger {
  readonly readings = new Map<string, Reading>();
  readonly #byPayload = new Map<string, Reading>();
  /** Payloads that a person has made of those of readings. */
  readonly #edits = new Map<string, Reading>();

  add(reading: Reading): void {
    this.readings.set(reading.id, reading);
    this.#byPayload.set(reading.payload.toString(), reading);
  }

  edited(reading: Reading, payload: string): void {
    this.#edits.set(payload, reading);
  }

  /** Whether a backend that checks what it takes refuses this for good. */
  isPoison(payload: string): boolean {
    return !this.#edits.has(payload) && this.find(payload)?.poison === true;
  }

  /** The reading with this payload; null where none was made that looks like this. */
  find(payload: string): Reading | null {
    return this.#edits.get(payload) ?? this.#byPayload.get(payload) ?? null;
  }
}
