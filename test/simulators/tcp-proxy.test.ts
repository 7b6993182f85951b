/** The link that breaks on request: what arrives, and what does not, is exactly what was asked for. */
import { connect, createServer, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { type LinkMode, TcpProxy, type Tear } from "../../simulators/backends/tcp-proxy.ts";
import { eventually } from "../support/test-store.ts";

/** Both ends of one connection through a link, and what each has received. */
async function connection() {
  const accepted = Promise.withResolvers<Socket>();
  const server = createServer((socket) => accepted.resolve(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const link = new TcpProxy({ to: { host: "127.0.0.1", port }, delayMs: 30 });
  await link.start();
  const client = connect({ host: link.host, port: link.port });
  const backend = await accepted.promise;
  const ends = { client: witnessed(client), backend: witnessed(backend) };
  onTestFinished(async () => {
    client.destroy();
    backend.destroy();
    await link.stop();
    server.close();
  });
  return { link, ...ends };
}

function witnessed(socket: Socket) {
  const end = { socket, got: "", closed: false };
  socket.on("data", (bytes) => {
    end.got += bytes.toString();
  });
  socket.on("error", () => {});
  socket.on("close", () => {
    end.closed = true;
  });
  return end;
}

test.each<Tear["becomes"]>(["cut", "reset", "half-open"])(
  "a link is torn at the byte that was named: %s",
  async (becomes) => {
    const { link, client, backend } = await connection();
    const torn = link.tear({ way: "to-backend", afterBytes: 7, becomes });
    client.socket.write("first");
    await eventually(() => backend.got).toBe("first");
    client.socket.write("second");
    await torn;
    await eventually(() => backend.got).toBe("firstse");
    expect(link.mode).toBe(becomes);
    client.socket.write("third");
    if (becomes === "half-open") {
      expect([client.closed, backend.closed]).toEqual([false, false]);
      // Bytes are missing: it cannot go on as if nothing had been.
      link.setMode("pass");
    }
    await eventually(() => client.closed && backend.closed).toBe(true);
    expect(backend.got).toBe("firstse");
  },
);

test("a tear on the way back leaves what goes there alone, and one that was called off does nothing", async () => {
  const { link, client, backend } = await connection();
  const torn = link.tear({ way: "to-client", afterBytes: 0, becomes: "cut" });
  client.socket.write("a request");
  await eventually(() => backend.got).toBe("a request");
  link.setMode("pass");
  await torn;
  backend.socket.write("an answer");
  await eventually(() => client.got).toBe("an answer");
});

test("what was delayed is not overtaken when the delay is over", async () => {
  const { link, client, backend } = await connection();
  const modes: LinkMode[] = ["delay", "pass", "delay", "pass"];
  for (const [at, mode] of modes.entries()) {
    link.setMode(mode);
    client.socket.write(`${at}`);
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  }
  await eventually(() => backend.got.length).toBe(4);
  expect(backend.got).toBe("0123");
});

test("a link that is garbled answers with noise of the same length, and is not carried on after it", async () => {
  const { link, client, backend } = await connection();
  link.setMode("garbled");
  client.socket.write("question");
  await eventually(() => backend.got).toBe("question");
  backend.socket.write("answer");
  await eventually(() => client.got !== "").toBe(true);
  expect(client.got).not.toContain("answer");
  link.setMode("pass");
  await eventually(() => client.closed && backend.closed).toBe(true);
});
