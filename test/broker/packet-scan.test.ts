import fc from "fast-check";
import mqtt, { type Packet } from "mqtt-packet";
import { describe, expect, it } from "vitest";
import { type PacketProblem, PacketScan } from "../../src/broker/packet-scan.ts";
import { connectPacket } from "../support/wire-client.ts";

const LARGE = 2 ** 28;

/** Scans a whole stream: the sizes of its packets, or the problem that ended it. */
function scanAll(bytes: Buffer, bytesMax = LARGE): { sizes: number[]; problem: PacketProblem | null } {
  const scan = new PacketScan();
  const sizes: number[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (!scan.header(bytes, at, bytesMax) || at + scan.size > bytes.length) break;
    if (!scan.body(bytes, at)) break;
    sizes.push(scan.size);
    at += scan.size;
  }
  return { sizes, problem: scan.problem };
}

const hello = mqtt.generate(connectPacket());
const problemOf = (...packets: (Packet | Buffer)[]) =>
  scanAll(Buffer.concat([hello, ...packets.map((p) => (Buffer.isBuffer(p) ? p : mqtt.generate(p)))])).problem;
/** A PUBLISH with these very bytes as its topic. */
const publishRaw = (topic: Buffer, id?: number) => {
  const rest = id === undefined ? Buffer.alloc(0) : Buffer.from([id >> 8, id & 0xff]);
  const head = Buffer.from([id === undefined ? 0x30 : 0x32, 2 + topic.length + rest.length, 0, topic.length]);
  return Buffer.concat([head, topic, rest]);
};

describe("packets in a stream", () => {
  it("are found with their sizes, and nothing is wrong with what a client library writes", () => {
    const packets: Packet[] = [
      connectPacket({ will: { topic: "w", payload: Buffer.from("gone"), qos: 1, retain: true } }),
      {
        cmd: "publish",
        topic: "a/ß/温度",
        payload: Buffer.alloc(3000),
        qos: 2,
        messageId: 7,
        dup: false,
        retain: false,
      },
      { cmd: "publish", topic: "a", payload: "", qos: 0, dup: false, retain: false },
      {
        cmd: "subscribe",
        messageId: 1,
        subscriptions: [
          { topic: "a/#", qos: 1 },
          { topic: "+/b", qos: 0 },
        ],
      },
      { cmd: "unsubscribe", messageId: 2, unsubscriptions: ["a/#"] },
      { cmd: "puback", messageId: 3 },
      { cmd: "pubrel", messageId: 3 },
      { cmd: "pingreq" },
      { cmd: "disconnect" },
    ];
    const bytes = packets.map((packet) => mqtt.generate(packet));
    const found = scanAll(Buffer.concat(bytes));
    expect(found).toEqual({ sizes: bytes.map((each) => each.length), problem: null });
  });

  it("are told to be incomplete wherever they are cut", () => {
    const bytes = Buffer.concat([
      hello,
      mqtt.generate({
        cmd: "publish",
        topic: "t",
        payload: Buffer.alloc(500),
        qos: 1,
        messageId: 1,
        dup: false,
        retain: false,
      }),
    ]);
    for (let end = 0; end < bytes.length; end++) {
      const { sizes, problem } = scanAll(bytes.subarray(0, end));
      expect(problem).toBeNull();
      expect(sizes).toEqual(end < hello.length ? [] : [hello.length]);
    }
  });

  it("never make the scanner throw or run away, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (noise, introduced) => {
        const { sizes } = scanAll(Buffer.concat(introduced ? [hello, noise] : [noise]), 1000);
        return sizes.every((size) => size >= 2 && size <= 1000);
      }),
    );
  });
});

describe("a packet is refused", () => {
  it("where it is larger than allowed, as soon as its header is there", () => {
    const header = Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f]);
    expect(scanAll(Buffer.concat([hello, header]), 1000).problem).toBe("packet too large");
    expect(scanAll(hello, 10).problem).toBe("packet too large");
  });

  it("where its length goes on for ever", () => {
    expect(problemOf(Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 1]))).toBe("malformed packet");
  });

  it("where CONNECT does not come first, or comes twice", () => {
    expect(scanAll(mqtt.generate({ cmd: "pingreq" })).problem).toBe("no CONNECT first");
    expect(problemOf(hello)).toBe("second CONNECT");
  });

  it("where its packet id is 0", () => {
    expect(problemOf(publishRaw(Buffer.from("t"), 0))).toBe("packet id 0");
    expect(problemOf(Buffer.from([0x40, 2, 0, 0]))).toBe("packet id 0");
    expect(problemOf(Buffer.from([0x82, 6, 0, 0, 0, 1, 97, 0]))).toBe("packet id 0");
  });

  it("where a string holds NUL", () => {
    expect(problemOf(publishRaw(Buffer.from("a\0b")))).toBe("NUL in a string");
    expect(problemOf(Buffer.from([0x82, 6, 0, 1, 0, 1, 0, 0]))).toBe("NUL in a string");
  });

  it.each([
    ["a lone continuation byte", [0x80]],
    ["an overlong slash", [0xc0, 0xaf]],
    ["half a surrogate pair", [0xed, 0xa0, 0x80]],
    ["a sequence that is cut off", [0xe2, 0x82]],
  ])("where a string is not UTF-8: %s", (_, bytes) => {
    expect(problemOf(publishRaw(Buffer.from([97, ...bytes])))).toBe("invalid UTF-8");
  });

  it("where lengths inside it do not add up", () => {
    expect(problemOf(Buffer.from([0x30, 3, 0, 9, 97]))).toBe("malformed packet");
    expect(problemOf(Buffer.from([0x82, 2, 0, 1]))).toBe("malformed packet");
    expect(problemOf(Buffer.from([0x62, 3, 0, 1, 0]))).toBe("malformed packet");
    expect(problemOf(publishRaw(Buffer.from("t"), 1).fill(0x36, 0, 1))).toBe("malformed packet");
  });

  it("where CONNECT asks for a version or flags that do not exist", () => {
    const of = (change: (bytes: Buffer) => void) => {
      const bytes = Buffer.from(hello);
      change(bytes);
      return scanAll(bytes).problem;
    };
    expect(of((bytes) => bytes.writeUInt8(5, 8))).toBe("unsupported protocol version");
    expect(of((bytes) => bytes.writeUInt8(9, 8))).toBe("unsupported protocol version");
    expect(of((bytes) => bytes.writeUInt8(0x83, 8))).toBeNull();
    expect(of((bytes) => bytes.writeUInt8(0x03, 9))).toBe("malformed packet");
    expect(of((bytes) => bytes.writeUInt8(0x42, 9))).toBe("malformed packet");
    expect(of((bytes) => bytes.writeUInt8(0x1e, 9))).toBe("malformed packet");
  });
});
