/**
 * The person at a simulated box: pauses and resumes, puts dead letters back, edits and discards them, replays what was
 * delivered, holds for an export and calls it off. What this person was told is done has to be so at the end.
 *
 * A gateway that dies answers nobody. What has to be taken back (a pause, a hold) is asked for until it is.
 */
import { HoldfastError } from "../../../src/core/errors.ts";
import type { Act } from "../../../src/queue/acts.ts";
import type { PauseName } from "../../../src/queue/pauses.ts";
import type { SimGateway } from "./sim-gateway.ts";
import type { World } from "./world.ts";

export type OperatorAct =
  | ({ readonly act: "pause"; readonly forMs: number } & PauseName)
  /** `rate` null: all that there are, in one step. */
  | { readonly act: "redrive"; readonly rate: number | null }
  | {
      readonly act: "replay";
      readonly flow: string;
      readonly into?: string;
      readonly rate: number;
      /** Paused after a while, for so long; null for not at all. */
      readonly pausedMs: number | null;
    }
  | { readonly act: "edit" | "discard" }
  | { readonly act: "export"; readonly flow?: string; readonly forMs: number };

/** Told to begin, and what it should come to. */
interface Replay {
  readonly job: number;
  /** Delivered when it was asked for, on its flow. */
  readonly meant: readonly Place[];
}

interface Place {
  readonly lane: number;
  readonly seq: number;
}

const WHO = "operator";
const WORD = { by: WHO, why: "to see what comes of it" };
const ASK_AGAIN_MS = 700;
const PAUSE_JOB_AFTER_MS = 300;
const REDRIVEN_MAX = 100;
const DISCARDED_MAX = 3;

export class SimOperator {
  /** What has to be taken back, and is not yet. */
  owed = 0;
  /** Asked for at least: what was not heard of may have been done all the same. */
  hasDiscarded = false;
  /** Deliveries that were told to be discarded. */
  discarded = 0;
  readonly replays: Replay[] = [];
  /** Acts that were told to be done, by what the record calls them. */
  readonly done = new Map<string, number>();
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  async act(act: OperatorAct): Promise<void> {
    const { lives } = this.#world;
    const { gateway } = lives;
    if (!gateway || !lives.isUp) return;
    try {
      await this.#do(act, gateway);
    } catch (error) {
      this.#world.trace(`the operator is told: ${error}`);
      if (!(error instanceof HoldfastError) && !lives.mayFail) throw error;
    }
  }

