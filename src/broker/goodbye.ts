/** How a connection ends decently: what was written still goes out, and the other side's end is waited for, a while. */
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Clock } from "../core/clock.ts";

/** Of the time for what is still to be written, so much is for the other side to close. */
const FOR_THE_OTHER_SIDE = 0.1;
/** Of what it still sends, so much is read; each read takes 64 KiB until garbage is collected next. */
const DISCARDED_BYTES_MAX = 64 * 1024;

/** Sends what is still to be sent, then closes; a client that does not close its side is not waited for. */
export function sayGoodbye(socket: Duplex, clock: Clock, lingerMs: number): void {
  if (socket.destroyed) return;
  // Unread bytes make the close a reset, which can take a CONNACK back from the client. Where nothing was sent there is
  // nothing to take back, and whoever sent a megabyte for a CONNECT is not read any further.
  if ((socket as Socket).bytesWritten === 0) {
    socket.destroy();
    return;
  }
  let unread = DISCARDED_BYTES_MAX;
  socket.on("data", (bytes: Buffer) => {
    unread -= bytes.length;
    if (unread <= 0) socket.pause();
  });
  socket.resume();
  socket.end();
  let timer = clock.after(lingerMs, () => socket.destroy());
  socket.once("finish", () => {
    timer.cancel();
    timer = clock.after(lingerMs * FOR_THE_OTHER_SIDE, () => socket.destroy());
  });
  socket.once("close", () => timer.cancel());
}
