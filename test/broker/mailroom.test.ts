import { describe, expect, it } from "vitest";
import type { Publish } from "../../src/broker/aedes-internals.ts";
import { Mailroom } from "../../src/broker/mailroom.ts";
import { brokerSchema } from "../../src/broker/schema.ts";
import { loadSessions, pubrelOf } from "../../src/broker/session-load.ts";
import { Sessions } from "../../src/broker/sessions.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { SessionChange, SessionRow } from "../../src/core/session.ts";

/** A store in memory, that keeps rows as the real one does. */
class Rows {
  readonly rows = new Map<string, SessionRow>();
  load = async () => this.sorted();
  write = async (changes: readonly SessionChange[]) => {
    for (const change of changes) {
      const { op, kind, client } = change;
      if (op === "clear") {
        for (const [id, row] of this.rows) {
          if (row.kind === kind && row.client === client) this.rows.delete(id);
        }
        continue;
      }
      const id = `${kind}\0${client}\0${change.key}`;
      if (op === "put") this.rows.set(id, { kind, client, key: change.key, value: change.value });
      else this.rows.delete(id);
    }
  };
  sorted = () => [...this.rows].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);
}

function rooms(rows: Rows, limits: object = {}) {
  const sessions = new Sessions({ log: rows, expireAfter: 1000, steadyMs: () => 0, onFatal: () => {} });
  const mailroom = new Mailroom({
    sessions,
    limits: brokerSchema.parse({ sessions: limits }).sessions,
    onDropped: () => {},
    onRetainedFull: () => {},
  });
  return { sessions, mailroom };
}

const message = (topic: string, payload: string, qos: 1 | 2 = 1): Publish => ({
  cmd: "publish",
  topic,
  payload: Buffer.from(payload),
  qos,
  retain: false,
});

describe("the mailroom", () => {
  it("keeps nothing for a session that has ended", async () => {
    const rows = new Rows();
    const { sessions, mailroom } = rooms(rows);
    const { session } = sessions.enter("a", null, true);
    await sessions.forget("a");
    await mailroom.enqueue(session, message("t", "1"), 1, false);
    expect([mailroom.bytes, session.queue.count, rows.sorted()]).toEqual([0, 0, []]);
  });

  it.each([1, 2, 3, 4])("has in memory what is in the store, whatever happened (seed %i)", async (seed) => {
    const random = seededRandom(seed);
    const rows = new Rows();
    const limits = { queuedMessagesMax: 8, queuedBytesMax: "4KiB", queuedBytesTotalMax: "6KiB" };
    let { sessions, mailroom } = rooms(rows, limits);
    const clients = ["a", "b", "c"];
    const image = () =>
      clients.map((id) => {
        const queue = [...(sessions.get(id)?.queue ?? [])];
        return queue.map(({ number, stage, packetId, packet }) =>
          [number, stage === "released" ? "released" : `${packet.payload}`, stage, packetId].join(" "),
        );
      });
    for (let step = 0; step < 400; step++) {
      const id = clients[random.below(clients.length)]!;
      const session = sessions.get(id);
      const chance = random.below(20);
      if (!session || chance === 0) {
        sessions.enter(id, null, true);
        await sessions.subscribe(id, [{ topic: "t/#", qos: random.below(2) ? 2 : 1 }]);
      } else if (chance < 9) {
        const packet = message("t/x", `${step}`.padEnd(random.below(600), "."), random.below(2) ? 2 : 1);
        const prepared = mailroom.prepare(packet, undefined);
        await rows.write(prepared.changes);
        mailroom.apply(prepared);
      } else if (chance < 13) {
        const upcoming = session.queue.upcoming(3);
        if (upcoming.length > 0) await mailroom.assignIds(session, upcoming);
      } else if (chance < 16) {
        const sent = [...session.queue].find((entry) => entry.stage !== "waiting");
        if (sent?.packet.qos === 2) await mailroom.release(session, sent.packetId, pubrelOf(sent.packetId));
        else if (sent) mailroom.acknowledge(session, sent.packetId);
      } else if (chance === 16) mailroom.acknowledge(session, 1 + random.below(5));
      else if (chance === 17) await sessions.forget(id);
      else if (chance === 18) await sessions.leave(session);
      else {
        const before = image();
        await sessions.flushed();
        ({ sessions, mailroom } = rooms(rows, limits));
        loadSessions(rows.sorted(), sessions, mailroom, () => true);
        expect(image()).toEqual(before);
      }
      const all = [...sessions.all()];
      expect(mailroom.bytes).toBe(all.reduce((sum, each) => sum + each.queue.bytes, 0));
      for (const { queue } of all) expect(queue.count).toBe([...queue].length);
    }
    for (const id of clients) await sessions.forget(id);
    expect(mailroom.bytes).toBe(0);
    expect(rows.sorted()).toEqual([]);
  });
});
