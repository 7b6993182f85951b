/**
 * A target that answers as a test says, and remembers what it was given. It keeps the contract of
 * targets/target.ts by itself: what stands behind one that did not get through, in its lane, is `notSent`.
 */
import { delivered, notSent, type Outcome, unknown } from "../../src/core/outcome.ts";
import { BaseService } from "../../src/core/service.ts";
import type { Target, TargetDelivery, TargetHealth } from "../../src/targets/target.ts";

export type Script = (delivery: TargetDelivery) => Outcome | Promise<Outcome>;
export type Knows = (id: string) => "yes" | "no" | "cannot say";

export interface ScriptedTargetOptions {
  readonly name?: string;
  readonly idempotent?: boolean;
  readonly batchMax?: number;
  readonly concurrency?: number;
  /** Answers `findOut`; a target without it cannot be asked. */
  readonly knows?: Knows;
}

export interface Call {
  readonly batch: readonly TargetDelivery[];
  readonly signal: AbortSignal;
}

export class ScriptedTarget extends BaseService implements Target {
  readonly type = "scripted";
  readonly name: string;
  readonly idempotent: boolean;
  readonly batchMax: number;
  readonly batchBytesMax = 2 ** 20;
  readonly concurrency: number;
  readonly findOut?: Target["findOut"];
  readonly calls: Call[] = [];
  /** What it took for good, in the order in which it did. */
  readonly taken: TargetDelivery[] = [];
  probes = 0;
  /** What becomes of a delivery. */
  script: Script = () => delivered();
  /** Set to answer a whole call in another way than the contract wants. */
  misbehave: ((call: Call) => Promise<Outcome[]>) | undefined;
  reachable: () => boolean | Promise<boolean> = () => true;

  constructor(options: ScriptedTargetOptions = {}) {
    super();
    const { name = "backend", idempotent = true, batchMax = 100, concurrency = 1, knows } = options;
    this.name = name;
    this.idempotent = idempotent;
    this.batchMax = batchMax;
    this.concurrency = concurrency;
    if (knows) {
      this.findOut = async ({ message }) => {
        const answer = knows(message.id);
        if (answer === "no") return "send again";
        return answer === "yes"
          ? delivered("the backend was asked and has it")
          : unknown("the backend was asked whether it has it and could not say");
      };
    }
  }

  async deliver(batch: readonly TargetDelivery[], signal: AbortSignal): Promise<Outcome[]> {
    const call = { batch, signal };
    this.calls.push(call);
    if (this.misbehave) return this.misbehave(call);
    const stopped = new Set<string>();
    const outcomes: Outcome[] = [];
    for (const delivery of batch) {
      const outcome = stopped.has(delivery.lane) ? notSent : await this.script(delivery);
      if (outcome.kind === "retry" || outcome.kind === "unknown") stopped.add(delivery.lane);
      if (outcome.kind === "delivered") this.taken.push(delivery);
      outcomes.push(outcome);
    }
    return outcomes;
  }

  async probe(): Promise<TargetHealth> {
    this.probes += 1;
    const reachable = await this.reachable();
    return { reachable, detail: reachable ? "answers" : "ECONNREFUSED" };
  }

  /** Ids in the order in which they were taken. */
  get takenIds(): string[] {
    return this.taken.map(({ message }) => message.id);
  }

  /** Sizes of the calls so far. */
  get callSizes(): number[] {
    return this.calls.map(({ batch }) => batch.length);
  }

  protected override async onStart(): Promise<void> {}
  protected override async onStop(): Promise<void> {}
}

/** A script that gives each message its own outcomes, one a try, and takes it after the last. */
export function answers(byId: Record<string, readonly Outcome[]>): Script {
  const left = new Map(Object.entries(byId).map(([id, outcomes]) => [id, [...outcomes]]));
  return ({ message }) => left.get(message.id)?.shift() ?? delivered();
}
