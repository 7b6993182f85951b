import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import type { StoreBuilder } from "../../test/support/store-builder.ts";
import { WebRig } from "../support/web-rig.ts";
import { look } from "./look-rig.ts";

let rig: WebRig;

afterEach(() => rig.stop());

function fill(store: StoreBuilder): void {
  store.boot({ boot: "boot-9", startedAt: 0, seenAt: Date.UTC(2026, 5, 1, 12), steadyAt: 600_000 });
  store.flow("outbox", { from: "#", to: "outbox" }, "v-outbox");
  store.flow("mes", { from: ["plant/+/count"], to: "mes-http", onUnknown: "hold" }, "v-mes");
  for (let i = 0; i < 5; i++) {
    const tried = i === 0 ? { attempts: 2, reason: "HTTP 503", dueAt: 700_000 } : {};
    store.message({
      steadyAt: 500_000,
      deliveries: [
        { flow: "mes", ...tried },
        { flow: "outbox", state: "delivered" },
      ],
    });
  }
  for (const bar of ["3.1", "4.2"]) {
    const reason = `HTTP 422: ${bar} bar is too much`;
    store.message({ device: "oven-2", deliveries: [{ flow: "mes", state: "dead", attempts: 1, reason }] });
  }
  const { seq } = store.message({
    id: "press-7:4711",
    payload: '{"n":4711}',
    duplicates: 1,
    deliveries: [{ flow: "mes", state: "unknown", resend: true, reason: "timeout" }],
  });
  store.history(seq, "duplicate", "the same message came again and was suppressed");
  store.tally("", "duplicate", 1);
}

/** The gateway up: it has written where it is. */
async function up(build = fill): Promise<string> {
  rig = await new WebRig(build).start();
  const { dataDir } = rig.built;
  tellAddress(dataDir, rig.web.url(), "boot-1");
  return dataDir;
}

/** The gateway down: only its store is there. */
function down(build = fill): string {
  rig = new WebRig(build);
  return rig.built.dataDir;
}

function tellAddress(dataDir: string, http: string, boot: string): void {
  const file = { pid: process.pid, http, boot, startedAt: "2026-06-01T12:00:00Z" };
  writeFileSync(join(dataDir, "gateway.json"), JSON.stringify(file));
}

const AWAY = {
  lastDeliveredAtMs: null,
  lastProbeOkAtMs: null,
  lastError: null,
  lanesDelayed: 0,
  lanesHeld: 0,
  callsInFlight: 0,
  canBeAsked: false,
};

