/**
 * Plays an exact capture back: the same packets in the same order over all machines, with the same packet ids and
 * DUP flags, on connections that begin and end where they did. Nothing is added and nothing repeated.
 *
 * What a machine did after an answer, it does again after that answer: an `answer` in the capture is waited for at
 * its place. So the order of causes stays, however fast or slow the replay and the gateway are, and two replays
 * do the same. Times are the capture's, divided by `speed`; a gateway that answers later than the one of the
 * capture delays what follows, and how far it got behind is told.
 *
 * A connection that broke is closed without DISCONNECT, and everything sent on it is read by the gateway first:
 * what a broken line swallows cannot be repeated.
 */
import type { Packet } from "mqtt-packet";
import { type Clock, sleep } from "../src/core/clock.ts";
import type { Captured, CapturedEvent } from "./capture.ts";
import { type Ledger, payloadDigest, type Sent } from "./machines/ledger.ts";
import { RawMqttClient } from "./machines/raw-mqtt-client.ts";
import { payloadId } from "./oracle.ts";

const CONNECT_MS_MAX = 5_000;
const PROGRESS_MS = 250;

export interface ExactReplayOptions {
  readonly events: AsyncIterable<CapturedEvent>;
  readonly address: () => { readonly host: string; readonly port: number };
  readonly username?: string;
  readonly password?: string;
  /** 2 plays twice as fast; Infinity as fast as the answers come. */
  readonly speed: number;
  /** How long an answer is waited for. */
  readonly answerMsMax: number;
  /** The machines' book, for an oracle. */
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly signal?: AbortSignal;
  /** Each event when it has been done, with the time of the replay: the record of the replay. */
  readonly onEvent?: (event: CapturedEvent) => void;
  readonly onProgress?: (progress: ExactReplayProgress) => void;
}

export interface ExactReplayProgress {
  readonly sent: number;
  readonly acked: number;
  readonly repeats: number;
  readonly devices: number;
  readonly connections: number;
  /** How far into the capture it is, in the capture's own time. */
  readonly capturedMs: number;
}

export interface ExactReplayResult extends ExactReplayProgress {
  /** True where everything was done, and every answer of the capture came again. */
  readonly complete: boolean;
  /** What went otherwise, in sentences; the first of them. */
  readonly deviations: readonly string[];
  readonly deviationCount: number;
  /** The furthest that it was behind the capture's own times. */
  readonly behindMsMax: number;
  /** Messages without an id in their payload: no oracle can tell them apart. */
  readonly withoutId: number;
}

const DEVIATIONS_TOLD_MAX = 10;

export async function replayExactly(options: ExactReplayOptions): Promise<ExactReplayResult> {
  const player = new ExactPlayer(options);
  try {
    return await player.play();
  } finally {
    await player.stop();
  }
}

interface Device {
  readonly name: string;
  client: RawMqttClient | null;
  /** Answers that came and were not asked for yet: `puback 7` → how many. */
  readonly answers: Map<string, number>;
  /** Told of the next answer, while one is waited for. */
  wake: (() => void) | null;
  /** An answer did not come: no more is waited for on this connection. */
  silent: boolean;
  readonly inFlight: Map<number, Sent>;
  n: number;
}

class ExactPlayer {
  readonly #o: ExactReplayOptions;
  readonly #devices = new Map<string, Device>();
  readonly #sent = new Map<string, Sent>();
  readonly #deviations: string[] = [];
  #deviationCount = 0;
  #startedMs = 0;
  #behindMsMax = 0;
  #capturedMs = 0;
  #connections = 0;
  #withoutId = 0;

  constructor(options: ExactReplayOptions) {
    this.#o = options;
  }

