/** The start/stop contract that every part of the gateway keeps. */
import { expect, it } from "vitest";
import { BaseService } from "../../src/core/service.ts";

class Recorder extends BaseService {
  readonly events: string[] = [];
  readonly starting = Promise.withResolvers<void>();

  protected override async onStart(): Promise<void> {
    this.events.push("start");
    await this.starting.promise;
    this.events.push("started");
  }

  protected override async onStop(): Promise<void> {
    this.events.push("stop");
  }
}

it("starts once, however often it is asked", async () => {
  const service = new Recorder();
  const first = service.start();
  expect(service.start()).toBe(first);
  service.starting.resolve();
  await first;
  expect(service.events).toEqual(["start", "started"]);
});

it("stops once, after a start that is under way has come to its end", async () => {
  const service = new Recorder();
  void service.start();
  const stops = [service.stop(), service.stop()];
  expect(service.stopping).toBe(true);
  service.starting.resolve();
  await Promise.all(stops);
  expect(service.events).toEqual(["start", "started", "stop"]);
});

it("frees what it took also where its start failed", async () => {
  const service = new Recorder();
  const started = service.start();
  service.starting.reject(new Error("no"));
  await expect(started).rejects.toThrow("no");
  await service.stop();
  expect(service.events).toEqual(["start", "stop"]);
});

it("that was never started stops without a word, and does not start afterwards", async () => {
  const service = new Recorder();
  await service.stop();
  expect(service.events).toEqual([]);
  await expect(service.start()).rejects.toThrow("stopped");
});
