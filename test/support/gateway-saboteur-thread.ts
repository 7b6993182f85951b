/**
 * The saboteur of the store thread with faults that show only in a whole gateway. HOLDFAST_TEST_FAULT may name,
 * beside those of saboteur-thread.ts:
 *
 *   no-dedupe         nothing that came before is known: no packet id, no producer's id, no QoS 2 handshake
 *   keeps-packet-ids  the packet id of a QoS 2 message is not given free by its PUBREL
 *   forgets-sessions  what MQTT clients left behind is not read at the start
 *   no-lock           the data folder is not locked
 *   ignores-disk      a commit that fails as a disk does is answered as if it were stored
 */
import Database from "better-sqlite3";

const faults = new Set((process.env.HOLDFAST_TEST_FAULT ?? "").split(","));
const { exec, prepare } = Database.prototype;

const LOOKS_FOR_A_DUPLICATE =
  /^SELECT seq, id FROM (packet_ids|identities|messages) WHERE|^SELECT value FROM sessions WHERE/;

function falsified(sql: string): string {
  if (faults.has("no-dedupe") && LOOKS_FOR_A_DUPLICATE.test(sql)) return `${sql} AND 0`;
  if (faults.has("keeps-packet-ids") && sql.startsWith("DELETE FROM sessions")) {
    return `${sql} AND kind <> 'incoming'`;
  }
  if (faults.has("forgets-sessions") && sql.includes("FROM sessions ORDER BY")) {
    return sql.replace("ORDER BY", "WHERE 0 ORDER BY");
  }
  return sql;
}

Database.prototype.prepare = function (this: Database.Database, sql: string) {
  return prepare.call(this, falsified(sql));
} as typeof prepare;

const { pragma } = Database.prototype;
Database.prototype.pragma = function (this: Database.Database, text: string, options?: object) {
  if (faults.has("no-lock") && text === "journal_mode = MEMORY") return "memory";
  return pragma.call(this, text, options);
};

Database.prototype.exec = function (this: Database.Database, sql: string) {
  if (faults.has("no-lock") && sql === "BEGIN EXCLUSIVE") return this;
  try {
    return exec.call(this, sql);
  } catch (error) {
    const hidden = faults.has("ignores-disk") && sql === "COMMIT" && isDiskFailure(error);
    if (!hidden) throw error;
    if (this.inTransaction) exec.call(this, "ROLLBACK");
    return this;
  }
};

function isDiskFailure(error: unknown): boolean {
  return String((error as { code?: unknown }).code).startsWith("SQLITE_IOERR");
}

// Serves the store from here on, with its own faults on top.
await import("./saboteur-thread.ts");
