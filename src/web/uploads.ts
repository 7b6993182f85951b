/**
 * What is sent for longer than a request may otherwise take: read as it comes, a chunk when the last one was taken, up
 * to a size. A sender that falls silent is left after a while, as any other (web.ts); one that goes on is given
 * minutes.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Clock } from "../core/clock.ts";

const UPLOAD_MS_MAX = 10 * 60_000;

export interface Upload {
  readonly bytes: AsyncGenerator<Uint8Array>;
  /** Aborts when nobody is there to be answered. */
  readonly gone: AbortSignal;
}

export class Uploads {
  readonly #sockets = new WeakSet<Socket>();

  /** Whether what Node complains of is no more than that a body is not there after the usual time. */
  mayTakeLonger({ code }: { readonly code?: string }, socket: Socket): boolean {
    return code === "ERR_HTTP_REQUEST_TIMEOUT" && this.#sockets.has(socket);
  }

  /** Its bytes end with an error of status 413 or 408 where there are too many, or they take too long. */
  take(
    raw: IncomingMessage,
    reply: ServerResponse,
    { bytesMax, clock }: { bytesMax: number; clock: Clock },
  ): Upload {
    const gone = new AbortController();
    reply.once("close", () => {
      if (!reply.writableFinished) gone.abort();
    });
    return { bytes: this.#read(raw, reply, { bytesMax, clock }), gone: gone.signal };
  }

  async *#read(
    raw: IncomingMessage,
    reply: ServerResponse,
    { bytesMax, clock }: { bytesMax: number; clock: Clock },
  ): AsyncGenerator<Uint8Array> {
    const untilMs = clock.monoMs() + UPLOAD_MS_MAX;
    const { socket } = raw;
    this.#sockets.add(socket);
    let bytes = 0;
    let whole = false;
    try {
      // What is wrong with it is answered, so that reading no further must not end the connection.
      for await (const chunk of raw.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>) {
        bytes += chunk.length;
        if (bytes > bytesMax) throw leave(reply, 413, `it is larger than ${bytesMax / 2 ** 20} MiB`);
        if (clock.monoMs() > untilMs)
          throw leave(reply, 408, `it was not there after ${UPLOAD_MS_MAX / 60_000} minutes`);
        yield chunk;
      }
      whole = true;
      // A silent connection that somebody has an answer to this for is not closed by Node.
      reply.on("timeout", () => {});
    } catch (error) {
      if (!raw.destroyed) throw error;
      throw refused(400, "whoever sent it has gone away");
    } finally {
      this.#sockets.delete(socket);
      // Many hear an answer only when they have sent all.
      if (!whole) raw.resume();
    }
  }
}

/** What comes after it is not heard any more. */
function leave(reply: ServerResponse, statusCode: number, message: string): Error {
  reply.setHeader("connection", "close");
  return refused(statusCode, message);
}

function refused(statusCode: number, message: string): Error {
  return Object.assign(new Error(message), { statusCode });
}