describe("holdfast status", () => {
  it("answers the six questions, each under its own words", async () => {
    const { out, code } = await look(["status"], { dataDir: await up() });
    const questions = out.split("\n").filter((line) => /^\d {2}/.test(line));
    expect(questions).toEqual([
      "1  How many messages are waiting?",
      "2  How many are failing, and why?",
      "3  Which workflow takes which message?",
      "4  Are any being retried?",
      "5  What state did the system reach?",
      "6  How is it repaired?",
    ]);
    expect(out).toMatch(/^line-3 is running/);
    expect(out).toMatch(/mes +waiting +5 +0 +1 /);
    expect(out).toContain("2 × mes  HTTP 422: … bar is too much");
    expect(out).toContain("1 of unknown fate: sent, and the answer was lost; 1 held for a person:");
    expect(out).toContain("plant/+/count → mes → mes-http");
    expect(out).toContain("1 delivery; 5 others wait behind them:");
    expect(out).toContain("13 accepted by flows = 5 delivered + 5 waiting + 1 unknown + 2 dead");
    expect(out).toContain("8 messages taken, 1 duplicate suppressed");
    expect(out).toContain("holdfast dead retry --flow mes");
    expect(code).toBe(0);
  });

  it("gives the same figures with the gateway down, and says that it is and as of when", async () => {
    const live = JSON.parse((await look(["status", "--json"], { dataDir: await up() })).out);
    const { out, code } = await look(["status", "--json"], { dataDir: rig.built.dataDir });
    expect([JSON.parse(out).running, code]).toEqual([true, 0]);
    await rig.stop();
    const dataDir = down();
    const stored = JSON.parse((await look(["status", "--json"], { dataDir })).out);
    expect([stored.running, stored.health]).toEqual([false, null]);
    const untimed = (flows: { oldest: unknown; oldestFree: unknown }[]) =>
      flows.map(({ oldest: _, oldestFree: __, ...flow }) => flow);
    expect(untimed(stored.flows)).toEqual(untimed(live.flows));
    expect(stored.failing).toEqual(live.failing);
    const screen = await look(["status"], { dataDir });
    expect(screen.out).toMatch(/^○ The gateway is not running\.\n {3}Figures are as of its last commit: /);
    expect(screen.out).toContain("the rows have not been counted");
    expect(screen.out).toContain("holdfast run ");
    expect(screen.code).toBe(1);
  });

  it.each(["up", "down"])(
    "says what is held for another box, since when and what ends it, with the gateway %s",
    async (how) => {
      const id = "0f8f7f5e-8f5e-4b8e-9f0e-1c2d3e4f5a6b";
      const build = (store: StoreBuilder) => {
        const heldFor = store.export(id);
        for (const state of ["waiting", "dead"] as const)
          store.message({ deliveries: [{ flow: "mes", state, heldFor }] });
      };
      const dataDir = how === "up" ? await up(build) : down(build);
      const json = JSON.parse((await look(["status", "--json"], { dataDir })).out);
      expect(json.flows).toMatchObject([{ flow: "mes", held: 2, waiting: 1, dead: 1, oldestFree: null }]);
      expect(json.exports).toMatchObject([{ id, state: "held", who: "anna" }]);
      const { out } = await look(["status"], { dataDir, columns: 120 });
      expect(out.replace(/\s+/g, " ")).toContain(
        `‖ Export ${id} holds messages for another box, by anna since 2026-06-01`,
      );
      expect(out).toContain("2 deliveries are held for another box, the longest for ");
      expect(out).toMatch(/^ {3}holdfast export list .*finish, or cancel/m);
      expect(out).not.toContain("Nothing needs a person.");
      const story = (await look(["messages", "show", "#1"], { dataDir, columns: 200 })).out;
      expect(story).toMatch(`It is waiting, and held for export ${id} since 2026-06-01`);
      await rig.stop();
      // Without an export nothing of it is said.
      const calm = await look(["status"], {
        dataDir: down((store) => void store.message({ deliveries: [{ flow: "mes" }] })),
      });
      expect(calm.out).not.toMatch(/export|held/);
      expect(calm.out).not.toContain("‖");
    },
  );

  it.each([60, 80, 120])("fits a terminal of %i columns", async (columns) => {
    const dataDir = down((store) => {
      fill(store);
      store.message({
        deliveries: [{ flow: "mes", heldFor: store.export("0f8f7f5e-8f5e-4b8e-9f0e-1c2d3e4f5a6b") }],
      });
      store.flow("a-flow-with-a-name-that-nobody-should-have-given-it-really", { to: "x" });
      const long = { device: "device ".repeat(20), steadyAt: 1 };
      store.message({ ...long, deliveries: [{ flow: "mes", state: "dead", reason: "because ".repeat(60) }] });
      store.message({ ...long, deliveries: [{ flow: "mes", reason: "never ".repeat(60), attempts: 1 }] });
    });
    const { out } = await look(["status"], { dataDir, columns });
    for (const line of out.split("\n")) expect([...line].length, line).toBeLessThanOrEqual(columns);
  });

  it("lets no device draw on the screen, and uses colours only where they are wanted", async () => {
    const dataDir = down((store) => {
      const device = "evil\u001b[2J\u0007\u202e";
      store.message({ device, deliveries: [{ flow: "mes" }] });
      store.message({ device, deliveries: [{ flow: "mes", state: "dead", reason: "\u001b]0;owned\u0007" }] });
    });
    for (const args of [["status"], ["dead", "list"], ["messages", "show", "#2"]]) {
      const { out } = await look(args, { dataDir });
      expect(out).toContain("␛");
      expect(out.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\u202e]/u);
    }
    const coloured = await look(["status"], { dataDir, env: { FORCE_COLOR: "1" } });
    expect(coloured.out).toContain("\u001b[1m");
  });

  it("exits with 1 on an alarm, and shows what is not accounted for", async () => {
    const dataDir = await up();
    rig.store.state = { kind: "full", sinceMs: 0 };
    await rig.look();
    const { out, code } = await look(["status"], { dataDir });
    expect(out).toContain("✖ The store has no room: senders wait for their acknowledgement");
    expect(code).toBe(1);
  });

  it("does not believe another program that has taken the gateway's old port", async () => {
    const dataDir = down();
    const other = createServer((_request, response) => response.end('{"status":"ok"}'));
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const { port } = other.address() as { port: number };
    tellAddress(dataDir, `http://127.0.0.1:${port}`, "boot-1");
    const { out } = await look(["status"], { dataDir });
    expect(out.replace(/\s+/g, " ")).toContain("another program answers there");
    other.closeAllConnections();
    other.close();
  });

  it("does not say that nothing runs while a gateway may be starting", async () => {
    const dataDir = down();
    writeFileSync(join(dataDir, "store.holder.json"), JSON.stringify({ pid: process.pid, boot: "b" }));
    const { out } = await look(["status"], { dataDir });
    expect(out.replace(/\s+/g, " ")).toContain(
      `process ${process.pid}, which took the store last, may be starting`,
    );
  });

  it("says what to do where there is neither a gateway nor a store", async () => {
    const dataDir = down();
    const { code, err } = await look(["status", "--data", "nowhere"], { dataDir });
    expect(code).toBe(69);
    expect(err).toContain("The gateway is not running. There is no store in");
  });

  it("refuses a time that is none", async () => {
    const { code, err } = await look(["status", "--watch", "often"], { dataDir: down() });
    expect([code, err]).toEqual([64, expect.stringContaining("--watch takes a time")]);
  });
});

