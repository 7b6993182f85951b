/** The nuisances by name; nuisance.ts says what one is. */
import { sleep } from "../../../src/core/clock.ts";
import {
  dial,
  drained,
  enter,
  hello,
  isOpen,
  type Nuisance,
  pour,
  publishOf,
  rounds,
  type Scene,
} from "./nuisance.ts";
import { binaryFrameHeader, upgrade } from "./web-socket-client.ts";

const MiB = 2 ** 20;

const every = <T>(count: number, make: (n: number) => T): T[] =>
  Array.from({ length: count }, (_, n) => make(n));
const untilOver = ({ clock, signal }: Scene) => sleep(clock, 2 ** 31 - 1, signal);

/** 1,000 connections: silent, half a CONNECT, a byte now and then, and through CONNECT but then frozen. */
const halfOpen: Nuisance = async (scene) => {
  const packet = hello("half-open", { keepalive: 60 });
  const dripping = every(100, () => dial(scene));
  for (const n of every(700, (at) => at)) {
    const socket = dial(scene);
    if (n % 2) socket.write(packet.subarray(0, 1 + scene.random.below(packet.length - 1)));
    if (n % 100 === 0) await sleep(scene.clock, 5, scene.signal);
  }
  for (const n of every(200, (at) => at))
    dial(scene, { reads: false }).write(hello(`froze-${n}`, { keepalive: 60 }));
  const long = hello("x".repeat(200), {
    will: { topic: "w", payload: Buffer.alloc(15_000), qos: 0, retain: false },
  });
  for (let at = 0; !scene.signal.aborted; at++) {
    for (const socket of dripping)
      if (isOpen(socket)) socket.write(long.subarray(at % long.length, (at % long.length) + 1));
    await sleep(scene.clock, 5, scene.signal);
  }
};

/** 100 CONNECTs that are too large, and that are just not too large and never end. */
const giants: Nuisance = async (scene) => {
  const lie = Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4, 77, 81, 84, 84, 4, 0xc6, 0, 0]);
  const filler = Buffer.alloc(MiB, 97);
  const password = hello("giant", { username: "u".repeat(60_000), password: Buffer.alloc(60_000) });
  const kinds = [
    [lie, filler, filler, filler, filler],
    [password],
    [hello("giant", { will: { topic: "w", payload: Buffer.alloc(65_000), qos: 1, retain: true } })],
    [hello("g".repeat(65_000))],
    // Below the limit, but for its last byte.
    [
      hello("giant", { will: { topic: "w", payload: Buffer.alloc(16_000), qos: 1, retain: true } }).subarray(
        0,
        -1,
      ),
    ],
  ];
  while (!scene.signal.aborted) {
    const sockets = every(100, (n) => {
      const socket = dial(scene);
      for (const bytes of kinds[n % kinds.length]!) socket.write(bytes);
      return socket;
    });
    await sleep(scene.clock, 1000, scene.signal);
    for (const socket of sockets) socket.destroy();
  }
};

/** 10 subscribers to everything, with sessions and without, that read nothing any more. */
const frozenSubscribers: Nuisance = async (scene) => {
  await Promise.all(
    every(10, async (n) => {
      const socket = await enter(scene, `frozen-${n}`, { clean: n % 2 === 0 }, { reads: false });
      const qos = (n % 3) as 0 | 1 | 2;
      socket?.write(
        Buffer.concat([
          subscribeTo(["#"], qos, 1),
          subscribeTo(["+/greedy/#", "plant/+/+", "$SYS/#"], qos, 2),
        ]),
      );
    }),
  );
  await untilOver(scene);
};

function subscribeTo(topics: readonly string[], qos: 0 | 1 | 2, id: number): Buffer {
  const filters = topics.map((topic) => {
    const name = Buffer.from(topic);
    return Buffer.concat([Buffer.from([name.length >> 8, name.length & 0xff]), name, Buffer.from([qos])]);
  });
  const body = Buffer.concat([Buffer.from([id >> 8, id & 0xff]), ...filters]);
  return Buffer.concat([Buffer.from([0x82, ...lengthOf(body.length)]), body]);
}

