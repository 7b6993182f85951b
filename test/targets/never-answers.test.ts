/**
 * No call of a target hangs for good, wherever in the exchange the backend falls silent or slows down to nothing:
 * the relay gives a call no time of its own, so each target has to end its calls by its own limits.
 */
import { createServer, type Server, type Socket } from "node:net";
import { generate, type Packet, parser } from "mqtt-packet";
import { afterAll, describe, expect, test } from "vitest";
import { HttpTarget } from "../../src/targets/http.ts";
import { httpTargetSchema } from "../../src/targets/http-options.ts";
import { MqttTarget } from "../../src/targets/mqtt.ts";
import { mqttTargetSchema } from "../../src/targets/mqtt-options.ts";
import type { Target } from "../../src/targets/target.ts";
import { makeContext, noAbort, nth } from "./deliveries.ts";
import { within } from "./witness.ts";

const LIMIT_MS = 250;
/** For what is answered, on a machine with others at work on it. */
const PATIENT_MS = 1000;
/** A few limits one after the other (connecting, asking, saying goodbye), and a machine with others at work on it. */
const CALL_MS_MAX = 4000;
const DRIP_EVERY_MS = 25;

// Tests run beside each other, since all they do is wait: what they leave is ended after the last of them.
const endings: (() => unknown)[] = [];
afterAll(async () => {
  await Promise.all(endings.map((end) => end()));
});

/** A backend of which only the first bytes matter; its port. */
async function listen(onConnection: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  endings.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as { port: number }).port;
}

/** Byte after byte, each well within every limit, for ever. */
function drip(socket: Socket, bytes: Buffer): void {
  let at = 0;
  const timer = setInterval(() => {
    const byte = bytes[at++];
    if (byte !== undefined && socket.writable) socket.write(Buffer.of(byte));
  }, DRIP_EVERY_MS);
  socket.on("close", () => clearInterval(timer));
}

async function started(target: Target): Promise<Target> {
  await target.start();
  endings.push(() => within(CALL_MS_MAX, target.stop(), "the target stopping"));
  return target;
}

const httpTarget = (port: number, more: object = {}) =>
  started(
    new HttpTarget(
      httpTargetSchema.parse({
        type: "http",
        url: `http://127.0.0.1:${port}/messages`,
        requestTimeout: LIMIT_MS,
        ...more,
      }),
      makeContext(),
    ),
  );

const mqttTarget = (port: number, more: object = {}) =>
  started(
    new MqttTarget(
      mqttTargetSchema.parse({
        type: "mqtt",
        url: `mqtt://127.0.0.1:${port}`,
        ackTimeout: LIMIT_MS,
        ...more,
      }),
      makeContext(),
    ),
  );

const HEAD = "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n";

/** What an HTTP backend does when a request begins, and what that makes of a message. */
const HTTP: Record<string, { act: (socket: Socket) => void; url?: string; kind: string }> = {
  "never speaks TLS": { act: () => {}, url: "https", kind: "retry" },
  "speaks half of TLS": {
    act: (socket) => drip(socket, Buffer.alloc(1e6, 0x16)),
    url: "https",
    kind: "retry",
  },
  "reads and says nothing": { act: () => {}, kind: "unknown" },
  "does not even read": { act: (socket) => socket.pause(), kind: "unknown" },
  "says its status line byte by byte": {
    act: (socket) => drip(socket, Buffer.from(`HTTP/1.1 201 ${"x".repeat(1000)}\r\n\r\n`)),
    kind: "unknown",
  },
  "says its headers byte by byte": {
    act: (socket) => drip(socket, Buffer.from(`HTTP/1.1 201 Created\r\nx: ${"x".repeat(1000)}`)),
    kind: "unknown",
  },
  "says again and again that it goes on": {
    act: (socket) => {
      const timer = setInterval(() => socket.write("HTTP/1.1 102 Processing\r\n\r\n"), DRIP_EVERY_MS);
      socket.on("close", () => clearInterval(timer));
    },
    kind: "unknown",
  },
  // The status line is the answer; of what follows nobody waits for the end.
  "falls silent in the middle of its body": { act: (socket) => socket.write(HEAD), kind: "delivered" },
  "says its body byte by byte": {
    act: (socket) => {
      socket.write(HEAD);
      drip(socket, Buffer.alloc(100_000, 0x20));
    },
    kind: "delivered",
  },
};

