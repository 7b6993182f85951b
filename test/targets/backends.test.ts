/** The doubles themselves: a test is worth what its double's ledger is worth. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { connectAsync } from "mqtt";
import { afterEach, describe, expect, it } from "vitest";
import { BACKEND_MODES, type BackendMode } from "../../simulators/backends/backend.ts";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { MqttBackend } from "../../simulators/backends/mqtt-backend.ts";
import { within } from "./witness.ts";

const backends: (HttpBackend | MqttBackend)[] = [];
afterEach(() => Promise.all(backends.splice(0).map((backend) => backend.stop())));

/** These never answer: whoever asks has to give up. */
const SILENT: readonly BackendMode[] = ["silent", "commit-then-silent"];
const TAKES: readonly BackendMode[] = ["ok", "slow", "commit-then-silent", "commit-then-drop", "reject-one"];

describe("a misbehaving backend", () => {
  it("writes down over HTTP what it took, whatever it answers", async () => {
    for (const mode of BACKEND_MODES) {
      const backend = new HttpBackend({ mode, slowMs: 5 });
      backends.push(backend);
      const { url } = await backend.start();
      const headers = { "idempotency-key": "m-1" };
      const givingUp = new AbortController();
      const answer = fetch(`${url}/x`, { method: "POST", body: "{}", headers, signal: givingUp.signal });
      const answered = answer.then(
        ({ status }) => status,
        () => null,
      );
      await expect.poll(() => backend.arrivals().length, { timeout: 5000 }).toBe(1);
      if (SILENT.includes(mode)) givingUp.abort();
      const status = await answered;
      expect(
        backend.arrivals().map(({ id, taken }) => [id, taken]),
        mode,
      ).toEqual([["m-1", TAKES.includes(mode)]]);
      expect(status !== null && status < 300, mode).toBe(["ok", "slow", "reject-one"].includes(mode));
    }
  });

  it("makes an id take effect once, and says what came again", async () => {
    const backend = new HttpBackend();
    backends.push(backend);
    const { url } = await backend.start();
    for (const id of ["a", "b", "a"]) await fetch(url, { method: "POST", body: JSON.stringify({ id }) });
    expect(backend.arrivals().map(({ id, effect }) => [id, effect])).toEqual([
      ["a", true],
      ["b", true],
      ["a", false],
    ]);
  });

  it("goes away and comes back on the same port, with its memory", async () => {
    const backend = new MqttBackend();
    backends.push(backend);
    const { url } = await backend.start();
    const publish = async () => {
      const client = await connectAsync(url, { reconnectPeriod: 0 }, false);
      await client.publishAsync("t", '{"id":"m-1"}', { qos: 1 });
      await client.endAsync();
    };
    await publish();
    await backend.goAway();
    await expect(publish()).rejects.toThrow();
    await backend.comeBack();
    expect(backend.url).toBe(url);
    await publish();
    expect(backend.arrivals().map(({ effect }) => effect)).toEqual([true, false]);
  });
});

describe("a backend run by hand", () => {
  it("prints where it listens and what arrives, changes its mode on a line, and ends on SIGTERM", async () => {
    const main = new URL("../../simulators/backends/main.ts", import.meta.url).pathname;
    const child = spawn(process.execPath, [main, "http", "--json", "--mode", "failing"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
    try {
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      const next = async () => JSON.parse((await within(5000, lines.next(), "a line")).value ?? "");
      const { url } = await next();
      expect((await fetch(url, { method: "POST", body: '{"id":"m-1"}' })).status).toBe(500);
      expect(await next()).toMatchObject({ event: "arrival", id: "m-1", taken: false });
      child.stdin.write("ok\n");
      expect(await next()).toMatchObject({ event: "mode", mode: "ok" });
      expect((await fetch(url, { method: "POST", body: '{"id":"m-1"}' })).status).toBe(201);
      expect(await next()).toMatchObject({ event: "arrival", id: "m-1", taken: true, effect: true });
      child.kill("SIGTERM");
      expect(await within(5000, ended, "its end")).toBe(0);
    } finally {
      child.kill("SIGKILL");
    }
  });
});
