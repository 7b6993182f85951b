/** What the system says of a process and its files. Null where it does not say (no /proc, or it has ended). */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { safeParse } from "../../src/core/safe-parse.ts";

export interface ProcessFacts {
  readonly rssBytes: number | null;
  readonly threads: number | null;
  /** Open files, sockets and the like. */
  readonly handles: number | null;
}

export function processFacts(pid: number | undefined): ProcessFacts {
  const status = pid === undefined ? "" : (attempt(() => readFileSync(`/proc/${pid}/status`, "utf8")) ?? "");
  const kib = /^VmRSS:\s+(\d+) kB/m.exec(status)?.[1];
  const threads = /^Threads:\s+(\d+)/m.exec(status)?.[1];
  return {
    rssBytes: kib === undefined ? null : Number(kib) * 1024,
    threads: threads === undefined ? null : Number(threads),
    handles: pid === undefined ? null : (attempt(() => readdirSync(`/proc/${pid}/fd`).length) ?? null),
  };
}

/** Of the store and its write-ahead log, in bytes. */
export function storeFiles(dataDir: string): {
  readonly storeBytes: number | null;
  readonly walBytes: number | null;
} {
  const size = (name: string) => attempt(() => statSync(join(dataDir, name)).size) ?? null;
  return { storeBytes: size("store.db"), walBytes: size("store.db-wal") };
}

/** One value of a Prometheus exposition without labels, or null. */
export function metric(exposition: string, name: string): number | null {
  const text = new RegExp(`^${name} (\\S+)$`, "m").exec(exposition)?.[1];
  return safeParse(z.coerce.number(), text).data ?? null;
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
