/** aedes-persistence's own suite, against our persistence on a durable SQLite file. */
import assert from "node:assert";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { Mailroom } from "../../src/broker/mailroom.ts";
import { SessionPersistence } from "../../src/broker/persistence.ts";
import { brokerSchema } from "../../src/broker/schema.ts";
import { Sessions } from "../../src/broker/sessions.ts";
import { SqliteSessionLog } from "../support/session-log.ts";
import { temporaryFolder } from "../support/test-broker.ts";

/** What the suite uses of node:test's context. */
interface SuiteContext {
  plan(count: number): void;
  diagnostic(text: string): void;
  assert: Record<string, (...args: unknown[]) => void>;
}
type SuiteTest = (name: string, run: (t: SuiteContext) => Promise<void>) => void;
type Suite = (options: { test: SuiteTest; persistence: () => SessionPersistence; testAsync: true }) => void;

const { default: abstractSuite } = (await import("aedes-persistence/abstract.js" as string)) as {
  default: Suite;
};

/** Runs one of the suite's tests, and holds it to the number of assertions that it planned. */
async function runPlanned(run: (t: SuiteContext) => Promise<void>): Promise<void> {
  let planned: number | null = null;
  let made = 0;
  const counted = new Proxy({} as SuiteContext["assert"], {
    get: (_target, name: string) => {
      const check = (assert as unknown as SuiteContext["assert"])[name]!;
      return (...args: unknown[]) => {
        made++;
        check(...args);
      };
    },
  });
  await run({
    plan: (count) => {
      planned = count;
    },
    diagnostic: () => {},
    assert: counted,
  });
  if (planned !== null) expect(made, "assertions made, of those planned").toBe(planned);
}

function newPersistence(): SessionPersistence {
  const log = new SqliteSessionLog(join(temporaryFolder(), "store.db"));
  onTestFinished(() => log.close());
  const sessions = new Sessions({
    log,
    expireAfter: 1000,
    steadyMs: () => 0,
    onFatal: (error) => {
      throw error;
    },
  });
  const mailroom = new Mailroom({
    sessions,
    limits: brokerSchema.parse({}).sessions,
    onDropped: () => {},
    onRetainedFull: () => {},
  });
  return new SessionPersistence(sessions, mailroom);
}

describe("the persistence, by the suite of aedes-persistence", () => {
  let count = 0;
  abstractSuite({
    test: (name, run) => {
      count++;
      it(name, () => runPlanned(run));
    },
    persistence: newPersistence,
    testAsync: true,
  });

  it("is held to all 50 tests of the suite", () => {
    expect(count).toBe(50);
  });
});

describe("the adapter that runs the suite", () => {
  it("fails where an assertion fails, and where one that was planned is not made", async () => {
    await expect(runPlanned(async (t) => t.assert.equal!(1, 2))).rejects.toThrow();
    await expect(runPlanned(async (t) => t.plan(1))).rejects.toThrow("assertions made");
  });
});