function lengthOf(length: number): number[] {
  const bytes: number[] = [];
  let left = length;
  do {
    bytes.push((left % 128) | (left > 127 ? 0x80 : 0));
    left = Math.floor(left / 128);
  } while (left > 0);
  return bytes;
}

/** As fast as it goes, each with connections that come back when they are closed. */
function flood(count: number, id: string, bytesOf: () => () => Buffer, reads = true): Nuisance {
  return async (scene) => {
    await Promise.all(
      every(count, async (n) => {
        const bytes = bytesOf();
        while (!scene.signal.aborted) {
          const socket = await enter(scene, `${id}-${n}`, {}, { reads });
          if (socket) await pour(scene, socket, bytes);
          await sleep(scene.clock, 100, scene.signal);
        }
      }),
    );
  };
}

function inTurn(buffers: readonly Buffer[]): () => Buffer {
  let at = 0;
  return () => buffers[at++ % buffers.length]!;
}

const small = Buffer.from('{"n":1,"value":20.5}');

/** What the issue of a machine gone wild looks like: QoS 0, nothing waited for. */
const greedyQos0 = flood(1, "greedy-qos0", () => {
  const bytes = Buffer.concat(every(512, () => publishOf("plant/greedy/qos0", small)));
  return () => bytes;
});
const greedyQos1 = flood(1, "greedy-qos1", () => inTurn(rounds("plant/greedy/qos1", small, 1)));
const greedyQos2 = flood(1, "greedy-qos2", () => inTurn(rounds("plant/greedy/qos2", small, 2, 900)));
/** All packet ids in flight, and no acknowledgement is ever read. */
const neverReads = flood(2, "never-reads", () => inTurn(rounds("plant/greedy/never", small, 1)), false);
const hugePayloads = flood(4, "huge", () => {
  const bytes = publishOf("plant/greedy/huge", Buffer.alloc(MiB - 64, 97));
  return () => bytes;
});
/** Large packets that stop short of their end. */
const unfinished: Nuisance = async (scene) => {
  const bytes = publishOf("plant/greedy/unfinished", Buffer.alloc(MiB - 64, 97)).subarray(0, -1);
  await Promise.all(every(100, async (n) => (await enter(scene, `unfinished-${n}`))?.write(bytes)));
  await untilOver(scene);
};
/** A large packet, byte by byte as far as the network lets it. */
const crumbs: Nuisance = async (scene) => {
  const bytes = publishOf("plant/greedy/crumbs", Buffer.alloc(MiB - 64, 97));
  await Promise.all(
    every(8, async (n) => {
      const socket = await enter(scene, `crumbs-${n}`);
      for (let at = 0; socket && isOpen(socket) && !scene.signal.aborted; at++) {
        if (!socket.write(bytes.subarray(at, at + 1))) await drained(socket);
        else if (at % 20 === 0) await sleep(scene.clock, 0, scene.signal);
      }
    }),
  );
};
const pings = flood(1, "pings", () => {
  const bytes = Buffer.alloc(65_536).map((_, at) => (at % 2 ? 0 : 0xc0));
  return () => Buffer.from(bytes.buffer);
});
const subscribeStorm = flood(1, "subscribes", () =>
  inTurn(
    every(20, (n) =>
      subscribeTo(
        every(1000, (at) => `storm/${n}/${at}/#`),
        1,
        1 + n,
      ),
    ),
  ),
);
/** One SUBSCRIBE with more filters than anybody has. */
const endlessSubscribe = flood(1, "endless", () => {
  const bytes = subscribeTo(
    every(60_000, (at) => `${at}/#`),
    0,
    1,
  );
  return () => bytes;
});
/** Asks for everything that is retained, again and again. */
const retainedAgain = flood(1, "again", () => {
  const bytes = Buffer.concat(every(64, (n) => subscribeTo(["#"], (n % 2) as 0 | 1, 1 + n)));
  return () => bytes;
});
const retainedFlood = flood(1, "retains", () => {
  let topic = 0;
  const payload = Buffer.alloc(2000, 97);
  return () =>
    Buffer.concat(
      every(64, () => publishOf(`greedy/retained/${topic++ % 20_000}`, payload, { retain: true })),
    );
});

