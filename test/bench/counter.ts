/**
 * Subscribes to everything at a broker and counts what arrives. Argument: port.
 * Prints `{"ready":true}`, then `{"count":N}` for each line on standard input.
 */
import { connect } from "node:net";
import { connectPacket, frameReader, PACKET, subscribePacket } from "./wire.ts";

let count = 0;
const socket = connect(Number(process.argv[2]), "127.0.0.1");
socket.write(connectPacket(`bench-counter-${process.pid}`));
socket.on(
  "data",
  frameReader((type) => {
    if (type === PACKET.connack) socket.write(subscribePacket("bench/#"));
    else if (type === PACKET.suback) process.stdout.write('{"ready":true}\n');
    else if (type === PACKET.publish) count += 1;
  }),
);
process.stdin.on("data", () => process.stdout.write(`${JSON.stringify({ count })}\n`));
process.stdin.on("end", () => process.exit(0));
