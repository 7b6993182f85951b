/** A broker on free ports with a durable intake in a folder of its own, for one test. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { z } from "zod";
import { Broker } from "../../src/broker/broker.ts";
import { accessSchema, brokerSchema } from "../../src/broker/schema.ts";
import { type Clock, systemClock } from "../../src/core/clock.ts";
import { type Logger, silentLogger } from "../../src/core/logger.ts";
import { systemRandom } from "../../src/core/random.ts";
import type { Accepting } from "../../src/intake/draft.ts";
import { DurableIntake } from "./durable-intake.ts";

export interface TestBroker {
  readonly broker: Broker;
  readonly store: DurableIntake;
  readonly file: string;
  readonly port: number;
  /** What onFatal was given. */
  readonly fatal: Error[];
  /** As kill -9 does: nothing is said to anybody, nothing is written any more. */
  crash(): void;
}

export interface TestBrokerOptions {
  readonly limits?: z.input<typeof brokerSchema>["limits"];
  readonly sessions?: z.input<typeof brokerSchema>["sessions"];
  readonly listeners?: z.input<typeof brokerSchema>["listeners"];
  readonly devicesTaken?: readonly string[];
  readonly users?: z.input<typeof accessSchema>["users"];
  /** A store of an earlier broker, to go on with. */
  readonly file?: string;
  readonly clock?: Clock;
  readonly logger?: Logger;
  readonly steadyMs?: () => number;
  /** Stands in front of the store. */
  readonly intake?: (store: DurableIntake) => Accepting;
}

export async function startBroker(options: TestBrokerOptions = {}): Promise<TestBroker> {
  const { limits, sessions, listeners = [{ type: "tcp", port: 0 }], users = {} } = options;
  const file = options.file ?? join(temporaryFolder(), "store.db");
  const store = new DurableIntake(file);
  const clock = options.clock ?? systemClock;
  // After a crash the dead broker does not reach the file any more, and gets no answer until the test is over.
  let dead = false;
  let over = false;
  const unanswered: ((error: Error) => void)[] = [];
  const reach = <A extends unknown[], R>(call: (...args: A) => Promise<R>) => {
    return async (...args: A): Promise<R> => {
      if (dead && over) throw new Error("this broker has crashed");
      if (dead) await new Promise<void>((_, reject) => unanswered.push(reject));
      return call(...args);
    };
  };
  const intake = options.intake?.(store) ?? store;
  const broker = new Broker({
    config: brokerSchema.parse({ limits, sessions, listeners }),
    access: accessSchema.parse({ users }),
    devicesTaken: new Set(options.devicesTaken),
    intake: { accept: reach((draft, signal) => intake.accept(draft, signal)) },
    sessions: { load: reach(() => store.load()), write: reach((changes) => store.write(changes)) },
    clock,
    random: systemRandom(),
    logger: options.logger ?? silentLogger,
    steadyMs: options.steadyMs ?? (() => clock.monoMs()),
  });
  const fatal: Error[] = [];
  broker.onFatal((error) => fatal.push(error));
  await broker.start();
  onTestFinished(async () => {
    over = true;
    store.release();
    for (const reject of unanswered) reject(new Error("this broker has crashed"));
    await broker.stop();
    store.close();
  });
  return {
    broker,
    store,
    file,
    port: broker.addresses()[0]?.port ?? 0,
    fatal,
    crash() {
      dead = true;
      store.close();
    },
  };
}

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-broker-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
