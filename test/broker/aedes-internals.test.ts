/** Fails where a version of aedes no longer has what aedes-internals.ts relies on. */

import { Duplex } from "node:stream";
import { describe, expect, it } from "vitest";
import { BrokerCore, copyPacket, FANNED_OUT, type Publish } from "../../src/broker/aedes-internals.ts";

function client(core: BrokerCore): Record<string, unknown> {
  const stream = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
  const made = core.handle(stream) as unknown as Record<string, unknown>;
  return made;
}

describe("aedes", () => {
  it("is the version this was written for", () => {
    expect((new BrokerCore({ id: "x" }) as unknown as { version: string }).version).toBe("1.2.0");
  });

  it("has the fields that are relied on", async () => {
    const core = new BrokerCore({ id: "x" });
    await core.listen();
    const made = client(core);
    expect(made).toMatchObject({
      _parsingBatch: 1,
      closed: false,
      connecting: false,
      connected: false,
      will: null,
      subscriptions: {},
    });
    expect(made._nextBatch).toBeTypeOf("function");
    expect((made._parser as { parse: unknown }).parse).toBeTypeOf("function");
    expect(made).toHaveProperty("_keepaliveTimer");
    expect(core.mq.emit).toBeTypeOf("function");
    const { opts } = core as unknown as { opts: Record<string, number> };
    expect(opts).toMatchObject({ concurrency: 0 });
    (made.close as () => void)();
    await new Promise<void>((resolve) => core.close(resolve));
  });

  it("does not publish what has been handed out already, and calls back", async () => {
    const core = new BrokerCore({ id: "x" });
    await core.listen();
    const seen: string[] = [];
    core.subscribe(
      "a",
      (packet, done) => {
        seen.push(packet.payload.toString());
        done();
      },
      () => {},
    );
    await new Promise((resolve) => setImmediate(resolve));
    const packet: Publish = { cmd: "publish", topic: "a", payload: Buffer.from("1"), qos: 0, retain: false };
    core.fanOut(packet, "c");
    packet[FANNED_OUT] = true;
    await new Promise((resolve) => core.publish(packet, null, resolve));
    expect(seen).toEqual(["1"]);
    expect(copyPacket(packet)).not.toHaveProperty("FANNED_OUT");
    await new Promise<void>((resolve) => core.close(resolve));
  });

  it("does not register a client that has closed meanwhile", async () => {
    const core = new BrokerCore({ id: "x" });
    await core.listen();
    const made = client(core);
    (made.close as () => void)();
    core.registerClient(made as never);
    expect(Object.keys(core.clients)).toEqual([]);
    await new Promise<void>((resolve) => core.close(resolve));
  });
});
