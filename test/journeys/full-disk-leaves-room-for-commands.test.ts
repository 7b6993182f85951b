/**
 * On a full disk, where messages wait, a machine can still be told what to do: the command, its result and its audit
 * trail go into the room that is kept for them. Where even that is gone, whoever sends one is told so, and it is never
 * carried out: none is done by halves, and none is said to be done that was not, also where the gateway is killed there.
 */
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { SmallDisk } from "../../simulators/disks/small-disk.ts";
import { Plc } from "../../simulators/machines/plc.ts";
import type { CommandView, TrailRow } from "../../src/queue/queries-commands.ts";
import { capability } from "../support/capabilities.ts";
import { eventually, Journey, scratchFolder, startBackend } from "../support/journey.ts";
import { PACKER_COMMANDS, Packer } from "../support/packer.ts";

const MIB = 2 ** 20;
const DISK_BYTES = 24 * MIB;
const PAD = "x".repeat(64 * 1024);
/** Far more than fits into what room is left in the store's files. */
const MESSAGES_MAX = 60;
/** Commands with a reason of this size take up the room that is kept for them. */
const REASON = "r".repeat(200);
const COMMANDS_MAX = 1000;
/** Sent side by side when there is no room for any. */
const REFUSED = 3;

interface Answer {
  readonly status: number;
  readonly body: CommandView & { readonly code?: string; readonly detail?: string };
}

/** A packer, a PLC, and a machine whose messages go to a small disk, since the backend is away. */
class Site {
  readonly journey: Journey;
  readonly plc: Plc;
  readonly packer: Packer;
  readonly disk: SmallDisk;
  readonly #unanswered = new Set<number>();

  private constructor(journey: Journey, plc: Plc, packer: Packer, disk: SmallDisk) {
    this.journey = journey;
    this.plc = plc;
    this.packer = packer;
    this.disk = disk;
  }

  static async start(fault?: string): Promise<Site> {
    const { backend, url } = await startBackend(new HttpBackend());
    await backend.goAway();
    const plc = await new Plc().start();
    onTestFinished(() => plc.stop());
    const disk = new SmallDisk(scratchFolder(), DISK_BYTES);
    onTestFinished(() => disk.remove());
    const write = { min: 0, max: 900, pauseMin: "0s", readAfter: "20ms", idempotent: true };
    const journey = await Journey.start({
      fault,
      dataDir: join(disk.folder, "data"),
      config: {
        targets: { backend: { type: "http", url } },
        queue: { walBytesMax: "1MiB" },
        devices: {
          "packer-1": { type: "mqtt", commands: PACKER_COMMANDS },
          // Switched off all the time.
          "packer-2": { type: "mqtt", commands: PACKER_COMMANDS },
          "press-7": {
            type: "modbus",
            connection: { type: "tcp", host: "127.0.0.1", port: plc.port },
            groups: { all: { every: "100ms", registers: { setpoint: { address: 0, write } } } },
          },
        },
        commands: { ttl: "10m", ttlMax: "1h", answerWithin: "10s" },
      },
    });
    const packer = new Packer("packer-1");
    await packer.connect(journey.port);
    onTestFinished(() => packer.disconnect());
    const site = new Site(journey, plc, packer, disk);
    await eventually("the PLC is read", () => plc.asked.length > 0);
    return site;
  }

