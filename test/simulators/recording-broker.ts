/** A plain aedes broker on a free port that notes each PUBLISH packet as it came off the wire. */
import net from "node:net";
import { Aedes } from "aedes";
import type { QoS } from "../../src/core/message.ts";

export interface Noted {
  readonly client: string;
  readonly topic: string;
  readonly payload: string;
  readonly qos: QoS;
  readonly dup: boolean;
  readonly messageId: number;
}

export interface RecordingBroker {
  readonly port: number;
  readonly noted: Noted[];
  /** Resolves once `enough` holds for what was noted. */
  until(enough: (noted: readonly Noted[]) => boolean): Promise<void>;
  /** Breaks all connections. */
  cutAll(): void;
  stop(): Promise<void>;
}

export async function recordingBroker(): Promise<RecordingBroker> {
  const noted: Noted[] = [];
  const waiting = new Set<{ enough: (noted: readonly Noted[]) => boolean; resolve: () => void }>();
  const broker = await Aedes.createBroker();
  broker.authorizePublish = (client, packet, callback) => {
    const { topic, payload, qos, dup, messageId } = packet as typeof packet & { messageId?: number };
    noted.push({
      client: client?.id ?? "",
      topic,
      payload: payload.toString(),
      qos: qos as QoS,
      dup,
      messageId: messageId ?? 0,
    });
    for (const waiter of waiting) {
      if (!waiter.enough(noted)) continue;
      waiting.delete(waiter);
      waiter.resolve();
    }
    callback(null);
  };
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    broker.handle(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as net.AddressInfo).port,
    noted,
    until: (enough) =>
      enough(noted) ? Promise.resolve() : new Promise((resolve) => waiting.add({ enough, resolve })),
    cutAll: () => {
      for (const socket of sockets) socket.destroy();
    },
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await new Promise<void>((resolve) => broker.close(resolve));
    },
  };
}