  async play(): Promise<ExactReplayResult> {
    const { clock, signal, speed, events, onProgress, onEvent } = this.#o;
    this.#startedMs = clock.monoMs();
    const wakeAll = () => {
      for (const { wake } of this.#devices.values()) wake?.();
    };
    signal?.addEventListener("abort", wakeAll, { once: true });
    const startedWallMs = clock.wallMs();
    let firstAtMs: number | null = null;
    let shownMs = 0;
    for await (const event of events) {
      firstAtMs ??= event.atMs;
      const dueMs = (event.atMs - firstAtMs) / speed;
      // An answer has no time of its own to wait for: it is due when it comes.
      const isAnswer = event.do === "answer";
      if (!isAnswer && dueMs > this.#elapsedMs()) await sleep(clock, dueMs - this.#elapsedMs(), signal);
      if (signal?.aborted) break;
      this.#capturedMs = Math.max(this.#capturedMs, event.atMs - firstAtMs);
      if (!isAnswer && speed < Number.POSITIVE_INFINITY) {
        this.#behindMsMax = Math.max(this.#behindMsMax, this.#elapsedMs() - dueMs);
      }
      if (await this.#perform(event)) {
        onEvent?.({ ...event, atMs: startedWallMs + Math.round(this.#elapsedMs()) });
      }
      if (clock.monoMs() - shownMs < PROGRESS_MS) continue;
      shownMs = clock.monoMs();
      onProgress?.(this.#progress());
    }
    signal?.removeEventListener("abort", wakeAll);
    onProgress?.(this.#progress());
    return {
      ...this.#progress(),
      complete: this.#deviationCount === 0 && !signal?.aborted,
      deviations: this.#deviations,
      deviationCount: this.#deviationCount,
      behindMsMax: Math.round(this.#behindMsMax),
      withoutId: this.#withoutId,
    };
  }

  async stop(): Promise<void> {
    for (const { client } of this.#devices.values()) client?.destroy();
    await Promise.all([...this.#devices.values()].map(({ client }) => client?.closed));
  }

  /** True where it was done. */
  async #perform(event: CapturedEvent): Promise<boolean> {
    const device = this.#device(event.device);
    if (event.do === "connect") return this.#connect(device, event);
    const { client } = device;
    if (!client?.connected) {
      // A gateway that hung up does what the capture's close was about to do.
      if (event.do === "close") return client !== null;
      return this.#deviates(`${device.name} has no connection for its ${what(event)}`);
    }
    switch (event.do) {
      case undefined:
        this.#publish(device, client, event);
        return true;
      case "release":
        client.write({ cmd: "pubrel", messageId: event.packetId });
        return true;
      case "answer":
        return this.#answered(device, client, event);
      case "close":
        device.client = null;
        await (event.how === "disconnect" ? client.disconnect() : client.hangUp());
        return true;
    }
  }

  async #connect(device: Device, event: Extract<CapturedEvent, { do: "connect" }>): Promise<boolean> {
    const { address, clock, username = event.username, password } = this.#o;
    await device.client?.hangUp();
    device.answers.clear();
    device.silent = false;
    const client = RawMqttClient.open({
      ...address(),
      clock,
      answer: "received",
      onPacket: (packet) => this.#received(device, packet),
    });
    void client.closed.then(() => device.wake?.());
    try {
      const options = { clientId: device.name, clean: event.clean, username, password };
      await client.connect(options, CONNECT_MS_MAX);
    } catch (error) {
      client.destroy();
      return this.#deviates(`${device.name} cannot connect: ${(error as Error).message}`);
    }
    device.client = client;
    this.#connections++;
    return true;
  }

  #publish(device: Device, client: RawMqttClient, captured: Captured): void {
    const { topic, payload, qos, retain, dup = false, packetId = 0 } = captured;
    const sent = this.#sentOf(device, captured);
    client.sendPublish({ topic, payload, qos, retain, dup, messageId: packetId });
    this.#o.ledger.onWire(sent, this.#elapsedMs());
    if (qos > 0) device.inFlight.set(packetId, sent);
  }

  /** The message that a PUBLISH is a copy of, by the id in its payload. */
  #sentOf(device: Device, captured: Captured): Sent {
    const { topic, payload, qos, retain, dup, packetId } = captured;
    const ownId = payloadId(payload);
    const copied = dup && packetId !== undefined ? device.inFlight.get(packetId) : undefined;
    const known = ownId === null ? copied : this.#sent.get(ownId);
    if (known) return known;
    device.n++;
    if (ownId === null) this.#withoutId++;
    const sent: Sent = {
      id: ownId ?? `${device.name}#${device.n}`,
      device: device.name,
      n: device.n,
      topic,
      qos,
      retain,
      bytes: payload.length,
      digest: payloadDigest(payload),
      producedAtMs: captured.atMs,
      poison: false,
      copies: 0,
      firstSentAtMs: null,
      ackedAtMs: null,
    };
    this.#o.ledger.made(sent);
    if (ownId !== null) this.#sent.set(ownId, sent);
    return sent;
  }

  #received(device: Device, { cmd, messageId }: Packet): void {
    if (cmd !== "puback" && cmd !== "pubrec" && cmd !== "pubcomp") return;
    const key = `${cmd} ${messageId}`;
    device.answers.set(key, (device.answers.get(key) ?? 0) + 1);
    const sent = cmd === "pubcomp" ? undefined : device.inFlight.get(messageId ?? 0);
    if (sent) this.#o.ledger.onAck(sent, this.#elapsedMs());
    device.wake?.();
  }

  async #answered(
    device: Device,
    client: RawMqttClient,
    event: Extract<CapturedEvent, { do: "answer" }>,
  ): Promise<boolean> {
    const key = `${event.answer} ${event.packetId}`;
    const { clock, answerMsMax, signal } = this.#o;
    const untilMs = clock.monoMs() + (device.silent ? 0 : answerMsMax);
    for (;;) {
      const count = device.answers.get(key) ?? 0;
      if (count > 0) {
        device.answers.set(key, count - 1);
        return true;
      }
      const leftMs = untilMs - clock.monoMs();
      if (leftMs <= 0 || !client.connected || signal?.aborted) break;
      await new Promise<void>((resolve) => {
        const timer = clock.after(leftMs, resolve);
        device.wake = () => {
          timer.cancel();
          resolve();
        };
      });
      device.wake = null;
    }
    device.silent = true;
    return this.#deviates(
      `${device.name} got no ${event.answer.toUpperCase()} for packet id ${event.packetId}`,
    );
  }

  #deviates(sentence: string): false {
    this.#deviationCount++;
    if (this.#deviations.length < DEVIATIONS_TOLD_MAX) this.#deviations.push(sentence);
    return false;
  }

  #device(name: string): Device {
    const known = this.#devices.get(name);
    if (known) return known;
    const device: Device = {
      name,
      client: null,
      answers: new Map(),
      wake: null,
      silent: false,
      inFlight: new Map(),
      n: 0,
    };
    this.#devices.set(name, device);
    return device;
  }

  #progress(): ExactReplayProgress {
    const { sent, acked, repeats } = this.#o.ledger;
    const facts = { devices: this.#devices.size, connections: this.#connections };
    return { sent, acked, repeats, ...facts, capturedMs: this.#capturedMs };
  }

  #elapsedMs(): number {
    return this.#o.clock.monoMs() - this.#startedMs;
  }
}

function what(event: CapturedEvent): string {
  return event.do === undefined ? "PUBLISH" : event.do;
}
