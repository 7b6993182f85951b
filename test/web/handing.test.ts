/** POST /v1/messages where it cannot be taken at once: a key that is under way, and a store without room. */
import { afterEach, describe, expect, it } from "vitest";
import type { Receipt } from "../../src/intake/draft.ts";
import { WebRig } from "../support/web-rig.ts";

let rig: WebRig;
const begin = async () => {
  rig = new WebRig();
  return rig.start();
};
afterEach(() => rig.stop());

const STORED: Receipt = { kind: "stored", id: "m1", seq: 1, flows: 1, late: false };

function hand(started: WebRig, key: string): Promise<Response> {
  return fetch(`${started.web.url()}/v1/messages`, {
    method: "POST",
    headers: { "content-type": "application/json", "idempotency-key": key },
    body: JSON.stringify({ topic: "plant/a", payload: { bar: 3 } }),
  });
}

describe("handing in a message", () => {
  it("is refused while the first request with its key is under way, and that one is taken", async () => {
    const started = await begin();
    const committed = Promise.withResolvers<Receipt>();
    const asked = Promise.withResolvers<void>();
    started.accept = () => {
      asked.resolve();
      return committed.promise;
    };
    const first = hand(started, "order-1");
    await asked.promise;
    const second = await hand(started, "order-1");
    expect([second.status, second.headers.get("retry-after")]).toEqual([409, "1"]);
    expect(await second.json()).toMatchObject({ code: "HF_KEY_TAKEN" });
    committed.resolve(STORED);
    expect((await first).status).toBe(202);
    // The key is free again: what comes of it is for intake to say.
    expect((await hand(started, "order-1")).status).toBe(202);
  });

  it("goes on beside it under another key", async () => {
    const started = await begin();
    const asked = Promise.withResolvers<void>();
    const committed = Promise.withResolvers<Receipt>();
    started.accept = (draft) => {
      if (draft.producerId !== "order-1") return Promise.resolve(STORED);
      asked.resolve();
      return committed.promise;
    };
    const first = hand(started, "order-1");
    await asked.promise;
    expect((await hand(started, "order-2")).status).toBe(202);
    committed.resolve(STORED);
    expect((await first).status).toBe(202);
  });

  it("is told when to come again where the store is full, and nothing is handed to it", async () => {
    const started = await begin();
    let handed = 0;
    started.accept = async () => {
      handed++;
      return STORED;
    };
    started.store.state = { kind: "full", sinceMs: 0 };
    const answer = await hand(started, "order-1");
    expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "5"]);
    expect(await answer.json()).toMatchObject({ code: "HF_STORE_FULL" });
    expect(handed).toBe(0);
  });

  it("is told so, too, where the store has become full while it waited", async () => {
    const started = await begin();
    const asked = Promise.withResolvers<void>();
    started.accept = (_, signal) => {
      asked.resolve();
      return new Promise((_, reject) =>
        signal!.addEventListener("abort", () => reject(signal!.reason), { once: true }),
      );
    };
    const waiting = hand(started, "order-1");
    await asked.promise;
    await started.clock.advanceAsync(2000);
    expect((await waiting).status).toBe(503);
  });
});
