/**
 * Stands in for the gateway where only the machines, the backend and the oracle are on trial: an aedes broker
 * that hands each reading to an HTTP backend, one after the other, once per id in the payload. Its sabotage
 * breaks one part of the promise each, so that a test can show that the oracle notices.
 */
import net from "node:net";
import { Aedes } from "aedes";

export type Sabotage = "none" | "loses" | "doubles" | "reorders" | "alters";

export interface StandIn {
  readonly port: number;
  stop(): Promise<void>;
}

/** Sabotages every so manyth reading. */
const EVERY = 10;

export async function standInGateway(backendUrl: string, sabotage: Sabotage): Promise<StandIn> {
  const broker = await Aedes.createBroker();
  const known = new Set<string>();
  let sending: Promise<void> = Promise.resolve();
  let held: string | null = null;
  let count = 0;

  const send = (payload: string, key: string) => {
    sending = sending.then(async () => {
      const headers = { "idempotency-key": key, "content-type": "application/json" };
      await fetch(backendUrl, { method: "POST", body: payload, headers }).catch(() => {});
    });
  };

  const forward = (payload: string) => {
    const { id, device } = JSON.parse(payload) as { id: string; device: string };
    if (known.has(id)) return;
    known.add(id);
    count++;
    const due = count % EVERY === 0;
    if (due && sabotage === "loses") return;
    if (due && sabotage === "reorders" && held === null) {
      held = payload;
      return;
    }
    send(due && sabotage === "alters" ? payload.replace('"value":', '"value":9') : payload, id);
    if (due && sabotage === "doubles") send(payload, `${id} again`);
    if (held !== null && (JSON.parse(held) as { device: string }).device === device) {
      send(held, (JSON.parse(held) as { id: string }).id);
      held = null;
    }
  };

  broker.authorizePublish = (_client, packet, callback) => {
    forward(packet.payload.toString());
    callback(null);
  };
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    broker.handle(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as net.AddressInfo).port,
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await new Promise<void>((resolve) => broker.close(resolve));
      await sending;
    },
  };
}

/** A port that was free a moment ago, for a server whose address must be known before it starts. */
export async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}
