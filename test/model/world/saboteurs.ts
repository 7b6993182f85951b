/** Twins of the gateway, each with one fault, that the simulation has to tell from the real one. */
import type { Accepting } from "../../../src/intake/draft.ts";
import type { Db } from "../../../src/queue/database.ts";
import type { JobStep } from "../../../src/queue/jobs.ts";
import type { AppendReply, AppendRequest } from "../../../src/queue/requests.ts";
import type { Store } from "../../../src/queue/store.ts";
import type { WriterOptions } from "../../../src/queue/writer-options.ts";
import type { Disk } from "../../../src/targets/file-disk.ts";

export interface Saboteur {
  /** Spoils the store as the other rooms see it. */
  readonly store?: (store: Store) => void;
  readonly intake?: (intake: Accepting) => Accepting;
  /** Spoils when the HTTP door answers. */
  readonly handing?: (taken: Promise<unknown>) => Promise<unknown>;
  readonly synchronous?: WriterOptions["synchronous"];
  readonly diskLies?: boolean;
  /** Spoils the store's own connection. */
  readonly db?: (db: Db) => void;
  readonly fileDisk?: (disk: Disk) => Disk;
}

/** So that no two lives of one gateway give the same id. */
let life = 0;

export const SABOTEURS = {
  "acknowledges before the commit": {
    intake: (intake) => ({
      async accept(draft, signal) {
        void intake.accept(draft, signal).catch(() => {});
        return { kind: "stored", id: "", seq: 0, flows: 1, late: false };
      },
    }),
  },
  "answers over HTTP before the commit": {
    async handing(taken) {
      taken.catch(() => {});
    },
  },
  "runs with synchronous=NORMAL": { synchronous: "NORMAL" },
  "believes a disk that lies about fsync": { diskLies: true },
  "passes over a sync that fails": {
    db(db) {
      const exec = db.exec.bind(db);
      db.exec = (sql) => {
        try {
          return exec(sql);
        } catch (error) {
          if ((error as { code?: string }).code !== "SQLITE_IOERR_FSYNC") throw error;
          return db;
        }
      };
    },
  },
  "knows duplicates outside of the transaction": {
    store(store) {
      // What it knows is in memory, and gone with the process.
      const known = new Map<string, AppendReply>();
      let count = life++ * 10_000;
      const append = store.append.bind(store);
      store.append = async (request, signal) => {
        const keys = keysOf(request);
        const before = keys.map((key) => known.get(key)).find((reply) => reply !== undefined);
        if (before) return { kind: "duplicate", seq: before.seq, id: request.id };
        // An id of its own each time, as where a message has none: the store takes no id twice.
        const id = `${request.id}/${++count}`;
        const reply = await append({ ...request, id, identity: null, mqtt: null }, signal);
        for (const key of keys) known.set(key, reply);
        return reply;
      };
    },
  },
  "moves its cursor before it has the outcome": {
    store(store) {
      const settle = store.settle.bind(store);
      // What comes of it is of no interest any more.
      store.settle = async () => {};
      const claim = store.claim.bind(store);
      store.claim = async (request) => {
        const reply = await claim(request);
        const rest = { state: "delivered", resend: false, dueAtMs: null, reason: null, note: null } as const;
        await settle(
          reply.deliveries.map(({ lane, message, attempts }) => ({
            lane,
            seq: message.seq,
            attempts: attempts + 1,
            ...rest,
          })),
        );
        return reply;
      };
    },
  },
  "leaves out what a job moves last": {
    store(store) {
      const call = store.call.bind(store);
      store.call = ((kind, ...given) => {
        const [step] = given as unknown as [JobStep];
        return kind === "stepJob" && step.rows.length > 1
          ? call(kind, { ...step, rows: step.rows.slice(0, -1) } as never)
          : call(kind, ...given);
      }) as typeof store.call;
    },
  },
  "delivers to a file that it does not sync": {
    fileDisk: (disk) => ({
      ...disk,
      open: async (path, how) => ({ ...(await disk.open(path, how)), sync: async () => {} }),
    }),
  },
} satisfies Record<string, Saboteur>;

function keysOf({ identity, mqtt, payload }: AppendRequest): string[] {
  const keys: string[] = [];
  if (identity) keys.push(`${identity.scope} ${identity.key}`);
  if (mqtt) keys.push(`${mqtt.client} ${mqtt.packetId} ${payload}`);
  return keys;
}

export type SaboteurName = keyof typeof SABOTEURS;
