/**
 * Builds a store as the gateway would have left it: the real schema, rows put in by hand, the tally moved
 * along with them. For tests of what reads a store; what writes one is tested through the queue itself.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { type DeliveryState, isOpen } from "../../src/core/outcome.ts";
import { NEVER_DUE_MS } from "../../src/queue/exports.ts";

const MIGRATIONS = join(import.meta.dirname, "../../src/queue/migrations");
export const BUILT_AT_MS = Date.UTC(2026, 5, 1, 12);

export interface BuiltDelivery {
  readonly flow: string;
  /** Default: the device. */
  readonly key?: string;
  readonly state?: DeliveryState;
  readonly attempts?: number;
  readonly reason?: string | null;
  readonly dueAt?: number | null;
  readonly late?: boolean;
  readonly resend?: boolean;
  readonly updatedAt?: number;
  /** Number of the export that it is held for. */
  readonly heldFor?: number;
}

export interface BuiltMessage {
  readonly id?: string;
  readonly device?: string;
  readonly source?: string;
  readonly topic?: string;
  readonly payload?: string | Buffer;
  readonly qos?: 0 | 1 | 2;
  readonly producedAt?: number | null;
  readonly acceptedAt?: number;
  readonly steadyAt?: number;
  readonly traceparent?: string | null;
  readonly headers?: Record<string, string>;
  readonly duplicates?: number;
  readonly deliveries?: readonly BuiltDelivery[];
}

export class StoreBuilder {
  readonly dataDir: string;
  readonly db: Database.Database;
  #seq = 0;
  readonly #versions = new Map<string, number>();
  #boot = 0;
  readonly #statements = new Map<string, Database.Statement>();

  /** Without `dataDir`, a folder of its own that `remove()` takes away. */
  constructor(dataDir = mkdtempSync(join(tmpdir(), "holdfast-store-"))) {
    mkdirSync(dataDir, { recursive: true });
    this.dataDir = dataDir;
    this.db = new Database(join(dataDir, "store.db"));
    this.db.pragma("journal_mode = WAL");
    this.db.pragma("synchronous = OFF");
    this.db.pragma("foreign_keys = OFF"); // As the gateway has it.
    const files = readdirSync(MIGRATIONS).sort();
    for (const file of files) this.db.exec(readFileSync(join(MIGRATIONS, file), "utf8"));
    this.db.pragma(`user_version = ${Number(files.at(-1)!.slice(0, 3))}`);
    this.boot({});
  }

