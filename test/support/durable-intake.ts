/**
 * Intake and store as the broker sees them, in one SQLite file: what is accepted is committed and fsynced
 * together with its session changes, duplicates are known by the rules for QoS 1 and 2. A test can hold
 * commits back (a store without room), let them fail, or decide receipts itself.
 */
import { createHash } from "node:crypto";
import type { SessionChange } from "../../src/core/session.ts";
import type { Accepting, Draft, Receipt } from "../../src/intake/draft.ts";
import { SqliteSessionLog } from "./session-log.ts";

export interface StoredRow {
  readonly seq: number;
  readonly device: string;
  readonly topic: string;
  readonly payload: string;
  readonly qos: number;
}

/** One request, for the next commit. */
interface Job {
  readonly run: () => void;
  readonly done: () => void;
  readonly failed: (error: unknown) => void;
}

export class DurableIntake extends SqliteSessionLog implements Accepting {
  #held: (() => void)[] | null = null;
  #jobs: Job[] = [];
  #failure: Error | null = null;
  /** Answers instead of the store where it answers at all. */
  decide: (draft: Draft) => Receipt | Promise<Receipt> | undefined = () => undefined;
  /** Called when a draft arrives. */
  onDraft: (draft: Draft) => void = () => {};

  constructor(file: string) {
    super(file);
    this.db.exec(
      `CREATE TABLE IF NOT EXISTS messages (
         seq INTEGER PRIMARY KEY, device TEXT, topic TEXT, payload BLOB, qos INTEGER
       ) STRICT;
       CREATE TABLE IF NOT EXISTS packet_ids (
         client TEXT, packet_id INTEGER, digest TEXT, seq INTEGER, PRIMARY KEY (client, packet_id)
       ) STRICT`,
    );
  }

  async accept(draft: Draft, signal?: AbortSignal): Promise<Receipt> {
    this.onDraft(draft);
    if (this.#held) await this.#waitForRoom(signal);
    signal?.throwIfAborted();
    if (this.#failure) throw this.#failure;
    return (await this.decide(draft)) ?? this.#commit(() => this.#store(draft));
  }

  override async write(changes: readonly SessionChange[]): Promise<void> {
    if (this.#held) await this.#waitForRoom();
    if (this.#failure) throw this.#failure;
    await this.#commit(() => this.apply(changes));
  }

  /** What is asked within one turn of the event loop is one commit, in the order asked. */
  #commit<T>(work: () => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#jobs.length === 0) setImmediate(() => this.#commitAll());
      let result: T;
      this.#jobs.push({
        run: () => {
          result = work();
        },
        done: () => resolve(result),
        failed: reject,
      });
    });
  }

  #commitAll(): void {
    const jobs = this.#jobs;
    this.#jobs = [];
    try {
      this.db.transaction(() => {
        for (const job of jobs) job.run();
      })();
    } catch (error) {
      for (const job of jobs) job.failed(error);
      return;
    }
    for (const job of jobs) job.done();
  }

  /** From now on nothing is committed, as when the store is full. */
  hold(): void {
    this.#held ??= [];
  }

  /** There is room again. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const go of held) go();
  }

  get waiting(): number {
    return this.#held?.length ?? 0;
  }

  /** The disk is broken from now on. */
  fail(error: Error): void {
    this.#failure = error;
  }

  messages(): StoredRow[] {
    const rows = this.db.prepare("SELECT * FROM messages ORDER BY seq").all() as (Omit<
      StoredRow,
      "payload"
    > & {
      payload: Buffer;
    })[];
    return rows.map((row) => ({ ...row, payload: row.payload.toString() }));
  }

  payloads(): string[] {
    return this.messages().map((row) => row.payload);
  }

  #waitForRoom(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#held!.push(resolve);
      signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
  }

  #store(draft: Draft): Receipt {
    const { mqtt, qos, topic, payload } = draft;
    const digest = createHash("sha1").update(topic).update(payload).digest("hex");
    const known = this.#original(draft, digest);
    if (known !== undefined) return { kind: "duplicate", id: `m${known}`, seq: known };
    const result = this.db
      .prepare("INSERT INTO messages (device, topic, payload, qos) VALUES (?, ?, ?, ?)")
      .run(draft.device, topic, payload, qos);
    const seq = Number(result.lastInsertRowid);
    if (mqtt && qos === 2) {
      const value = Buffer.from(String(seq));
      this.apply([{ op: "put", kind: "incoming", client: mqtt.client, key: String(mqtt.packetId), value }]);
    }
    if (mqtt && qos === 1) {
      this.db
        .prepare("INSERT OR REPLACE INTO packet_ids VALUES (?, ?, ?, ?)")
        .run(mqtt.client, mqtt.packetId, digest, seq);
    }
    this.apply(draft.session ?? []);
    return { kind: "stored", id: `m${seq}`, seq, flows: 1, late: false };
  }

  #original({ mqtt, qos }: Draft, digest: string): number | undefined {
    if (!mqtt) return undefined;
    if (qos === 2) {
      const row = this.db
        .prepare("SELECT value FROM sessions WHERE kind = 'incoming' AND client = ? AND key = ?")
        .pluck()
        .get(mqtt.client, String(mqtt.packetId)) as Buffer | undefined;
      return row && Number(row.toString());
    }
    if (!mqtt.dup) return undefined;
    return this.db
      .prepare("SELECT seq FROM packet_ids WHERE client = ? AND packet_id = ? AND digest = ?")
      .pluck()
      .get(mqtt.client, mqtt.packetId, digest) as number | undefined;
  }
}