describe.concurrent("a call of the http target ends although the backend", () => {
  test.each(Object.keys(HTTP))("%s", async (name) => {
    const { act, url = "http", kind } = HTTP[name]!;
    const port = await listen((socket) =>
      url === "https" ? act(socket) : socket.once("data", () => act(socket)),
    );
    const target = await httpTarget(port, {
      url: `${url}://127.0.0.1:${port}/messages`,
      tls: url === "https" ? { rejectUnauthorized: false } : undefined,
      connectTimeout: kind === "retry" ? LIMIT_MS : PATIENT_MS,
      requestTimeout: kind === "delivered" ? PATIENT_MS : LIMIT_MS,
      hasUrl: `${url}://127.0.0.1:${port}/has/{id}`,
    });
    const outcomes = await within(
      CALL_MS_MAX,
      target.deliver([nth("a", 1), nth("a", 2), nth("b", 1)], noAbort),
      name,
    );
    expect(outcomes[0]!.kind).toBe(kind);
    const { reachable } = await within(CALL_MS_MAX, target.probe(noAbort), `${name} (probe)`);
    expect(reachable).toBe(kind === "delivered");
    await within(CALL_MS_MAX, target.findOut!(nth("a", 1), noAbort), `${name} (findOut)`);
  });

  test("has taken more connections than it serves", async () => {
    const port = await listen(() => {});
    const target = await httpTarget(port, { connections: 2 });
    const batch = ["a", "b", "c", "d", "e", "f"].map((lane) => nth(lane, 1));
    const calls = [target.deliver(batch, noAbort), target.deliver(batch, noAbort)];
    const outcomes = await within(CALL_MS_MAX, Promise.all(calls), "both calls");
    for (const { kind } of outcomes.flat()) expect(["retry", "unknown"]).toContain(kind);
  });
});

type Answer = (socket: Socket, packet: Packet, send: (packet: Packet) => void) => void;

const CONNACK = { cmd: "connack", sessionPresent: false, returnCode: 0, reasonCode: 0 } as unknown as Packet;

/** Answers CONNECT, and the rest as said. */
function answering(rest: Answer): Answer {
  return (socket, packet, send) => (packet.cmd === "connect" ? send(CONNACK) : rest(socket, packet, send));
}

const pubrec: Answer = (_, { cmd, messageId }, send) => {
  if (cmd === "publish") send({ cmd: "pubrec", messageId, reasonCode: 0 });
};

const MQTT: Record<string, { act: Answer; options?: object; kind: string }> = {
  "never speaks TLS": { act: () => {}, options: { url: "mqtts" }, kind: "retry" },
  "never answers the WebSocket's upgrade": { act: () => {}, options: { url: "ws" }, kind: "retry" },
  "never answers CONNECT": { act: () => {}, kind: "retry" },
  "says CONNACK byte by byte": {
    act: (socket) => drip(socket, Buffer.from([0x20, 0x80, 0x80, 0x01, ...Buffer.alloc(1000)])),
    kind: "retry",
  },
  "answers CONNECT and nothing else": {
    act: answering(() => {}),
    options: { statusTopic: "holdfast/{gateway}/status" },
    kind: "unknown",
  },
  "stops reading after CONNECT": { act: answering((socket) => void socket.pause()), kind: "unknown" },
  "says PUBREC and never PUBCOMP": { act: answering(pubrec), options: { qos: 2 }, kind: "unknown" },
  "says PUBREC and never PUBCOMP, under MQTT 5": {
    act: answering(pubrec),
    options: { qos: 2, protocol: 5 },
    kind: "unknown",
  },
  "says PUBACK byte by byte, and not to the end": {
    act: answering((socket) => drip(socket, Buffer.from([0x40, 0x80, 0x80, 0x01, ...Buffer.alloc(1000)]))),
    kind: "unknown",
  },
  "answers pings alone": {
    act: answering((_, { cmd }, send) => cmd === "pingreq" && send({ cmd: "pingresp" })),
    kind: "unknown",
  },
  "says DISCONNECT and does not hang up": {
    act: answering((_, { cmd }, send) => cmd === "publish" && send({ cmd: "disconnect", reasonCode: 0x8b })),
    options: { protocol: 5 },
    kind: "unknown",
  },
};

describe.concurrent("a call of the mqtt target ends although the broker", () => {
  test.each(Object.keys(MQTT))("%s", async (name) => {
    const { act, options = {}, kind } = MQTT[name]!;
    const { url = "mqtt", protocol, ...more } = options as { url?: string; protocol?: 5 };
    const port = await listen((socket) => {
      const version = { protocolVersion: protocol ?? 4 } as const;
      const parse = parser(version);
      const send = (packet: Packet) => socket.writable && socket.write(generate(packet, version));
      parse.on("packet", (packet) => act(socket, packet, send));
      parse.on("error", () => {});
      socket.on("data", (bytes) => parse.parse(bytes));
    });
    const target = await mqttTarget(port, {
      url: `${url}://127.0.0.1:${port}`,
      protocol: protocol ?? "3.1.1",
      tls: url === "mqtts" ? { rejectUnauthorized: false } : undefined,
      connectTimeout: kind === "retry" ? LIMIT_MS : PATIENT_MS,
      ...more,
    });
    const outcomes = await within(2 * CALL_MS_MAX, target.deliver([nth("a", 1), nth("b", 1)], noAbort), name);
    expect(outcomes[0]!.kind).toBe(kind);
    await within(2 * CALL_MS_MAX, target.probe(noAbort), `${name} (probe)`);
    expect(
      (await within(2 * CALL_MS_MAX, target.deliver([nth("a", 1)], noAbort), `${name} (again)`))[0]!.kind,
    ).not.toBe("delivered");
  });
});