describe("holdfast health", () => {
  it("is 0 while messages are taken, 1 while they are not, and 1 with the gateway down", async () => {
    const dataDir = await up();
    expect(await look(["health"], { dataDir })).toMatchObject({
      code: 0,
      out: expect.stringContaining("ready"),
    });
    rig.store.state = { kind: "full", sinceMs: 0 };
    await rig.look();
    const full = await look(["health", "--json"], { dataDir });
    expect([full.code, JSON.parse(full.out).ready]).toEqual([1, false]);
    await rig.stop();
    const stopped = await look(["health"], { dataDir: down() });
    expect(stopped).toMatchObject({ code: 1, out: expect.stringContaining("The gateway is not running.") });
  });
});

describe("holdfast messages show", () => {
  it("tells a message's whole history in sentences, up or down", async () => {
    const expected = [
      "Message press-7:4711",
      "From device press-7 by MQTT (QoS 1), topic plant/press-7.",
      '│ {"n":4711}',
      "10 bytes; 1 duplicate suppressed.",
      "Flow mes → target mes-http: unknown",
      "Taken by its version v-mes, which takes plant/+/count; in order with all of this device.",
      "It was sent and the answer was lost: timeout. A person must decide;",
      "the same message came again and was suppressed",
      "mes: unknown: timeout",
    ];
    const live = await look(["messages", "show", "press-7:4711"], { dataDir: await up(), columns: 120 });
    for (const words of expected) expect(live.out).toContain(words);
    await rig.stop();
    const stored = await look(["messages", "show", "press-7:4711"], { dataDir: down(), columns: 120 });
    for (const words of expected) expect(stored.out).toContain(words);
    expect(stored.err).toContain("The gateway is not running. This is as of its last commit.");
  });

  it.each([
    ["#1", "After 2 tries it is tried again"],
    ["#2", "It waits: 1 other of its lane stand before it."],
    ["#1", "outbox: delivered"],
    ["#7", "Set aside at"],
  ])("says of %s: %s", async (id, words) => {
    const { out } = await look(["messages", "show", id], { dataDir: down(), columns: 120 });
    expect(out).toContain(words);
  });

  it("says that a message is stored while its target is away, and when that is asked again", async () => {
    const dataDir = await up();
    const reason = "ECONNREFUSED";
    const sinceMs = rig.clock.wallMs() - 60_000;
    const circuit = {
      state: "open",
      sinceMs,
      failures: 1,
      reason,
      probeAtMs: rig.clock.monoMs() + 20_000,
    } as const;
    rig.targets.set("mes-http", { ...AWAY, circuit });
    await rig.look();
    const { out } = await look(["messages", "show", "#3"], { dataDir, columns: 200 });
    expect(out.replace(/\s+/g, " ")).toMatch(
      /It is stored here\. Its target is away since .* \(ECONNREFUSED\) and is asked again in \d+ s; no try is charged/,
    );
  });

  it("says that there is no such message", async () => {
    const { code, err } = await look(["messages", "show", "nope"], { dataDir: await up() });
    expect([code, err]).toEqual([66, expect.stringContaining("there is no message nope")]);
  });
});

