/**
 * What a client can do that a gateway must bear, each as one function that keeps a few connections busy until it
 * is told to end. They write to plain sockets, packets made beforehand, so that an attack costs the attacker
 * little and the gateway gets all of it.
 */
import { connect, type Socket } from "node:net";
import { generate, type IConnectPacket, type Packet } from "mqtt-packet";
import { type Clock, sleep } from "../../../src/core/clock.ts";
import type { Random } from "../../../src/core/random.ts";

export interface Scene {
  readonly port: number;
  readonly wsPort: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  /** 127.0.0.2 and so on: a gateway on the loopback interface sees them as different machines. */
  readonly address: string;
  readonly figures: MobFigures;
}

/** What the nuisances got. */
export interface MobFigures {
  opened: number;
  /** Connections that the gateway closed. */
  closed: number;
  bytesSent: number;
  bytesReceived: number;
}

export type Nuisance = (scene: Scene) => Promise<void>;

/** A connection that is counted, never throws, and ends with the scene. */
export function dial(scene: Scene, { port = scene.port, reads = true } = {}): Socket {
  const { figures, signal, address } = scene;
  const socket = connect({ port, host: "127.0.0.1", localAddress: address, noDelay: true });
  figures.opened++;
  const end = () => socket.destroy();
  signal.addEventListener("abort", end, { once: true });
  socket.on("error", () => {});
  socket.once("close", () => {
    signal.removeEventListener("abort", end);
    figures.bytesSent += socket.bytesWritten;
    figures.bytesReceived += socket.bytesRead;
    if (!signal.aborted) figures.closed++;
  });
  if (reads) socket.resume();
  return socket;
}

export const isOpen = (socket: Socket) => !socket.destroyed && socket.writable;

/** Writes without ever waiting for an answer, as fast as the socket takes it. */
export async function pour(scene: Scene, socket: Socket, bytes: () => Buffer): Promise<void> {
  while (!scene.signal.aborted && isOpen(socket)) {
    if (socket.write(bytes())) await sleep(scene.clock, 0, scene.signal);
    else await drained(socket);
  }
}

export function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      for (const event of ["drain", "close"]) socket.off(event, done);
      resolve();
    };
    for (const event of ["drain", "close"]) socket.once(event, done);
  });
}

export const hello = (clientId: string, more: Partial<IConnectPacket> = {}) =>
  generate({
    cmd: "connect",
    protocolId: "MQTT",
    protocolVersion: 4,
    clean: true,
    keepalive: 0,
    clientId,
    ...more,
  } as Packet);

export const publishOf = (
  topic: string,
  payload: Buffer | string,
  { qos = 0, id, retain = false }: { qos?: 0 | 1 | 2; id?: number; retain?: boolean } = {},
) => generate({ cmd: "publish", topic, payload, qos, messageId: id, retain, dup: false });

/** QoS 1 packets under all packet ids in turn: many buffers of a few hundred packets. */
export function rounds(topic: string, payload: Buffer, qos: 1 | 2, count = 65_535): Buffer[] {
  const each = 512;
  const made: Buffer[] = [];
  for (let from = 1; from <= count; from += each) {
    const packets: Buffer[] = [];
    for (let id = from; id < from + each && id <= count; id++)
      packets.push(publishOf(topic, payload, { qos, id }));
    made.push(Buffer.concat(packets));
  }
  return made;
}

/** A connection that is in, or null where it is not let in. */
export async function enter(
  scene: Scene,
  clientId: string,
  more: Partial<IConnectPacket> = {},
  { reads = true } = {},
): Promise<Socket | null> {
  const socket = dial(scene, { reads: false });
  socket.write(hello(clientId, more));
  const isIn = await new Promise<boolean>((resolve) => {
    let connack = Buffer.alloc(0);
    const look = (bytes: Buffer) => {
      connack = Buffer.concat([connack, bytes]);
      if (connack.length < 4) return;
      socket.off("data", look);
      if (!reads) socket.pause();
      resolve(connack[3] === 0);
    };
    socket.on("data", look);
    socket.once("close", () => resolve(false));
  });
  if (isIn && reads) socket.resume();
  return isIn ? socket : null;
}
