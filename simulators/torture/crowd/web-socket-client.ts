/** As much of RFC 6455 as a nuisance needs: the upgrade, and the header of a masked binary frame. */
import { once } from "node:events";
import type { Socket } from "node:net";

/** Resolves when the door has answered, or has closed the connection. */
export async function upgrade(socket: Socket): Promise<void> {
  socket.write(
    "GET / HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
  );
  await Promise.race([once(socket, "data"), once(socket, "close")]).catch(() => {});
}

/** With a mask of zeros, under which the payload is as it is. */
export function binaryFrameHeader(bytes: number, first = 0x82): Buffer {
  if (bytes < 126) return Buffer.from([first, 0x80 | bytes, 0, 0, 0, 0]);
  if (bytes < 65_536) return Buffer.from([first, 0x80 | 126, bytes >> 8, bytes & 0xff, 0, 0, 0, 0]);
  const header = Buffer.alloc(14);
  header[0] = first;
  header[1] = 0x80 | 127;
  header.writeBigUInt64BE(BigInt(bytes), 2);
  return header;
}
