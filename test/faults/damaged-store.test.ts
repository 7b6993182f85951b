/**
 * A disk that spoils what it holds, under a real gateway: it says what it found, keeps the damaged files, and delivers
 * the rest. It never starts empty in silence, and never sends what a machine did not say.
 */
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { HttpBackend } from "../../simulators/backends/http-backend.ts";
import { capability } from "../support/capabilities.ts";
import { runCliHere } from "../support/cli-process.ts";
import {
  effects,
  eventually,
  Journey,
  reading,
  scratchFolder,
  shared,
  startBackend,
} from "../support/journey.ts";

const PAGE = 4096;
const MESSAGES = 60;
/** Several messages to a page, and several pages. */
const FILLING = "x".repeat(300);

/** The data folder of a gateway that was stopped in order, with messages for a backend that was away. */
const filled = shared(async () => {
  const { backend, url } = await startBackend(new HttpBackend());
  await backend.goAway();
  const journey = await Journey.start({ config: { targets: { backend: { type: "http", url } } } });
  const client = await journey.client("press");
  const all = Array.from({ length: MESSAGES }, (_, n) =>
    client.publish({ topic: "plant/press", payload: reading("press", n, { filling: FILLING }), qos: 1 }),
  );
  await Promise.all(all);
  await journey.process.stop();
  return journey.process.dataDir;
});

/** A gateway that is down, with a copy of that folder and a backend that is there. */
async function stoppedWithMessages(): Promise<{ journey: Journey; backend: HttpBackend; file: string }> {
  const { backend, url } = await startBackend(new HttpBackend());
  const journey = new Journey({ config: { targets: { backend: { type: "http", url } } } });
  const { dataDir } = journey.process;
  cpSync(filled(), dataDir, { recursive: true });
  return { journey, backend, file: join(dataDir, "store.db") };
}

/** Starts it, and waits until it ends by itself: it may be quicker than its own start. */
async function wordsOfItsEnd(journey: Journey): Promise<string> {
  try {
    await journey.process.start();
  } catch (error) {
    return (error as Error).message;
  }
  const { how, log } = await journey.crashed();
  expect(how).toBe("with exit code 74");
  return log;
}

/** The `n`-th page of a table's leaves. */
function leafOf(file: string, table: string, n: number): number {
  const db = new Database(file, { readonly: true });
  const page = db
    .prepare(
      "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY pageno LIMIT 1 OFFSET ?",
    )
    .pluck()
    .get(table, n) as number;
  db.close();
  return page;
}

/** Flips a bit in what stands behind it, wherever it stands. */
function flipIn(bytes: Buffer, sought: string): void {
  for (let at = bytes.indexOf(sought); at >= 0; at = bytes.indexOf(sought, at + 1)) bytes[at + 7]! ^= 2;
}

function spoil(file: string, change: (bytes: Buffer) => void): Buffer {
  const bytes = readFileSync(file);
  change(bytes);
  writeFileSync(file, bytes);
  return bytes;
}

const idsSent = Array.from({ length: MESSAGES }, (_, n) => `press-${n}`);

