import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { expect, it, onTestFinished } from "vitest";
import { sayGoodbye } from "../../src/broker/goodbye.ts";
import { systemClock } from "../../src/core/clock.ts";

const LINGER_MS = 60_000;
const CONNACK = Buffer.from([0x20, 2, 0, 5]);

/** Both ends of a connection on which the client keeps writing and never closes. */
async function pouring(): Promise<{ client: Socket; taken: Socket }> {
  const server = createServer({ allowHalfOpen: true });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const client = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  client.on("error", () => {});
  const [taken] = (await once(server, "connection")) as [Socket];
  taken.on("error", () => {});
  onTestFinished(() => {
    client.destroy();
    taken.destroy();
    server.close();
  });
  client.write(Buffer.alloc(2 ** 22));
  return { client, taken };
}

it("a client that was never told anything is closed at once, whatever it still sends", async () => {
  const { client, taken } = await pouring();
  sayGoodbye(taken, systemClock, LINGER_MS);
  // Its writes fail, which once() would throw.
  await new Promise((resolve) => client.once("close", resolve));
  expect(taken.bytesRead).toBe(0);
});

it("what was sent to a client reaches it, though it never stops sending, and little of that is read", async () => {
  const { client, taken } = await pouring();
  taken.write(CONNACK);
  sayGoodbye(taken, systemClock, LINGER_MS);
  const received: Buffer[] = [];
  client.on("data", (bytes) => received.push(bytes));
  await once(client, "end");
  expect(Buffer.concat(received)).toEqual(CONNACK);
  expect(taken.destroyed).toBe(false);
  expect(taken.bytesRead).toBeLessThan(2 ** 20);
});
