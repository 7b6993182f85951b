import net from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { RawMqttClient } from "../../simulators/machines/raw-mqtt-client.ts";
import { type RecordingBroker, recordingBroker } from "./recording-broker.ts";

let broker: RecordingBroker;
const clients: RawMqttClient[] = [];

beforeEach(async () => {
  broker = await recordingBroker();
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  await broker.stop();
});

async function connect(clientId: string, more: object = {}): Promise<RawMqttClient> {
  const client = await RawMqttClient.connect({ port: broker.port, clientId, ...more });
  clients.push(client);
  return client;
}

describe("the raw client", () => {
  test("does the whole handshake of each QoS", async () => {
    const client = await connect("c1");
    expect(await client.publish({ topic: "t", payload: "a" })).toBe(0);
    expect(await client.publish({ topic: "t", payload: "b", qos: 1 })).toBe(1);
    expect(await client.publish({ topic: "t", payload: "c", qos: 2 })).toBe(2);
    expect(broker.noted.map(({ payload, qos }) => [payload, qos])).toEqual([
      ["a", 0],
      ["b", 1],
      ["c", 2],
    ]);
  });

  test("sends a PUBLISH again under the same packet id with DUP when told to", async () => {
    const client = await connect("c1");
    client.sendPublish({ topic: "t", payload: "x", qos: 1, messageId: 7 });
    client.sendPublish({ topic: "t", payload: "x", qos: 1, messageId: 7, dup: true });
    await client.take("puback");
    await client.take("puback");
    expect(broker.noted.map(({ messageId, dup }) => [messageId, dup])).toEqual([
      [7, false],
      [7, true],
    ]);
  });

  test("withholds PUBREL and every answer unless told to give them", async () => {
    const client = await connect("c1");
    client.sendPublish({ topic: "t", payload: "x", qos: 2, messageId: 9 });
    await client.take("pubrec");
    await expect(client.take("pubcomp", 100)).rejects.toThrow("no PUBCOMP within 100 ms");
    client.write({ cmd: "pubrel", messageId: 9 });
    await client.take("pubcomp");
  });

  test("answers as a subscriber where `answer` says so", async () => {
    const subscriber = await connect("sub", { answer: "received" });
    await subscriber.subscribe("t", 2);
    const publisher = await connect("pub");
    await publisher.publish({ topic: "t", payload: "x", qos: 2 });
    expect(await subscriber.take("publish")).toMatchObject({ topic: "t", qos: 2 });
    await subscriber.take("pubrel");
  });

  test("keeps packets that came before they were asked for", async () => {
    const client = await connect("c1");
    client.sendPublish({ topic: "t", payload: "x", qos: 1 });
    await client.publish({ topic: "t", payload: "y", qos: 1 });
    expect(client.untaken().map((packet) => packet.messageId)).toEqual([1]);
    await client.take((packet) => packet.messageId === 1);
    expect(client.untaken()).toEqual([]);
  });

  test("rejects what waits when the connection breaks, and says that it is gone", async () => {
    const client = await connect("c1");
    const waiting = client.take("puback");
    broker.cutAll();
    await expect(waiting).rejects.toThrow();
    await client.closed;
    expect(client.connected).toBe(false);
  });

  test("rejects CONNECT where nobody listens, and where the broker refuses", async () => {
    const server = net.createServer((socket) => {
      socket.end(Buffer.from([0x20, 2, 0, 5]));
      socket.resume();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as net.AddressInfo;
    await expect(RawMqttClient.connect({ port, clientId: "c" })).rejects.toThrow(
      "refused CONNECT with code 5",
    );
    await new Promise<void>((resolve) => server.close(() => resolve()));
    await expect(RawMqttClient.connect({ port, clientId: "c" })).rejects.toThrow("ECONNREFUSED");
  });
});
