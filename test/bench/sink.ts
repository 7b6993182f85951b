/**
 * A backend that is never the bottleneck: takes QoS 0 and 1 publishes over MQTT 3.1.1, acknowledges, counts.
 * Subscribers get nothing. Prints `{"port":N}`, then `{"count":N}` for each line on standard input.
 */
import { createServer } from "node:net";
import { CONNACK, frameReader, PACKET, PINGRESP, pubackPacket } from "./wire.ts";

let count = 0;

const server = createServer((socket) => {
  let acks: Buffer[] = [];
  const read = frameReader((type, flags, body) => {
    if (type === PACKET.connect) socket.write(CONNACK);
    // Who is not answered between two loads takes it for gone.
    if (type === PACKET.pingreq) socket.write(PINGRESP);
    if (type !== PACKET.publish) return;
    count += 1;
    if ((flags & 0x06) !== 0) acks.push(pubackPacket(body.readUInt16BE(2 + body.readUInt16BE(0))));
  });
  socket.on("data", (chunk: Buffer) => {
    read(chunk);
    if (acks.length > 0) socket.write(Buffer.concat(acks));
    acks = [];
  });
  socket.on("error", () => socket.destroy());
});

server.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () => {
  const { port } = server.address() as { port: number };
  process.stdout.write(`${JSON.stringify({ port })}\n`);
});
process.stdin.on("data", () => process.stdout.write(`${JSON.stringify({ count })}\n`));
process.stdin.on("end", () => process.exit(0));