  /** Takes all the room, and publishes until the gateway says that it has none. What it returns gives it back. */
  async fill(): Promise<() => void> {
    const press = await this.journey.client("press");
    const giveBack = this.disk.fill();
    for (let n = 1; n <= MESSAGES_MAX; n++) {
      const packetId = press.sendPublish({ topic: "plant/press", payload: PAD, qos: 1 });
      this.#unanswered.add(packetId);
      const answered = press.take((p) => p.cmd === "puback" && p.messageId === packetId);
      answered.then(
        () => this.#unanswered.delete(packetId),
        () => {},
      );
      await eventually("it is answered, or there is no room", async () => {
        return !this.#unanswered.has(packetId) || (await this.journey.ready()).code === 503;
      });
      if (this.#unanswered.has(packetId)) return giveBack;
    }
    throw new Error("it acknowledges more than there is room for");
  }

  /** Some message waits for room. */
  get waits(): boolean {
    return this.#unanswered.size > 0;
  }

  async ask<T = Answer["body"]>(method: string, path: string, body?: object, headers: object = {}) {
    const response = await fetch(this.journey.http + path, {
      method,
      headers: { ...(body ? { "content-type": "application/json" } : {}), ...headers },
      ...(body ? { body: JSON.stringify(body) } : {}),
      signal: AbortSignal.timeout(30_000),
    });
    return { status: response.status, body: (await response.json()) as T };
  }

  send(device: string, signal: string, value: number, waitS = 0, more: object = {}): Promise<Answer> {
    const prefer = waitS > 0 ? { prefer: `wait=${waitS}` } : {};
    return this.ask("POST", "/v1/commands", { device, signal, value, ...more }, prefer);
  }

  async show(id: string): Promise<CommandView> {
    return (await this.ask<CommandView>("GET", `/v1/commands/${id}`)).body;
  }

  async trail(id: string): Promise<string[]> {
    const { body } = await this.ask<{ entries: TrailRow[] }>("GET", `/v1/audit?command=${id}`);
    return body.entries.map(({ event }) => event).toReversed();
  }

  /** What must not be, as sentences, where these are the commands to the packer that were taken. */
  async complaints(taken: readonly string[]): Promise<string[]> {
    const { body } = await this.ask<{ commands: CommandView[] }>("GET", "/v1/commands?limit=500");
    const known = body.commands.filter(({ device }) => device === "packer-1");
    const times = (id: string) => this.packer.executions.filter((each) => each.id === id).length;
    const refused = [...known, ...this.packer.executions].filter(({ id }) => !taken.includes(id));
    return [
      ...refused.map(({ value }) => `${value} was refused, and is there`),
      ...taken
        .filter((id) => !known.some((each) => each.id === id))
        .map((id) => `${id} was taken, and is lost`),
      ...known.flatMap(({ id, value, state }) => {
        const done = state === "verified" || state === "acknowledged";
        const open = done || state === "sent" || state === "unknown";
        return times(id) > 1 || (done && times(id) === 0) || (!open && times(id) > 0)
          ? [`${value} is ${state}, and done ${times(id)} times`]
          : [];
      }),
    ];
  }

  /** Values that the packer was told, in their order. */
  get told(): unknown[] {
    return this.packer.executions.map(({ value }) => value);
  }
}

const mount = capability("mount");

describe.skipIf(!mount.present)("while a full disk makes messages wait", () => {
  test("commands are taken, carried out and put on record, until the room kept for them is used up: then they are refused, and none is half done", async () => {
    const site = await Site.start();
    await tellsMachines(site);
    await usesUpItsRoom(site);
  });

  async function tellsMachines(site: Site): Promise<void> {
    await site.fill();
    const told = await site.send("packer-1", "speed", 40, 20);
    expect(told).toMatchObject({ status: 200, body: { state: "verified" } });
    const written = await site.send("press-7", "setpoint", 432, 20);
    expect(written).toMatchObject({ status: 200, body: { state: "verified" } });
    expect(site.told).toEqual([40]);
    expect(site.plc.written).toHaveLength(1);
    for (const { body } of [told, written]) {
      expect(await site.trail(body.id)).toEqual(["queued", "sent", "verified"]);
    }
    const refused = await site.send("packer-1", "speed", 500);
    expect(refused).toMatchObject({ status: 422, body: { code: "HF_COMMAND_REFUSED" } });
    expect(site.waits, "messages wait").toBe(true);
    expect((await site.journey.ready()).code).toBe(503);
  }

  async function usesUpItsRoom(site: Site): Promise<void> {
    const queued = await queuedForLater(site);
    // As others do who share the disk: they take what the store has given up of its reserve.
    const giveBack = site.disk.fill();
    const taken = site.packer.executions.map(({ id }) => id);
    let value = 0;
    let refused: Answer | null = null;
    while (!refused) {
      if (taken.length === COMMANDS_MAX) throw new Error("there is room for ever more commands");
      value += 0.01;
      const answer = await site.send("packer-1", "speed", value, 0, { reason: REASON });
      if (answer.status === 202) taken.push(answer.body.id);
      else refused = answer;
    }
    const noRoom = { status: 503, body: { code: "HF_STORE_FULL", detail: expect.stringMatching(/no room/) } };
    expect(refused).toMatchObject(noRoom);
    const never = Array.from({ length: REFUSED }, (_, n) => 100 + n);
    const others = await Promise.all([
      ...never.map((each) => site.send("packer-1", "speed", each)),
      // Not even that it breaks a rule can be put on record.
      site.send("packer-1", "speed", 500),
      site.ask("DELETE", `/v1/commands/${queued}`),
    ]);
    for (const answer of others) expect(answer).toMatchObject(noRoom);
    expect(await site.complaints(taken)).toEqual([]);
    expect(await site.show(queued)).toMatchObject({ state: "queued" });

    await site.journey.process.kill();
    giveBack();
    await site.journey.process.start();
    await site.packer.connect(site.journey.port);
    // What could not be recorded of the answers is unknown now, until the packer says it again.
    for (const { id } of [...site.packer.executions]) await site.packer.reply(id, "done");
    await eventually("all that were taken are done", async () => {
      const views = await Promise.all(taken.map((id) => site.show(id)));
      return views.every(({ state }) => state === "verified");
    });
    expect(await site.complaints(taken)).toEqual([]);
    expect(await site.ask("DELETE", `/v1/commands/${queued}`)).toMatchObject({ status: 200 });
    expect(await site.journey.audited()).toMatchObject({ state: "balanced" });
  }

  /** The second one to a device that is off: it waits behind the first. */
  async function queuedForLater(site: Site): Promise<string> {
    const first = await site.send("packer-2", "speed", 1);
    const second = await site.send("packer-2", "speed", 2);
    expect([first.status, second.status]).toEqual([202, 202]);
    return second.body.id;
  }

  test.skipIf(!capability("wide").present)(
    "and a gateway that says that they are done when they are not, and keeps no room for them, is found out",
    async () => {
      const site = await Site.start("take-for-done,commands-wait");
      const { body } = await site.send("packer-1", "speed", 40, 20);
      expect(await site.complaints([body.id])).toEqual([
        expect.stringMatching(/acknowledged, and done 0 times/),
      ]);
      await site.fill();
      expect(await site.send("packer-1", "speed", 41)).toMatchObject({ status: 503 });
    },
  );
});