/** A new client id each time, with a session that stays. */
const sessionFlood: Nuisance = async (scene) => {
  let n = 0;
  await Promise.all(
    every(8, async () => {
      while (!scene.signal.aborted) {
        const socket = await enter(scene, `session-${scene.random.below(2 ** 31)}-${n++}`, { clean: false });
        socket?.end(Buffer.concat([subscribeTo(["greedy/session/#"], 1, 1), Buffer.from([0xe0, 0])]));
        await sleep(scene.clock, 1, scene.signal);
      }
    }),
  );
};

/** Connects with the largest will that goes and is lost at once. */
const willFlood: Nuisance = async (scene) => {
  const will = {
    topic: "plant/greedy/will",
    payload: Buffer.alloc(15_000, 97),
    qos: 1 as const,
    retain: false,
  };
  await Promise.all(
    every(8, async (n) => {
      while (!scene.signal.aborted) {
        const socket = await enter(scene, `will-${n}`, { will });
        socket?.resetAndDestroy();
        await sleep(scene.clock, 1, scene.signal);
      }
    }),
  );
};

/** The WebSocket door: messages as large as it takes, before CONNECT and after, of which the end never comes. */
const webSockets: Nuisance = async (scene) => {
  const longHello = hello("ws", {
    will: { topic: "w", payload: Buffer.alloc(16_000), qos: 1, retain: true },
  });
  const publish = publishOf("plant/greedy/ws", Buffer.alloc(MiB - 64, 97)).subarray(0, -1);
  await Promise.all(
    every(100, async (n) => {
      const socket = dial(scene, { port: scene.wsPort });
      await upgrade(socket);
      if (n % 2) socket.write(framed(hello(`ws-${n}`)));
      socket.write(binaryFrameHeader(2 * MiB));
      if (n % 2) socket.write(publish);
      else socket.write(longHello.subarray(0, -1));
    }),
  );
  // Every frame of a byte, each with a header of six.
  const crumb = Buffer.concat(every(4096, () => framed(Buffer.from([0xc0]))));
  const socket = dial(scene, { port: scene.wsPort });
  await upgrade(socket);
  socket.write(framed(hello("ws-crumbs")));
  await pour(scene, socket, () => crumb);
};

const framed = (bytes: Buffer) => Buffer.concat([binaryFrameHeader(bytes.length), bytes]);

/** Whose address each has: those of a line share one. */
export const NUISANCES: Readonly<Record<string, { readonly run: Nuisance; readonly address: string }>> = {
  halfOpen: { run: halfOpen, address: "127.0.0.2" },
  giants: { run: giants, address: "127.0.0.3" },
  frozenSubscribers: { run: frozenSubscribers, address: "127.0.0.4" },
  greedyQos0: { run: greedyQos0, address: "127.0.0.5" },
  greedyQos1: { run: greedyQos1, address: "127.0.0.5" },
  greedyQos2: { run: greedyQos2, address: "127.0.0.5" },
  neverReads: { run: neverReads, address: "127.0.0.6" },
  hugePayloads: { run: hugePayloads, address: "127.0.0.7" },
  unfinished: { run: unfinished, address: "127.0.0.8" },
  crumbs: { run: crumbs, address: "127.0.0.9" },
  pings: { run: pings, address: "127.0.0.10" },
  subscribeStorm: { run: subscribeStorm, address: "127.0.0.11" },
  endlessSubscribe: { run: endlessSubscribe, address: "127.0.0.11" },
  retainedAgain: { run: retainedAgain, address: "127.0.0.12" },
  retainedFlood: { run: retainedFlood, address: "127.0.0.12" },
  sessionFlood: { run: sessionFlood, address: "127.0.0.13" },
  willFlood: { run: willFlood, address: "127.0.0.14" },
  webSockets: { run: webSockets, address: "127.0.0.15" },
};

export type NuisanceName = keyof typeof NUISANCES;
