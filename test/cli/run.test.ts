import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createCliIo } from "../../src/cli/io.ts";
import { FAILED_STOP_MS_MAX, type Runnable, runUntilStopped } from "../../src/cli/run.ts";
import type { SignalSource } from "../../src/cli/signals.ts";
import { HoldfastError } from "../../src/core/errors.ts";
import { silentLogger } from "../../src/core/logger.ts";
import { BaseService } from "../../src/core/service.ts";
import { ManualClock } from "../support/manual-clock.ts";

let cwd: string;
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), "holdfast-cli-run-"));
});
afterAll(() => rmSync(cwd, { recursive: true }));

/** A gateway whose every step waits for the test. */
class Dummy extends BaseService implements Runnable {
  readonly startGate = Promise.withResolvers<void>();
  readonly stopGate = Promise.withResolvers<void>();
  readonly failure = Promise.withResolvers<HoldfastError>();
  readonly stopCalled = Promise.withResolvers<void>();
  readonly failed = this.failure.promise;

  addresses() {
    return [
      { name: "tcp", kind: "tcp", host: "127.0.0.1", port: 1883 },
      { name: "panels", kind: "ws", host: "::1", port: 9001 },
    ];
  }

  protected onStart() {
    return this.startGate.promise;
  }

  protected onStop() {
    this.stopCalled.resolve();
    return this.stopGate.promise;
  }
}

/** Signals that the test sends, and an exit that it sees. */
class Signals implements SignalSource {
  readonly listeners = new Map<string, (signal: NodeJS.Signals) => void>();
  readonly exits: number[] = [];

  on(event: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void) {
    this.listeners.set(event, listener);
  }

  off(event: NodeJS.Signals) {
    this.listeners.delete(event);
  }

  exit(code: number): never {
    this.exits.push(code);
    throw new Error("the process would be gone by now");
  }

  send(signal: NodeJS.Signals) {
    this.listeners.get(signal)!(signal);
  }
}

function start(argv: readonly string[] = [], env: Record<string, string> = {}) {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const io = createCliIo({ argv, stdin, stdout, stderr, env, cwd });
  const [gateway, signals, clock] = [new Dummy(), new Signals(), new ManualClock()];
  const done = runUntilStopped({
    io,
    gateway,
    name: "line-3",
    dataDir: join(cwd, "data"),
    file: "/etc/holdfast/holdfast.yaml",
    logger: silentLogger,
    clock,
    signals,
  });
  const said = async () => {
    stdout.end();
    return (await text(stdout)).trimEnd().split("\n");
  };
  return { gateway, signals, clock, done, said };
}

