import { EventEmitter } from "node:events";
import { describe, expect, it } from "vitest";
import { onTerminate, type SignalSource } from "../../src/cli/signals.ts";

class Source extends EventEmitter {
  readonly exits: number[] = [];
  exit(code: number): never {
    this.exits.push(code);
    return undefined as never;
  }
}

function listening() {
  const source = new Source();
  const stops: string[] = [];
  const clock = { atMs: 1000, monoMs: () => clock.atMs };
  const forget = onTerminate((signal) => stops.push(signal), source as unknown as SignalSource, clock);
  return { source, stops, clock, forget };
}

describe("a signal to end", () => {
  it("stops decently, and the second one at once, as shells number it", () => {
    const { source, stops, clock } = listening();
    source.emit("SIGINT", "SIGINT");
    clock.atMs += 1000;
    source.emit("SIGTERM", "SIGTERM");
    expect([stops, source.exits]).toEqual([["SIGINT"], [143]]);
  });

  it("that comes twice at once, as timeout(1) sends it, is one", () => {
    const { source, stops, clock } = listening();
    source.emit("SIGTERM", "SIGTERM");
    clock.atMs += 2;
    source.emit("SIGTERM", "SIGTERM");
    expect([stops, source.exits]).toEqual([["SIGTERM"], []]);
  });

  it("is nobody's any more once it is forgotten", () => {
    const { source, stops, forget } = listening();
    forget();
    expect(source.emit("SIGTERM", "SIGTERM")).toBe(false);
    expect(stops).toEqual([]);
  });
});
