import { describe, expect, it } from "vitest";
import type { Publish } from "../../src/broker/aedes-internals.ts";
import { OfflineQueue, type Queued, queued } from "../../src/broker/offline-queue.ts";
import { collectGarbage } from "../support/garbage.ts";

let number = 0;
function entry(topic = "t"): Queued {
  const packet: Publish = { cmd: "publish", topic, payload: Buffer.alloc(0), qos: 1, retain: false };
  return queued(++number, packet, 100);
}
function sendNext(queue: OfflineQueue): Queued {
  const next = queue.peek()!;
  if (next.stage === "waiting") queue.assignId(next);
  queue.sent(next);
  return next;
}
function filled(count: number): { queue: OfflineQueue; entries: Queued[] } {
  const queue = new OfflineQueue();
  const entries = Array.from({ length: count }, () => entry());
  for (const each of entries) queue.push(each);
  return { queue, entries };
}

describe("what waits for a client", () => {
  it("is sent in order, once per connection", () => {
    const { queue, entries } = filled(3);
    expect([sendNext(queue), sendNext(queue), sendNext(queue)]).toEqual(entries);
    expect(queue.peek()).toBeUndefined();
    expect(queue.inFlight).toBe(3);
  });

  it("is sent again on the next connection, under the same packet id and as a repetition", () => {
    const { queue, entries } = filled(3);
    const ids = [sendNext(queue).packetId, sendNext(queue).packetId];
    queue.remove(entries[0]!);
    queue.rewind();
    expect(queue.inFlight).toBe(0);
    const again = sendNext(queue);
    expect([again, again.packetId, again.sentBefore]).toEqual([entries[1], ids[1], true]);
    expect(sendNext(queue).sentBefore).toBe(false);
  });

  it("never holds a packet id twice, also when the numbers start over", () => {
    const queue = new OfflineQueue();
    const old = entry();
    queue.push(old);
    sendNext(queue);
    let twice = 0;
    for (let i = 0; i < 65_534; i++) {
      const each = entry();
      queue.push(each);
      if (sendNext(queue).packetId === old.packetId) twice++;
      queue.remove(each);
    }
    expect(twice).toBe(0);
    const next = entry();
    queue.push(next);
    expect(sendNext(queue).packetId).toBe(2);
  });

  it("counts what is there, through everything that can happen to it", () => {
    const { queue, entries } = filled(600);
    for (let i = 0; i < 400; i++) sendNext(queue);
    for (const each of entries.slice(0, 300)) queue.remove(each);
    queue.remove(entries[0]!);
    queue.release(entries[300]!, { cmd: "pubrel", messageId: entries[300]!.packetId } as unknown as Publish);
    const left = [...queue];
    expect(left).toEqual(entries.slice(300));
    expect(queue.count).toBe(left.length);
    expect(queue.bytes).toBe(left.reduce((sum, each) => sum + each.bytes, 0));
    expect(queue.inFlight).toBe(100);
    expect(sendNext(queue)).toBe(entries[400]);
  });

  it("offers the oldest that was never sent for dropping, and none that was", () => {
    const { queue, entries } = filled(3);
    sendNext(queue);
    expect(queue.oldestWaiting()).toBe(entries[1]);
    queue.remove(entries[1]!);
    expect(queue.oldestWaiting()).toBe(entries[2]);
    sendNext(queue);
    expect(queue.oldestWaiting()).toBeUndefined();
    const late = entry();
    queue.push(late);
    expect(queue.oldestWaiting()).toBe(late);
  });

  it("lets go of what is dropped behind messages that are never acknowledged, and keeps its place", async () => {
    const { queue, entries } = filled(2000);
    for (let i = 0; i < 100; i++) sendNext(queue);
    const dropped: WeakRef<Queued>[] = [];
    for (let i = 0; i < 10_000; i++) {
      queue.push(entry());
      const oldest = queue.oldestWaiting()!;
      dropped.push(new WeakRef(oldest));
      queue.remove(oldest);
    }
    const left = [...queue];
    expect(left.slice(0, 100)).toEqual(entries.slice(0, 100));
    entries.length = 0;
    await collectGarbage();
    const kept = dropped.filter((each) => each.deref() !== undefined).length;
    expect(kept).toBeLessThan(left.length);
    expect(queue.oldestWaiting()).toBe(left[100]);
    expect(sendNext(queue)).toBe(left[100]);
    queue.rewind();
    expect(sendNext(queue)).toBe(left[0]);
  });
});