describe("holdfast run", () => {
  it("says where it listens in one line, then that it stops, and ends well", async () => {
    const { gateway, signals, done, said } = start();
    gateway.startGate.resolve();
    await gateway.start();
    gateway.stopGate.resolve();
    signals.send("SIGTERM");
    await done;
    expect(await said()).toEqual([
      "holdfast: line-3 is ready: tcp 127.0.0.1:1883, panels (ws) [::1]:9001; data in data; config /etc/holdfast/holdfast.yaml",
      "holdfast: SIGTERM: finishing what is under way; once more stops at once",
      "holdfast: stopped",
    ]);
    expect(signals.listeners.size).toBe(0);
  });

  it("says it as JSON lines under --json", async () => {
    const { gateway, signals, done, said } = start(["--json"]);
    gateway.startGate.resolve();
    await gateway.start();
    gateway.stopGate.resolve();
    signals.send("SIGINT");
    await done;
    expect((await said()).map((line) => JSON.parse(line))).toEqual([
      {
        event: "started",
        gateway: "line-3",
        pid: process.pid,
        addresses: gateway.addresses(),
        data: join(cwd, "data"),
        config: "/etc/holdfast/holdfast.yaml",
      },
      { event: "stopping", signal: "SIGINT" },
      { event: "stopped" },
    ]);
  });

  it("drains until the gateway has stopped, and not less", async () => {
    const { gateway, signals, done } = start();
    gateway.startGate.resolve();
    await gateway.start();
    signals.send("SIGTERM");
    await gateway.stopCalled.promise;
    const first = await Promise.race([
      done.then(() => "ended"),
      new Promise((next) => setImmediate(next, "draining")),
    ]);
    expect(first).toBe("draining");
    gateway.stopGate.resolve();
    await done;
  });

  it.each([
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)("ends at once at a second signal: %s", async (signal, code) => {
    const { gateway, signals, clock, done } = start();
    gateway.startGate.resolve();
    await gateway.start();
    signals.send("SIGTERM");
    clock.advance(1_000);
    expect(() => signals.send(signal)).toThrow("the process would be gone");
    expect(signals.exits).toEqual([code]);
    gateway.stopGate.resolve();
    await done;
  });

  it("stops also while it still starts, and then never says that it is ready", async () => {
    const { gateway, signals, done, said } = start();
    signals.send("SIGTERM");
    gateway.startGate.resolve();
    gateway.stopGate.resolve();
    await done;
    expect((await said()).join("\n")).not.toContain("ready");
  });

  it("frees what a failed start has taken, and fails with its error", async () => {
    const { gateway, done } = start();
    gateway.stopGate.resolve();
    gateway.startGate.reject(new HoldfastError("HF_PORT_IN_USE", "taken"));
    await expect(done).rejects.toMatchObject({ code: "HF_PORT_IN_USE" });
    await gateway.stopCalled.promise;
  });

  it("fails with the gateway's own error where it must stop by itself", async () => {
    const { gateway, done } = start();
    gateway.startGate.resolve();
    gateway.stopGate.resolve();
    gateway.failure.resolve(new HoldfastError("HF_STORE_IO", "the disk is gone"));
    await expect(done).rejects.toMatchObject({ code: "HF_STORE_IO", exitCode: 74 });
    await gateway.stopCalled.promise;
  });

  it("does not wait for ever for a gateway that failed and cannot stop", async () => {
    const { gateway, clock, done } = start();
    gateway.startGate.resolve();
    gateway.failure.resolve(new HoldfastError("HF_STORE_IO", "the disk is gone"));
    await gateway.stopCalled.promise;
    clock.advance(FAILED_STOP_MS_MAX);
    await expect(done).rejects.toMatchObject({ code: "HF_STORE_IO" });
  });
});

describe("systemd", () => {
  /** A systemd-notify that writes down what it was told. */
  function notifier(script: string): { env: Record<string, string>; told: () => string[] } {
    const bin = mkdtempSync(join(cwd, "bin-"));
    const book = join(bin, "told");
    writeFileSync(join(bin, "systemd-notify"), `#!/bin/sh\n${script.replaceAll("BOOK", book)}\n`);
    writeFileSync(book, "");
    chmodSync(join(bin, "systemd-notify"), 0o755);
    const env = { NOTIFY_SOCKET: "/run/systemd/notify", PATH: `${bin}${delimiter}${process.env.PATH}` };
    return { env, told: () => readFileSync(book, "utf8").split("\n").filter(Boolean) };
  }

  it("is told when the gateway is ready and when it stops, and not before", async () => {
    const { env, told } = notifier('echo "$NOTIFY_SOCKET $*" >> BOOK');
    const { gateway, signals, done } = start([], env);
    expect(told()).toEqual([]);
    gateway.startGate.resolve();
    await expect.poll(told).toEqual(["/run/systemd/notify READY=1 STATUS=gateway line-3"]);
    signals.send("SIGTERM");
    await expect.poll(told).toContain("/run/systemd/notify STOPPING=1");
    gateway.stopGate.resolve();
    await done;
  });

  it("is left alone where it did not start the gateway", async () => {
    const { env, told } = notifier("echo called >> BOOK");
    const { gateway, signals, done } = start([], { PATH: env.PATH! });
    gateway.startGate.resolve();
    gateway.stopGate.resolve();
    await gateway.start();
    signals.send("SIGTERM");
    await done;
    expect(told()).toEqual([]);
  });

  it("may be missing: the gateway runs all the same", async () => {
    const { gateway, signals, done } = start([], { NOTIFY_SOCKET: "/run/systemd/notify", PATH: "/nowhere" });
    gateway.startGate.resolve();
    gateway.stopGate.resolve();
    await gateway.start();
    signals.send("SIGTERM");
    await done;
  });
});
