/** A listening server with its connections, that can go away and come back on the same port. */
import type { AddressInfo, Server, Socket } from "node:net";

export class Door {
  readonly host: string;
  #port: number;
  readonly #make: () => Server;
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;

  /** `port` 0: a free one, the same ever after. */
  constructor(options: { readonly host?: string; readonly port?: number }, make: () => Server) {
    this.host = options.host ?? "127.0.0.1";
    this.#port = options.port ?? 0;
    this.#make = make;
  }

  get port(): number {
    return this.#port;
  }

  async open(): Promise<void> {
    if (this.#server) return;
    const server = this.#make();
    this.#server = server;
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.once("close", () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error) => {
        this.#server = null;
        reject(error);
      });
      server.listen(this.#port, this.host, resolve);
    });
    this.#port = (server.address() as AddressInfo).port;
  }

  /** Stops listening and cuts every connection. */
  async close(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (!server) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    this.cutAll();
    await closed;
  }

  cutAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}
