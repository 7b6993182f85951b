/** TCP, TLS and WebSocket, each with the real thing on the other side. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import mqtt from "mqtt";
import { describe, expect, it, onTestFinished } from "vitest";
import WebSocket, { createWebSocketStream } from "ws";
import { originAllowed } from "../../src/broker/listeners.ts";
import { hashPassword } from "../../src/broker/password.ts";
import { capability } from "../support/capabilities.ts";
import { startBroker, type TestBroker, temporaryFolder } from "../support/test-broker.ts";
import { WireClient } from "../support/wire-client.ts";

const portOf = ({ broker }: TestBroker, name: string) =>
  broker.addresses().find((address) => address.name === name)!.port;

describe("a port", () => {
  it("0 is a free one, and the broker says which", async () => {
    const { broker } = await startBroker({
      listeners: [
        { type: "tcp", port: 0 },
        { type: "ws", port: 0, name: "panels", host: "localhost" },
      ],
    });
    expect(broker.addresses()).toEqual([
      { name: "tcp", kind: "tcp", host: "127.0.0.1", port: expect.any(Number) },
      { name: "panels", kind: "ws", host: "localhost", port: expect.any(Number) },
    ]);
    for (const { port } of broker.addresses()) expect(port).toBeGreaterThan(0);
  });

  it("that is in use is named, with what to do", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    onTestFinished(() => void other.close());
    const { port } = other.address() as { port: number };
    const starting = startBroker({
      listeners: [
        { type: "tcp", port: 0 },
        { type: "tcp", port },
      ],
    });
    await expect(starting).rejects.toMatchObject({
      code: "HF_PORT_IN_USE",
      message: expect.stringContaining(`127.0.0.1:${port} (broker.listeners[1].port)`),
      hint: expect.stringContaining("port 0"),
    });
  });

  it("on an address that is not this machine's is an error of the config", async () => {
    const users = { a: { password: await hashPassword("x", { ln: 10, r: 8, p: 1 }) } };
    const starting = startBroker({ users, listeners: [{ type: "tcp", host: "192.0.2.1", port: 0 }] });
    await expect(starting).rejects.toMatchObject({ code: "HF_CONFIG" });
  });
});

describe("MQTT over WebSocket", () => {
  const url = (port: number, path = "/") => `ws://127.0.0.1:${port}${path}`;

  async function answer(port: number, options: { protocol?: string; origin?: string; path?: string }) {
    const { protocol = "mqtt", origin, path } = options;
    const socket = new WebSocket(url(port, path), protocol === "" ? [] : [protocol], {
      ...(origin === undefined ? {} : { origin }),
    });
    onTestFinished(() => socket.terminate());
    const opened = once(socket, "open").then(() => 101);
    const refused = once(socket, "unexpected-response").then(([, response]) => response.statusCode as number);
    socket.on("error", () => {});
    return Promise.race([opened, refused]);
  }

  it("works with a client library, in both directions", async () => {
    const { port, store } = await startBroker({ listeners: [{ type: "ws", port: 0 }] });
    const client = await mqtt.connectAsync(url(port), { clientId: "panel", reconnectPeriod: 0 });
    onTestFinished(() => void client.end(true));
    await client.subscribeAsync("a/#", { qos: 1 });
    const message = new Promise<[string, Buffer]>((resolve) => {
      client.once("message", (topic, payload) => resolve([topic, payload]));
    });
    const large = "x".repeat(300_000);
    await client.publishAsync("a/b", large, { qos: 2 });
    const [topic, payload] = await message;
    expect([topic, payload.toString()]).toEqual(["a/b", large]);
    expect(store.payloads()).toEqual([large]);
  });

  it("takes packets in whatever pieces the frames have", async () => {
    const { port, store } = await startBroker({ listeners: [{ type: "ws", port: 0 }] });
    const socket = new WebSocket(url(port), ["mqtt"]);
    await once(socket, "open");
    const client = new WireClient(createWebSocketStream(socket));
    await client.connect();
    const bytes = Buffer.from([0x32, 8, 0, 1, 97, 0, 5, 49, 50, 51]);
    for (const byte of bytes) client.send(Buffer.from([byte]));
    expect((await client.next("puback")).messageId).toBe(5);
    expect(store.payloads()).toEqual(["123"]);
  });

  it("is for the subprotocol mqtt alone", async () => {
    const { port } = await startBroker({ listeners: [{ type: "ws", port: 0 }] });
    expect(await answer(port, { protocol: "mqtt" })).toBe(101);
    expect(await answer(port, { protocol: "chat" })).toBe(400);
    expect(await answer(port, { protocol: "" })).toBe(400);
    const response = await fetch(`http://127.0.0.1:${port}/`);
    expect(response.status).toBe(426);
    await response.text();
  });

  it("is not for web pages from elsewhere, which a browser would let connect", async () => {
    const { port, broker } = await startBroker({
      listeners: [{ type: "ws", port: 0, origins: ["https://panel.example"] }],
    });
    expect(await answer(port, { origin: "https://evil.example" })).toBe(403);
    expect(await answer(port, { origin: "https://panel.example" })).toBe(101);
    expect(await answer(port, { origin: "http://127.0.0.1:8080" })).toBe(101);
    expect(broker.stats().refused).toEqual({ "WebSocket origin": 1 });
    expect(originAllowed("http://localhost.evil.example", [])).toBe(false);
    expect(originAllowed("null", [])).toBe(false);
    expect(originAllowed("http://[::1]:3000", [])).toBe(true);
    expect(originAllowed("https://evil.example", ["*"])).toBe(true);
  });

  it("is on its path where it has one", async () => {
    const { port } = await startBroker({ listeners: [{ type: "ws", port: 0, path: "/mqtt" }] });
    expect(await answer(port, { path: "/mqtt" })).toBe(101);
    expect(await answer(port, { path: "/other" })).toBe(404);
  });
});

const openssl = capability("openssl");

describe.skipIf(!openssl.present)("TLS", () => {
  /** An authority, a certificate for the listener, and client certificates with these common names. */
  function certificates(...names: string[]) {
    const folder = temporaryFolder();
    const file = (name: string) => join(folder, name);
    const run = (...args: string[]) => execFileSync(openssl.path, args, { stdio: "ignore", cwd: folder });
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    run("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=Test CA");
    writeFileSync(file("san"), "subjectAltName=IP:127.0.0.1\n");
    for (const [at, name] of ["127.0.0.1", ...names].entries()) {
      run("req", ...key, "-keyout", `${at}.key`, "-out", `${at}.csr`, "-subj", `/CN=${name}`);
      run(
        "x509",
        "-req",
        "-in",
        `${at}.csr`,
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-out",
        `${at}.crt`,
        "-days",
        "2",
        "-extfile",
        "san",
      );
    }
    return { file, server: { cert: file("0.crt"), key: file("0.key") } };
  }

  const read = async (path: string) => (await import("node:fs")).readFileSync(path);

  async function connectWith(
    port: number,
    files: ReturnType<typeof certificates>,
    client?: number,
    version?: "TLSv1.2",
  ) {
    const socket = connectTls({
      port,
      host: "127.0.0.1",
      ca: await read(files.file("ca.crt")),
      ...(client === undefined
        ? {}
        : { cert: await read(files.file(`${client}.crt`)), key: await read(files.file(`${client}.key`)) }),
      ...(version ? { maxVersion: version } : {}),
    });
    onTestFinished(() => void socket.destroy());
    socket.on("error", () => {});
    await Promise.race([once(socket, "secureConnect"), once(socket, "close")]);
    return new WireClient(socket);
  }

  it("carries MQTT, and MQTT over WebSocket", async () => {
    const files = certificates();
    const test = await startBroker({
      listeners: [
        { type: "tls", port: 0, ...files.server },
        { type: "wss", port: 0, ...files.server },
      ],
    });
    const client = await connectWith(portOf(test, "tls"), files);
    await client.connect();
    client.publish("a", "1", { qos: 1, id: 1 });
    await client.next("puback");
    const panel = await mqtt.connectAsync(`wss://127.0.0.1:${portOf(test, "wss")}`, {
      ca: await read(files.file("ca.crt")),
      clientId: "panel",
      reconnectPeriod: 0,
    });
    onTestFinished(() => void panel.end(true));
    await panel.publishAsync("a", "2", { qos: 1 });
    expect(test.store.payloads()).toEqual(["1", "2"]);
  });

  it.each([undefined, "TLSv1.2"] as const)(
    "knows a user by the common name of its certificate (%s)",
    async (version) => {
      const files = certificates("press.plant", "stranger");
      const password = await hashPassword("secret", { ln: 10, r: 8, p: 1 });
      const test = await startBroker({
        users: {
          press: { certificate: "press.plant", publish: ["%u/#"] },
          mixer: { password, publish: ["%u/#"] },
        },
        listeners: [{ type: "tls", port: 0, ...files.server, clientCa: files.file("ca.crt") }],
      });
      const port = portOf(test, "tls");
      const press = await connectWith(port, files, 1, version);
      expect((await press.connect({ clientId: "press" })).returnCode).toBe(0);
      press.publish("press/a", "1", { qos: 1, id: 1 });
      await press.next("puback");
      expect(test.store.messages()).toMatchObject([{ device: "press" }]);
      // The certificate of one user with the name of another.
      const mixed = await connectWith(port, files, 1, version);
      const credentials = { username: "mixer", password: Buffer.from("secret") };
      expect((await mixed.connect({ clientId: "mixer", ...credentials })).returnCode).toBe(4);
      // A certificate of nobody counts as none.
      const stranger = await connectWith(port, files, 2, version);
      expect((await stranger.connect({ clientId: "stranger" })).returnCode).toBe(5);
      const named = await connectWith(port, files, undefined, version);
      expect((await named.connect({ clientId: "mixer", ...credentials })).returnCode).toBe(0);
    },
  );

  it("does not believe a certificate that another authority signed", async () => {
    const files = certificates("press.plant");
    const forged = certificates("press.plant");
    const test = await startBroker({
      users: { press: { certificate: "press.plant", publish: ["#"] } },
      listeners: [
        { type: "tls", port: 0, name: "asks", ...files.server, clientCa: files.file("ca.crt") },
        {
          type: "tls",
          port: 0,
          name: "insists",
          ...files.server,
          clientCa: files.file("ca.crt"),
          requireClientCert: true,
        },
      ],
    });
    const mixture = { ...files, file: (name: string) => (name === "ca.crt" ? files : forged).file(name) };
    const client = await connectWith(portOf(test, "asks"), mixture, 1);
    expect((await client.connect({ clientId: "press" })).returnCode).toBe(5);
    for (const certificate of [1, undefined]) {
      const insisted = await connectWith(portOf(test, "insists"), mixture, certificate);
      await expect(insisted.connect({ clientId: "press" })).rejects.toThrow("closed");
    }
    const own = await connectWith(portOf(test, "insists"), files, 1);
    expect((await own.connect({ clientId: "press" })).returnCode).toBe(0);
  });

  it("closes a connection that does not finish its handshake", async () => {
    const files = certificates();
    const { port, broker } = await startBroker({
      limits: { connectTimeout: "300ms" },
      listeners: [{ type: "tls", port: 0, ...files.server }],
    });
    const client = await WireClient.open(port);
    await client.untilClosed();
    await expect.poll(() => broker.stats().sockets).toBe(0);
  });
});

it("a certificate that is not there is named in the error", async () => {
  const starting = startBroker({
    listeners: [{ type: "tls", port: 0, cert: "/nowhere/a.crt", key: "/nowhere/a.key" }],
  });
  await expect(starting).rejects.toMatchObject({
    code: "HF_CONFIG",
    message: expect.stringContaining("broker.listeners[0].cert"),
  });
});