describe("a store that was damaged while the gateway was down", () => {
  test("is salvaged at the start, which says so everywhere until the damaged files are moved away", async () => {
    const { journey, backend, file } = await stoppedWithMessages();
    const page = leafOf(file, "lanes", 0);
    const damaged = spoil(file, (bytes) => bytes.fill(0xa5, (page - 1) * PAGE, page * PAGE));
    await journey.process.start();
    expect(journey.process.log.join("\n")).toMatch(
      /the store was damaged: .*malformed; 60 messages were salvaged/,
    );
    await journey.drained();
    // In order, each once: no message was on that page.
    expect(effects(backend)).toEqual(idsSent);
    const ready = await eventually("the gateway looks at itself", async () => {
      const said = await journey.ready();
      return said.problems.length > 0 ? said : null;
    });
    const { dataDir } = journey.process;
    const [folder] = readdirSync(dataDir).filter((name) => name.startsWith("damaged-"));
    expect(ready).toMatchObject({ code: 200, problems: [{ key: `store-salvaged:${folder}` }] });
    expect(readFileSync(join(dataDir, folder!, "store.db")).equals(damaged)).toBe(true);
    const status = await journey.cli("status");
    expect(status.code).toBe(0);
    expect(status.stdout.replace(/\s+/g, " ")).toMatch(/A start found damage: .* 60 messages were salvaged/);
    expect((await journey.audited()).state).toBe("balanced");
    expect((await journey.cli("verify")).code).toBe(0);

    await journey.process.stop();
    const down = await journey.cli("status");
    expect(down.stdout.replace(/\s+/g, " ")).toMatch(/found damage: .* 60 messages were salvaged/);
    renameSync(join(dataDir, folder!), join(scratchFolder(), "kept"));
    await journey.process.start();
    expect((await journey.ready()).problems).toEqual([]);
  });

  test.skipIf(!capability("wide").present)("that is gone is not taken for a new one", async () => {
    const { journey, file } = await stoppedWithMessages();
    rmSync(file);
    await journey.process.start();
    expect(journey.process.log.join("\n")).toMatch(
      /store\.db is missing, .*up to 60 messages .* may be missing/,
    );
    const { code, problems } = await journey.ready();
    expect([code, problems.map(({ key }) => key.split(":")[0])]).toEqual([200, ["messages-lost"]]);
    expect((await journey.cli("status")).code).toBe(1);
  });
});

describe("damage that a start does not look for", () => {
  test.skipIf(!capability("wide").present)(
    "ends the gateway when it is met; the next start delivers the rest, and names what is lost",
    async () => {
      const { journey, backend, file } = await stoppedWithMessages();
      const page = leafOf(file, "messages", 3);
      spoil(file, (bytes) => {
        bytes.fill(0xa5, (page - 1) * PAGE, page * PAGE);
        flipIn(bytes, '"id":"press-1"');
      });
      expect(await journey.cli("verify")).toMatchObject({ code: 1 });
      expect(await wordsOfItsEnd(journey)).toContain('"code":"HF_STORE_DAMAGED"');
      await journey.process.start();
      await journey.drained();
      const { dead, accepted, delivered } = await journey.flow("all");
      expect(dead).toBeGreaterThan(0);
      expect(dead).toBeLessThan(MESSAGES / 2);
      expect(accepted).toBe(MESSAGES);
      expect(delivered).toBe(MESSAGES - dead);
      expect(effects(backend)).toHaveLength(MESSAGES - dead);
      // A bit that flipped in a payload is not delivered as if the machine had said it.
      expect(effects(backend)).not.toContain("press-1");
      expect(effects(backend)).toEqual(idsSent.filter((id) => effects(backend).includes(id)));
      expect((await journey.ready()).problems.map(({ key }) => key.split(":")[0])).toContain("messages-lost");
      const list = await journey.cli("dead", "list");
      expect(list.stdout).toMatch(/its content was lost when the store was damaged/);
      expect((await journey.audited()).state).toBe("balanced");
    },
  );

  test.skipIf(!capability("wide").present)(
    "salvaged by hand, where the config says that a start must not, the store is whole again elsewhere",
    async () => {
      const { url } = await startBackend(new HttpBackend());
      const config = { targets: { backend: { type: "http", url } }, queue: { onDamage: "refuse" } };
      const journey = await Journey.start({ config });
      const client = await journey.client("press");
      await client.publish({ topic: "plant/press", payload: reading("press", 1), qos: 1 });
      await journey.drained();
      await journey.process.stop();
      spoil(join(journey.process.dataDir, "store.db"), (bytes) => bytes.fill(0, 0, 100));
      await expect(journey.process.start()).rejects.toThrow(/HF_STORE_DAMAGED/);
      const into = join(scratchFolder(), "rescued");
      const { code, stdout } = await journey.cli("salvage", "--into", into, "--json");
      expect({ code, ...JSON.parse(stdout) }).toMatchObject({ code: 0, lossy: false, messagesSalvaged: 1 });
      expect(existsSync(join(journey.process.dataDir, "store.db"))).toBe(true);
      const verified = await runCliHere(["verify", "--data", into], { cwd: into });
      expect(verified).toMatchObject({ code: 0, stdout: expect.stringMatching(/sound: 1 messages/) });
    },
  );
});