describe("holdfast messages list and search", () => {
  it("finds messages by what is known of them, the same up and down, and says where each is", async () => {
    const dataDir = await up();
    const asks = [
      ["list", "--device", "oven-2"],
      ["list", "--state", "unknown", "--flow", "mes"],
      ["list", "--id", "press-7:"],
      ["list", "--topic", "plant/+", "--from", "2026-06-01", "--to", "2099-01-01", "-n", "3"],
      ["search", "4711"],
    ];
    const ids = async () => {
      const found: string[][] = [];
      for (const args of asks) {
        const { out, code } = await look(["messages", ...args, "--json"], { dataDir });
        expect(code).toBe(0);
        found.push((JSON.parse(out).messages as { id: string }[]).map(({ id }) => id));
      }
      return found;
    };
    const live = await ids();
    expect(live).toEqual([
      ["message-7", "message-6"],
      ["press-7:4711"],
      ["press-7:4711"],
      ["press-7:4711", "message-7", "message-6"],
      ["press-7:4711"],
    ]);
    const screen = await look(["messages", "list", "-n", "2"], { dataDir, columns: 120 });
    expect(screen.out).toMatch(/press-7:4711 +press-7 +plant\/press-7 +mes: unknown +\{"n":4711\}/);
    expect(screen.out).toContain("There are, or may be, more: --limit 20");
    await rig.web.stop();
    expect(await ids()).toEqual(live);
  });

  it("says that there is none, and refuses what cannot be looked for", async () => {
    const dataDir = down();
    const { out, code } = await look(["messages", "search", "nowhere"], { dataDir });
    expect([out, code]).toEqual(["No message is like that; 8 messages were looked at.\n", 0]);
    for (const args of [
      ["--state", "lost"],
      ["--from", "soon"],
      ["--topic", "a/#/b"],
      ["-n", "0"],
    ]) {
      expect((await look(["messages", "list", ...args], { dataDir })).code).toBe(64);
    }
  });
});

describe("holdfast dead", () => {
  it("lists dead letters by reason and one by one", async () => {
    const { out, code } = await look(["dead", "list"], { dataDir: await up(), columns: 120 });
    expect(out).toContain("2 dead letters\n  2 × mes: HTTP 422: … bar is too much\n");
    expect(out).toMatch(/mes +message-7 +oven-2 +plant\/oven-2 +HTTP 422: 4.2 bar is too much/);
    expect(code).toBe(0);
    const none = await look(["dead", "list", "--flow", "outbox"], { dataDir: rig.built.dataDir });
    expect(none.out).toBe("There are no dead letters on flow outbox.\n");
  });

  it("lists them all where asked to, in JSON for programs", async () => {
    const dataDir = down((store) =>
      store.many(() => {
        for (let i = 0; i < 1500; i++) store.message({ deliveries: [{ flow: "mes", state: "dead" }] });
      }),
    );
    const all = JSON.parse((await look(["dead", "list", "--limit", "5000", "--json"], { dataDir })).out);
    expect([all.total, new Set(all.letters.map(({ id }: { id: string }) => id)).size]).toEqual([1500, 1500]);
  });

  it("puts them back by id, by flow, or all, through the running gateway", async () => {
    const dataDir = await up();
    rig.redrive = () => 1;
    const one = await look(["dead", "retry", "message-6", "message-7", "--flow", "mes"], { dataDir });
    expect(one.out).toContain("1 delivery put back in line");
    expect(rig.redriven[0]).toEqual({ ids: ["message-6", "message-7"], flow: "mes", limit: 5000 });
    await look(["dead", "retry", "--flow", "mes"], { dataDir });
    expect(rig.redriven[1]).toEqual({ flow: "mes", limit: 1000 });
  });

  it("puts many back in steps, each after the one before, so that what died again is not met twice", async () => {
    const dataDir = await up();
    rig.redrive = () => 1000;
    rig.redriveNext = () => (rig.redriven.length < 3 ? rig.redriven.length * 1000 : undefined);
    const { out } = await look(["dead", "retry", "--all", "--json"], { dataDir });
    expect(rig.redriven.map(({ after }) => after)).toEqual([undefined, 1000, 2000]);
    expect(JSON.parse(out)).toEqual({ redriven: 3000, left: [] });
  });

  it("exits with 1 where none of the messages named is dead", async () => {
    const { code, out } = await look(["dead", "retry", "message-1"], { dataDir: await up() });
    expect([code, out]).toEqual([1, expect.stringContaining("none of these is dead")]);
  });

  it.each([["--flow", "mes"], ["--all"], ["message-6"]])(
    "needs the running gateway: retry %s %s",
    async (...args) => {
      const { code, err } = await look(["dead", "retry", ...args.filter(Boolean)], { dataDir: down() });
      expect([code, err]).toEqual([69, expect.stringContaining("Only a running gateway changes")]);
    },
  );

  it.each([[[]], [["--all", "--flow", "mes"]], [["--all", "x"]]])(
    "refuses to guess what is meant by %j",
    async (args) => {
      const { code } = await look(["dead", "retry", ...args], { dataDir: await up() });
      expect(code).toBe(64);
      expect(rig.redriven).toEqual([]);
    },
  );
});
