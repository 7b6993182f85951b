/** Frames as RFC 6455 has them, in whatever form a client may send them, byte for byte. */
import { once } from "node:events";
import { connect as connectSocket, type Socket } from "node:net";
import { generate } from "mqtt-packet";
import { describe, expect, it, onTestFinished } from "vitest";
import { binaryFrameHeader, upgrade } from "../../simulators/torture/crowd/web-socket-client.ts";
import { startBroker, type TestBroker } from "../support/test-broker.ts";
import { connectPacket } from "../support/wire-client.ts";

const hello = generate(connectPacket());
const publish = (payload: Buffer) =>
  generate({ cmd: "publish", topic: "a", payload, qos: 1, messageId: 5, dup: false, retain: false });
const framed = (bytes: Buffer, first = 0x82) =>
  Buffer.concat([binaryFrameHeader(bytes.length, first), bytes]);

async function open(): Promise<{ test: TestBroker; socket: Socket; received: () => Buffer }> {
  const test = await startBroker({ listeners: [{ type: "ws", port: 0 }] });
  const socket = connectSocket(test.port, "127.0.0.1");
  onTestFinished(() => void socket.destroy());
  socket.on("error", () => {});
  await once(socket, "connect");
  await upgrade(socket);
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  return { test, socket, received: () => Buffer.concat(chunks) };
}

const CONNACK = "82042002" + "0000";
const PUBACK = "82044002" + "0005";

describe("a WebSocket", () => {
  it("carries MQTT in frames cut anywhere, with pings between them, and its own mask each", async () => {
    const { test, socket, received } = await open();
    const masked = framed(hello.subarray(0, 5), 0x02);
    // A mask that is none of zeros.
    masked.set([1, 2, 3, 4], 2);
    for (let i = 0; i < 5; i++) masked[6 + i]! ^= (i % 4) + 1;
    socket.write(masked);
    socket.write(framed(Buffer.from("ping?"), 0x89));
    socket.write(framed(hello.subarray(5), 0x80));
    const payload = Buffer.alloc(70_000, "x");
    for (const byte of framed(publish(Buffer.from("small")))) socket.write(Buffer.from([byte]));
    await expect.poll(() => received().toString("hex")).toContain(PUBACK);
    expect(received().toString("hex")).toContain(CONNACK);
    expect(received().toString("hex")).toContain(`8a05${Buffer.from("ping?").toString("hex")}`);
    socket.write(framed(publish(payload)));
    await expect.poll(() => test.store.payloads().map((stored) => stored.length)).toEqual([5, 70_000]);
  });

  it.each([
    ["that is not masked", Buffer.from([0x82, 2, 0xc0, 0]), 1002],
    ["of text", framed(Buffer.from("hello"), 0x81), 1003],
    ["with a reserved bit", framed(hello, 0xc2), 1002],
    ["that goes on with what has not begun", framed(hello, 0x80), 1002],
    ["of control that is cut in two", framed(Buffer.from("x"), 0x09), 1002],
    ["of control that is too long", framed(Buffer.alloc(126), 0x89), 1002],
    ["longer than there is memory", Buffer.from([0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 1009],
  ])("refuses a frame %s", async (_, bytes, code) => {
    const { test, socket, received } = await open();
    const closed = once(socket, "close");
    socket.write(bytes);
    await closed;
    expect(received().toString("hex")).toBe(`8802${code.toString(16).padStart(4, "0")}`);
    await expect.poll(() => test.broker.stats().sockets).toBe(0);
  });

  it("answers a close with a close", async () => {
    const { socket, received } = await open();
    const closed = once(socket, "close");
    socket.write(Buffer.concat([framed(hello), framed(Buffer.from([3, 232]), 0x88)]));
    await closed;
    expect(received().toString("hex")).toBe(`${CONNACK}880203e8`);
  });

  it("keeps nothing of a message that does not end", async () => {
    const { test, socket } = await open();
    socket.write(framed(hello));
    socket.write(binaryFrameHeader(2 ** 30));
    // So many whole packets in one message that has no end.
    const packet = publish(Buffer.alloc(1000));
    const many = Buffer.concat(Array(20).fill(packet));
    for (let n = 0; n < 20; n++) socket.write(many);
    await expect.poll(() => test.store.payloads().length, { timeout: 10_000 }).toBeGreaterThan(0);
    expect(test.broker.stats().inHand.partialBytes).toBeLessThan(2 ** 20);
    expect(test.broker.stats().clients).toBe(1);
  });
});
