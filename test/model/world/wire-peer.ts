/** One end of an MQTT connection over a simulated stream, packet by packet, with nothing done by itself. */
import type { Duplex } from "node:stream";
import { generate, type Packet, parser } from "mqtt-packet";

export class WirePeer {
  readonly stream: Duplex;
  protocolVersion: 4 | 5 = 4;
  readonly #parser = parser({ protocolVersion: 4 });
  #open = true;

  constructor(stream: Duplex, onPacket: (packet: Packet) => void, onGone: () => void) {
    this.stream = stream;
    this.#parser.on("packet", (packet) => {
      if (this.#open) onPacket(packet);
    });
    this.#parser.on("error", () => stream.destroy());
    stream.on("data", (bytes: Buffer) => this.#parser.parse(bytes));
    stream.on("end", () => stream.destroy());
    stream.on("close", () => {
      if (!this.#open) return;
      this.#open = false;
      onGone();
    });
  }

  send(packet: Packet): void {
    if (this.#open && !this.stream.destroyed)
      this.stream.write(generate(packet, { protocolVersion: this.protocolVersion }));
  }

  /** Ends it without a word; its owner is not told. */
  drop(): void {
    this.#open = false;
    this.stream.destroy();
  }
}