  boot(boot: {
    boot?: string;
    startedAt?: number;
    steadyAt?: number;
    seenAt?: number;
    clean?: boolean;
  }): void {
    const result = this.#sql(
      `INSERT INTO boots (boot, version, started_at, clock_trusted, seen_at, steady_at, stopped_clean)
         VALUES (?, '0.1.0', ?, 1, ?, ?, ?)`,
    ).run(
      boot.boot ?? `boot-${this.#boot + 1}`,
      boot.startedAt ?? BUILT_AT_MS,
      boot.seenAt ?? BUILT_AT_MS,
      boot.steadyAt ?? 0,
      boot.clean ? 1 : 0,
    );
    this.#boot = Number(result.lastInsertRowid);
  }

  /** A flow version; messages built afterwards take the latest one of their flow. */
  flow(name: string, config: Record<string, unknown> = {}, hash = `hash-${name}`): number {
    const whole = { from: "#", to: `${name}-target`, orderBy: "device", ...config };
    const result = this.#sql(
      "INSERT INTO flow_versions (flow, hash, config, first_used_at) VALUES (?, ?, ?, ?)",
    ).run(name, hash, JSON.stringify(whole), BUILT_AT_MS);
    const id = Number(result.lastInsertRowid);
    this.#versions.set(name, id);
    return id;
  }

  message(message: BuiltMessage = {}): { seq: number; id: string; lanes: number[] } {
    const seq = ++this.#seq;
    const id = message.id ?? `message-${seq}`;
    const device = message.device ?? "press-7";
    const acceptedAt = message.acceptedAt ?? BUILT_AT_MS + seq;
    const routes = (message.deliveries ?? []).map((delivery): [number, number] => {
      const lane = this.#deliver(seq, delivery.key ?? device, acceptedAt, delivery);
      return [lane, this.#versions.get(delivery.flow)!];
    });
    this.#sql(
      `INSERT INTO messages (seq, id, device, source, topic, payload, qos, retain, produced_at, accepted_at,
                               steady_at, boot, traceparent, headers, duplicates, routes)
         VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(
      seq,
      id,
      device,
      message.source ?? "mqtt",
      message.topic ?? `plant/${device}`,
      Buffer.from(message.payload ?? "{}"),
      message.qos ?? 1,
      message.producedAt ?? null,
      acceptedAt,
      message.steadyAt ?? seq,
      this.#boot,
      message.traceparent ?? null,
      message.headers ? JSON.stringify(message.headers) : null,
      message.duplicates ?? 0,
      JSON.stringify(routes),
    );
    this.tally("", "accepted", 1);
    if (routes.length === 0) this.tally("", "unrouted", 1);
    return { seq, id, lanes: routes.map(([lane]) => lane) };
  }

  /** An export of everything, whose file is written; its number. */
  export(id: string, { atMs = BUILT_AT_MS, steadyAt = 0, state = "held" } = {}): number {
    const result = this.#sql(
      `INSERT INTO exports (id, state, selection, until_seq, who, reason, at, steady_at, messages)
         VALUES (?, ?, '{"states":"all"}', ?, 'anna', 'box a is replaced', ?, ?, 1)`,
    ).run(id, state, this.#seq, atMs, steadyAt);
    return Number(result.lastInsertRowid);
  }

  history(
    seq: number,
    kind: string,
    detail: string | null,
    options: { lane?: number; at?: number } = {},
  ): void {
    this.#sql("INSERT INTO history (seq, lane, at, kind, detail) VALUES (?, ?, ?, ?, ?)").run(
      seq,
      options.lane ?? null,
      options.at ?? BUILT_AT_MS,
      kind,
      detail,
    );
  }

  tally(flow: string, what: string, n: number, table: "tally" | "pruned" = "tally"): void {
    this.#sql(
      `INSERT INTO ${table} (flow, what, n) VALUES (?, ?, ?)
         ON CONFLICT (flow, what) DO UPDATE SET n = n + excluded.n`,
    ).run(flow, what, n);
  }

  /** Takes a finished message away as retention does. */
  prune(seq: number): void {
    const routes = JSON.parse(
      this.#sql("SELECT routes FROM messages WHERE seq = ?").pluck().get(seq) as string,
    ) as [number, number][];
    for (const [lane] of routes) {
      const row = this.#sql(
        "SELECT l.flow, d.state FROM deliveries d JOIN lanes l ON l.id = d.lane WHERE d.lane = ? AND d.seq = ?",
      ).get(lane, seq) as { flow: string; state: string };
      this.tally(row.flow, row.state, 1, "pruned");
      this.#sql("DELETE FROM deliveries WHERE lane = ? AND seq = ?").run(lane, seq);
    }
    this.#sql("DELETE FROM messages WHERE seq = ?").run(seq);
    this.tally("", routes.length === 0 ? "unrouted" : "routed", 1, "pruned");
  }

  /** `build` in one transaction: many rows fast. */
  many(build: () => void): void {
    this.db.transaction(build)();
  }

  close(): void {
    if (this.db.open) this.db.close();
  }

  remove(): void {
    this.close();
    rmSync(this.dataDir, { recursive: true, force: true });
  }

  #sql(sql: string): Database.Statement {
    const statement = this.#statements.get(sql) ?? this.db.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }

  #deliver(seq: number, key: string, acceptedAt: number, delivery: BuiltDelivery): number {
    if (!this.#versions.has(delivery.flow)) this.flow(delivery.flow);
    const state = delivery.state ?? "waiting";
    const open = isOpen(state) ? 1 : 0;
    const held = delivery.heldFor !== undefined;
    const lane = this.#sql(
      `INSERT INTO lanes (flow, key, head, open) VALUES (?, ?, ?, ?)
         ON CONFLICT (flow, key) DO UPDATE SET open = open + excluded.open RETURNING id`,
    )
      .pluck()
      .get(delivery.flow, key, seq, open) as number;
    this.#sql(
      `INSERT INTO deliveries (lane, seq, state, attempts, late, resend, due_at, updated_at, reason, export)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(
      lane,
      seq,
      state,
      delivery.attempts ?? 0,
      delivery.late ? 1 : 0,
      delivery.resend ? 1 : 0,
      delivery.dueAt ?? (held && state === "waiting" ? NEVER_DUE_MS : null),
      delivery.updatedAt ?? acceptedAt,
      delivery.reason ?? null,
      delivery.heldFor ?? null,
    );
    if (held) this.tally(delivery.flow, "held", 1);
    this.tally(delivery.flow, "accepted", 1);
    this.tally(delivery.flow, state, 1);
    if (delivery.late) this.tally(delivery.flow, "late", 1);
    return lane;
  }
}
