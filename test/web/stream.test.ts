import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { connect } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { createToken, revokeToken } from "../../src/web/tokens.ts";
import { WebRig } from "../support/web-rig.ts";

let rig: WebRig;
const followers: Follower[] = [];

afterEach(async () => {
  for (const follower of followers.splice(0)) follower.leave();
  await rig.stop();
});

interface Message {
  readonly id: string | null;
  readonly event: string;
  readonly data: Record<string, unknown>;
}

/** Reads server-sent events as a browser would. */
class Follower {
  readonly messages: Message[] = [];
  readonly response: IncomingMessage;
  #rest = "";
  #onMore: () => void = () => {};
  ended = false;

  constructor(response: IncomingMessage) {
    this.response = response;
    followers.push(this);
    response.setEncoding("utf8");
    response.on("data", (text: string) => this.#take(text));
    response.on("error", () => {});
    response.on("close", () => {
      this.ended = true;
      this.#onMore();
    });
  }

  static async open(headers: Record<string, string> = {}, query = ""): Promise<Follower> {
    const asked = request(`${rig.web.url()}/v1/stream${query}`, { headers, agent: false });
    asked.end();
    const [response] = (await once(asked, "response")) as [IncomingMessage];
    return new Follower(response);
  }

  /** The first message that is so, among those that came and those that will. */
  async until(wanted: (message: Message) => boolean): Promise<Message> {
    for (;;) {
      const found = this.messages.find(wanted);
      if (found) return found;
      if (this.ended) throw new Error("the stream has ended");
      await new Promise<void>((resolve) => {
        this.#onMore = resolve;
      });
    }
  }

  async end(): Promise<void> {
    await this.until(() => this.ended).catch(() => {});
  }

  leave(): void {
    this.response.destroy();
  }

  #take(text: string): void {
    this.#rest += text;
    const parts = this.#rest.split("\n\n");
    this.#rest = parts.pop()!;
    for (const part of parts) {
      const fields = new Map(part.split("\n").map((line) => line.split(/: (.*)/s) as [string, string]));
      const data = fields.get("data");
      if (data === undefined) continue;
      this.messages.push({
        id: fields.get("id") ?? null,
        event: fields.get("event")!,
        data: JSON.parse(data),
      });
    }
    this.#onMore();
  }
}

const tell = (sentence: string) =>
  rig.watch.events.tell({ kind: "act", severity: "info", subject: null, sentence });
const says = (sentence: string) => (message: Message) => message.data.sentence === sentence;
const AWAY = {
  lanesDelayed: 0,
  lanesHeld: 0,
  callsInFlight: 0,
  canBeAsked: false,
  lastDeliveredAtMs: null,
  lastProbeOkAtMs: null,
};

describe("who follows changes", () => {
  it("gets what is so, then what changes, and each thing once", async () => {
    rig = await new WebRig().start();
    const follower = await Follower.open();
    expect(follower.response.headers["content-type"]).toContain("text/event-stream");
    const hello = await follower.until(({ event }) => event === "hello");
    expect(hello.data).toMatchObject({ boot: "boot-1", gap: false });
    const first = await follower.until(({ event }) => event === "status");
    expect(first.data).toMatchObject({ gateway: "line-3", verdict: "ok" });
    // A look that finds nothing new is no news; the one after it does.
    await rig.look();
    await rig.look();
    const circuit = { state: "open", sinceMs: 1, failures: 1, reason: "ECONNREFUSED", probeAtMs: 0 } as const;
    rig.targets.set("mes-http", { ...AWAY, circuit, lastError: "ECONNREFUSED" });
    await rig.look();
    await follower.until(({ event, data }) => event === "status" && data.verdict === "attention");
    const problem = await follower.until(({ data }) => data.kind === "problem");
    expect(problem).toMatchObject({ event: "event", data: { subject: "target-down:mes-http" } });
    expect(problem.id).toBe(problem.data.id);
    const verdicts = follower.messages
      .filter(({ event }) => event === "status")
      .map(({ data }) => data.verdict);
    expect(verdicts).toEqual(["ok", ...verdicts.slice(1, -1).map(() => "ok"), "attention"]);
    expect(verdicts.length).toBeLessThanOrEqual(3);
  });

  it("is told which parts of the report have changed, where it asks for that alone", async () => {
    rig = await new WebRig().start();
    const follower = await Follower.open({}, "?brief=true");
    await follower.until(({ event }) => event === "hello");
    await rig.look();
    const circuit = { state: "open", sinceMs: 1, failures: 1, reason: "ECONNREFUSED", probeAtMs: 0 } as const;
    rig.targets.set("mes-http", { ...AWAY, circuit, lastError: "ECONNREFUSED" });
    await rig.look();
    const { data } = await follower.until(({ event, data: { of } }) => {
      return event === "changed" && (of as string[]).includes("targets");
    });
    expect(data.of).toEqual(["verdict", "problems", "targets"]);
    expect(follower.messages.filter(({ event }) => event === "status")).toEqual([]);
  });

  it("gets what it missed when it comes back, and is told where that is no longer known", async () => {
    rig = await new WebRig().start();
    const follower = await Follower.open();
    tell("one");
    const one = await follower.until(says("one"));
    follower.leave();
    tell("two");
    tell("three");
    const back = await Follower.open({ "last-event-id": one.id! });
    const hello = await back.until(({ event }) => event === "hello");
    expect(hello.data.gap).toBe(false);
    expect(back.messages.filter(({ event }) => event === "event").map(({ data }) => data.sentence)).toEqual([
      "two",
      "three",
    ]);
    for (const unknown of ["another0-7", "boot-1-999", "x"]) {
      const stranger = await Follower.open({}, `?after=${unknown}`);
      expect((await stranger.until(({ event }) => event === "hello")).data.gap).toBe(true);
      expect(stranger.messages.some(says("one"))).toBe(true);
    }
  });

  it("is cut off where it does not keep up, while others go on", async () => {
    rig = await new WebRig().start();
    const { port } = rig.web.address();
    const slow = connect(port, "127.0.0.1");
    slow.pause();
    const closed = once(slow, "close");
    slow.on("error", () => {});
    slow.write("GET /v1/stream HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    const follower = await Follower.open();
    await follower.until(({ event }) => event === "status");
    const long = "x".repeat(64 * 1024);
    // More than any socket's buffers hold; nothing here waits for the slow one.
    for (let i = 0; i < 400; i++) {
      tell(`${i} ${long}`);
      await follower.until(says(`${i} ${long}`));
      follower.messages.length = 0;
    }
    slow.resume();
    await closed;
    expect(follower.ended).toBe(false);
    tell("still here");
    await follower.until(says("still here"));
  });

  it("is one of a few, and goes when its token does", async () => {
    rig = new WebRig(() => {}, { limits: { streams: 2 } });
    const made = { name: "wall", role: "view", expiresAtMs: null, nowMs: 0 } as const;
    const { token } = createToken(rig.built.dataDir, made);
    await rig.start();
    const headers = { authorization: `Bearer ${token}` };
    const [first] = [await Follower.open(headers), await Follower.open(headers)];
    const third = await fetch(`${rig.web.url()}/v1/stream`, { headers });
    expect([third.status, third.headers.get("retry-after")]).toEqual([429, "5"]);
    expect((await fetch(`${rig.web.url()}/v1/stream`)).status).toBe(401);
    revokeToken(rig.built.dataDir, "wall");
    await rig.clock.advanceAsync(1000);
    await rig.look();
    await first.end();
    expect(first.ended).toBe(true);
  });
});
