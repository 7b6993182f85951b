/** What a machine tells of itself on the wire, as a line of a capture. */
import type { CapturedEvent } from "./capture.ts";
import type { WireEvent } from "./machines/machine-options.ts";

export function capturedFrom(device: string, event: WireEvent, atMs: number): CapturedEvent {
  const head = { atMs, device };
  switch (event.do) {
    case "publish": {
      const { sent, payload, dup, packetId } = event;
      const { topic, qos, retain, id } = sent;
      return { ...head, topic, payload, qos, retain, dup, packetId, id };
    }
    case "answer":
      return { ...head, do: "answer", answer: event.cmd, packetId: event.packetId };
    case "connect":
    case "release":
    case "close":
      return { ...head, ...event };
  }
}