  #do(act: OperatorAct, gateway: SimGateway): Promise<void> {
    switch (act.act) {
      case "pause":
        return this.#pause(act, gateway);
      case "redrive":
        return this.#redrive(act.rate, gateway);
      case "replay":
        return this.#replay(act, gateway);
      case "edit":
        return this.#edit(gateway);
      case "discard":
        return this.#discard(gateway);
      case "export":
        return this.#export(act, gateway);
    }
  }

  async #pause({ kind, name, forMs }: { forMs: number } & PauseName, gateway: SimGateway): Promise<void> {
    this.#takeBack(forMs, `${kind} ${name} goes on`, async ({ relay }) => {
      await relay.pauses.resume({ kind, name }, WHO, null).catch((error) => {
        // It was never paused, and is not in this life's config.
        if ((error as HoldfastError).code !== "HF_NOT_FOUND") throw error;
      });
    });
    const { changed } = await gateway.relay.pauses.pause({ kind, name }, WORD);
    if (changed) this.#told("pause");
  }

  async #redrive(rate: number | null, gateway: SimGateway): Promise<void> {
    if (rate === null) {
      await gateway.relay.redrive({ limit: REDRIVEN_MAX, act: actOf("retryDead") });
      this.#told("retryDead");
      return;
    }
    await gateway.jobs.begin({ kind: "redrive", selection: {}, rate }, actOf("startJob"));
    this.#told("startJob");
  }

  async #replay(
    { flow, into, rate, pausedMs }: Extract<OperatorAct, { act: "replay" }>,
    gateway: SimGateway,
  ): Promise<void> {
    const { time } = this.#world;
    const meant = this.#select<Place>(
      "SELECT lane, seq FROM deliveries d JOIN lanes l ON l.id = d.lane WHERE l.flow = ? AND d.state = 'delivered'",
      flow,
    );
    const ask = { kind: "replay", selection: { flow, into }, rate } as const;
    const { id } = await gateway.jobs.begin(ask, actOf("startJob"));
    this.#told("startJob");
    if (into === undefined) this.replays.push({ job: id, meant });
    if (pausedMs === null) return;
    time.after(PAUSE_JOB_AFTER_MS, () => {
      if (gateway.dead) return;
      let isAnswered = false;
      this.#takeBack(pausedMs, `job ${id} goes on`, async ({ jobs }) => {
        if (!isAnswered && !gateway.dead) throw new Error("nobody has said yet that it is paused");
        const job = jobs.open().find((open) => open.id === id);
        if (job?.state === "paused") await jobs.change(id, "running", actOf("resumeJob"));
      });
      const paused = gateway.jobs.change(id, "paused", actOf("pauseJob"));
      // It may be over by then.
      paused
        .catch(() => {})
        .finally(() => {
          isAnswered = true;
        });
    });
  }

  /** A dead letter that was refused goes back as one that is not. */
  async #edit(gateway: SimGateway): Promise<void> {
    const { ledger } = this.#world;
    const [letter] = this.#select<{ id: string; flow: string; payload: Buffer }>(
      `SELECT m.id, l.flow, m.payload FROM deliveries d JOIN lanes l ON l.id = d.lane JOIN messages m ON m.seq = d.seq
       WHERE d.state = 'dead' ORDER BY d.seq, d.lane LIMIT 1`,
    );
    const reading = letter && ledger.find(letter.payload.toString());
    if (!letter || !reading?.poison) return;
    const payload = Buffer.from(JSON.stringify({ id: reading.id, n: reading.n, edited: true }));
    ledger.edited(reading, payload.toString());
    const { id, flow } = letter;
    await gateway.repairs.corrections.edit({ id, flow }, { payload }, WORD);
    this.#told("editDead");
  }

  async #discard(gateway: SimGateway): Promise<void> {
    this.hasDiscarded = true;
    const act = actOf("discardDead");
    const { count } = await gateway.repairs.discard({ limit: DISCARDED_MAX, word: WORD, act });
    this.discarded += count;
    this.#told("discardDead");
  }

  async #export(
    { flow, forMs }: Extract<OperatorAct, { act: "export" }>,
    gateway: SimGateway,
  ): Promise<void> {
    this.#takeBack(forMs, "exports are called off", async ({ reader, moving }) => {
      for (const { id, state } of await reader.query("exports", {})) {
        if (state !== "holding" && state !== "held") continue;
        while ((await moving.cancel(id, WORD.why, actOf("cancelExport"))).left > 0);
      }
    });
    const { id } = await gateway.moving.begin({ flow, states: "all" }, false, actOf("startExport"));
    this.#told("startExport");
    for (let next = (await gateway.moving.hold(id)).next; next !== null; )
      next = (await gateway.moving.hold(id, next)).next;
    await gateway.moving.seal(id);
  }

  /** After a while, and then until it is done, whatever dies meanwhile. */
  #takeBack(afterMs: number, what: string, work: (gateway: SimGateway) => Promise<void>): void {
    const { time, lives } = this.#world;
    this.owed += 1;
    const ask = () => {
      const { gateway } = lives;
      let isAnswered = false;
      let isDone = false;
      if (gateway && lives.isUp) {
        work(gateway)
          .then(
            () => {
              isDone = true;
              this.owed -= 1;
              this.#world.trace(what);
            },
            (error) => this.#world.trace(`not yet: ${what}: ${error}`),
          )
          .finally(() => {
            isAnswered = true;
          });
      } else isAnswered = true;
      const look = () => {
        if (isDone) return;
        if (isAnswered || gateway?.dead) ask();
        else time.after(ASK_AGAIN_MS, look);
      };
      time.after(ASK_AGAIN_MS, look);
    };
    time.after(afterMs, ask);
  }

  #told(what: string): void {
    this.done.set(what, (this.done.get(what) ?? 0) + 1);
    this.#world.trace(`the operator is told that it is done: ${what}`);
  }

  #select<Row>(sql: string, ...values: unknown[]): Row[] {
    return this.#world.lives.db!.prepare(sql).all(...values) as Row[];
  }
}

function actOf(what: string): Act {
  return { who: WHO, what, detail: {}, reason: WORD.why };
}
